# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The review before an application goes live after a security incident: pure functions of the names that were typed."""

from __future__ import annotations

from .approval import written_names


def review_refusal(reviewers: object, operators: list[str], accepted: object = None) -> str:
    """Return why a release of the application was not reviewed; empty when somebody else than the operators did it.

    ``reviewers`` is what was typed, ``operators`` who carried out this run and the recovery, ``accepted`` the names
    that may review; without any, everybody may.
    """
    names, may = written_names(reviewers), written_names(accepted)
    if names is None or may is None:
        option = "review_approved_by" if names is None else "rollback_security_reviewers"
        return f"{option} holds an empty name, or something that is no name. The application stays stopped."
    if not names:
        return (
            "Nobody has reviewed what goes live, so the application stays stopped. When the review is done: "
            "-e review_approved_by=NAME, somebody else than the operator."
        )
    own = set(written_names([name for name in operators if name]) or {})
    others = {key: name for key, name in names.items() if key not in own}
    if not others:
        return (
            f"{', '.join(names.values())} cannot review own work: the operator of the recovery is "
            f"{', '.join(name for name in operators if name)}. The application stays stopped. Name somebody else."
        )
    if may and not set(others) & set(may):
        return (
            f"{', '.join(others.values())} is not among those who review (rollback_security_reviewers: "
            f"{', '.join(may.values())}). The application stays stopped."
        )
    return ""


def reviewed_by(reviewers: object, operators: list[str], accepted: object = None) -> list[str]:
    """Return who has reviewed, without the operators and those who may not."""
    own, may = set(written_names([name for name in operators if name]) or {}), written_names(accepted) or {}
    names = written_names(reviewers) or {}
    return [name for key, name in names.items() if key not in own and (not may or key in may)]
