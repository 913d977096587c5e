# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found of the damage of a security incident: questions, and answers in the words of a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .checklist import DONE, OPEN
from .http_probe import printable

_LENGTH = 1000


def assessment_questions(questions: list[str]) -> list[str]:
    """Return what a person at the terminal is asked."""
    return [
        f"Question {number} of {len(questions)}: {question}\nType the answer, or nothing to leave it open"
        for number, question in enumerate(questions, 1)
    ]


def assessment_refusal(questions: list[str], answers: object, by: object) -> str:
    """Return why answers cannot be recorded; empty when they can."""
    answers = _parsed(answers)
    if answers in (None, "", {}):
        return ""
    accepted = "; ".join(f"{number} {question}" for number, question in enumerate(questions, 1)) or "none"
    if not isinstance(answers, Mapping):
        return (
            f"answers={answers!r} is no dictionary. Nothing was changed. Give answers by number or by question, "
            f'in a file: -e @answers.yml, or as JSON: -e \'{{"answers": {{"1": "…"}}}}\'. Questions: {accepted}.'
        )
    unknown = [str(key) for key in answers if _question(key, questions) is None]
    if unknown:
        return f"answers names {', '.join(unknown)}, which is no question. Nothing was changed. Accepted: {accepted}."
    if len({_question(key, questions) for key in answers}) != len(answers):
        return "answers has two answers to one question. Nothing was changed. Leave one of them out."
    if not str(by or "").strip():
        return (
            "answers were given without the name of who gives them. Nothing was changed. Add -e manual_checks_by=NAME."
        )
    return ""


def damage_assessment(
    questions: list[str], answers: object, by: str, replies: list[dict[str, Any]] | None = None
) -> list[dict[str, str]]:
    """Return a checklist: the question as ``name``, ``state`` (done, open), ``by`` whom, and the answer as ``note``.

    ``answers`` is what was typed when the run was started, by number or question; ``replies`` are those at the
    terminal, in the order of the questions, and count where nothing was typed before.
    """
    answers = _parsed(answers)
    given = answers if isinstance(answers, Mapping) else {}
    typed = {_question(key, questions): str(value).strip() for key, value in given.items()}
    rows = []
    for number, question in enumerate(questions):
        reply = (replies or [])[number : number + 1]
        asked = str(reply[0].get("answer") or "").strip() if reply else ""
        answer = typed.get(question) or asked
        state = DONE if answer else OPEN
        rows.append(
            {
                "name": question,
                "state": state,
                "by": printable(by) if answer else "",
                "note": printable(answer, _LENGTH),
            }
        )
    return rows


def _parsed(answers: object) -> object:
    """Return answers that came as a JSON text, as a survey of AWX hands them over, as what they hold."""
    if not isinstance(answers, str) or not answers.lstrip().startswith("{"):
        return answers
    try:
        parsed: object = json.loads(answers)
    except ValueError:
        return answers
    return parsed


def _question(key: object, questions: list[str]) -> str | None:
    """Return the question that a number or its words name."""
    word = str(key).strip()
    if word.isascii() and word.isdigit():
        return questions[int(word) - 1] if 1 <= int(word) <= len(questions) else None
    return next((one for one in questions if one.casefold() == word.casefold()), None)
