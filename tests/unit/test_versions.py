# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that the collection claims are those that ``make versions`` tries, and pairs leave none of them out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import versions
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINES = [core.rpartition(".")[0] for core in versions.CORES]


def yaml_of(name: str) -> dict[str, object]:
    loaded: dict[str, object] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def test_the_oldest_versions_are_the_claimed_ones() -> None:
    assert yaml_of("meta/runtime.yml")["requires_ansible"] == f">={LINES[0]}.0"
    assert yaml_of("tests/config.yml")["modules"] == {"python_requires": f">={versions.HOST_PYTHONS[0]}"}
    roles = sorted((ROOT / "roles").glob("*/meta/main.yml"))
    told = {re.findall(r"min_ansible_version: '(.*)'", path.read_text(encoding="utf-8"))[0] for path in roles}
    assert told == {LINES[0]}


def test_the_readme_has_a_line_for_each_ansible_core() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for line, pythons in zip(LINES, versions.CORES.values()):
        assert f"\n| {line} | {pythons[0]} to {pythons[-1]} |" in readme


def test_one_of_the_versions_is_that_of_the_development_environment() -> None:
    pinned = re.findall(r"^ansible-core==(.*)$", (ROOT / "tests/requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert set(pinned) <= set(versions.CORES)


def test_every_python_and_every_core_is_tried_where_all_are_there() -> None:
    everything = list(versions.HOST_PYTHONS)
    assert [python for python, _core in versions.plan("hosts", everything)] == everything
    for what in ("units", "sanity"):
        pairs = versions.plan(what, everything)
        assert {core for _python, core in pairs} == set(versions.CORES)
        assert all(python in versions.CORES[core] for python, core in pairs)
    assert versions.plan("host_ends", everything) == [("3.9", "2.17.14"), ("3.14", "2.21.5")]
    assert versions.plan("rollback", everything) == [("3.10", "2.17.14"), ("3.14", "2.21.5")]
    assert versions.missing(everything) == []


@pytest.mark.parametrize("what", ["hosts", "host_ends", "units", "sanity", "rollback"])
def test_one_python_is_enough_and_what_is_missing_is_named(what: str) -> None:
    assert {python for python, _core in versions.plan(what, ["3.11"])} == {"3.11"}
    assert versions.missing(["3.11"])[-2:] == ["ansible-core 2.20.10", "ansible-core 2.21.5"]


def test_a_python_that_is_there_and_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python3.9"
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"python3\.9 is there and cannot be tried as Python 3\.9: broken"):
        versions.found()
