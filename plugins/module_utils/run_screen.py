# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person at the screen reads while a run goes on: the events of its journal as they come, and its failures."""

from __future__ import annotations

import textwrap
from typing import Any

from .border import plain
from .journal import clock
from .report_text import outcome_text

_ENDS = ("step_finished", "step_failed", "step_skipped")
_NARROWEST, _WIDEST = 40, 120
_INDENT = " " * 9


def folded(text: str, width: int, indent: str = "") -> list[str]:
    """Return a text as lines of a screen; what is indented is a command to be copied and stays in one line."""
    width = max(_NARROWEST, min(width, _WIDEST))
    lines: list[str] = []
    for line in plain(text).splitlines():
        if line.startswith("  ") or not line.strip():
            lines.append(line.rstrip())
        else:
            lines += textwrap.wrap(
                line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
    return lines


class RunScreen:
    """Turns events of journals into lines; several hosts are told apart."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._titles: dict[str, dict[str, str]] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._hosts: set[str] = set()
        self.acting = False

    def lines(self, host: str, events: list[dict[str, Any]]) -> list[str]:
        """Return the lines of events that the journal of a host has taken."""
        lines: list[str] = []
        for event in events:
            lines += self._event(host, event)
        return lines

    def _event(self, host: str, event: dict[str, Any]) -> list[str]:
        name, step = event.get("event"), event.get("step") or ""
        facts, elapsed = event.get("facts") or {}, float(event.get("elapsed") or 0.0)
        if name in ("run_started", "run_resumed"):
            self.acting = True
            self._hosts.add(host)
            self._titles.update((facts.get("plan") or {}).get("titles") or {})
            return []
        if name == "step_started":
            self._began[host, step] = elapsed
            first = not any(began for began in self._began if began[1] == step and began[0] != host)
            return [f"{clock(elapsed)}  {self._title(step)}"] if first else []
        if name not in _ENDS:
            return []
        seconds = elapsed - self._began.get((host, step), elapsed)
        head = f"{clock(elapsed)}  {self._title(step)}: " if name == "step_skipped" else _INDENT
        where = f"{host}: " if len(self._hosts) > 1 else ""
        return [f"{head}{where}{outcome_text(event, seconds)}"]

    def _title(self, step: str) -> str:
        known = self._titles.get(step) or {"number": "-", "title": step.replace("_", " ").capitalize()}
        number = "" if known["number"] == "-" else f"Step {known['number']} "
        return f"{number}{known['title']}"


def failure_lines(host: str, task: str, result: dict[str, Any]) -> list[str]:
    """Return a failure in full: where, what, and what to do next. What Ansible hides stays hidden."""
    if result.get("censored"):
        return [f"FAILED on {host}: {task}", str(result["censored"])]
    items = [one for one in result.get("results") or [] if isinstance(one, dict) and one.get("failed")]
    lines = [f"FAILED on {host}: {task}"]
    for one in items or [result]:
        lines += [str(one.get("msg") or "no reason given")]
        if one.get("next_step"):
            lines += [str(one["next_step"])]
        else:
            lines += [str(one[key]).strip() for key in ("stderr", "module_stderr") if one.get(key)]
    return lines


def commands_of(text: str) -> list[str]:
    """Return the commands with which the last words of a run end, each behind what it is for.

    What stands before them may quote a server or a container, so a command in there is not one of ours.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown: list[str] = []
    while len(lines) > 1 and lines[-1].startswith("  ansible-playbook ") and not lines[-2].startswith(" "):
        shown = [*lines[-2:], *shown]
        del lines[-2:]
    return shown
