# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of the host, from /proc: https://man7.org/linux/man-pages/man5/proc.5.html ."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .item import json_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")
_STATUS = ("Name", "State", "PPid", "TracerPid", "Uid", "Gid", "VmRSS", "Threads", "NoNewPrivs", "CapEff")
_STARTED = 19  # field 22 of /proc/PID/stat, counted behind the name; in ticks since the boot
_LIMIT = 1 << 16


def pids(proc: Path = _PROC) -> list[int]:
    """Return the ids of all processes."""
    return sorted(int(one.name) for one in proc.iterdir() if one.name.isdigit())


def processes(proc: Path = _PROC) -> Iterator[bytes]:
    """Give a JSON line for each process; what may not be read of it is null. One that ends meanwhile is left out."""
    ticks = os.sysconf("SC_CLK_TCK")
    for pid in pids(proc):
        folder = proc / str(pid)
        status = dict(line.partition(":")[::2] for line in (_text(folder / "status") or "").splitlines())
        if not status:
            continue
        behind = (_text(folder / "stat") or "").rpartition(")")[2].split()
        line: dict[str, Any] = {"pid": pid, **{key: status[key].strip() for key in _STATUS if key in status}}
        line["seconds_after_boot"] = int(behind[_STARTED]) / ticks if len(behind) > _STARTED else None
        line["command"] = (_text(folder / "cmdline") or "").rstrip("\0").split("\0")
        line["cgroup"] = _text(folder / "cgroup")
        line["login_uid"] = _text(folder / "loginuid")
        for name in ("exe", "cwd", "root"):
            line[name] = _leads_to(folder / name)
        yield json_line(line)


def _text(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_LIMIT).decode("utf-8", "backslashreplace").strip("\n")
    return None


def _leads_to(path: Path) -> str | None:
    with suppress(OSError):
        return os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")
    return None
