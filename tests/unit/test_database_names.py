# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and marks of the databases that stand beside the live one."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import (
    LIMIT,
    beside,
    is_side_name,
    kept_database,
    read_mark,
    side_database,
    write_mark,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(min_size=1, max_size=63).filter(lambda name: len(name.encode("utf-8", "ignore")) <= LIMIT)


@given(NAMES, NAMES)
def test_names_fit_and_stay_apart(one: str, other: str) -> None:
    one, other = (name.encode("utf-8", "ignore").decode() for name in (one, other))
    made = kept_database(one, "20261124T193000Z")
    assert len(made.encode()) <= LIMIT
    assert (made == kept_database(other, "20261124T193000Z")) is (one == other)


def test_a_short_name_is_kept_whole() -> None:
    assert beside("usdx_wexel", "before_20261124T193000Z") == "usdx_wexel_before_20261124T193000Z"


def test_side_names_are_known() -> None:
    name = side_database("usdx_wexel", "0123abcd" * 8)
    assert is_side_name("usdx_wexel", name)
    assert not is_side_name("usdx", name)
    assert not is_side_name("usdx_wexel", "usdx_wexel_side_customer")


def test_marks() -> None:
    assert read_mark(write_mark(kind="side", at="x'y$"))["at"] == "x'y$"
    for comment in (None, "", "text", "[]", "{}", '{"usdx.rollback": 2}'):
        assert read_mark(comment) == {}
