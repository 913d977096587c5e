# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of a rollback share: a demo of their own that is removed in the end, commands, and a witness."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import MeasuringError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "demo"))
import demo as stack  # noqa: E402 - lies in a folder that is no package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GOOD, BAD = stack.GOOD, stack.BAD
PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
APPLICATION = ("indexer", "nginx", "webapp")
HOLDING = ROOT / "docs" / "holding"
SECONDS_OF_A_COMMAND = 900
SECONDS_TO_RELOAD = 2
POLL = 0.25
LAST_LINES = 30
_TELLING = ("msg:", '"msg"', "error", "refused")


@dataclass(frozen=True)
class Command:
    """What is typed, where, and under which name its seconds are kept."""

    name: str
    argv: Sequence[str]
    place: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)


# --- the demo ---------------------------------------------------------------------------------------------------------


def bring_up(project: str, directory: Path, release: str = BAD) -> stack.Demo:
    """Bring the demo to a release, whatever was there before, and wait until users are served."""
    asked = {"project": project, "directory": directory, "release": release, "port": None, "monitoring": False}
    stack.up(argparse.Namespace(**asked))
    demo = stack.known(directory)
    wait_for_users(demo)
    return demo


def wait_for_users(demo: stack.Demo) -> None:
    """Wait until a page that reads the database answers through the proxy."""
    url = f"{demo.url}/api/stats"
    stack.wait_for(f"an answer of {url}", lambda: stack.ask(url)[0] in stack.OK_STATUSES)


def remove(directory: Path) -> None:
    """Remove the demo of a folder."""
    stack.down(argparse.Namespace(directory=directory, all=False))


def on_demos(directories: Sequence[Path], work: Callable[[], int]) -> int:
    """Return the exit code of a benchmark, 1 where there was no demo to measure; remove its demos whatever happens."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    try:
        return work()
    except stack.DemoError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    finally:
        for directory in directories:
            remove(directory)


# --- commands ---------------------------------------------------------------------------------------------------------


def environment(demo: stack.Demo) -> dict[str, str]:
    """Return the environment of the commands: the demo's, and where the inventory finds the demo."""
    return stack.environment() | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "USDX_DEMO_DIRECTORY": str(demo.directory),
        "ANSIBLE_NOCOLOR": "1",
    }


def carry_out(demo: stack.Demo, commands: Sequence[Command]) -> dict[str, float]:
    """Run the commands one after the other, as the script of an operator would; return the seconds of each."""
    seconds = {}
    for command in commands:
        began = time.monotonic()
        done = subprocess.run(
            command.argv, cwd=command.place, env=environment(demo) | dict(command.environment), text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_OF_A_COMMAND,
        )  # fmt: skip
        seconds[command.name] = time.monotonic() - began
        if done.returncode:
            print("\n".join(done.stdout.splitlines()[-LAST_LINES:]), flush=True)
            raise MeasuringError(f"{command.name} returned {done.returncode}: {reason(done.stdout)}")
    return seconds


def reason(screen: str) -> str:
    """Return the line of a screen that most likely says what went wrong."""
    lines = [line.strip() for line in screen.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in _TELLING)]
    return next(iter(telling or lines[-1:]), "it printed nothing")


# --- what users see ---------------------------------------------------------------------------------------------------


@contextmanager
def witness(demo: stack.Demo, rate: float, patience: float = 2) -> Iterator[list[dict[str, Any]]]:
    """Request steadily until the block is left, with this timeout; the requests are in the list then."""
    requests: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder:
        end = Path(folder, "end")
        argv = [sys.executable, stack.__file__, "probe", "--url", f"{demo.url}/api/stats", "--until-file", str(end)]
        argv += ["--rate", str(rate), "--timeout", str(patience)]
        probe = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            yield requests
        finally:
            end.touch()
            out, _nothing = probe.communicate(timeout=120)
    *lines, _summary = out.splitlines()
    requests += [json.loads(line) for line in lines]


@contextmanager
def holding(demo: stack.Demo) -> Iterator[None]:
    """Have nginx hold requests while the block runs, as the documents say."""
    nginx = stack.compose(demo, "ps", "--quiet", "nginx").strip()
    stack.docker("cp", str(HOLDING / "nginx.conf"), f"{nginx}:/etc/nginx/nginx.conf")
    name, network = f"{demo.project}-hold", f"{demo.project}_default"
    hold = ["--application", "webapp:8000", "--ready", "/health"]
    place = ["--network", network, "--network-alias", "hold", "--volume", f"{HOLDING}:/holding:ro"]
    stack.docker(
        "run", "--detach", "--rm", "--name", name, *place, "usdx-demo/python", "python3", "/holding/holding_server.py",
        *hold,
    )  # fmt: skip
    try:
        stack.docker("exec", nginx, "nginx", "-s", "reload")
        time.sleep(SECONDS_TO_RELOAD)
        yield
    finally:
        stack.docker("rm", "--force", name)


def complaints(demo: stack.Demo) -> list[str]:
    """Return which pages fail, what release answers instead, and which application containers are not healthy."""
    seen = stack.look(demo)
    found = [f"{page} answers {status}" for page, status in seen["statuses"].items() if status not in stack.OK_STATUSES]
    version = str(seen["health"].get("version", "nobody"))
    if version.lstrip("v") != GOOD.lstrip("v"):
        found.append(f"{version} answers")
    states = {name: seen["services"].get(name, "away") for name in APPLICATION}
    return found + [f"{name}: {state}" for name, state in states.items() if "(healthy)" not in state]


def journal_of(demo: stack.Demo) -> list[dict[str, Any]]:
    """Return the lines of the journal of the only run that was on this demo."""
    (path,) = (demo.directory / "state").glob("**/journal.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Watch(threading.Thread):
    """Notes when there is nothing to complain of for the first time, while the commands still run."""

    def __init__(self, look: Callable[[], list[str]]) -> None:
        """Begin the clock; nothing is asked yet."""
        super().__init__(daemon=True)
        self._look, self._began = look, time.monotonic()
        self._told: list[str] = []
        self._ended = threading.Event()
        self._seconds: float | None = None

    def run(self) -> None:
        """Look until all is well or nobody waits any more."""
        while not self._ended.is_set():
            self._told = self._look()
            if not self._told:
                self._seconds = round(time.monotonic() - self._began, 2)
                return
            self._ended.wait(POLL)

    def seconds(self, patience: float) -> float:
        """Return after how many seconds all was well; wait so long from now at most."""
        self.join(timeout=patience)
        if self._seconds is None:
            raise MeasuringError(f"{patience:g} s after the last command: {', '.join(self._told)}")
        return self._seconds

    def end(self) -> None:
        """Look no more."""
        self._ended.set()


@contextmanager
def watching(look: Callable[[], list[str]]) -> Iterator[Watch]:
    """Watch for as long as the block runs."""
    watch = Watch(look)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()
