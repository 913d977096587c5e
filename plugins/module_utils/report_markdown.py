# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as the draft of a post-mortem, to be edited by people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .follow_up import LATE
from .journal import clock
from .run_report import approved_by, follow_up_sum, step_name, undelivered, undo_text
from .run_text import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .run_report import Database, FollowUp, HostReport, Report

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!&~$@])")
# What begins a list, a quotation or a ruler, or counts, at the beginning of a line.
_LEADING = re.compile(r"^(\d{1,9}(?=[.)](?: |$))|(?=[-+=>]))")


def escaped(text: str) -> str:
    """Return a text in one line that Markdown shows as it is, whatever it quotes."""
    line = " ".join(text.split())
    return _LEADING.sub(r"\1\\", _SPECIAL.sub(r"\\\1", line))


def report_markdown(report: Report) -> str:
    """Return the draft. What only people know is left to them, in italics."""
    lines = [
        f"# Post-mortem: {escaped(report.project or 'the application')}, run {escaped(report.run_id)}",
        "",
        "*A draft, made from the journal of the run. Edit it; what is in italics nobody has written yet.*",
        "",
        "## Summary",
        "",
        f"**{escaped(report.headline)}.**",
        "",
        *[f"- {escaped(undo_text(undo, report))} [Its report](../{undo.run_id}/report.md)" for undo in report.undos],
        f"- {escaped(report.way)}",
        f"- Reason: {escaped(report.reason)}",
        f"- Condition: {escaped(report.approval.condition or 'none was named')}",
        f"- Approved by: {escaped(approved_by(report))}",
        f"- Started {escaped(report.started_by)}",
        f"- Incident channel: {escaped(report.incident or 'not named')}",
        "",
        "## Impact",
        "",
        *[f"- {escaped(line)}" for line in report.recovery],
        "- *Who noticed what, how many users, which data*",
        "",
        "## Timeline",
        "",
        *_table(
            ("Moment", "Time"),
            ((one.name, moment_text(one.time) if one.time else "unknown") for one in report.moments),
        ),
    ]
    after: list[str] = []
    for host in report.hosts:
        name = f", {escaped(host.host)}" if len(report.hosts) > 1 else ""
        lines += _host(host, name)
        after += _follow_up(host, name)
    return "\n".join([*lines, *after, *_left_to_people(report)]) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    body = ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *body, ""]


def _host(host: HostReport, name: str) -> list[str]:
    lines = [f"## What was done{name}", ""]
    lines += _table(
        ("T+", "Step", "Took", "What came of it"),
        (
            (
                clock(step.began) if step.began is not None else "-",
                step_name(step),
                f"{step.seconds:.1f} s" if step.seconds is not None else "-",
                step.outcome,
            )
            for step in host.steps
        ),
    )
    if host.failure:
        lines += [
            f"What went wrong: {escaped(host.failure.what)}", "", f"Untouched: {escaped(host.failure.untouched)}", "",
            f"What runs now: {escaped(host.runs_now)}", "",
        ]  # fmt: skip
    else:
        lines += [escaped(host.runs_now), ""]
    lines += [*[f"- {escaped(line)}" for line in host.notes], *([""] if host.notes else [])]
    lines += _database(host.database, name)
    not_passed = [check for check in host.checks if check.verdict != "passed"]
    lines += [f"Checks: {len(host.checks) - len(not_passed)} of {len(host.checks)} passed.", ""]
    lines += [f"- {check.verdict}: {escaped(check.name)}: {escaped(check.seen)}" for check in not_passed]
    lines += [f"- not delivered: {escaped(one.subject)} by {escaped(one.notifier)}: {escaped(one.why)}"
              for one in undelivered(host.messages)]  # fmt: skip
    kept = [f"- {escaped(line)}" for line in host.kept]
    return [*lines, *([""] if lines[-1] else []), *(["Kept:", "", *kept, ""] if kept else [])]


def _database(database: Database | None, name: str) -> list[str]:
    if database is None:
        return []
    told = [f"Decision: {database.decision}" + (f": {database.reason}" if database.reason else "")]
    told += [f"Backup: {database.backup}, taken {database.taken_at or 'at an unknown time'}"] if database.backup else []
    told += [f"Rows counted: {database.rows:,}"] if database.rows is not None else []
    told += [f"Lost: {database.lost}"]
    told += [f"The former database is kept as {database.kept}"] if database.kept else []
    return [f"### Database {escaped(database.name)}{name}", "", *[f"- {escaped(line)}" for line in told], ""]


def _follow_up(host: HostReport, name: str) -> list[str]:
    if not host.follow_up:
        return []
    return [
        f"## To be done after the run{name}", "", escaped(follow_up_sum(host)), "",
        *[f"- [{'x' if one.state == 'done' else ' '}] {escaped(_action(one))}" for one in host.follow_up], "",
    ]  # fmt: skip


def _action(action: FollowUp) -> str:
    """Return an action after a run in a line."""
    due = f", due {action.due}" if action.due else ""
    told = f"{action.name} ({action.owner or 'nobody named'}{due}{', LATE' if action.state == LATE else ''})"
    told += f": by {action.by}, {moment_text(action.at)}" if action.at else ""
    return told + (f"; {action.note}" if action.note else "") + (f"; issue {action.issue}" if action.issue else "")


def _left_to_people(report: Report) -> list[str]:
    items = {(item.name, item.state, item.by) for host in report.hosts for item in host.checklist}
    lines = [
        f"- [{'x' if state == 'done' else ' '}] {escaped(name)}"
        + (
            f" ({'NOT GOOD' if state == 'failed' else state}{', ' + escaped(by) if by else ''})"
            if state != "open"
            else ""
        )
        for name, state, by in sorted(items)
    ]
    return [
        *(["## Checked by people", "", *lines, ""] if lines else []),
        "## Root cause", "", "*Why did it happen? Why was it not noticed before?*", "",
        "## What went well, what did not", "", "*...*", "",
        "## Action items", "",
        "| What | Who | Until |", "| --- | --- | --- |", "| *...* | *...* | *...* |",
    ]  # fmt: skip
