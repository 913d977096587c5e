# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Postgres: it accepts, has connections left, nobody waits for locks, no transaction is forgotten, replicas follow.

It is asked twice: by the first message of its protocol, which needs no password and whose refusal has a code in every
language, and by SQL, which tells why. https://www.postgresql.org/docs/current/errcodes-appendix.html has the codes,
https://www.postgresql.org/docs/current/monitoring-stats.html the views. Queries of others are never quoted.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..http_probe import printable
from ..postgres.server import CLIENT, RESERVED
from .network import answered, latency, no_answer, question, wrong_answer
from .probe import Probe, failed, judged, passed, unknown

if TYPE_CHECKING:
    from ..errors import RollbackError
    from ..postgres.connection import Login
    from .network import Answer
    from .settings import Dependency

_STATEMENT_MILLISECONDS = 4000
_GIGABYTE = 1e9
_SLOT_GIGABYTES = 10
# Postgres stops to take writes 3 million before the counter of 2^31 is at its end.
_WRAPAROUND = 2_000_000_000
_REFUSALS = {
    "53300": ("connections", "its connections are used up"),
    "57P03": ("starting", "it starts, stops or recovers, and accepts nobody"),
    "3D000": ("database", "the database does not exist"),
    "55000": ("database", "the database accepts no connections"),
    "53100": ("disk", "its disk is full"),
    "53200": ("memory", "it has no memory left"),
    "58030": ("disk", "it cannot read or write its files"),
}
# What libpq tells of a login that failed after the first answer; it has no code for it.
_LOGIN_WORDS = {
    "too many clients": "connections",
    "remaining connection slots": "connections",
    "too many connections": "connections",
    "not currently accepting connections": "database",
    '" does not exist': "database",
    "is starting up": "starting",
    "recovery": "starting",
}
_OTHERS = f"{CLIENT} AND pid <> pg_backend_pid()"
# Each gives one row. A user without pg_read_all_stats sees only its own sessions in full; the others are counted.
_QUERIES = {
    "server": (
        "SELECT pg_is_in_recovery(), current_setting('max_connections')::int, "
        f"{RESERVED}, "
        "(SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'), "
        "age(datfrozenxid), datconnlimit, (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user) "
        "FROM pg_database WHERE datname = current_database()"
    ),
    "sessions": (
        "SELECT count(*), count(*) FILTER (WHERE datname = current_database()), "
        "count(*) FILTER (WHERE usename = session_user), "
        "count(*) FILTER (WHERE state LIKE 'idle in transaction%'), "
        "count(*) FILTER (WHERE query = '<insufficient privilege>') FROM pg_stat_activity "
        f"WHERE {_OTHERS}"
    ),
    "holder": (
        "SELECT usename, application_name, client_addr::text, state, count(*) FROM pg_stat_activity "
        f"WHERE {_OTHERS} "
        "GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 1"
    ),
    "waiting": (
        "WITH waiting AS (SELECT pid, pg_blocking_pids(pid) AS blockers, extract(epoch FROM clock_timestamp() - "
        "coalesce((SELECT min(waitstart) FROM pg_locks l WHERE l.pid = a.pid AND NOT granted), query_start))::float8 "
        "AS seconds FROM pg_stat_activity a WHERE wait_event_type = 'Lock') "
        "SELECT count(*), max(seconds), (SELECT b FROM waiting, unnest(blockers) b "
        "WHERE b NOT IN (SELECT pid FROM waiting) GROUP BY b ORDER BY count(*) DESC, b LIMIT 1) "
        "FROM waiting WHERE cardinality(blockers) > 0"
    ),
    "transaction": (
        "SELECT pid, usename, application_name, state, "
        "extract(epoch FROM clock_timestamp() - xact_start)::float8 FROM pg_stat_activity "
        f"WHERE {_OTHERS} AND xact_start IS NOT NULL "
        "AND application_name NOT IN ('pg_dump', 'pg_dumpall', 'pg_basebackup') ORDER BY xact_start LIMIT 1"
    ),
    "prepared": (
        "SELECT count(*), max(extract(epoch FROM clock_timestamp() - prepared)::float8) FROM pg_prepared_xacts "
        "WHERE database = current_database()"
    ),
    "replicas": (
        "SELECT count(*), count(*) FILTER (WHERE state <> 'streaming'), "
        "coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication "
        "WHERE application_name <> 'pg_basebackup'"
    ),
}
_PRIMARY_QUERIES = {
    "slots": (
        "SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 FROM pg_replication_slots "
        "WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY 2 DESC LIMIT 1"
    ),
}
_REPLICA_QUERIES = {
    "replay": (
        "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 ELSE "
        "extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8, "
        "(SELECT count(*) FROM pg_stat_wal_receiver)"
    ),
}

Rows = dict[str, tuple[Any, ...]]


# --- the protocol -----------------------------------------------------------------------------------------------------


def questions(one: Dependency) -> dict[str, dict[str, Any]]:
    """Return what is asked over the network."""
    return {"answers": question(one, "postgres", user=one.username or "postgres", database=one.database or "postgres")}


def judge_protocol(one: Dependency, answers: dict[str, Answer], place: str) -> list[Probe]:
    """Judge the first answer of the server. That it wants another login is an answer, too."""
    answer = answers["answers"]
    missing = no_answer(one, answer, place)
    if missing:
        return [missing]
    code = answer.get("sqlstate", "")
    if answer["accepts"] or code.startswith("28"):
        note = "" if answer["accepts"] else f", and refuses this way to log in ({code})"
        return [answered(one, answer, place, f"it accepts{note}"), latency(one, answer["seconds"], place)]
    fault, words = _REFUSALS.get(code, ("error", "it refuses"))
    return [wrong_answer(one, answer, place, fault, f"{words} (SQLSTATE {code}: {answer['message']})")]


# --- SQL --------------------------------------------------------------------------------------------------------------


def read(login: Login, database: str) -> Rows:
    """Return a row of each query. Raises ``RollbackError`` when there is no way in."""
    with closing(login.connect(database)) as connection, connection.cursor() as cursor:
        rows = _rows(cursor, _QUERIES)
        return {**rows, **_rows(cursor, _REPLICA_QUERIES if rows["server"][0] else _PRIMARY_QUERIES)}


def _rows(cursor: Any, queries: dict[str, str]) -> Rows:
    found: Rows = {}
    for name, query in queries.items():
        # waitstart is there from version 14 on.
        old = cursor.connection.server_version < 140000  # noqa: PLR2004
        cursor.execute(query.replace("min(waitstart)", "NULL::timestamptz") if old else query)
        found[name] = cursor.fetchone() or ()
    return found


def session_parameters() -> str:
    """Return what limits the statements of a diagnosis: it must not wait for what it looks for."""
    return f"-c statement_timeout={_STATEMENT_MILLISECONDS} -c lock_timeout=1000"


def refusal(one: Dependency, error: RollbackError) -> list[Probe]:
    """Return the probe of a login that failed, or that says that a library is missing."""
    if "exception" in error.facts:
        return [unknown(one.name, "login", f"{error.msg} {error.next_step}", limit="it lets us in")]
    words = error.msg
    fault = next((fault for part, fault in _LOGIN_WORDS.items() if part in words), "auth")
    return [failed(one.name, "login", fault, words, limit="it lets us in")]


def judge_rows(one: Dependency, rows: Rows) -> list[Probe]:
    """Judge what the server tells of itself."""
    judges = (_connections, _waiting, _transaction, _prepared, _writes, _replication, _slots, _wraparound)
    return [probe for judge in judges for probe in judge(one, rows)]


def _connections(one: Dependency, rows: Rows) -> list[Probe]:
    """Judge the fullest of the limits: of the server, of the database, of the user."""
    _recovery, most, reserved, _read_only, _age, of_database, of_user = rows["server"]
    total, here, mine, idle, _hidden = rows["sessions"]
    counts = [("the server", total, most - reserved), ("the database", here, of_database), ("the user", mine, of_user)]
    limited = [(name, used, limit) for name, used, limit in counts if limit is not None and limit > 0]
    name, used, limit = max(limited, key=lambda count: count[1] / count[2])
    percent = 100 * used / limit
    seen = f"{used} of {limit} connections of {name} are used ({percent:.0f}%)"
    most_allowed = one.limits["max_connections_percent"]
    is_bad = percent >= most_allowed
    if is_bad:
        seen += f", {idle} idle in a transaction{_holder(rows['holder'])}"
    return [
        judged(one.name, "connections", is_bad, seen, limit=f"below {most_allowed:g}% used", fault="connections"),
    ]


def _holder(row: tuple[Any, ...]) -> str:
    if not row:
        return ""
    user, application, address, state, number = row
    who = f"{user}{f' ({printable(application, 40)})' if application else ''}{f' at {address}' if address else ''}"
    return f"; most, {number}, are of {who}, {state or 'state unknown'}"


def _hidden(one: Dependency, kind: str, rows: Rows, limit: str) -> list[Probe]:
    """Say what cannot be seen, where nothing was found: sessions of other users hide when they began."""
    hidden = rows["sessions"][4]
    why = f"{hidden} sessions of other users are not seen (grant the login pg_read_all_stats)"
    return [unknown(one.name, kind, why, limit=limit)] if hidden else []


def _waiting(one: Dependency, rows: Rows) -> list[Probe]:
    number, seconds, blocker = rows["waiting"]
    limit = one.limits["max_lock_wait"]
    seconds = seconds or 0.0
    words = f"no wait longer than {limit:g} s"
    hidden = [] if number else _hidden(one, "locks", rows, words)
    seen = f"{number} sessions wait for locks, the longest for {seconds:.0f} s" if number else "nobody waits for locks"
    seen += f"; session {blocker} holds them up" if blocker else ""
    return hidden or [judged(one.name, "locks", seconds > limit, seen, limit=words, fault="locks")]


def _transaction(one: Dependency, rows: Rows) -> list[Probe]:
    limit = one.limits["max_transaction_age"]
    words = f"none older than {limit:g} s"
    if not rows["transaction"]:
        return _hidden(one, "transactions", rows, words) or [
            passed(one.name, "transactions", "none is open", limit=words)
        ]
    pid, user, application, state, seconds = rows["transaction"]
    name = f" ({printable(application, 40)})" if application else ""
    seen = f"the oldest is {seconds:.0f} s old: session {pid} of {user}{name}, {state}"
    return [judged(one.name, "transactions", seconds > limit, seen, limit=words, fault="transaction")]


def _prepared(one: Dependency, rows: Rows) -> list[Probe]:
    number, seconds = rows["prepared"]
    if not number:
        return []
    limit = one.limits["max_transaction_age"]
    seen = f"{number} prepared transactions, the oldest {seconds:.0f} s old"
    return [
        judged(one.name, "prepared transactions", seconds > limit, seen, limit=f"none older than {limit:g} s",
               fault="transaction")
    ]  # fmt: skip


def _writes(one: Dependency, rows: Rows) -> list[Probe]:
    recovery, read_only = rows["server"][0], rows["server"][3] == "on"
    limit = "a replica" if one.replica else "a primary, which takes writes"
    if recovery and not one.replica:
        return [failed(one.name, "role", "readonly", "it is in recovery, so it is read-only", limit=limit)]
    if read_only and not one.replica:
        seen = "default_transaction_read_only is on, so it takes no writes"
        return [failed(one.name, "role", "readonly", seen, limit=limit)]
    return [passed(one.name, "role", "in recovery" if recovery else "it takes writes", limit=limit)]


def _replication(one: Dependency, rows: Rows) -> list[Probe]:
    limit = one.limits["max_replication_lag"]
    words = f"at most {limit:g} s behind"
    if "replay" in rows:
        behind, receivers = rows["replay"]
        seen = f"{behind or 0:.0f} s behind{'' if receivers else ', and receives nothing from a primary'}"
        is_bad = (behind or 0) > limit or not receivers
        return [judged(one.name, "replication", is_bad and one.replica, seen, limit=words, fault="replication")]
    number, broken, behind = rows["replicas"]
    seen = f"{number} replicas, {broken} not streaming, at most {behind:.0f} s behind" if number else "no replica"
    is_bad = bool(broken) or behind > limit
    return [judged(one.name, "replication", is_bad, seen, limit=words, fault="replication")]


def _slots(one: Dependency, rows: Rows) -> list[Probe]:
    if not rows.get("slots"):
        return []
    name, size = rows["slots"]
    seen = f"the slot {printable(name, 60)} is not used and keeps {size / _GIGABYTE:.1f} GB of log (WAL)"
    is_bad = size > _SLOT_GIGABYTES * _GIGABYTE
    return [judged(one.name, "replication slots", is_bad, seen, limit=f"at most {_SLOT_GIGABYTES} GB", fault="slot")]


def _wraparound(one: Dependency, rows: Rows) -> list[Probe]:
    age = rows["server"][4]
    if age <= _WRAPAROUND:
        return []
    seen = f"its transaction counter is nearly used up (age {age}); soon it takes no writes"
    return [failed(one.name, "wraparound", "wraparound", seen, limit=f"age below {_WRAPAROUND}")]
