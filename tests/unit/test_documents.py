# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents say must be there: variables, roles, modules, files that are linked to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.module_utils import report_text

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Names that are no variable of an inventory: the groups, and what a run hands to what follows.
NO_VARIABLES = {"rollback_app", "rollback_db", "rollback_outcome", "rollback_from", "rollback_to"}


def _variables_of_roles() -> set[str]:
    files = [file for folder in ("roles", "playbooks") for file in (ROOT / folder).rglob("*.yml")]
    words = {
        word for file in files for word in re.findall(r"\brollback_[a-z0-9_]+\b", file.read_text(encoding="utf-8"))
    }
    return words - NO_VARIABLES


def test_every_variable_has_a_row_and_every_row_a_variable() -> None:
    page = (ROOT / "docs" / "your_project.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(rollback_[a-z0-9_]+)` \|", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(_variables_of_roles())


def test_the_map_names_every_role_and_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = [folder.name for folder in (ROOT / "roles").iterdir()]
    names += [file.stem for file in (ROOT / "plugins" / "modules").glob("*.py")]
    assert len(names) > 15
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_are_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    local = [(page.parent / file if file else page, anchor) for file, anchor in links if "://" not in file]
    assert [f"{file.name}#{anchor}" for file, anchor in local if anchor not in _anchors(file)] == []


def _paper_lines() -> list[tuple[str, str]]:
    """Return what the runbook on paper asks for: entries of lists and tables, and the comments of its commands."""
    found: list[tuple[str, str]] = []
    section, fenced = "", False
    for line in (ROOT / "docs" / "paper_runbook.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            found += [(section, line.strip()[2:].strip())] if line.lstrip().startswith("# ") else []
        elif line.startswith("#"):
            section = line.lstrip("# ")
        elif entry := re.match(r"- (?:\[ \] |✅ |🚨 |⚠️ )?(.*)", line):
            found.append((section, entry[1]))
        elif line.startswith("| ") and not line.startswith("| Condition"):
            found.append((section, line.strip("| ").replace(" | ", ": ")))
    return found


def test_every_line_of_the_runbook_on_paper_is_covered() -> None:
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    covered: list[tuple[str, str]] = []
    section = ""
    for line in page.splitlines():
        section = line[3:] if line.startswith("## ") else section
        row = re.fullmatch(r"\| (.+) \| (.+) \|", line)
        if row and row[1] not in ("on paper", "---"):
            covered.append((section, row[1]))
    assert len(covered) > 140
    assert covered == _paper_lines()


def test_the_table_of_the_runbook_names_only_what_there_is() -> None:
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    variables = set(re.findall(r"`(rollback_[a-z0-9_]+)`", page))
    assert len(variables) > 10
    assert variables - _variables_of_roles() == set()
    playbooks = set(re.findall(r"`([a-z_]+\.yml)`", page))
    assert playbooks
    assert {name for name in playbooks if not (ROOT / "playbooks" / name).exists()} == set()


def _words(value: object) -> str:
    """Return every text in a YAML document, in one."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value if isinstance(value, str) else " ".join(_words(part) for part in parts)


@pytest.mark.parametrize("name", ["github-actions", "gitlab-ci"])
def test_the_files_for_ci_rehearse_every_night_and_keep_what_came_of_it(name: str) -> None:
    told = yaml.safe_load((ROOT / "docs" / "ci" / f"{name}.yml").read_text(encoding="utf-8"))
    words = _words(told)
    assert "ansible-playbook usdx.rollback.rehearse" in words
    assert "rehearsal/*/rehearsals/*/" in words
    if name == "gitlab-ci":
        job = told["rehearse"]
        assert {"if": '$CI_PIPELINE_SOURCE == "schedule"'} in job["rules"]
        assert job["artifacts"]["when"] == "always"
        assert job["artifacts"]["reports"]["junit"].endswith("/junit.xml")
    else:
        assert told["on"]["schedule"]
        kept = [step for step in told["jobs"]["rehearse"]["steps"] if "upload-artifact" in step.get("uses", "")]
        assert [step["if"] for step in kept] == ["always()"]


@pytest.mark.parametrize(("version", "told"), [("1.0.2", True), (None, False)])
def test_the_plan_promises_no_check_of_a_package_that_is_not_there(version: str | None, told: bool) -> None:  # noqa: FBT001
    plan = {
        "run_id": "20261124T160728Z-960a",
        "project": "shop",
        "host": "shop-1",
        "reason": "not given",
        "steps": ["verify_release"],
        "titles": {"verify_release": {"number": "6", "title": "Verify rollback"}},
        "skipped": {},
        "checkout": {"package_version": version},
        "release": {"name": "2.3.0", "commit": "e55f523ed6b0"},
        "results": {},
        "endpoints": ["http://127.0.0.1/"],
        "verify_commands": [],
        "manual_checks": [],
    }
    (line,) = [line for line in report_text.plan_lines(plan) if line.startswith("Step 6")]
    assert ("package.json" in line) is told


def test_every_filter_and_lookup_that_is_used_is_there() -> None:
    there = {path.stem for kind in ("filter", "lookup") for path in (ROOT / "plugins" / kind).glob("*.yml")}
    there |= {path.stem for path in (ROOT / "plugins" / "lookup").glob("*.py")}
    used = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("roles", "playbooks", "molecule")
        for path in (ROOT / folder).rglob("*.yml")
        for name in re.findall(r"(?:\| *|(?:query|lookup)\(')usdx\.rollback\.(\w+)", path.read_text(encoding="utf-8"))
        if name not in there
    }
    assert used == set()
