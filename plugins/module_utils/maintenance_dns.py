# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of an application that lead to a maintenance host for a while, and back to what they led to before.

What they led to is in a file before anything changes, so that it can be put back whatever happens after.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dns_server import (
    TTLS,
    TYPES,
    Change,
    Server,
    checked_name,
    checked_server,
    checked_value,
    key_file_of,
    refused,
)
from .errors import RollbackError
from .journal import stamp, utc_now
from .waiter import checked_seconds
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .dns_server import RecordSet, Run

STATES = ("switched", "restored", "status")


@dataclass(frozen=True)
class Wanted:
    """A record as it is during maintenance."""

    name: str
    type: str
    value: str


@dataclass(frozen=True)
class Former:
    """What a record was before it was switched to ``value``."""

    name: str
    type: str
    value: str
    former: tuple[str, ...]
    ttl: int


@dataclass(frozen=True)
class Seen:
    """A record that is wanted, what the server holds now, and what it held before as far as that is on record."""

    wanted: Wanted
    now: RecordSet
    former: Former | None

    @property
    def switched(self) -> bool:
        """Tell whether the name leads to the maintenance host, and nowhere else."""
        return self.now.values == (self.wanted.value,)

    def facts(self) -> dict[str, Any]:
        """Return the record for a result."""
        former = list(self.former.former) if self.former else None
        return asdict(self.wanted) | {"now": list(self.now.values), "former": former, "switched": self.switched}


def maintenance_dns(run: Run, options: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Switch names, put them back, or say how they stand; return the result of the module."""
    zone = checked_name(options["zone"], "zone")
    address = checked_server(options["server"], options["port"])
    timeout = checked_seconds(options["timeout"], "timeout", 0.5)
    file = Path(options["record_file"])
    if options["ttl"] not in TTLS:
        raise refused("ttl", options["ttl"], f"seconds from {TTLS[0]} to {TTLS[-1]}")
    wanted = _wanted(options["records"], zone)
    formers = _read(file)
    with key_file_of(options["key"], options["key_file"]) as key_file:
        server = Server(run, address, options["port"], zone, key_file, timeout)
        if options["state"] == "status":
            return _facts(_look(server, wanted or [_wanted_of(one) for one in formers], formers), changed=False)
        if options["state"] == "restored":
            return _restore(server, file, formers, check_mode=check_mode)
        if not wanted:
            raise refused("records", [], "the records to switch, each with name, type and value")
        return _switch(server, file, _look(server, wanted, formers), formers, options["ttl"], check_mode=check_mode)


def _switch(  # noqa: PLR0913 - what is there, what is wanted, and where both are written
    server: Server, file: Path, seen: Sequence[Seen], formers: Sequence[Former], ttl: int, *, check_mode: bool
) -> dict[str, Any]:
    """Lead the names to the maintenance host; what they lead to now is written down first."""
    others = [one for one in seen if not one.switched]
    unknown = [one.wanted.name for one in seen if one.switched and one.former is None]
    warnings = [f"{name} leads there already, and what it led to before is not on record." for name in unknown]
    after: dict[Wanted, tuple[str, ...]] = {one.wanted: (one.wanted.value,) for one in others}
    if not others or check_mode:
        return _facts(seen, changed=bool(others), after=after) | {"warnings": warnings}
    later = [_former_of(one) for one in others]
    replaced = {(one.name, one.type) for one in later}
    _write(file, [*(one for one in formers if (one.name, one.type) not in replaced), *later])
    server.change([Change(*_key_of(one), one.now.values, after[one.wanted], ttl) for one in others])
    now = _look(server, [one.wanted for one in seen], [*formers, *later])
    _expect(server, [one.wanted.name for one in now if not one.switched])
    return _facts(seen, changed=True, after=after, records=now) | {"warnings": warnings}


def _former_of(one: Seen) -> Former:
    """Return what has to be put back: what is there now, unless that is from an earlier switch to another host."""
    if one.former is not None and one.now.values == (one.former.value,):
        return replace(one.former, value=one.wanted.value)
    return Former(*_key_of(one), one.wanted.value, one.now.values, one.now.ttl)


def _key_of(one: Seen) -> tuple[str, str]:
    return one.wanted.name, one.wanted.type


def _restore(server: Server, file: Path, formers: Sequence[Former], *, check_mode: bool) -> dict[str, Any]:
    """Lead the names back to what is on record, or none of them when somebody has led one elsewhere since."""
    seen = _look(server, [_wanted_of(one) for one in formers], formers)
    by_name = {(one.name, one.type): one for one in formers}
    pairs = [(one, by_name[one.wanted.name, one.wanted.type]) for one in seen]
    open_ = [(one, former) for one, former in pairs if one.now.values != former.former]
    foreign = [f"{one.wanted.name} ({', '.join(one.now.values) or 'no record'})" for one, _former in open_
               if not one.switched]  # fmt: skip
    if foreign:
        raise RollbackError(
            f"Somebody has changed since the switch: {'; '.join(foreign)}. DNS was not changed.",
            f"Set these records by hand; what they were before is in {file}. When it is done, remove that file.",
        )
    after = {one.wanted: former.former for one, former in open_}
    if check_mode:
        return _facts(seen, changed=bool(open_), after=after)
    if open_:
        server.change(
            [Change(former.name, former.type, one.now.values, former.former, former.ttl) for one, former in open_]
        )
    now = _look(server, [_wanted_of(one) for one in formers], formers)
    _expect(server, [one.wanted.name for one in now if one.former and one.now.values != one.former.former])
    file.unlink(missing_ok=True)
    return _facts(seen, changed=bool(open_), after=after, records=now)


def _look(server: Server, wanted: Sequence[Wanted], formers: Sequence[Former]) -> list[Seen]:
    known = {(one.name, one.type): one for one in formers}
    return [Seen(one, server.ask(one.name, one.type), known.get((one.name, one.type))) for one in wanted]


def _expect(server: Server, wrong: Sequence[str]) -> None:
    if wrong:
        raise RollbackError(
            f"The name server {server.address} took the change and answers otherwise for {', '.join(wrong)}.",
            f"Ask it by hand: dig @{server.address} -p {server.port} {wrong[0]}.",
        )


def _facts(
    seen: Sequence[Seen],
    *,
    changed: bool,
    after: dict[Wanted, tuple[str, ...]] | None = None,
    records: Sequence[Seen] | None = None,
) -> dict[str, Any]:
    """Return the result: the records as they are now, and a diff of what each name leads to."""
    later = after or {}
    told = list(records if records is not None else seen)
    return {
        "changed": changed,
        "switched": bool(told) and all(one.switched for one in told),
        "records": [one.facts() for one in told],
        "longest_ttl": max((one.now.ttl for one in seen), default=0),
        "diff": {
            "before": {f"{one.wanted.name} {one.wanted.type}": list(one.now.values) for one in seen},
            "after": {f"{one.wanted.name} {one.wanted.type}": list(later.get(one.wanted, one.now.values))
                      for one in seen},
        },
    }  # fmt: skip


def _wanted(records: Sequence[dict[str, Any]], zone: str) -> list[Wanted]:
    wanted = []
    for one in records:
        name = checked_name(one["name"], "name")
        if name != zone and not name.endswith(f".{zone}"):
            raise refused("name", one["name"], f"a name in the zone {zone}")
        wanted.append(Wanted(name, one["type"], checked_value(one["value"], one["type"])))
    if len({(one.name, one.type) for one in wanted}) < len(wanted):
        raise refused("records", [one.name for one in wanted], "each name and type once")
    return wanted


def _wanted_of(former: Former) -> Wanted:
    return Wanted(former.name, former.type, former.value)


def _read(file: Path) -> list[Former]:
    """Return what is on record. It is checked like what a person types, because it becomes part of an update."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        formers = [
            Former(
                checked_name(one["name"], "name"), TYPES[TYPES.index(one["type"])],
                checked_value(one["value"], one["type"]),
                tuple(checked_value(value, one["type"]) for value in one["former"]), int(one["ttl"]),
            )
            for one in told["records"]
        ]  # fmt: skip
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RollbackError) as error:
        raise RollbackError(
            f"{file} does not say what the records were before ({type(error).__name__}). DNS was not changed.",
            "Look at the file. When the names lead to the right place, remove it.",
        ) from error
    return formers


def _write(file: Path, formers: Sequence[Former]) -> None:
    told = {"written": stamp(utc_now()), "records": [asdict(one) for one in formers]}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, json.dumps(told, indent=1) + "\n", 0o600)
    except OSError as error:
        raise RollbackError(
            f"What the records are now could not be written to {file}: {error.strerror}. DNS was not changed.",
            "Give a record_file in a directory that this user may write.",
        ) from error
