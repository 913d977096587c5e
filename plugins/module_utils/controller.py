# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the controller that carries out a run: how it is recorded, and whether it still lives.

A process id alone proves nothing: it is used again, and every machine and container has its own. So a record also says
when the process started, in which process namespace, and in which boot of which machine.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

PROC = "/proc"
# The process namespace of a machine itself. Those of containers have other numbers.
OF_THE_MACHINE = "pid:[4026531836]"
_TEXTS = ("user", "host", "boot_id", "process_namespace", "machine_id", "job")
_NUMBERS = ("pid", "started")
_PROCESS = ("host", "boot_id", "process_namespace", "pid", "started")
_PID_LIMIT = 2**31
_ENDED = ("Z", "X", "x")  # states of a process that has ended and whose parent has not asked yet
_STATE, _STARTED = 0, 19  # fields 3 and 22 of the status, counted behind the name of the program


class Place(NamedTuple):
    """Where processes are looked at: one boot of a machine, and one process namespace."""

    host: str
    boot_id: str
    process_namespace: str
    machine_id: str


class Sign(NamedTuple):
    """A sign of life: ``alive``, ``gone`` or ``unknown``, and the evidence for it as a sentence."""

    sign: str
    evidence: str


def here(
    proc: str = PROC, machine_id_files: tuple[str, ...] = ("/etc/machine-id", "/var/lib/dbus/machine-id")
) -> Place:
    """Return the place of this process. What the system does not tell is empty."""
    return Place(
        socket.gethostname(),
        _first_line(f"{proc}/sys/kernel/random/boot_id"),
        _link(f"{proc}/self/ns/pid"),
        next((digest for digest in map(_digest_of, machine_id_files) if digest), ""),
    )


def facts_of(pid: int, user: str, job: str, place: Place, proc: str = PROC) -> dict[str, Any]:
    """Return the record of a process of this machine. ``started`` is 0 where the system does not tell it."""
    status = _status(pid, proc)
    return {"user": user, **place._asdict(), "pid": pid, "started": status[1] if status else 0, "job": job}


def is_count(value: object) -> bool:
    """Tell whether a JSON value is a whole number of at least 0; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def parse_facts(value: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a JSON value
    """Return a record as it was written, or ``None`` when it is none."""
    if not isinstance(value, dict) or not all(isinstance(value.get(name, ""), str) for name in _TEXTS):
        return None
    if not all(is_count(value.get(name, 0)) for name in _NUMBERS):
        return None
    if not 0 < value.get("pid", 0) < _PID_LIMIT:
        return None
    return {**{name: value.get(name, "") for name in _TEXTS}, **{name: value.get(name, 0) for name in _NUMBERS}}


def same_process(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two records are of the same process."""
    return all(one[name] == other[name] for name in _PROCESS)


def place_of(controller: dict[str, Any]) -> Place:
    """Return where a recorded process runs."""
    return Place(**{name: controller[name] for name in Place._fields})


def can_judge(controller: dict[str, Any], place: Place) -> bool:
    """Tell whether a place is one where it can be seen whether a recorded process lives."""
    return _sees(controller, place) or _has_rebooted(controller, place)


def sign_of_process(controller: dict[str, Any], place: Place, proc: str = PROC) -> Sign:
    """Return whether a recorded process lives, as it is seen from a place. What is not certain is unknown."""
    host = controller["host"] or "its controller"
    if _sees(controller, place):
        return _sign_of_pid(controller["pid"], controller["started"], host, proc)
    if _has_rebooted(controller, place):
        return Sign("gone", f"{host} was started anew since then")
    if controller["boot_id"] and controller["boot_id"] == place.boot_id:
        return Sign("unknown", f"its process {controller['pid']} is in another container of {place.host}")
    return Sign("unknown", f"its process {controller['pid']} on {host} cannot be seen from {place.host}")


def _sees(controller: dict[str, Any], place: Place) -> bool:
    """Tell whether a place has the processes of a record. The number of a namespace is used again after its end only.

    So a number that is the same is that of the same namespace, or of one whose predecessor ended with all in it.
    """
    known = controller["boot_id"] and controller["process_namespace"]
    there = (controller["boot_id"], controller["process_namespace"])
    return bool(known) and there == (place.boot_id, place.process_namespace)


def _has_rebooted(controller: dict[str, Any], place: Place) -> bool:
    """Tell whether a place is a later boot of the machine of a record.

    Containers are left out: those of one image may share a machine id, on different machines. So may copies of a
    machine, hence the name.
    """
    same = (controller["machine_id"], controller["host"], controller["process_namespace"])
    return (
        same == (place.machine_id, place.host, OF_THE_MACHINE)
        and place.process_namespace == OF_THE_MACHINE
        and bool(place.machine_id and place.boot_id and controller["boot_id"])
        and controller["boot_id"] != place.boot_id
    )


def _sign_of_pid(pid: int, started: int, host: str, proc: str) -> Sign:
    status = _status(pid, proc)
    if status is None:
        if _exists(pid):  # /proc may hide the processes of other users
            return Sign("unknown", f"a process {pid} runs on {host}, but it cannot be seen whether it is the same")
        return Sign("gone", f"its process {pid} on {host} does not exist any more")
    state, began = status
    if not started:
        return Sign("unknown", f"a process {pid} runs on {host}, but it cannot be seen whether it is the same")
    if began != started:
        return Sign("gone", f"its process {pid} on {host} does not exist any more, another one has its number")
    if state in _ENDED:
        return Sign("gone", f"its process {pid} on {host} has ended")
    return Sign("alive", f"its process {pid} runs on {host}")


def _status(pid: int, proc: str) -> tuple[str, int] | None:
    """Return the state of a process and its start in clock ticks since the boot; ``None`` when it is not seen."""
    try:
        text = Path(proc, str(pid), "stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()  # the name of a program may hold spaces and parentheses
    try:
        return fields[_STATE].decode(), int(fields[_STARTED])
    except (IndexError, ValueError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - the target is no path
    except OSError:
        return ""


def _digest_of(path: str) -> str:
    """Return what stands for the id of this machine. The id itself is confidential: machine-id(5)."""
    text = _first_line(path)
    is_id = len(text) == 32 and not set(text) - set("0123456789abcdef")  # noqa: PLR2004 - machine-id(5)
    return hashlib.sha256(b"usdx.rollback " + text.encode()).hexdigest()[:32] if is_id else ""
