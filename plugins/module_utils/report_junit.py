# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as JUnit XML, which CI servers read: a suite for each host, a case for each step and check.

A check that failed is a failure. One that is inconclusive is an error: it was to be proved, and was not. What was
skipped, or does not decide, is skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from .run_report import Check, HostReport, Report, StepReport

# Characters that XML 1.0 does not allow, not even escaped (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FAILURE, ERROR, SKIPPED = "failure", "error", "skipped"


class Case(NamedTuple):
    """One test case; ``outcome`` is empty when it passed."""

    group: str
    name: str
    seconds: float
    outcome: str
    message: str


class Suite(NamedTuple):
    """One test suite."""

    name: str
    cases: list[Case]
    seconds: float


def report_junit(report: Report) -> str:
    """Return the XML."""
    return junit(f"rollback {report.run_id}", [_suite(report, host) for host in report.hosts])


def junit(name: str, suites: list[Suite]) -> str:
    """Return the XML of suites."""
    root = ET.Element("testsuites", {"name": _xml(name)})
    for suite in suites:
        _add_suite(root, suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, host: HostReport) -> Suite:
    cases = [*map(_step_case, host.steps), *map(_check_case, host.checks)]
    seconds = sum(step.seconds or 0.0 for step in host.steps)
    return Suite(f"{report.scenario or 'rollback'} on {host.host}", cases, seconds)


def _add_suite(root: ET.Element, given: Suite) -> None:
    told = {"name": given.name, "tests": str(len(given.cases))}
    for attribute, outcome in (("failures", FAILURE), ("errors", ERROR), ("skipped", SKIPPED)):
        told[attribute] = str(sum(case.outcome == outcome for case in given.cases))
    told["time"] = f"{given.seconds:.3f}"
    suite = ET.SubElement(root, "testsuite", {key: _xml(value) for key, value in told.items()})
    names: dict[tuple[str, str], int] = {}
    for case in given.cases:
        _add_case(suite, case, names)


def _add_case(suite: ET.Element, case: Case, names: dict[tuple[str, str], int]) -> None:
    """Add a case. Names differ within a group, because readers take two of one name for one."""
    number = names[case.group, case.name] = names.get((case.group, case.name), 0) + 1
    name = case.name if number == 1 else f"{case.name} ({number})"
    told = {"classname": case.group, "name": name, "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", {key: _xml(value) for key, value in told.items()})
    if case.outcome:
        ET.SubElement(element, case.outcome, {"message": _xml(case.message)}).text = _xml(case.message)


def _step_case(step: StepReport) -> Case:
    outcome = {"done": "", "failed": FAILURE, "skipped": SKIPPED}.get(step.state, ERROR)
    return Case("steps", f"{step.number} {step.title}".strip(), step.seconds or 0.0, outcome, step.outcome)


def _check_case(check: Check) -> Case:
    outcome = {"passed": "", "failed": FAILURE}.get(check.verdict, ERROR)
    if outcome and not check.decides:
        outcome = SKIPPED
    wanted = f"; wanted: {check.limit}" if check.limit else ""
    # The seconds of a check say when it was decided, not how long it took.
    return Case(f"checks.{check.step}", check.name, 0.0, outcome, f"{check.verdict}: {check.seen}{wanted}")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
