# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the managed host knows: processes, network, who logged in, who may, and what runs by itself."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import partial
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .authorized_keys import authorized_keys
from .command import command_chunks
from .item import CHUNK, REFUSED, Item, NotTaken, json_line
from .processes import processes
from .sockets import sockets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SMALL = 1 << 18  # bytes of a file that is taken as a line
_NET = tuple(
    f"/proc/net/{name}" for name in ("route", "ipv6_route", "arp", "dev", "fib_trie", "if_inet6", "raw", "raw6", "unix")
)
_LOGS = ("/var/log/auth.log", "/var/log/auth.log.1", "/var/log/secure", "/var/log/audit/audit.log")
_USERS = ("/etc/passwd", "/etc/group", "/etc/sudoers", "/etc/sudoers.d/*", "/etc/ssh/sshd_config",
          "/etc/ssh/sshd_config.d/*", "/etc/pam.d/sshd", "/etc/pam.d/sudo")  # fmt: skip
_SCHEDULED = (
    "/etc/crontab", "/etc/anacrontab", "/etc/cron.*/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*",
    "/etc/systemd/system/*.service", "/etc/systemd/system/*.timer", "/etc/rc.local", "/etc/profile.d/*",
    "/etc/ld.so.preload", "/etc/hosts", "/etc/resolv.conf",
)  # fmt: skip
_COMMANDS = {
    "network": (
        ("host/addresses.json", "interfaces and addresses", ["ip", "-details", "-json", "address"]),
        ("host/routes.json", "routes of all tables", ["ip", "-json", "route", "show", "table", "all"]),
        ("host/nft.txt", "packet filter", ["nft", "--handle", "list", "ruleset"]),
        ("host/iptables.txt", "packet filter, IPv4", ["iptables-save", "-c"]),
        ("host/ip6tables.txt", "packet filter, IPv6", ["ip6tables-save", "-c"]),
    ),
    "host": (
        ("host/who.txt", "who is logged in", ["who", "-a"]),
        ("host/last.txt", "logins", ["last", "-F", "-w", "-n", "5000"]),
        ("host/lastb.txt", "logins that failed", ["lastb", "-F", "-w", "-n", "5000"]),
        ("host/journal.txt", "journal of sshd, sudo, su and cron of the last 14 days",
         ["journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", "--since=-14d", "_COMM=sshd",
          "_COMM=sshd-session", "_COMM=sudo", "_COMM=su", "_COMM=cron"]),
        ("host/timers.txt", "timers of systemd", ["systemctl", "list-timers", "--all", "--no-pager"]),
        ("host/clock.txt", "clock of the host", ["timedatectl", "show"]),
        ("host/kernel.txt", "kernel", ["uname", "-a"]),
        ("host/modules.txt", "modules of the kernel", ["lsmod"]),
    ),
}  # fmt: skip


def process_items() -> Iterator[Item]:
    """Yield the processes of the host."""
    yield Item("processes", "host/processes.jsonl", "processes of the host", "read of /proc/PID", processes, 1 << 18)


def network_items() -> Iterator[Item]:
    """Yield connections, interfaces, routes and packet filters of the host."""
    yield Item("network", "host/sockets.jsonl", "connections and listeners of the host, with their processes",
               "read of /proc/net/tcp, tcp6, udp, udp6 and /proc/PID/fd", sockets, 1 << 18)  # fmt: skip
    yield Item("network", "host/network.jsonl", "network of the host", "read of /proc/net", partial(small_files, _NET))
    yield from _command_items("network")


def login_items(limit: int) -> Iterator[Item]:
    """Yield who logged in, who may, and what runs by itself. Of a long log its end is taken."""
    yield from _command_items("host")
    for path in _LOGS:
        with suppress(OSError):
            size = Path(path).stat().st_size
            yield Item("host", f"host/{path.lstrip('/').replace('/', '-')}", f"end of {path}", f"read of {path}",
                       partial(file_end, path, limit), estimate=size)  # fmt: skip
    yield Item("host", "host/users.jsonl", "users, groups, rules of sudo and sshd", "read of files below /etc",
               partial(small_files, _USERS))  # fmt: skip
    yield Item("host", "host/scheduled.jsonl", "what runs by itself: cron, units, profiles; hosts and resolver",
               "read of files below /etc and /var/spool/cron", partial(small_files, _SCHEDULED))  # fmt: skip
    yield Item("host", "host/authorized_keys.jsonl", "keys that may log in, by fingerprint",
               "read of ~/.ssh/authorized_keys of every user", authorized_keys)  # fmt: skip


def _command_items(group: str) -> Iterator[Item]:
    for name, what, argv in _COMMANDS[group]:
        yield Item(group, name, what, " ".join(argv), partial(command_chunks, argv), 1 << 16)


def file_end(path: str, limit: int) -> Iterator[bytes]:
    """Give a file, of a longer one the last ``limit`` bytes."""
    with os.fdopen(open_untouched(path), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        while chunk := file.read(CHUNK):
            yield chunk


def small_files(patterns: Iterable[str]) -> Iterator[bytes]:
    """Give a JSON line for each file that matches: its path, rights, times, and what it holds, up to 256 KiB."""
    for path in sorted({name for pattern in patterns for name in iglob(pattern)}):  # noqa: PTH207 - of absolute patterns
        line: dict[str, Any] = {"path": path}
        try:
            line.update(listed(path))
            with os.fdopen(open_untouched(path), "rb") as file:
                content = file.read(_SMALL + 1)
            line.update(cut=len(content) > _SMALL, text=content[:_SMALL].decode("utf-8", "backslashreplace"))
        except NotTaken as lack:
            line["why"] = lack.why
        except OSError as error:
            line["why"] = error.strerror or str(error)
        yield json_line(line)


def listed(path: str) -> dict[str, Any]:
    """Return rights and times of a file, and where a symbolic link leads."""
    facts = Path(path).lstat()
    told: dict[str, Any] = {
        "mode": stat.filemode(facts.st_mode), "uid": facts.st_uid, "gid": facts.st_gid, "bytes": facts.st_size,
        "modified": facts.st_mtime, "changed": facts.st_ctime,
    }  # fmt: skip
    if stat.S_ISLNK(facts.st_mode):
        told["leads_to"] = os.fsencode(Path(path).readlink()).decode("utf-8", "backslashreplace")
    return told


def open_untouched(path: str) -> int:
    """Open a regular file for reading; where the system allows it, without a trace in its access time."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe that nobody writes to must not hold us up
    try:
        descriptor = os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # only the owner may ask for that
        descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotTaken(REFUSED, f"{path} is no regular file")
    return descriptor
