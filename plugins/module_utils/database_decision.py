# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does with the database, decided from evidence, and whether the loss that comes with it was accepted.

Everything here is a pure function of module results.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

SKIP, REVERT, RESTORE, UNDO = "skip", "revert", "restore", "undo"
_YES, _NO = {"true", "yes", "on"}, {"false", "no", "off", "", "none"}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)\s*([smhd])")
_WRITTEN = "%Y-%m-%dT%H:%M:%SZ"
_FEW = 3
_TABLES = 5
_WHICH_BACKUP = "-e backup=PATH, or -e backup_before=TIME, the moment at which the bad release was deployed"


def deployed_at(services: dict[str, dict[str, Any]], checkout: dict[str, Any]) -> str:
    """Return when what the release replaces was deployed, ISO 8601 in UTC; empty when it replaces nothing.

    It is the first of: when the containers were made whose image is replaced, and when the commit was checked out that
    is left. A backup from before holds what the database was before the deployment.
    """
    moments = [
        container["created_at"]
        for service in services.values()
        if not service.get("image_id") or service["image_id"] != (service.get("before") or {}).get("image_id")
        for container in service.get("containers", [])
        if container.get("created_at")
    ]
    before = checkout.get("before") or {}
    if before.get("since") and before.get("commit") != (checkout.get("release") or {}).get("commit"):
        moments.append(before["since"])
    return min(map(moment_of, moments)).strftime(_WRITTEN) if moments else ""


def database_decision(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return ``decision`` and ``reason``; or ``refusal`` and ``next_step`` when the evidence does not suffice.

    ``evidence`` holds ``asked`` (what the operator typed), ``backup`` (a backup that was found, or nothing),
    ``passed_over`` (why others were not taken), ``comparison`` (with the schema of that backup, or nothing),
    ``reversible`` (what the inventory says of the migrations), ``revertible`` (whether a command to revert them is
    configured), ``kept`` (the database that the live one replaced, or nothing), ``undo_of`` (the run whose change is
    taken back, or nothing) and ``runs_already`` (whether the services run the release).
    """
    return _DECISIONS[evidence["asked"]](evidence)


def _undo(evidence: dict[str, Any]) -> dict[str, Any]:
    kept = evidence["kept"]
    if evidence.get("undo_of"):
        return _decided(UNDO, f"what the run {evidence['undo_of']} changed is taken back")
    if not kept and evidence["runs_already"]:
        return _decided(SKIP, "the live database replaced no other, and the release runs already")
    if not kept:
        return _refused(
            "database=undo was asked, and the live database replaced no other one.",
            "Leave database=undo out, or give database=skip. Kept databases are shown by \\l+ in psql.",
        )
    since = moment_of(kept["at"]).strftime(_WRITTEN)
    return _decided(UNDO, f"asked: {kept['name']}, kept since {since}, becomes the live database again")


def _restore(evidence: dict[str, Any]) -> dict[str, Any]:
    return _decided(RESTORE, "asked") if evidence["backup"] else _no_backup(evidence)


def _revert(evidence: dict[str, Any]) -> dict[str, Any]:
    if (evidence["comparison"] or {}).get("equal"):
        return _decided(SKIP, f"nothing to revert: {_same(evidence)}")
    if not evidence["revertible"]:
        return _refused(
            "database=revert was asked, and the inventory names no command that reverts migrations.",
            "Set rollback_migration_service and rollback_migration_down, or give database=restore.",
        )
    return _decided(REVERT, "asked")


def _auto(evidence: dict[str, Any]) -> dict[str, Any]:
    comparison = evidence["comparison"] or {}
    if not evidence["backup"]:
        if evidence["runs_already"]:
            return _decided(
                SKIP,
                "it was not looked at: the services run the release already, so no deployment tells which backup is "
                f"older than it. If the database must go back as well, add {_WHICH_BACKUP}",
            )
        return _no_backup(evidence)
    if not comparison.get("comparable"):
        return _refused(
            "Whether the database must go back cannot be told: the backup was written by pg_dump "
            f"{comparison.get('backup_pg_dump_version') or 'of unknown version'}, whose text is not that of today's.",
            "Decide yourself: -e database=skip when the release works with the database as it is, else "
            "-e database=restore or -e database=revert.",
        )
    if comparison["equal"]:
        return _decided(SKIP, _same(evidence))
    why = f"the schema differs from that of the backup: {_listed(comparison['differences'])}"
    if evidence["reversible"] and evidence["revertible"]:
        return _decided(REVERT, f"{why}; the inventory says that it can be reverted (rollback_migrations_reversible)")
    can = "can be reverted" if evidence["reversible"] else "cannot be reverted"
    return _decided(
        RESTORE,
        f"{why}; the inventory says that it {can}"
        + (", but names no command (rollback_migration_down)" if evidence["reversible"] else ""),
    )


_DECISIONS = {
    "auto": _auto,
    "skip": lambda _evidence: _decided(SKIP, "asked"),
    "revert": _revert,
    "restore": _restore,
    "undo": _undo,
}
DECISIONS = tuple(_DECISIONS)


def _same(evidence: dict[str, Any]) -> str:
    return f"the live database has the schema of the backup {evidence['backup']['path']}"


def _listed(differences: list[str]) -> str:
    more = len(differences) - _FEW
    return "; ".join(differences[:_FEW]) + (f"; and {more} more" if more > 0 else "")


def _decided(decision: str, reason: str) -> dict[str, Any]:
    return {"decision": decision, "reason": reason}


def _refused(what: str, way_out: str) -> dict[str, Any]:
    return {"refusal": what, "next_step": way_out}


def _no_backup(evidence: dict[str, Any]) -> dict[str, Any]:
    seen = "; ".join(evidence["passed_over"][:_FEW])
    if evidence["runs_already"] and not seen:
        return _refused(
            f"database={evidence['asked']} needs a backup from before the deployment, and the services run the release "
            "already: no deployment tells which backup that is.",
            f"Name it with {_WHICH_BACKUP}; or give -e database=skip when the release works with it as it is.",
        )
    return _refused(
        f"database={evidence['asked']} needs a whole backup from before the deployment, and none was found"
        + (f" ({seen})." if seen else "."),
        "Name one with -e backup=PATH, or give -e database=skip when the release works with the database as it is.",
    )


def data_loss(restore: dict[str, Any], backup: dict[str, Any], now: str) -> dict[str, Any]:
    """Return what the live database would lose by going back to a backup.

    ``rows`` and ``tables`` count what it has more than the backup, if ``counted``. ``seconds`` is the time between,
    nothing when it is not known when the backup was taken: what was changed in it without adding rows is lost too, and
    is not counted.
    """
    tables = {table: int(rows) for table, rows in (restore.get("lost_rows") or {}).items()}
    since = moment_of(backup["taken_at"]) if backup.get("taken_at") else None
    return {
        "counted": "lost_rows" in restore,
        "rows": sum(tables.values()),
        "tables": tables,
        "since": since.strftime(_WRITTEN) if since else "",
        "seconds": int((moment_of(now) - since).total_seconds()) if since else None,
    }


def moment_of(text: str) -> datetime:
    """Return a moment as a server, Docker or Git writes it."""
    text = re.sub(r"\.\d+", "", text)  # Docker tells nanoseconds
    if re.fullmatch(r"\d{8}T\d{6}Z", text):  # as marks of databases tell it
        return datetime.strptime(text, "%Y%m%dT%H%M%S%z")
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def loss_refusal(loss: dict[str, Any], accepted: object) -> str:
    """Return why a loss is not covered by what was accepted, or an empty text.

    ``accepted`` is true, a number of rows, or a time such as ``90m``, ``4h`` or ``2d``: what was written in at most
    that long may be lost.
    """
    text = str(accepted).strip().lower()
    duration = _DURATION.fullmatch(text)
    what = f"the live database would lose {loss_text(loss)}."
    if text in _NO:
        return f"Nobody accepted a loss of data, and {what}"
    if not (text in _YES or duration or text.isdigit()):
        return f"accept_data_loss is {accepted!r}; accepted are true, a number of rows, and a time like 90m, 4h or 2d."
    covered = text in _YES or (text.isdigit() and loss["counted"] and loss["rows"] <= int(text))
    if duration and loss["seconds"] is not None:
        covered = loss["seconds"] <= int(duration[1]) * _SECONDS[duration[2]]
    return "" if covered else f"accept_data_loss is {accepted}, and {what}"


def loss_text(loss: dict[str, Any]) -> str:
    """Return a loss in words: time, rows, and the tables that lose most."""
    time = "what was written since the backup was taken (nobody knows when)"
    if loss["since"]:
        time = f"what was written since {loss['since']} ({_length(loss['seconds'])})"
    if not loss["counted"]:
        return time
    tables = sorted(loss["tables"].items(), key=lambda item: (-item[1], item[0]))
    if not tables:
        return f"{time}; no table has more rows than then"
    shown = ", ".join(f"{name} {rows:,}" for name, rows in tables[:_TABLES])
    more = len(tables) - _TABLES
    return f"{time}, among it {loss['rows']:,} rows: {shown}" + (f" and {more} more tables" if more > 0 else "")


def _length(seconds: int | None) -> str:
    if seconds is None:
        return "unknown"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds} s"
