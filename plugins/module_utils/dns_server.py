# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One primary name server: what it answers (dig), and changes of a zone by RFC 2136 (nsupdate), signed with TSIG.

Both are programs of BIND, called with lists of words; the key goes to them in a file, never in an argument.
What they print is only recognised, because nsupdate quotes from a key file that it cannot read.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import RollbackError
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Run = Callable[..., tuple[int, str, str]]

TYPES = ("A", "AAAA", "CNAME")
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
TTLS = range(1, 86401)
_NAME = re.compile(r"(?=.{1,254}\Z)(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+\Z")
_SECRET = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}\Z")
_STATUS = re.compile(r"^;; ->>HEADER<<-.* status: ([A-Z]+)", re.MULTILINE)
_FAILED = re.compile(r"update failed: ([A-Z]+)(?:\(([A-Z]+)\))?")
_NO_REPLY = 9  # dig(1)
_PACKAGES = "Install it on that host: apt-get install bind9-dnsutils, or dnf install bind-utils."
# What a server's refusal means: https://www.iana.org/assignments/dns-parameters (RCODEs)
_MEANINGS = {
    "REFUSED": "its policy does not let this key change these records",
    "NOTAUTH": "it is not the primary of this zone, or does not know the key",
    "BADKEY": "it does not know the key by this name",
    "BADSIG": "the secret of the key is another one there",
    "BADTIME": "its clock and that of this host differ too much",
    "NOTZONE": "a name is not in the zone",
    "NOTIMP": "it takes no updates",
    "SERVFAIL": "it failed, see its log",
    "NXRRSET": "the records were changed by somebody else in this moment",
    "YXRRSET": "the records were changed by somebody else in this moment",
}


class RecordSet(NamedTuple):
    """All records of one name and type. No values: there is none."""

    values: tuple[str, ...]
    ttl: int


@dataclass(frozen=True)
class Change:
    """One set of records that becomes another; the server refuses when it is not ``before`` any more."""

    name: str
    type: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    ttl: int


@dataclass(frozen=True)
class Server:
    """Where the zone is changed. ``key_file`` is empty without TSIG; ``timeout`` is in seconds, for each question."""

    run: Run
    address: str
    port: int
    zone: str
    key_file: str
    timeout: float

    def ask(self, name: str, kind: str) -> RecordSet:
        """Return what the server itself holds for a name and type."""
        argv = [_program("dig"), "-r", f"@{self.address}", "-p", str(self.port), "+tcp", "+norecurse", "+tries=1",
                f"+time={max(1, round(self.timeout))}", "+noall", "+comments", "+answer"]  # fmt: skip
        code, out, _errors = self.run([*argv, *self._key(), "-q", name, "-t", kind], timeout=self.timeout + 2)
        status = _STATUS.search(out)
        if code == _NO_REPLY or status is None:
            raise self._failed("does not answer", "no reply in time, or the connection was refused")
        if status[1] not in {"NOERROR", "NXDOMAIN"}:
            raise self._failed(f"does not answer for {name}", _meaning(status[1]))
        return record_set(out, name, kind)

    def change(self, changes: Sequence[Change]) -> None:
        """Make all changes at once or none of them."""
        with tempfile.TemporaryDirectory(prefix="usdx-rollback-dns-") as directory:
            script = Path(directory) / "update"
            write_whole(script, update_script(self.address, self.port, self.zone, changes), 0o600)
            argv = [_program("nsupdate"), "-v", "-t", str(max(1, round(self.timeout))), *self._key(), str(script)]
            code, out, errors = self.run(argv, timeout=self.timeout + 2)
        if code == 0:
            return
        failed = _FAILED.search(errors + out)
        if failed:
            raise self._refused(failed[2] or failed[1])
        raise self._failed("did not say whether it made the change", f"nsupdate ended with {code}")

    def _key(self) -> list[str]:
        return ["-k", self.key_file] if self.key_file else []

    def _refused(self, code: str) -> RollbackError:
        return RollbackError(
            f"The name server {self.address} refused to change {self.zone}: {_meaning(code)}. DNS is as it was.",
            "See update-policy or allow-update of the zone there, and that server, zone and key are the right ones.",
            rcode=code,
        )

    def _failed(self, what: str, why: str) -> RollbackError:
        return RollbackError(
            f"The name server {self.address} {what} ({why}).",
            f"Ask it by hand: dig @{self.address} -p {self.port} {self.zone} SOA. Then run again.",
        )


def record_set(answer: str, name: str, kind: str) -> RecordSet:
    """Return the records of a name and type in an answer of dig; refuse a name that is an alias of another one."""
    lines = [line.split() for line in answer.splitlines() if line and not line.startswith(";")]
    own = [words for words in lines if len(words) > 4 and words[0].lower() == name]  # noqa: PLR2004 - name ttl IN type data
    if kind != "CNAME" and any(words[3] == "CNAME" for words in own):
        raise RollbackError(
            f"{name} is an alias (CNAME), so its {kind} records are those of another name. DNS was not changed.",
            "Switch the alias: type CNAME and the name of the maintenance host as value.",
        )
    found = [words for words in own if words[3] == kind]
    return RecordSet(tuple(sorted(words[4].lower() for words in found)), int(found[0][1]) if found else 0)


def update_script(address: str, port: int, zone: str, changes: Sequence[Change]) -> str:
    """Return what nsupdate reads. All of it was checked, so no value can hold a line of its own."""
    lines = [f"server {address} {port}", f"zone {zone}"]
    for one in changes:
        lines += [f"prereq yxrrset {one.name} {one.type} {value}" for value in one.before]
        lines += [] if one.before else [f"prereq nxrrset {one.name} {one.type}"]
    for one in changes:
        lines.append(f"update delete {one.name} {one.type}")
        lines += [f"update add {one.name} {one.ttl} {one.type} {value}" for value in one.after]
    return "\n".join([*lines, "send", ""])


def checked_name(text: str, option: str) -> str:
    """Return a DNS name in lower case, with the dot at its end; refuse what is none."""
    name = text.lower().rstrip(".") + "."
    if not _NAME.match(name):
        raise refused(option, text, "a DNS name, for example app.usdx-wexel.com")
    return name


def checked_value(text: str, kind: str) -> str:
    """Return the value of a record in the form in which a server gives it."""
    if kind == "CNAME":
        return checked_name(text, "value")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != (4 if kind == "A" else 6):
        raise refused("value", text, f"an address for a record of type {kind}")
    return str(address)


def checked_server(address: str, port: int) -> str:
    """Return the address of a server; refuse what would be another word for dig."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        checked_name(address, "server")
    if not 0 < port < 65536:  # noqa: PLR2004 - ports
        raise refused("port", port, "a number from 1 to 65535")
    return address


def checked_key_file(path: str) -> str:
    """Return the path of a key file that only its owner may read."""
    try:
        told = Path(path).stat()
    except OSError as error:
        raise refused("key_file", path, f"a TSIG key file as tsig-keygen writes it ({error.strerror})") from error
    if not stat.S_ISREG(told.st_mode):
        raise refused("key_file", path, "a file")
    if stat.S_IMODE(told.st_mode) & 0o077 or told.st_uid not in {0, os.geteuid()}:
        raise refused("key_file", path, f"one that only its owner, root or this user, may read: chmod 0600 {path}")
    return path


@contextlib.contextmanager
def key_file_of(key: dict[str, Any] | None, path: str) -> Iterator[str]:
    """Give the path of a key file: the one that was named, or a private one for a key that was given."""
    if key and path:
        raise refused("key_file", path, "either key or key_file")
    if not key:
        yield checked_key_file(path) if path else ""
        return
    name = checked_name(key["name"], "key.name")
    if not _SECRET.match(key["secret"]):
        raise RollbackError("key.secret is no base64. DNS was not changed.", "Give the secret as tsig-keygen shows it.")
    text = f'key "{name}" {{ algorithm {key["algorithm"]}; secret "{key["secret"]}"; }};\n'
    with tempfile.TemporaryDirectory(prefix="usdx-rollback-dns-") as directory:
        file = Path(directory) / "key"
        write_whole(file, text, 0o600)
        yield str(file)


def refused(option: str, value: object, accepted: str) -> RollbackError:
    """Return the error for a value that is not accepted."""
    return RollbackError(f"{option}={value!r} is not accepted. DNS was not changed.", f"Give {accepted}.")


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin")
    if found is None:
        raise RollbackError(f"The program {name} is missing on this host. DNS was not changed.", _PACKAGES)
    return found


def _meaning(code: str) -> str:
    return f"{code}, {_MEANINGS[code]}" if code in _MEANINGS else code
