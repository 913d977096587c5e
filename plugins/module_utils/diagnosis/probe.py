# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe: one thing that was looked at, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..border import plain
from ..http_probe import printable
from ..project_command import without_secrets

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
HOST = "host"
_SEEN_LIMIT = 300


@dataclass(frozen=True)
class Probe:
    """One thing that was looked at.

    ``component`` is what the probe is about: a dependency, a service, or a part of the host. ``kind`` says what of it
    (``answers``, ``height``, ``disk``, …), ``fault`` in a word why it failed. ``place`` is where from: ``host``, or
    the name of a service whose network was used. ``seconds`` is how long it took. What is unknown is ``inconclusive``.
    ``affects`` names the services that cannot work when this part of the host fails; ``*`` stands for all.
    """

    component: str
    kind: str
    verdict: str
    seen: str
    limit: str = ""
    fault: str = ""
    place: str = HOST
    seconds: float = 0.0
    affects: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return it as it stands in a result; ``seen`` may quote other programs, so it is cleaned here."""
        return {
            "name": f"{self.component}: {self.kind}",
            "component": self.component,
            "kind": self.kind,
            "verdict": self.verdict,
            "seen": printable(without_secrets(plain(self.seen)), _SEEN_LIMIT),
            "limit": self.limit,
            "fault": self.fault,
            "from": self.place,
            "seconds": round(self.seconds, 3),
            "affects": list(self.affects),
        }


def passed(component: str, kind: str, seen: str, **more: Any) -> Probe:
    """Return a probe that passed."""
    return Probe(component, kind, PASSED, seen, **more)


def failed(component: str, kind: str, fault: str, seen: str, **more: Any) -> Probe:
    """Return a probe that failed."""
    return Probe(component, kind, FAILED, seen, fault=fault, **more)


def judged(component: str, kind: str, is_bad: bool, seen: str, **more: Any) -> Probe:  # noqa: FBT001
    """Return a probe that passed or failed; the word for its fault is kept only when it failed."""
    if not is_bad:
        more.pop("fault", None)
    return Probe(component, kind, FAILED if is_bad else PASSED, seen, **more)


def unknown(component: str, kind: str, why: str, **more: Any) -> Probe:
    """Return a probe that says nothing, and why."""
    return Probe(component, kind, INCONCLUSIVE, why, **more)
