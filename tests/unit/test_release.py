# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of releases."""

from __future__ import annotations

import string

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.release import (
    is_release,
    parse_release,
    release_number,
    same_release,
    tag_names,
    version_order,
)
from hypothesis import example, given
from hypothesis import strategies as st

# Letters that matter to a command line, a path or Git, more often than by chance.
TEXT = st.text(st.sampled_from(string.ascii_letters + string.digits + "-._+/\\^~:@{}*?[ \n\0'\"$é"), max_size=12)
NUMBERS = st.lists(st.integers(0, 300), min_size=1, max_size=4)


@given(TEXT)
@example("--upload-pack=x")
@example("../v1")
@example("v1.0.2^{commit}")
@example("@")
@example("a..b")
@example("v1.lock")
def test_no_accepted_name_is_an_option_a_path_or_a_revision(text: str) -> None:
    """What is accepted can stand alone on a command line and in refs/tags/."""
    try:
        name = parse_release(text)
    except RollbackError:
        return
    assert name == text.strip()
    assert name[0] not in "-./~"
    assert not set(name) & set("/\\^~:@{}*?[ \n\t\0'\"$")
    assert ".." not in name
    assert not name.endswith((".", ".lock"))
    assert name.isascii()


@given(NUMBERS)
def test_numbers_are_accepted_with_and_without_v(numbers: list[int]) -> None:
    """The property above would hold for a parser that refuses everything."""
    number = ".".join(map(str, numbers))
    assert parse_release(f" v{number} ") == f"v{number}"
    assert same_release(number, f"v{number}")
    assert release_number(f"v{number}") == number
    assert set(tag_names(number)) == set(tag_names(f"v{number}")) == {number, f"v{number}"}
    assert tag_names(number)[0] == number


@given(NUMBERS, NUMBERS)
def test_order_of_numbers(one: list[int], other: list[int]) -> None:
    """Numbers are compared as numbers, part by part."""
    first, second = (".".join(map(str, numbers)) for numbers in (one, other))
    assert (version_order(f"v{first}") < version_order(second)) == (one < other)


@given(st.lists(TEXT, max_size=6))
def test_every_name_can_be_sorted(names: list[str]) -> None:
    """No two names are incomparable, whatever tags a repository has."""
    assert len(sorted(names, key=version_order)) == len(names)


@pytest.mark.parametrize(("low", "high"), [("1.0.9", "v1.0.10"), ("v1.0.2-rc1", "1.0.2"), ("1.0.2-rc2", "1.0.2-rc10")])
def test_order(low: str, high: str) -> None:
    """An early version comes before its release."""
    assert version_order(low) < version_order(high)


@pytest.mark.parametrize(("name", "is_one"), [("v1.0.2", True), ("team/v1", False), (" v1", False), ("-v", False)])
def test_is_release(name: str, is_one: bool) -> None:  # noqa: FBT001
    """A name counts only as it is."""
    assert is_release(name) is is_one
