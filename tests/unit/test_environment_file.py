# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files keep everything but the named variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import environment_file
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from hypothesis import given
from hypothesis import strategies as st

TEXT = "# the release\nexport APP_VERSION = '1.0.3'\nPOSTGRES_PASSWORD=a=b'c\nAPP_VERSION=1.0.4\r\nLAST=1"
VALUES = st.text(alphabet="abcXYZ019_.,:/@%+-", max_size=12)


def test_the_last_line_of_a_name_counts_and_is_replaced_in_place() -> None:
    assert environment_file.read_variables(TEXT, ["APP_VERSION", "NEW"]) == {"APP_VERSION": "1.0.4", "NEW": None}
    after = environment_file.set_variables(TEXT, {"APP_VERSION": "1.0.2", "NEW": "x"})
    assert after == TEXT.replace("APP_VERSION=1.0.4", "APP_VERSION=1.0.2") + "\nNEW=x\n"


def test_a_variable_without_a_value_goes_with_all_its_lines() -> None:
    after = environment_file.set_variables(TEXT, {"APP_VERSION": None, "LAST": "2", "NEW": None})
    assert after == "# the release\nPOSTGRES_PASSWORD=a=b'c\nLAST=2"
    assert environment_file.set_variables("A=1", {"A": None}) == ""
    commented = "#A=1\nAB=1\n A = 2\nexport A=3\n"
    assert environment_file.set_variables(commented, {"A": None}) == "#A=1\nAB=1\n"


@given(st.dictionaries(st.sampled_from(["A", "B", "APP_VERSION", "LAST"]), st.none() | VALUES, min_size=1))
def test_what_is_set_is_read_back_and_nothing_else_changes(variables: dict[str, str | None]) -> None:
    after = environment_file.set_variables(TEXT, variables)
    assert environment_file.read_variables(after, list(variables)) == variables
    assert environment_file.set_variables(after, variables) == after
    others = [name for name in ("POSTGRES_PASSWORD", "LAST", "APP_VERSION") if name not in variables]
    assert environment_file.read_variables(after, others) == environment_file.read_variables(TEXT, others)


@pytest.mark.parametrize(
    "variables", [{"A B": "1"}, {"1A": "1"}, {"A": "x\ny"}, {"A": "$(id)"}, {"A": "a b"}, {"": ""}]
)
def test_bad_names_and_values_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(RollbackError, match="Nothing was changed"):
        environment_file.check_variables(variables)


def test_owner_and_mode_stay_and_a_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "real.env", tmp_path / ".env"
    file.write_text(TEXT)
    file.chmod(0o640)
    link.symlink_to(file)
    environment_file.replace_file(str(link), "A=1\n")
    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o7777) == ("A=1\n", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "real.env"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(RollbackError, match=r"/nowhere/\.env cannot be read"):
        environment_file.read_file("/nowhere/.env")
