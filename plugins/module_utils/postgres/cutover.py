# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cutover: two databases change their names in one transaction.

Two ways. *catalog lock*: one DO statement locks pg_database, ends the sessions and renames. A newcomer reads that
catalog before it belongs to a database, so it waits and then finds the new one: nobody is refused. It needs a
superuser, and one round trip cannot be left half done. A newcomer that has read the catalog already holds a lock on
its database before pg_stat_activity knows it; a rename would wait for that lock, and everybody's login behind it. Then
the try is given up at once, and the next one comes some milliseconds later. *fence*: for an owner with CREATEDB; the
live database refuses newcomers for some milliseconds, which is noted in the comment of the incoming one before, so
that the next run can mend it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .connection import PSYCOPG2_IMPORT_ERROR, message
from .names import write_mark
from .server import set_comment, tell_to_end

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    import psycopg2.errors
    from psycopg2.extensions import quote_ident

if TYPE_CHECKING:
    from collections.abc import Callable

# While a try waits for the catalog lock, newcomers to every database wait behind it: many short tries, not a long one.
_LOCK_MILLISECONDS = 50
_LOCK_TRIES = 20
_LOCK_PAUSE = 0.1
# A newcomer is done within milliseconds; it comes from a client that comes again, so the moment without one is short.
_NEWCOMER_TRIES = 100
_NEWCOMER_PAUSE = 0.003
_NEWCOMER = "UR001"  # the name of a state of our own
_FALL_BACK = {"42501", "55P03", _NEWCOMER}  # insufficient_privilege, lock_not_available
_CATALOG_LOCK = """
DO $usdx_rollback$
DECLARE
  live text := {live}; incoming text := {incoming}; kept text := {kept};
  began timestamptz := clock_timestamp(); newcomers int; left_over int; ended int := 0;
BEGIN
  PERFORM set_config('lock_timeout', '{lock_milliseconds}ms', true);
  LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE;
  LOOP
    SELECT count(*) INTO newcomers FROM pg_locks
      WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND pid <> pg_backend_pid()
        AND objid IN (SELECT oid FROM pg_database WHERE datname IN (live, incoming));
    IF newcomers > 0 THEN
      RAISE EXCEPTION '% sessions hold a lock on the database', newcomers USING ERRCODE = '{newcomer}';
    END IF;
    EXIT WHEN left_over = 0;
    PERFORM pg_stat_clear_snapshot();
    SELECT count(pg_terminate_backend(pid)) INTO left_over FROM pg_stat_activity
      WHERE datname IN (live, incoming) AND pid <> pg_backend_pid();
    CONTINUE WHEN left_over = 0;  -- only to look for newcomers again
    ended := greatest(ended, left_over);
    IF clock_timestamp() - began > {seconds} * interval '1 second' THEN
      RAISE EXCEPTION '% sessions did not end', left_over USING ERRCODE = '55006';
    END IF;
    PERFORM pg_sleep(0.002);
  END LOOP;
  {renames}
  PERFORM set_config('usdx_rollback.ended', ended::text, false);
END $usdx_rollback$"""


@dataclass(frozen=True)
class Swap:
    """Who changes places: ``incoming`` becomes ``live``, and the live one becomes ``kept``, frozen.

    ``kept_mark`` is what is noted on the kept database; ``live_comment`` is the comment that the new live one gets;
    ``incoming_mark`` is what stands on the incoming one until then, with the fence noted when there is one.
    """

    live: str
    incoming: str
    kept: str
    kept_mark: str
    live_comment: str
    incoming_mark: dict[str, Any]


@dataclass(frozen=True)
class Cutover:
    """How it went: the variant, how long the try took that succeeded, how many sessions it ended."""

    variant: str
    milliseconds: float
    sessions_ended: int


def cut_over(cursor: Any, swap: Swap, variant: str = "auto", seconds: float = 3.0) -> Cutover:
    """Change the names; ``seconds`` bounds how long the sessions may take to end.

    ``variant`` is ``catalog_lock``, ``fence``, or ``auto``: the first, and where rights or another reader of the
    catalog forbid it, the second. Raises ``RollbackError`` when the names could not be changed: they are as before.
    """
    cursor.execute("SET synchronous_commit = local; SET statement_timeout = '30s'")
    tries: dict[str, Callable[[Any, Swap, float], Cutover]] = {"catalog_lock": _by_catalog_lock, "fence": _by_fence}
    names = list(tries) if variant == "auto" else [variant]
    for name in names:
        try:
            return tries[name](cursor, swap, seconds)
        except psycopg2.Error as error:  # noqa: PERF203 - there are two
            if cursor.connection.closed:
                raise _broken(swap, error) from error
            if name == names[-1] or error.pgcode not in _FALL_BACK:
                raise _failure(swap, error) from error
        finally:
            cursor.execute("SET statement_timeout = 0") if not cursor.connection.closed else None
    raise AssertionError  # the last try has returned or raised


def _renames(cursor: Any, swap: Swap) -> list[str]:
    live, incoming, kept = (quote_ident(name, cursor) for name in (swap.live, swap.incoming, swap.kept))
    comment = _quoted(swap.live_comment) if swap.live_comment else "NULL"
    return [
        f"ALTER DATABASE {live} RENAME TO {kept}",
        f"ALTER DATABASE {kept} ALLOW_CONNECTIONS false",
        f"ALTER DATABASE {incoming} RENAME TO {live}",
        f"ALTER DATABASE {live} ALLOW_CONNECTIONS true",
        f"COMMENT ON DATABASE {kept} IS {_quoted(swap.kept_mark)}",
        f"COMMENT ON DATABASE {live} IS {comment}",
    ]


def _quoted(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "''").replace("$", "\\x24")  # no dollar may end the DO body
    return f"E'{quoted}'"


def _by_catalog_lock(cursor: Any, swap: Swap, seconds: float) -> Cutover:
    milliseconds = _until_nobody_is_in_the_way(cursor, _catalog_lock(cursor, swap, seconds))
    cursor.execute("SELECT current_setting('usdx_rollback.ended')::int")
    return Cutover("catalog_lock", milliseconds, int(cursor.fetchone()[0]))


def _catalog_lock(cursor: Any, swap: Swap, seconds: float) -> str:
    names = {"live": swap.live, "incoming": swap.incoming, "kept": swap.kept}
    body = _CATALOG_LOCK.format(
        **{key: _quoted(name) for key, name in names.items()},
        seconds=float(seconds),
        lock_milliseconds=_LOCK_MILLISECONDS,
        newcomer=_NEWCOMER,
        renames=";\n  ".join(_renames(cursor, swap)) + ";",
    )
    if "$usdx_rollback$" in body.split("\nDECLARE", 1)[1].rsplit("END ", 1)[0]:
        raise RollbackError("The name of a database holds $usdx_rollback$.", "Rename it.")
    return body


def _until_nobody_is_in_the_way(cursor: Any, body: str) -> float:
    """Execute the body until neither the catalog nor a database is locked by others; return the last try's duration."""
    left = {"55P03": _LOCK_TRIES, _NEWCOMER: _NEWCOMER_TRIES}
    pauses = {"55P03": _LOCK_PAUSE, _NEWCOMER: _NEWCOMER_PAUSE}
    while True:
        began = time.monotonic()
        try:
            cursor.execute(body)
        except psycopg2.Error as error:
            code = error.pgcode or ""
            left[code] = left.get(code, 1) - 1
            if left[code] <= 0:
                raise
            time.sleep(pauses[code])
        else:
            return _milliseconds_since(began)


def _milliseconds_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def _by_fence(cursor: Any, swap: Swap, seconds: float) -> Cutover:
    began = time.monotonic()
    live = quote_ident(swap.live, cursor)
    set_comment(cursor, swap.incoming, write_mark(**{**swap.incoming_mark, "fenced": swap.live}))
    cursor.execute(f"ALTER DATABASE {live} ALLOW_CONNECTIONS false")
    try:
        ended = end_sessions(cursor, [swap.live, swap.incoming], seconds)
        cursor.execute("BEGIN")
        # Nobody can connect now, so a lock that somebody holds on a database is waited for no longer than sessions.
        cursor.execute(f"SET LOCAL lock_timeout = {max(1, int(seconds * 1000))}")
        for statement in _renames(cursor, swap):
            cursor.execute(statement)
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        unfence(cursor, swap.live, swap.incoming, swap.incoming_mark)
        raise
    return Cutover("fence", _milliseconds_since(began), ended)


def unfence(cursor: Any, live: str, incoming: str, mark: dict[str, Any]) -> None:
    """Open the live database again and forget the fence."""
    cursor.execute(f"ALTER DATABASE {quote_ident(live, cursor)} ALLOW_CONNECTIONS true")
    set_comment(cursor, incoming, write_mark(**{key: value for key, value in mark.items() if key != "fenced"}))


def end_sessions(cursor: Any, names: list[str], seconds: float) -> int:
    """End all sessions on these databases and return how many there were; ``RollbackError`` when some stay."""
    deadline = time.monotonic() + seconds
    most = 0
    while True:
        left = tell_to_end(cursor, names)
        most = max(most, left)
        if left == 0:
            return most
        if time.monotonic() > deadline:
            raise RollbackError(
                f"{left} sessions on {names[0]} did not end within {seconds} s. The live database is as it was.",
                "Look at them in pg_stat_activity, end what they do, then run again. Only a superuser may end the "
                "sessions of a superuser.",
            )
        time.sleep(0.002)


def _broken(swap: Swap, error: Any) -> RollbackError:
    return RollbackError(
        f"The connection broke during the cutover of {swap.live}: {message(error)}. Whether the names "
        "changed is not known from here; they changed together or not at all, and both databases are whole.",
        "Run again: it looks at the catalog first, and ends what was begun or sees that it is done.",
        live_untouched=False,
    )


def _failure(swap: Swap, error: Any) -> RollbackError:
    code = getattr(error, "pgcode", None) or "none"
    return RollbackError(
        f"The cutover did not happen: {message(error)} (SQLSTATE {code}). {swap.live} is as it was, and "
        f"{swap.incoming} stands ready beside it.",
        "Run again. If sessions do not end, look at them in pg_stat_activity; if a right is missing, log in as a "
        "superuser, or as the owner with CREATEDB and pg_signal_backend.",
        sqlstate=code,
    )
