# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The password of a login role: given, locked, put back and proved, without a clear text in SQL."""

from __future__ import annotations

import secrets
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import scram
from ..errors import RollbackError
from ..verify import FAILED, INCONCLUSIVE, PASSED
from ..waiter import wait_for
from .connection import PSYCOPG2_IMPORT_ERROR
from .server import is_superuser, one_value

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    from psycopg2 import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .connection import Login

_ADMIN_SINCE = 160000  # CREATEROLE alone is not enough any more: https://www.postgresql.org/docs/16/release-16.html
_ENDED_WITHIN = 10.0
# Only a superuser may set them. They keep the statement, with its verifier, out of log and views of the server.
_QUIET = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "track_activities": "off",
    "pg_stat_statements.track_utility": "off",
}
_SESSIONS = """
  SELECT pid FROM pg_stat_activity
  WHERE usename = %(role)s AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND (%(before)s::timestamptz IS NULL OR backend_start < %(before)s::timestamptz)"""


class SessionsLeftError(RollbackError):
    """Sessions that began with an old password go on."""


@dataclass(frozen=True)
class Role:
    """What the server says of a role. ``verifier`` is ``None`` where it is not told, and empty where there is none."""

    name: str
    superuser: bool
    login: bool
    verifier: str | None


def look(cursor: Any, name: str) -> Role:
    """Return a role that exists and whose password the login may change; refuse else."""
    cursor.execute("SELECT rolsuper, rolcanlogin FROM pg_roles WHERE rolname = %s", (name,))
    row = cursor.fetchone()
    if row is None:
        raise RollbackError(
            f"The server has no role {name!r}. Nothing was changed.",
            "Look with \\du in psql, and name a role that exists. Case counts.",
        )
    superuser, login = row
    _require_right(cursor, name, superuser=superuser)
    stored = None
    if is_superuser(cursor):
        stored = one_value(cursor, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = %s", (name,))
    return Role(name, superuser, login, stored)


def _require_right(cursor: Any, name: str, *, superuser: bool) -> None:
    """Refuse when the login role may not change the password of the role."""
    cursor.execute(
        "SELECT session_user, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = session_user",
    )
    me, all_rights, creates = cursor.fetchone()
    if all_rights or me == name:
        return
    if creates and not superuser:
        if cursor.connection.server_version < _ADMIN_SINCE:
            return
        if one_value(cursor, "SELECT pg_has_role(session_user, %s, 'MEMBER WITH ADMIN OPTION')", (name,)):
            return
    raise _no_right(me, name)


def _no_right(me: str, name: str) -> RollbackError:
    return RollbackError(
        f"The role {me} may not change the password of the role {name}. Nothing was changed.",
        f"Log in as a superuser, as {name} itself, or as a role with CREATEROLE (from Postgres 16 on also with "
        f"GRANT {name} TO {me} WITH ADMIN OPTION).",
    )


def iterations(cursor: Any) -> int:
    """Return the iterations that the server wants for new verifiers."""
    return int(one_value(cursor, "SELECT current_setting('scram_iterations', true)") or scram.ITERATIONS)


def change(cursor: Any, name: str, verifier: str, *, login: bool | None = None) -> str:
    """Store a verifier, and say whether the role may log in (``None`` leaves that). Return the server's time.

    An empty verifier leaves the role without a password.
    Sessions that began before that time began with an earlier password.
    """
    words = [sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier or None))]
    if login is not None:
        words.append(sql.SQL("LOGIN" if login else "NOLOGIN"))
    try:
        with _quiet(cursor):
            cursor.execute(sql.SQL(" ").join(words))
    except psycopg2.errors.InsufficientPrivilege as error:
        raise _no_right(one_value(cursor, "SELECT session_user"), name) from error
    except psycopg2.Error as error:
        # The whole text of the error may quote the statement.
        raise RollbackError(
            f"The server did not change the password of {name}: {error.diag.message_primary or type(error).__name__}. "
            "Its old one is valid.",
            "Correct what the server names, then run again.",
        ) from error
    return str(one_value(cursor, "SELECT clock_timestamp()::text"))


@contextmanager
def _quiet(cursor: Any) -> Iterator[None]:
    """Open a transaction whose statements the server keeps out of its log, as far as the login may say so."""
    settings = _QUIET if is_superuser(cursor) else {}
    cursor.execute("BEGIN")
    try:
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, true)", (name, value))
        yield
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(psycopg2.Error):
            cursor.execute("ROLLBACK")
        raise


def log_warning(cursor: Any) -> list[str]:
    """Return a warning when the server log will hold the verifier, which is no password, but is made from one."""
    cursor.execute("SELECT current_setting('log_statement'), current_setting('log_min_duration_statement')")
    statements, duration = cursor.fetchone()
    if is_superuser(cursor) or (statements == "none" and duration == "-1"):
        return []
    text = (
        "The log of the database server holds the new verifier, because the login is no superuser and the server logs "
        "statements. It is no password, and cannot be used to log in."
    )
    return [text]


def end_sessions(cursor: Any, name: str, before: str | None = None) -> int:
    """End the sessions of a role, all or those that began before a time of the server. Return how many.

    Raises ``SessionsLeftError`` when the login may not, or may not see when they began, or when they do not end.
    """
    values = {"role": name, "before": before}
    hidden = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND backend_start IS NULL"
    cursor.execute(_SESSIONS, values)
    pids = [pid for (pid,) in cursor.fetchall()]
    try:
        if one_value(cursor, hidden, (name,)):
            raise _not_ended(name, "the login may not see when they began")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::integer[]) AS pid", (pids,))
    except psycopg2.Error as error:
        raise _not_ended(name, error.diag.message_primary or type(error).__name__) from error

    def gone() -> tuple[bool, int]:
        cursor.execute(_SESSIONS, values)
        left = len({pid for (pid,) in cursor.fetchall()} & set(pids))
        return left == 0, left

    ended, left, _seconds = wait_for(gone, _ENDED_WITHIN, 0.05)
    if not ended:
        raise _not_ended(name, f"{left} do not end")
    return len(pids)


def _not_ended(name: str, reason: str) -> SessionsLeftError:
    return SessionsLeftError(
        f"Sessions of the role {name} that began with an old password were not ended: {reason}.",
        f"As a superuser: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'; that ends "
        "those of the application too, which connects again.",
    )


# --- proof ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Door:
    """Where clients log in: the same host, port and TLS as the login, and this database, so the same pg_hba line."""

    login: Login
    database: str

    def lets_in(self, role: str, password: str) -> bool:
        """Tell whether the server lets a role in with a password."""
        with suppress(RollbackError), closing(replace(self.login, user=role, password=password).connect(self.database)):
            return True
        return False

    def lets_anybody_in(self, role: str) -> bool:
        """Tell whether any password opens (pg_hba.conf: trust, peer, cert), so that nothing can be proved."""
        return self.lets_in(role, secrets.token_urlsafe(24))


_ANY = "the server lets this host in with any password (pg_hba.conf: trust, peer or cert)"


def prove_works(door: Door, role: str, password: str) -> dict[str, str]:
    """Return whether a new connection with a password works: ``verdict`` and ``why``."""
    if door.lets_anybody_in(role):
        return {"verdict": INCONCLUSIVE, "why": _ANY}
    works = door.lets_in(role, password)
    return {"verdict": PASSED if works else FAILED, "why": "" if works else "the server refuses the new password"}


def prove_refused(door: Door, role: str, password: str | None, control: Callable[[], bool]) -> dict[str, str]:
    """Return whether an old password is refused.

    A server that is down refuses everybody, so ``control`` must get in right afterwards, or nothing is proved.
    """
    if not password:
        return {"verdict": INCONCLUSIVE, "why": "the old password is not known"}
    if door.lets_in(role, password):
        anybody = door.lets_anybody_in(role)
        return {
            "verdict": INCONCLUSIVE if anybody else FAILED,
            "why": _ANY if anybody else "the server still takes the old password",
        }
    if not control():
        return {"verdict": INCONCLUSIVE, "why": "the server refused the old password, but the new one too"}
    return {"verdict": PASSED, "why": ""}


# --- one role ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What the options of the module ask for; without a password the role is locked."""

    role: str
    password: str | None
    old_password: str | None
    end_sessions: bool


def set_password(login: Login, database: str, wanted: Wanted, *, check: bool = False) -> dict[str, Any]:
    """Give a role the password, or lock it; return the result of the module."""
    if wanted.password is not None and (not wanted.password or "\0" in wanted.password):
        raise RollbackError(
            "password is empty or holds a NUL character. Nothing was changed.", "Give the new password of the role."
        )
    door = Door(login, database)
    with login.cursor() as cursor:
        role = look(cursor, wanted.role)
        rounds = iterations(cursor)
        would = _differs(door, role, wanted.password)
        result: dict[str, Any] = {
            "changed": would, "role": role.name, "iterations": rounds, "login_before": role.login,
            "diff": {"before": {role.name: "as it is"}, "after": {role.name: _words(wanted) if would else "as it is"}},
            "sessions_ended": 0, "works": {}, "refused": {}, "warnings": log_warning(cursor) if would else [],
        }  # fmt: skip
        if check:
            return result
        at = None
        if would and wanted.password is None:
            change(cursor, role.name, scram.verifier(secrets.token_urlsafe(48), rounds), login=False)
        elif would:
            # Only a role with CREATEROLE may say LOGIN, also of itself.
            login_too = None if role.login else True
            at = change(cursor, role.name, scram.verifier(wanted.password or "", rounds), login=login_too)
        result |= _proved(cursor, door, role, wanted)
        if wanted.end_sessions and would:
            result["sessions_ended"] = end_sessions(cursor, role.name, at)
        return result


def _words(wanted: Wanted) -> str:
    return "locked" if wanted.password is None else "a new password"


def _differs(door: Door, role: Role, password: str | None) -> bool:
    """Tell whether the role is not as it is asked for, from its verifier, or where that is not told, from a login."""
    if password is None:
        return role.login
    if not role.login:
        return True
    if role.verifier is not None:
        return not scram.matches(role.verifier, password, role.name)
    return door.lets_anybody_in(role.name) or not door.lets_in(role.name, password)


def _proved(cursor: Any, door: Door, role: Role, wanted: Wanted) -> dict[str, Any]:
    """Return both proofs; when one fails, what was there before is put back as far as it is known."""
    new = wanted.password
    works = prove_works(door, role.name, new) if new is not None else {}
    control = (lambda: door.lets_in(role.name, new)) if new is not None else (lambda: True)
    refused = prove_refused(door, role.name, wanted.old_password, control) if wanted.old_password != new else {}
    if FAILED not in {works.get("verdict"), refused.get("verdict")}:
        return {"works": works, "refused": refused}
    back = role.verifier is not None
    if back:
        change(cursor, role.name, role.verifier or "", login=None if role.login else False)
    raise RollbackError(
        f"The new password of {role.name} was not proved: {works.get('why') or refused.get('why')}. "
        + ("The old one was put back." if back else "The old one is not known, so it was not put back."),
        "Look at pg_hba.conf and the log of the server, then run again.",
        works=works,
        refused=refused,
    )
