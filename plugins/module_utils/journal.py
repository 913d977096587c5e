# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: one file per run, one JSON object a line, only ever appended to.

A crash may tear the last line. The next writer closes it with a newline, and the reader counts and skips it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS = (
    "run_started",
    "run_resumed",
    "step_started",
    "step_finished",
    "step_failed",
    "step_skipped",
    "release_verified",
    "run_finished",
    "follow_up",
    "alerts_silenced",
    "silence_ended",
)
_STATES = {"step_started": "running", "step_finished": "done", "step_failed": "failed", "step_skipped": "skipped"}
_RUN_ID = re.compile(r"[0-9TZ]+-[0-9a-f]+")
_RUN_ID_LIMIT = 64


class Journal(NamedTuple):
    """The whole events of a journal in the order of writing, and how many lines could not be read."""

    events: list[dict[str, Any]]
    damaged_lines: int


class Step(NamedTuple):
    """One step of a run: when it began and ended, how long it took, and how it stands."""

    name: str
    state: str
    start: str
    end: str | None
    seconds: float | None
    facts: dict[str, Any]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


def is_run_id(name: str) -> bool:
    """Tell whether a name is that of a run: its UTC stamp and a random part."""
    return len(name) <= _RUN_ID_LIMIT and _RUN_ID.fullmatch(name) is not None


def runs_path(state_directory: str) -> str:
    """Return the directory that holds a directory for each run."""
    return os.path.join(state_directory, "runs")  # noqa: PTH118 - of the managed host


def stamp(moment: datetime) -> str:
    """Return a moment as it is written: in UTC with milliseconds."""
    time = moment.astimezone(timezone.utc)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}+00:00"


def duration(seconds: float) -> str:
    """Return seconds as a person says them: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def clock(seconds: float) -> str:
    """Return seconds from the start as the runbook writes them, ``T+00:22``."""
    return f"T+{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def journal_path(state_directory: str, run_id: str) -> str:
    """Return the path of the journal of a run; refuse a run id that is none."""
    if not is_run_id(run_id):
        raise RollbackError(
            f"run_id={run_id!r} is not a run id. Nothing was written.",
            "Give the UTC stamp and the random part of the run, for example 20261124T150405Z-3f9a.",
        )
    return os.path.join(runs_path(state_directory), run_id, "journal.jsonl")  # noqa: PTH118 - of the managed host


def releases_path(state_directory: str) -> str:
    """Return the path of the record of releases that were verified on this host."""
    return os.path.join(state_directory, "releases.jsonl")  # noqa: PTH118 - of the managed host


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_journal(content: bytes) -> Journal:
    """Read the content of a journal; every line that is no whole event is counted and skipped."""
    events, damaged = [], 0
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        event = _parse_line(line)
        if event is None:
            damaged += 1
        else:
            events.append(event)
    return Journal(events, damaged)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or ``None`` when the line is damaged."""
    try:
        event = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("event") not in EVENTS or parse_time(event.get("time")) is None:
        return None
    return event if isinstance(event.get("facts"), dict) else None


def parse_time(text: Any) -> datetime | None:  # noqa: ANN401 - a JSON value
    """Return the moment of an event, or ``None`` when it is no moment."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except (TypeError, ValueError):
        return None


def read_journal(path: str) -> Journal:
    """Read a journal; one that does not exist is empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return parse_journal(file.read())
    except FileNotFoundError:
        return Journal([], 0)
    except OSError as error:
        raise _unusable(path, error, "read") from error


def verified_releases(state_directory: str) -> list[dict[str, Any]]:
    """Return the facts of every release that was verified on this host, with ``time``, the newest first."""
    events = read_journal(releases_path(state_directory)).events
    return [{**event["facts"], "time": event["time"]} for event in reversed(events)]


def of_the_run(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of the run itself, without what was noted after its end."""
    return [event for event in events if event["event"] != "follow_up"]


def steps(events: list[dict[str, Any]]) -> list[Step]:
    """Return the steps of a run in the order of their first start, each as its last event left it.

    A step that was started again, after a resume, is judged by its last start.
    """
    table: dict[str, Step] = {}
    for event in events:
        name, state = event.get("step"), _STATES.get(event["event"])
        if name and state:
            table[name] = _step(table.get(name), name, state, event)
    return list(table.values())


def _step(before: Step | None, name: str, state: str, event: dict[str, Any]) -> Step:
    """Return a step after one more event."""
    if state == "running":
        return Step(name, state, event["time"], None, None, event["facts"])
    start = before.start if before and before.state == "running" else event["time"]
    facts = {**(before.facts if before and before.state == "running" else {}), **event["facts"]}
    return Step(name, state, start, event["time"], seconds_between(start, event["time"]), facts)


def seconds_between(start: str, end: str) -> float:
    """Return the seconds between two times of events; never less than zero, should the clock have been set back."""
    first, last = parse_time(start), parse_time(end)
    return max(0.0, round((last - first).total_seconds(), 3)) if first and last else 0.0


# --- writing ---------------------------------------------------------------------------------------------------------


def record(
    state_directory: str,
    run_id: str,
    events: list[dict[str, Any]],
    *,
    check: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Append events to the journal of a run; with ``check`` only say which. All or none of them are written."""
    path = journal_path(state_directory, run_id)
    for number, event in enumerate(events):
        check_event(event, f"events[{number}]")
    if check:
        lines = stamped(events, now(), started_at(read_journal(path).events))
    else:
        with locked(path, state_directory) as descriptor:
            lines = stamped(events, now(), started_at(read_journal(path).events))
            _append(path, descriptor, lines)
        _record_releases(state_directory, [line for line in lines if line["event"] == "release_verified"])
    elapsed = lines[-1]["elapsed"] if lines else 0.0
    return {"changed": bool(lines), "path": path, "events": lines, "elapsed": elapsed}


def check_event(event: dict[str, Any], option: str) -> None:
    """Refuse an event that the reader would not take."""
    name, step, facts = event.get("event"), event.get("step"), event.get("facts")
    if name not in EVENTS:
        raise _refused(f"{option}.event", name, "one of " + ", ".join(EVENTS))
    if str(name).startswith("step_") and not step:
        raise _refused(f"{option}.step", step, f"the name of the step, which {name} needs")
    if facts is not None and not isinstance(facts, dict):
        raise _refused(f"{option}.facts", facts, "a dictionary")
    if name == "release_verified" and not (facts or {}).get("release"):
        raise _refused(f"{option}.facts", facts, "facts with a release, which release_verified needs")
    try:
        json.dumps(facts, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(f"{option}.facts", facts, f"JSON values only ({error})") from error


def started_at(events: list[dict[str, Any]]) -> datetime | None:
    """Return when a run started: the time of its first event."""
    return parse_time(events[0]["time"]) if events else None


def stamped(events: list[dict[str, Any]], now: datetime, started: datetime | None) -> list[dict[str, Any]]:
    """Return events as they are written: with their time and the seconds since the run started."""
    time = now.astimezone(timezone.utc)
    elapsed = max(0.0, round((time - (started or time)).total_seconds(), 3))
    return [
        {
            "time": stamp(time), "elapsed": elapsed, "event": event["event"], "step": event.get("step"),
            "facts": event.get("facts") or {},
        }
        for event in events
    ]  # fmt: skip


def _record_releases(state_directory: str, lines: list[dict[str, Any]]) -> None:
    """Append verified releases to the record that outlives the runs."""
    if lines:
        path = releases_path(state_directory)
        with locked(path, state_directory) as descriptor:
            _append(path, descriptor, lines)


def _unusable(path: str, error: OSError, what: str) -> RollbackError:
    """Return the error of a journal that cannot be used: what is wrong, and what to do."""
    return RollbackError(
        f"The journal {path} cannot be {what}: {error.strerror or error}. What was in it is whole.",
        "Look at it with 'ls -ld' and 'df -h' on that host: its directory must be a real directory that the user of "
        "Ansible (become_user) may write, on a disk with free space. Or set state_directory to another one.",
        path=path,
    )


@contextmanager
def locked(
    path: str, state_directory: str, unusable: Callable[[str, OSError, str], RollbackError] = _unusable
) -> Iterator[int]:
    """Open a file for appending, made if need be, that no other writer has open until we are done.

    ``unusable(path, error, "written")`` is the error to raise when the system refuses.
    """
    try:
        made = _make_directories(os.path.dirname(path))  # noqa: PTH120 - of the managed host
        made = made or not os.path.lexists(path)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if made:
                sync_directories(path, state_directory)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unusable(path, error, "written") from error


def _append(path: str, descriptor: int, lines: list[dict[str, Any]]) -> None:
    """Append lines with one write and bring them to the disk; take back what a full disk cut off."""
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    content = b"\n" * torn + text.encode()
    written = 0
    try:
        written = os.write(descriptor, content)
        if written == len(content):
            os.fsync(descriptor)
            return
    except OSError as error:
        os.ftruncate(descriptor, size)
        raise _unusable(path, error, "written") from error
    os.ftruncate(descriptor, size)
    raise _unusable(path, OSError(f"only {written} of {len(content)} bytes fit"), "written")


def _make_directories(directory: str) -> bool:
    """Make a directory and what is missing above it, for its owner only; tell whether one was made."""
    made = False
    missing = []
    while not os.path.isdir(directory):  # noqa: PTH112 - of the managed host
        missing.append(directory)
        parent = os.path.dirname(directory)  # noqa: PTH120
        if parent == directory:
            break
        directory = parent
    for name in reversed(missing):
        try:
            os.mkdir(name, 0o700)  # noqa: PTH102
        except FileExistsError:
            if not os.path.isdir(name):  # noqa: PTH112 - another writer may have made it just now
                raise
        made = True
    return made


def sync_directories(path: str, state_directory: str) -> None:
    """Bring the entries of a new or removed file to the disk, up to the directory that holds the state directory."""
    top = os.path.dirname(os.path.abspath(state_directory))  # noqa: PTH100, PTH120
    directory = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    while True:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if directory in (top, os.path.dirname(directory)):  # noqa: PTH120
            return
        directory = os.path.dirname(directory)  # noqa: PTH120


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was written.", f"Give {accepted}.")
