# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a diagnosis: the verdict first, the cause, what shows it, what to do, what is not known."""

from __future__ import annotations

import textwrap
from typing import Any

# Ansible indents and quotes each line; together they fit into 80 columns.
_WIDTH = 68
_UNKNOWN_LIMIT = 8


def diagnosis_lines(found: dict[str, Any], host: str) -> list[str]:
    """Return a diagnosis in lines. ``found`` is the result of ``infrastructure_diagnosis``, ``host`` where it ran."""
    lines = [f"Diagnosis of {found['project']} on {host}", f"VERDICT: {found['verdict'].upper()}"]
    cause = found.get("cause")
    lines += _wrapped("Cause: ", cause["summary"] if cause else "none was found")
    for other in found["causes"][1:]:
        lines += _wrapped("  and: ", other["summary"])
    lines += _wrapped("Do:    ", found["action"]["text"])
    if found["action"]["command"]:
        lines.append(f"       {found['action']['command']}")
    lines.append("What shows it:")
    lines += [line for one in found["evidence"] for line in _wrapped("  - ", one)]
    lines += _unknown_lines(found["unknown"])
    return [*lines, *_wrapped("", _sum(found))]


def short_diagnosis(found: dict[str, Any]) -> dict[str, str]:
    """Return the verdict of a diagnosis, the cause and what is proposed, each in words, for the plan of a rollback."""
    cause = found.get("cause")
    return {
        "verdict": str(found["verdict"]),
        "cause": str(cause["summary"]) if cause else "",
        "action": "" if found["action"]["kind"] == "roll_back" else str(found["action"]["text"]),
    }


def _unknown_lines(unknown: list[str]) -> list[str]:
    """Return what is not known; of many only the first ones."""
    if not unknown:
        return []
    lines = ["Not known:"] + [line for one in unknown[:_UNKNOWN_LIMIT] for line in _wrapped("  - ", one)]
    more = len(unknown) - _UNKNOWN_LIMIT
    return [*lines, f"  - and {more} more"] if more > 0 else lines


def _sum(found: dict[str, Any]) -> str:
    number = found["counts"]
    total = sum(number.values())
    return (
        f"{total} things were looked at in {found['seconds']:g} s, from {', '.join(found['places'])}: "
        f"{number['passed']} good, {number['failed']} not, {number['inconclusive']} unknown. Nothing was changed."
    )


def _wrapped(head: str, text: str) -> list[str]:
    """Return a text in lines under its head. Commands and paths are not broken."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]  # fmt: skip


def diagnosis_refusal(found: dict[str, Any], fail_on: str) -> str:
    """Return why a diagnosis counts as failed; empty when it does not.

    ``fail_on`` is ``never``, ``cause`` (a cause was found) or ``unknown`` (also when something is not known).
    """
    cause = found.get("cause")
    if fail_on != "never" and cause:
        return f"A cause was found: {cause['summary']}. {found['action']['text']} Nothing was changed."
    if fail_on == "unknown" and found["unknown"]:
        return f"Not everything could be looked at: {'; '.join(found['unknown'][:3])}. Nothing was changed."
    return ""
