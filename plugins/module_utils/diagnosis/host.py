# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host: disks, memory, pressure, kernel tables, clock, and the disks that only containers see.

``proc`` is where the kernel shows itself (proc(5)); pressure is https://docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..process import finished
from .containers import EVERY
from .probe import Probe, failed, judged, passed, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from .containers import Look

PROC = Path("/proc")
_FULL_PERCENT, _FULL_BYTES = 1.0, 32e6
_TABLE_PERCENT = 95.0
_SECONDS = 3.0
# File systems of the kernel, and the overlay whose data lie on the disk of Docker.
_NO_DISKS = frozenset(
    (
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "devpts",
        "mqueue",
        "devtmpfs",
        "overlay",
        "securityfs",
        "debugfs",
        "tracefs",
        "bpf",
        "nsfs",
        "fuse.lxcfs",
    )
)
_NO_PLACES = ("/proc", "/sys", "/dev/", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/run/secrets")


# --- disks ------------------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """A file system, every place at which it matters, and the services that live on it."""

    path: str
    uses: list[str] = field(default_factory=list)
    affects: set[str] = field(default_factory=set)

    def name(self) -> str:
        """Return how it is called: by the first place at which it matters."""
        return f"disk {self.uses[0]}"


def disks(places: Mapping[str, tuple[str, ...]], looks: Iterable[Look], proc: Path = PROC) -> list[Disk]:
    """Return the file systems under ``places`` (path to the services that need it) and in containers that run.

    Each is there once, whatever it is called at different places.
    """
    found: dict[int, Disk] = {}
    for path, affects in places.items():
        here = _existing(Path(path))
        if here:
            _add(found, here, path, affects)
    for one in looks:
        service = one.container.service
        if not one.pid:  # it may be down because this disk is full
            for source, inside in one.mounts:
                _add(found, Path(source), f"{service}:{inside}", (service,))
        for inside in _mounts(one, proc):
            _add(found, proc / str(one.pid) / "root" / inside.lstrip("/"), f"{service}:{inside}", (service,))
    return list(found.values())


def _existing(path: Path) -> Path | None:
    """Return the path, or the nearest folder above it that is there."""
    return next((one for one in (path, *path.parents) if one.exists()), None)


def _add(found: dict[int, Disk], path: Path, use: str, affects: tuple[str, ...]) -> None:
    try:
        device = path.stat().st_dev
    except OSError:  # gone meanwhile, or not ours to see
        return
    disk = found.setdefault(device, Disk(str(path)))
    disk.uses.append(use)
    disk.affects |= set(affects)


def _mounts(one: Look, proc: Path) -> list[str]:
    """Return where disks are mounted in a container that runs: volumes, memory disks, shared memory."""
    try:
        lines = (proc / str(one.pid) / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    if not one.pid or not any(one.container.id in line for line in lines):
        return []  # another process has that number
    found = []
    for line in lines:
        words, _dash, more = line.partition(" - ")
        inside, kind = words.split()[4].replace("\\040", " "), more.split(" ", 1)[0]
        if kind not in _NO_DISKS and (inside == "/dev/shm" or not inside.startswith(_NO_PLACES)) and inside != "/dev":  # noqa: S108
            found.append(inside)
    return found


def judge_disk(disk: Disk, limits: Mapping[str, float]) -> list[Probe]:
    """Judge free space and inodes, and that it may be written to where that matters to the host."""
    words = f"{limits['min_disk_free_percent']:g}% or {limits['min_disk_free_megabytes']:g} MB free"
    try:
        told = os.statvfs(disk.path)
    except OSError as error:
        return [unknown(disk.name(), "disk", f"it cannot be seen: {error.strerror}", limit=words)]
    affects = tuple(sorted(disk.affects))
    more = f" ({', '.join(disk.uses[1:6])})" if disk.uses[1:] else ""
    probes = [_space(disk, told, limits, more, affects)]
    if told.f_files:
        percent = 100 * told.f_favail / told.f_files
        least = limits["min_inodes_free_percent"]
        probes.append(
            judged(
                disk.name(), "inodes", percent < least, f"{percent:.1f}% of the inodes are free{more}",
                limit=f"{least:g}% free", fault="full" if percent < 1 else "nearly full", affects=affects,
            )
        )  # fmt: skip
    if told.f_flag & os.ST_RDONLY and EVERY in disk.affects:
        probes.append(
            failed(
                disk.name(), "writes", "readonly", "it is mounted read-only", limit="it can be written to",
                affects=affects,
            )
        )  # fmt: skip
    return probes


def _space(
    disk: Disk, told: os.statvfs_result, limits: Mapping[str, float], more: str, affects: tuple[str, ...]
) -> Probe:
    least, megabytes = limits["min_disk_free_percent"], limits["min_disk_free_megabytes"]
    free, total = told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize
    percent = 100 * free / total if total else 100.0
    full = percent < _FULL_PERCENT or free < _FULL_BYTES
    return judged(
        disk.name(), "disk", percent < least and free < megabytes * 1e6,
        f"{free / 1e6:,.0f} of {total / 1e6:,.0f} MB are free ({percent:.1f}%){more}",
        limit=f"{least:g}% or {megabytes:g} MB free", fault="full" if full else "nearly full", affects=affects,
    )  # fmt: skip


# --- memory, processors, tables ---------------------------------------------------------------------------------------


def judge_kernel(limits: Mapping[str, float], proc: Path = PROC) -> list[Probe]:
    """Judge what the kernel tells of the whole host."""
    return [
        _memory(limits, proc),
        _pressure("memory", "full", limits["max_memory_pressure"], proc, (EVERY,)),
        _pressure("cpu", "some", limits["max_cpu_pressure"], proc),
        _pressure("io", "full", limits["max_io_pressure"], proc),
        *_tables(proc),
    ]


def _memory(limits: Mapping[str, float], proc: Path) -> Probe:
    least = limits["min_memory_free_percent"]
    words = f"{least:g}% available"
    try:
        lines = (proc / "meminfo").read_text(encoding="utf-8").splitlines()
        told = {key: int(rest.split()[0]) for key, _colon, rest in (line.partition(":") for line in lines)}
        percent = 100 * told["MemAvailable"] / told["MemTotal"]
    except (OSError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return unknown("memory", "memory", "the kernel does not tell", limit=words)
    seen = f"{told['MemAvailable'] / 1000:,.0f} of {told['MemTotal'] / 1000:,.0f} MB are available ({percent:.0f}%)"
    return judged("memory", "memory", percent < least, seen, limit=words, fault="memory", affects=(EVERY,))


def _pressure(what: str, line: str, most: float, proc: Path, affects: tuple[str, ...] = ()) -> Probe:
    """Judge the share of the last minute in which work had to wait for a resource."""
    words = f"at most {most:g}% of a minute"
    try:
        text = (proc / "pressure" / what).read_text(encoding="utf-8")
        (told,) = [one for one in text.splitlines() if one.startswith(line + " ")]
        percent = float(dict(word.split("=") for word in told.split()[1:])["avg60"])
    except (OSError, ValueError, KeyError):
        return unknown(what, "pressure", "the kernel does not tell (PSI is off)", limit=words)
    who = "everything waited" if line == "full" else "something waited"
    seen = f"{who} for {percent:.0f}% of the last minute"
    fault = "memory" if what == "memory" else "pressure"
    return judged(what, "pressure", percent > most, seen, limit=words, fault=fault, affects=affects)


def _tables(proc: Path) -> list[Probe]:
    """Judge tables of the kernel that stop everything when they are full; those that are not there are left out."""
    files = ("sys/fs/file-nr", None)
    connections = ("sys/net/netfilter/nf_conntrack_count", "sys/net/netfilter/nf_conntrack_max")
    found = []
    for component, (used_file, limit_file) in {"open files": files, "connection tracking": connections}.items():
        try:
            used = (proc / used_file).read_text(encoding="utf-8").split()
            limit = used[-1] if limit_file is None else (proc / limit_file).read_text(encoding="utf-8")
            percent = 100 * int(used[0]) / int(limit)
        except (OSError, ValueError, IndexError, ZeroDivisionError):
            continue
        seen = f"{percent:.0f}% of the table of the kernel are used"
        is_bad = percent >= _TABLE_PERCENT
        words = f"below {_TABLE_PERCENT:g}%"
        found.append(judged(component, "table", is_bad, seen, limit=words, fault="table full", affects=(EVERY,)))
    return found


# --- clock ------------------------------------------------------------------------------------------------------------


def offset(date: str, now: datetime, seconds: float) -> float | None:
    """Return how many seconds this clock is ahead of an HTTP Date, which has no fractions; nothing if it is none.

    ``seconds`` is how long the answer took, ``now`` when it was there.
    """
    try:
        other = parsedate_to_datetime(date)
        difference = (now - other).total_seconds()
    except (TypeError, ValueError, IndexError):
        return None
    early, late = difference - seconds - 1.0, difference
    return 0.0 if early <= 0 <= late else min(early, late, key=abs)


def judge_clock(offsets: Mapping[str, float], synchronised: bool | None, limits: Mapping[str, float]) -> Probe:  # noqa: FBT001
    """Judge the clock by those of others, the middle one counts; else by what the host says of it."""
    most = limits["max_clock_offset"]
    words = f"at most {most:g} s off"
    if offsets:
        middle = sorted(offsets.values(), key=abs)[(len(offsets) - 1) // 2]  # in doubt the smaller one
        seen = f"{abs(middle):.1f} s {'ahead of' if middle > 0 else 'behind'} {', '.join(offsets)}"
        seen = f"the same time as {', '.join(offsets)}" if middle == 0 else seen
        return judged("clock", "offset", abs(middle) > most, seen, limit=words, fault="clock", affects=(EVERY,))
    if synchronised is None:
        return unknown("clock", "offset", "no clock to compare with, and the host does not tell", limit=words)
    seen = "the host says that it is synchronised" if synchronised else "the host says that it is not synchronised"
    if not synchronised:
        return unknown("clock", "offset", seen, limit=words)
    return passed("clock", "offset", seen, limit=words)


def clock_is_synchronised() -> bool | None:
    """Return what timedatectl(1) or chronyc(1) says; nothing when neither can."""
    told = _said("timedatectl", "show", "--property=NTPSynchronized", "--value").strip()
    if told in ("yes", "no"):
        return told == "yes"
    leap = [line for line in _said("chronyc", "-n", "tracking").splitlines() if line.startswith("Leap status")]
    return leap[0].endswith("Normal") if leap else None


def _said(*argv: str) -> str:
    try:
        code, output = finished(list(argv), seconds=_SECONDS, environment=os.environ | {"LC_ALL": "C"})
    except OSError:
        return ""
    return output.decode("utf-8", "replace") if code == 0 else ""
