# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook that is typed and then killed, as a controller is that loses power or a terminal that is closed.

``cut_off.py STATE_DIRECTORY STEP PLAYBOOK [OPTION ...]`` kills it when the step has begun, and prints what the screen
showed until then as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300.0


@dataclass(frozen=True)
class Typed:
    """What became of a playbook: exit code (minus the signal, if killed), screen, seconds, whether it was killed."""

    code: int
    screen: str
    seconds: float
    killed: bool


def journals(state_directory: Path) -> dict[str, Path]:
    """Return the journals by run id."""
    return {path.parent.name: path for path in sorted(state_directory.glob("runs/*/journal.jsonl"))}


def events(journal: Path) -> list[dict[str, Any]]:
    """Return the whole events of a journal."""
    found = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def when_begun(state_directory: Path, step: str) -> Callable[[float], bool]:
    """Return what tells whether a step has begun since now, in any run."""

    def begun() -> int:
        return sum(
            event["event"] == "step_started" and event["step"] == step
            for journal in journals(state_directory).values()
            for event in events(journal)
        )

    before = begun()
    return lambda _seconds: begun() > before


def when_open_for(state_directory: Path, limit: float) -> Callable[[float], bool]:
    """Return what tells whether a run has had a journal for more than ``limit`` seconds, if it began since now."""
    before = set(journals(state_directory))
    opened: list[float] = []

    def due(seconds: float) -> bool:
        if not opened and set(journals(state_directory)) - before:
            opened.append(seconds)
        return bool(opened) and seconds - opened[0] > limit

    return due


def type_playbook(
    argv: list[str], *, kill_when: Callable[[float], bool] | None = None, whole_group: bool = True, **environment: str
) -> Typed:
    """Run ansible-playbook; kill it with SIGKILL as soon as ``kill_when`` says so of the seconds since its start.

    ``whole_group`` kills the modules too, as a host does that loses power. Without it the module that runs goes on, as
    it does on a managed host whose controller is gone.
    """
    program = Path(sys.executable).with_name("ansible-playbook")
    began = time.monotonic()
    killed = False
    with tempfile.TemporaryFile("w+") as screen:
        process = subprocess.Popen(
            [str(program), *argv],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment},
        )
        while process.poll() is None:
            seconds = time.monotonic() - began
            if seconds > LIMIT or (kill_when is not None and kill_when(seconds)):
                killed = True
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL) if whole_group else process.kill()
                break
            time.sleep(0.02)
        code = process.wait()
        screen.seek(0)
        return Typed(code, screen.read(), round(time.monotonic() - began, 1), killed)


if __name__ == "__main__":
    place, wanted, *rest = sys.argv[1:]
    done = type_playbook(rest, kill_when=when_begun(Path(place), wanted))
    print(json.dumps({"rc": done.code, "screen": done.screen, "errors": ""}))
