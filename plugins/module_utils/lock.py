# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of an environment: one run at a time works on it.

``lock.json`` in the state directory says who holds it. It is written whole or not at all, and only while
``lock.flock`` is locked, so of two runs that begin in the same moment one wins. It outlives the run that was cut off:
nothing is taken from a holder without being told to, because services may be down, and the next run must know why.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from . import controller as controllers
from .controller import Place, Sign
from .errors import RollbackError
from .journal import (
    duration,
    journal_path,
    locked,
    of_the_run,
    parse_time,
    read_journal,
    stamp,
    sync_directories,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = "unknown"  # stands for the run id of the holder when the lock is damaged; no run can have it
_SIZE_LIMIT = 1_000_000
_TEXTS = ("project", "scenario", "reason")
_NO_CONTROLLER = {
    "user": "", "host": "", "boot_id": "", "process_namespace": "", "machine_id": "", "pid": 0, "started": 0, "job": "",
}  # fmt: skip


class Request(NamedTuple):
    """Who wants the lock, what for, and whose it may take over.

    ``judged`` is what was found about a holder where its process can be seen: run_id, pid, since, sign, evidence.
    """

    run_id: str
    controller: dict[str, Any]
    project: str = ""
    scenario: str = ""
    reason: str = ""
    take_over: str = ""
    judged: dict[str, Any] | None = None


class Holder(NamedTuple):
    """Who holds the lock: what stands in it, the events of its journal, and its sign of life."""

    lock: dict[str, Any]
    events: list[dict[str, Any]]
    sign: Sign


def lock_path(state_directory: str) -> str:
    """Return the path of the lock."""
    return os.path.join(state_directory, "lock.json")  # noqa: PTH118 - of the managed host


def flock_path(state_directory: str) -> str:
    """Return the path of the file that is locked while the lock is read and written."""
    return os.path.join(state_directory, "lock.flock")  # noqa: PTH118 - of the managed host


# --- reading ---------------------------------------------------------------------------------------------------------


def read_lock(state_directory: str) -> dict[str, Any]:
    """Return what stands in the lock, nothing when there is none; the run id of a damaged one is ``unknown``."""
    path = lock_path(state_directory)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(path, OSError("it is no file"), "read")
            content = file.read(_SIZE_LIMIT)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, error, "read") from error
    return parse_lock(content) or _damaged(status.st_mtime)


def parse_lock(content: bytes) -> dict[str, Any] | None:
    """Return what a lock says, or ``None`` when it is damaged."""
    try:
        value = json.loads(content.decode("utf-8"))
        journal_path("", value["run_id"])
    except (ValueError, RecursionError, TypeError, KeyError, RollbackError):
        return None
    controller = controllers.parse_facts(value.get("controller"))
    texts = {name: value.get(name, "") for name in _TEXTS}
    count = value.get("journal_events", 0)
    whole = all(isinstance(text, str) for text in texts.values()) and controllers.is_count(count)
    if controller is None or parse_time(value.get("since")) is None or not whole:
        return None
    return _lock(value["run_id"], texts, value["since"], count, controller)


def _damaged(changed: float) -> dict[str, Any]:
    """Return what stands for a lock that cannot be read; ``changed`` is when its file was."""
    since = stamp(datetime.fromtimestamp(changed, tz=timezone.utc))
    return _lock(UNKNOWN, dict.fromkeys(_TEXTS, ""), since, 0, dict(_NO_CONTROLLER))


def _lock(
    run_id: str, texts: dict[str, str], since: str, journal_events: int, controller: dict[str, Any]
) -> dict[str, Any]:
    return {
        "run_id": run_id, **texts, "since": since, "journal_events": journal_events, "controller": controller,
    }  # fmt: skip


# --- judging ---------------------------------------------------------------------------------------------------------


def holder_of(
    state_directory: str, lock: dict[str, Any], judged: dict[str, Any] | None, place: Place, now: datetime
) -> Holder:
    """Return the holder of a lock with its sign of life."""
    if lock["run_id"] == UNKNOWN:
        age = _ago(lock["since"], now)
        return Holder(lock, [], Sign("unknown", f"{lock_path(state_directory)} is damaged, it was last written {age}"))
    events = read_journal(journal_path(state_directory, lock["run_id"])).events
    if has_ended(lock, events):
        return Holder(lock, events, Sign("gone", "its journal says that it ended"))
    if judged and is_judged(lock, judged):
        sign = Sign(judged["sign"], judged["evidence"])
    else:
        sign = controllers.sign_of_process(lock["controller"], place)
    if sign.sign == "unknown":
        written = f"its journal was last written {_ago(events[-1]['time'], now)}" if events else "it has no journal yet"
        sign = Sign("unknown", f"{sign.evidence}; {written}")
    return Holder(lock, events, sign)


def has_ended(lock: dict[str, Any], events: list[dict[str, Any]]) -> bool:
    """Tell whether the journal ends with the end of the run, written since the lock was taken.

    Counted in events, not in time: a run that is resumed had ended before, and a clock may be set back.
    """
    own = of_the_run(events)
    return len(own) > lock["journal_events"] and bool(own[-1]["event"] == "run_finished")


def changed_nothing(holder: Holder) -> bool:
    """Tell whether the holder is gone and had not begun yet: it was still planning, and nobody has to be asked."""
    return holder.sign.sign == "gone" and not holder.events and holder.lock["run_id"] != UNKNOWN


def is_judged(lock: dict[str, Any], judged: dict[str, Any]) -> bool:
    """Tell whether a judgement is about this holder, and not about one before it."""
    there = (lock["run_id"], lock["controller"]["pid"], lock["since"])
    return (judged["run_id"], judged["pid"], judged["since"]) == there


def judge(lock: dict[str, Any], place: Place) -> dict[str, Any] | None:
    """Return the judgement about a holder, or ``None`` where its process cannot be seen."""
    if not controllers.can_judge(lock["controller"], place):
        return None
    sign = controllers.sign_of_process(lock["controller"], place)
    return {
        "run_id": lock["run_id"], "pid": lock["controller"]["pid"], "since": lock["since"], **sign._asdict(),
    }  # fmt: skip


def last_step(events: list[dict[str, Any]]) -> str:
    """Return the step that was started last, or an empty text."""
    return next((str(event["step"]) for event in reversed(events) if event["event"] == "step_started"), "")


def _ago(moment: str, now: datetime) -> str:
    time = parse_time(moment)
    return f"{duration(max(0.0, (now - time).total_seconds()))} ago" if time else "at an unknown time"


# --- taking and releasing --------------------------------------------------------------------------------------------


def set_lock(
    state_directory: str, state: str, request: Request, *, check: bool = False, now: Callable[[], datetime] = utc_now
) -> dict[str, Any]:
    """Take the lock or release it; with ``check`` only say what would be done."""
    journal_path(state_directory, request.run_id)  # refuses what is no run id
    controller = controllers.parse_facts(request.controller)
    if controller is None:
        raise RollbackError(
            "It is not known who runs Ansible (controller). Nothing was changed.",
            "Call the module as usdx.rollback.run_lock in a playbook: a plugin on the controller says it.",
        )
    request = request._replace(controller=controller)
    if state == "released":
        result = release(state_directory, request, check=check)
    else:
        result = hold(state_directory, request, check=check, now=now)
    return {**result, "controller": controller}


def lock_as_asked(state_directory: str, state: str, *, check: bool = False, **request: Any) -> dict[str, Any]:  # noqa: ANN401
    """Take the lock or release it, as the options of the module say it."""
    return set_lock(state_directory, state, Request(**request), check=check)


def hold(
    state_directory: str, request: Request, *, check: bool = False, now: Callable[[], datetime] = utc_now
) -> dict[str, Any]:
    """Take the lock, or refuse and say who holds it."""
    if check:
        _refuse_unwritable(state_directory)
        return _decided(state_directory, request, now())[0]
    with locked(flock_path(state_directory), state_directory, _unusable):
        result, write = _decided(state_directory, request, now())
        if write:
            _write(state_directory, result["lock"])
    return result


def _refuse_unwritable(state_directory: str) -> None:
    """Refuse what taking the lock would refuse: a state directory that cannot be made or written."""
    path = flock_path(state_directory)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))
    except FileNotFoundError as error:
        if os.path.lexists(path):
            raise _unusable(path, error, "written") from error
    except OSError as error:
        raise _unusable(path, error, "written") from error
    directory = os.path.abspath(state_directory)  # noqa: PTH100 - of the managed host
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)  # noqa: PTH120
    if not os.path.isdir(directory):  # noqa: PTH112
        raise _unusable(path, NotADirectoryError(f"{directory} is no directory"), "written")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _unusable(path, PermissionError(f"{directory} is not writable"), "written")


def _decided(state_directory: str, request: Request, now: datetime) -> tuple[dict[str, Any], bool]:
    """Return the result of taking the lock, and whether it has to be written; refuse when another run holds it."""
    events = read_journal(journal_path(state_directory, request.run_id)).events
    texts = {"project": request.project, "scenario": request.scenario, "reason": request.reason}
    wanted = _lock(request.run_id, texts, stamp(now), len(events), request.controller)
    found = read_lock(state_directory)
    if found:
        holder = holder_of(state_directory, found, request.judged, controllers.here(), now)
        if not has_ended(found, holder.events) and not changed_nothing(holder):
            if is_ours(found, request):
                return {"changed": False, "lock": found, "taken_over": {}}, False
            _refuse_unless_told(holder, request, now)
    return {"changed": True, "lock": wanted, "taken_over": found}, True


def _refuse_unless_told(holder: Holder, request: Request, now: datetime) -> None:
    """Refuse to take the lock of a run that has not ended, unless it is named, and not seen to be at work."""
    if request.take_over != holder.lock["run_id"] or holder.sign.sign == "alive":
        raise refusal(holder, request, now)
    judged = request.judged is not None and is_judged(holder.lock, request.judged)
    seen = controllers.can_judge(holder.lock["controller"], controllers.place_of(request.controller))
    if holder.sign.sign == "unknown" and seen and not judged:  # our controller can see it, so it is asked first
        raise refusal(holder, request, now)


def is_ours(lock: dict[str, Any], request: Request) -> bool:
    """Tell whether the process that asks holds the lock, for this run.

    The same run in another process is somebody else: a run that is resumed may not have ended yet.
    """
    return bool(lock["run_id"] == request.run_id) and controllers.same_process(lock["controller"], request.controller)


def release(state_directory: str, request: Request, *, check: bool = False) -> dict[str, Any]:
    """Remove the lock if it is ours; leave that of another."""
    found = read_lock(state_directory)
    if found and is_ours(found, request) and not check:
        with locked(flock_path(state_directory), state_directory, _unusable):
            found = read_lock(state_directory)
            if found and is_ours(found, request):
                path = lock_path(state_directory)
                os.unlink(path)  # noqa: PTH108 - of the managed host
                sync_directories(path, state_directory)
                return {"changed": True, "lock": {}, "taken_over": {}}
    return {"changed": bool(found) and is_ours(found, request), "lock": found, "taken_over": {}}


def _write(state_directory: str, lock: dict[str, Any]) -> None:
    """Put a lock in the place of the one before, whole and on the disk, or leave that one."""
    path = lock_path(state_directory)
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # noqa: PTH108 - left by a crash
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(lock, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)  # noqa: PTH105
    except OSError:
        os.unlink(new)  # noqa: PTH108
        raise
    sync_directories(path, state_directory)


# --- words -----------------------------------------------------------------------------------------------------------


def refusal(holder: Holder, request: Request, now: datetime) -> RollbackError:
    """Return the error for a run that cannot have the lock: who holds it, whether it lives, and what can be done."""
    lock, sign = holder.lock, holder.sign
    step = last_step(holder.events)
    mistaken = request.take_over not in ("", lock["run_id"])
    told = f"take_over={request.take_over} is not the run that holds the lock. " if mistaken else ""
    return RollbackError(
        f"{told}{_who(lock, step, request, now)} {_life(sign)} Nothing was changed.",
        _way_out(lock, sign.sign, told_to=request.take_over == lock["run_id"]),
        holder=lock,
        step=step,
        sign=sign.sign,
        evidence=sign.evidence,
        controller=request.controller,
    )


def _who(lock: dict[str, Any], step: str, request: Request, now: datetime) -> str:
    if lock["run_id"] == UNKNOWN:
        return "A run that is not known holds the lock of this environment."
    controller, project = lock["controller"], lock["project"] or "this environment"
    other = "Another process of run" if lock["run_id"] == request.run_id else "Run"
    parts = [
        f"{other} {lock['run_id']} holds the lock of {project}",
        f"started by {controller['user']}@{controller['host']}",
        f"in job {controller['job']}" if controller["job"] else "",
        f"scenario {lock['scenario']}" if lock["scenario"] else "",
        f"since {lock['since']} ({_ago(lock['since'], now)})",
        f"at step {step}" if step else "before its first step",
        f"reason: {' '.join(lock['reason'].split())}" if lock["reason"].strip() else "no reason given",
    ]
    return ", ".join(part for part in parts if part).rstrip(".") + "."


def _life(sign: Sign) -> str:
    head = {"alive": "It is at work", "gone": "It is gone"}.get(
        sign.sign, "It is not known whether it is still at work"
    )
    return f"{head}: {sign.evidence}."


def _way_out(lock: dict[str, Any], sign: str, *, told_to: bool) -> str:
    run = lock["run_id"]
    take_over = f"run again with -e take_over={run}"
    if run == UNKNOWN:
        return f"Make sure that no other run is at work on this environment, then {take_over}"
    choices = (
        f"go on with it: ansible-playbook usdx.rollback.resume -e run={run} - or undo it: ansible-playbook "
        f"usdx.rollback.undo -e run={run} - or leave things as they are and take the lock over: {take_over}"
    )
    if sign == "gone":
        return choices[0].upper() + choices[1:]
    if sign == "unknown":
        who = lock["controller"]["user"] or "who started it"
        return f"Ask {who} whether it is at work, and wait while it is. Else {choices}"
    refused = "The lock of a run that is at work cannot be taken over. " if told_to else ""
    return (
        f"{refused}Wait until it ends, then run again. Or end it first: {_ending(lock['controller'])}. Then {choices}"
    )


def _ending(controller: dict[str, Any]) -> str:
    if controller["job"]:
        return f"cancel job {controller['job']}"
    inside = "" if controller["process_namespace"] in ("", controllers.OF_THE_MACHINE) else "the container "
    return f"type 'kill {controller['pid']}' on {inside}{controller['host']}"


def _unusable(path: str, error: OSError, what: str) -> RollbackError:
    """Return the error of a lock that cannot be used: what is wrong, and what to do."""
    return RollbackError(
        f"The lock {path} cannot be {what}: {error.strerror or error}. Nothing was changed.",
        "Look at it with 'ls -ld' and 'df -h' on that host: it must be a file, not a link, in a directory that the "
        "user of Ansible (become_user) may write, on a disk with free space. Or set state_directory to another one.",
        path=path,
    )
