# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a person can see: a checklist whose entries are open until somebody says, by name, what he saw."""

from __future__ import annotations

from typing import Any

from .http_probe import printable

OPEN, DONE, FAILED = "open", "done", "failed"
_YES, _NO = {"y", "yes"}, {"n", "no"}
_NOTE_LENGTH = 300


def checklist_questions(names: list[str]) -> list[str]:
    """Return what a person at the terminal is asked, a question for each check."""
    return [
        f"Manual check {number} of {len(names)}: {name}\n"
        "Type y when it is good, n and what is wrong when it is not, or nothing to leave it open"
        for number, name in enumerate(names, 1)
    ]


def checklist_refusal(names: list[str], done: object, by: object, option: str = "manual_checks") -> str:
    """Return why what was said to be done cannot be recorded; empty when it can.

    ``option`` is how what was typed begins: ``manual_checks_done`` and ``manual_checks_by``.
    """
    given = _given(done)
    unknown = [word for word in given if _name(word, names) is None]
    what = f"{option}_done" if option else "done"
    if not given or (not unknown and str(by or "").strip()):
        return ""
    if not unknown:
        return (
            f"{what} was given without the name of who did it. Nothing was changed. Add -e {option or 'done'}_by=NAME."
        )
    listed = "; ".join(f"{number} {name}" for number, name in enumerate(names, 1)) or "none"
    return (
        f"{what} names {', '.join(map(repr, unknown))}, which is not on the list. Nothing was changed. "
        f"Give numbers with commas between them, or a list of names, of: {listed}."
    )


def manual_checklist(
    names: list[str], done: object = "", by: object = "", replies: list[dict[str, Any]] | None = None
) -> list[dict[str, str]]:
    """Return the checklist: name, state (``open``, ``done`` or ``failed``), by whom, and a note.

    ``done`` is what was said to be done when the run was started. ``replies`` are the answers at the terminal, in the
    order of the checks; nothing but a clear yes makes a check done.
    """
    said = chosen(names, done)
    who = printable(str(by or ""))
    rows = []
    for number, name in enumerate(names):
        reply = (replies or [])[number : number + 1]
        row = _answered(name, reply[0], who) if reply else _row(name)
        if name in said and row["state"] == OPEN:
            row = _row(name, DONE, who, "said when the run was started")
        rows.append(row)
    return rows


def checklist_lines(rows: list[dict[str, str]]) -> list[str]:
    """Return the checklist as lines of a summary."""
    begins = {OPEN: "Open, to be done by a person", DONE: "Done by {by}", FAILED: "NOT GOOD, says {by}"}
    return [
        f"{begins[row['state']].format(by=row.get('by') or 'nobody named')}: {row['name']}"
        + (f" ({row['note']})" if row.get("note") else "")
        for row in rows
    ]


def _row(name: str, state: str = OPEN, by: str = "", note: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "by": by, "note": printable(note, _NOTE_LENGTH)}


def _answered(name: str, reply: dict[str, Any], who: str) -> dict[str, str]:
    if not reply.get("asked"):
        return _row(name, note=f"nobody was asked: {reply.get('why', '')}")
    word, _blank, note = str(reply.get("answer", "")).strip().partition(" ")
    word = word.rstrip(",.:;").lower()
    if word in _YES | _NO:
        return _row(name, DONE if word in _YES else FAILED, who, note.strip())
    return _row(name, note=f"the answer was {reply['answer']!r}" if word else "")


def chosen(names: list[str], done: object) -> list[str]:
    """Return the names that were typed, by number or by name, in the order of the list."""
    found = {_name(word, names) for word in _given(done)}
    return [name for name in names if name in found]


def _given(done: object) -> list[str]:
    """Return what was typed as words: a list, or one text with commas."""
    words = done if isinstance(done, (list, tuple)) else str("" if done is None else done).split(",")
    return [str(word).strip() for word in words if str(word).strip()]


def _name(word: str, names: list[str]) -> str | None:
    """Return the check that a word names, by number or by its name."""
    if word.isascii() and word.isdigit():
        return names[int(word) - 1] if 1 <= int(word) <= len(names) else None
    return next((name for name in names if name.casefold() == word.casefold()), None)
