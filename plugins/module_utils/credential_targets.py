# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes a secret: a Postgres server, a Redis server, or only the environment file.

Each target looks (nothing changes), changes, proves, ends what the old secret opened, and puts back. Each of these may
be called again after it was cut off.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from . import credentials, redis_server, scram, secret_value
from .errors import RollbackError
from .postgres import role_password
from .verify import FAILED, INCONCLUSIVE, PASSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .credentials import Credential, Note
    from .postgres.connection import Login

_MEMBERSHIPS = """
  SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
  WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = %s)"""
_SETTINGS = """
  SELECT DISTINCT unnest(setconfig) FROM pg_db_role_setting
  WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)"""
_RIGHTS_OF_ITS_OWN = """
  SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype IN ('o', 'a')
  AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = %s)"""


class Target(Protocol):
    """What a rotation does with a credential. ``values`` is what the environment file holds."""

    def look(self, values: Mapping[str, str | None]) -> Note:
        """Return the note of what is there before; refuse what cannot work."""

    def change(self, note: Note) -> None:
        """Have the new secret on the server, and note when."""

    def prove_new(self, note: Note) -> dict[str, str]:
        """Return whether the new secret works: ``verdict`` and ``why``."""

    def prove_old(self, note: Note) -> dict[str, str]:
        """Return whether the old secret is refused: ``verdict`` and ``why``."""

    def lock_old(self, note: Note) -> None:
        """Lock a role that is left."""

    def end_sessions(self, note: Note) -> int:
        """End the sessions that the old secret opened; return how many. Raises ``SessionsLeftError``."""

    def put_back(self, note: Note) -> None:
        """Have the server as it was before."""


# --- Postgres ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PostgresTarget:
    """A login role, or two that take turns. ``login`` gives a login that works now."""

    credential: Credential
    database: str
    login: Callable[[], Login]

    def look(self, values: Mapping[str, str | None]) -> Note:
        """Note which role the application uses, its verifier, and whether its password works now."""
        one, login = self.credential, self.login()
        place = credentials.place_of(one, values)
        _require_secret(one, place.secret)
        if place.user not in ({*one.roles} if one.alternates else {*one.roles, ""}):
            raise RollbackError(
                f"The environment file names the role {place.user!r} for the credential {one.name}, which has "
                f"{' and '.join(one.roles)}. Nothing was changed.",
                "Name the role that the application uses; of two that take turns, the URL or user_keys must name one.",
            )
        old_user = place.user or one.roles[0]
        user = next((role for role in one.roles if role != old_user), old_user)
        with login.cursor() as cursor:
            roles = {name: role_password.look(cursor, name) for name in one.roles}
            if not roles[old_user].login:
                raise RollbackError(
                    f"The role {old_user} of the credential {one.name} is locked (NOLOGIN). Nothing was changed.",
                    "Name the role that the application uses.",
                )
            if one.alternates:
                _require_pair(cursor, old_user, user, login.user)
        return credentials.Note(
            old=place.secret, user=user, old_user=old_user,
            verifiers={name: role.verifier for name, role in roles.items()},
            logins={name: role.login for name, role in roles.items()},
            old_worked=bool(place.secret) and self._door().lets_in(old_user, place.secret or ""),
        )  # fmt: skip

    def change(self, note: Note) -> None:
        """Give the role its new verifier."""
        with self.login().cursor() as cursor:
            role = role_password.look(cursor, note.user)
            if note.mark and role.login and scram.matches(role.verifier, note.new, note.user):
                return
            verifier = scram.verifier(note.new, role_password.iterations(cursor))
            note.mark = role_password.change(cursor, note.user, verifier, login=None if role.login else True)

    def prove_new(self, note: Note) -> dict[str, str]:
        """Log in with the new password."""
        return role_password.prove_works(self._door(), note.user, note.new)

    def prove_old(self, note: Note) -> dict[str, str]:
        """Try to log in with the old one."""
        door = self._door()
        return role_password.prove_refused(door, note.old_user, note.old, lambda: door.lets_in(note.user, note.new))

    def lock_old(self, note: Note) -> None:
        """Of two roles, lock the one that is left; its password ends too, should anybody unlock it."""
        if not self.credential.alternates:
            return
        with self.login().cursor() as cursor:
            if role_password.look(cursor, note.old_user).login:
                nobody = scram.verifier(secrets.token_urlsafe(48))
                role_password.change(cursor, note.old_user, nobody, login=False)

    def end_sessions(self, note: Note) -> int:
        """End those of the role that is left, or those that the one role had open before the change."""
        before = None if self.credential.alternates else note.mark
        with self.login().cursor() as cursor:
            return role_password.end_sessions(cursor, note.old_user, before)

    def put_back(self, note: Note) -> None:
        """Give each role the verifier that it had; where that was not told, one made from the old password."""
        with self.login().cursor() as cursor:
            for name, verifier in note.verifiers.items():
                known = note.old if name == note.old_user else None
                again = scram.verifier(known or secrets.token_urlsafe(48)) if verifier is None else verifier
                login = note.logins[name] if self.credential.alternates else None
                role_password.change(cursor, name, again, login=login)

    def _door(self) -> role_password.Door:
        return role_password.Door(self.login(), self.database)


def _require_pair(cursor: Any, used: str, other: str, login_user: str) -> None:  # noqa: ANN401 - a cursor of psycopg2
    """Refuse two roles that cannot take turns, because one may do what the other may not."""

    def asked(query: str, role: str) -> set[Any]:
        cursor.execute(query, (role,))
        return {value for (value,) in cursor.fetchall()}

    reason = ""
    if login_user in {used, other}:
        reason = f"the login of the rotation is {login_user}, and one of both is locked at the end"
    elif missing := asked(_MEMBERSHIPS, used) - asked(_MEMBERSHIPS, other) - {other}:
        reason = f"{other} is no member of {', '.join(sorted(missing))}, as {used} is"
    elif missing := asked(_SETTINGS, used) - asked(_SETTINGS, other):
        names = sorted(str(setting).partition("=")[0] for setting in missing)
        reason = f"{used} has settings that {other} has not ({', '.join(names)})"
    elif asked(_RIGHTS_OF_ITS_OWN, used) != {0}:
        reason = f"{used} owns objects or has rights of its own, which {other} has not"
    if reason:
        raise RollbackError(
            f"The roles {used} and {other} cannot take turns: {reason}. Nothing was changed.",
            "Let a NOLOGIN role own all and have all rights; make both members of it, with ALTER ROLE ... SET role. "
            "Or name only one role: then there is a short gap.",
        )


# --- Redis ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RedisTarget:
    """A user of a Redis server. ``passwords`` gives those with which its default user may be logged in now."""

    credential: Credential
    place: Callable[[], redis_server.Place]
    passwords: Callable[[], list[str | None]]

    def look(self, values: Mapping[str, str | None]) -> Note:
        """Note the old password, and that the server lets itself be changed."""
        one = self.credential
        found = credentials.place_of(one, values)
        if found.user not in {"", one.user}:
            raise RollbackError(
                f"The environment file names the user {found.user!r} for the credential {one.name}, not {one.user}. "
                "Nothing was changed.",
                "Give the user that the application uses.",
            )
        if one.user != redis_server.DEFAULT_USER:
            _require_secret(one, found.secret)
        with self._admin() as session:
            if one.user != redis_server.DEFAULT_USER and session.call("ACL", "GETUSER", one.user) is None:
                raise RollbackError(
                    f"Redis has no user {one.user!r}. Nothing was changed.", "Look with: redis-cli ACL LIST."
                )
        worked, _why = redis_server.lets_in(self.place(), one.user, found.secret)
        return credentials.Note(old=found.secret, user=one.user, old_user=one.user, old_worked=worked)

    def change(self, note: Note) -> None:
        """Give the user its new password, and have the server keep it."""
        self._set(note, note.new)

    def prove_new(self, note: Note) -> dict[str, str]:
        """Log in with the new password, and with a wrong one."""
        place = self.place()
        if redis_server.lets_in(place, note.user, secrets.token_urlsafe(24))[0]:
            return {"verdict": INCONCLUSIVE, "why": "Redis lets this user in with any password (nopass)"}
        works, why = redis_server.lets_in(place, note.user, note.new)
        return {"verdict": PASSED if works else FAILED, "why": why}

    def prove_old(self, note: Note) -> dict[str, str]:
        """Try to log in with the old password; where there was none, without any."""
        if redis_server.lets_in(self.place(), note.user, note.old)[0]:
            return {"verdict": FAILED, "why": "Redis still takes the old password"}
        return {"verdict": PASSED, "why": ""}

    def lock_old(self, note: Note) -> None:
        """There is no other user."""

    def end_sessions(self, note: Note) -> int:
        """End what was connected before the change."""
        with self._admin() as session:
            return redis_server.end_sessions(session, note.user, int(note.mark))

    def put_back(self, note: Note) -> None:
        """Give the user its old password."""
        self._set(note, note.old)

    def _set(self, note: Note, password: str | None) -> None:
        with self._admin() as session:
            redis_server.set_password(session, note.user, password)
            note.mark = note.mark or str(redis_server.last_id(session))
            note.kept, note.not_kept = redis_server.persist(session)

    @contextmanager
    def _admin(self) -> Iterator[redis_server.Session]:
        """Yield a session of the default user; what the server refuses in it becomes a refusal in words."""
        try:
            with self.place().session(redis_server.DEFAULT_USER, self._password()) as session:
                yield session
        except redis_server.RedisError as error:
            raise RollbackError(
                f"Redis refused to change or show the user {self.credential.user}: {error}.",
                "Correct what it names (a renamed command, a file that it may not write), then run again.",
            ) from error

    def _password(self) -> str | None:
        """Return the password with which the default user is let in now."""
        place, why = self.place(), ""
        for password in self.passwords():
            works, why = redis_server.lets_in(place, redis_server.DEFAULT_USER, password)
            if works:
                return password
        raise RollbackError(
            f"Redis on {place.host} does not take the password of its default user that the environment file holds for "
            f"the credential {self.credential.name}: {why}. Nothing was changed.",
            "Correct the variable in env_keys; for another user than default, name in admin_key the variable with the "
            "password of default.",
        )


# --- only the environment file ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileTarget:
    """A value that no server is asked about. ``held`` gives what the environment file holds now."""

    credential: Credential
    held: Callable[[], Mapping[str, str | None]] = field(repr=False)

    def look(self, values: Mapping[str, str | None]) -> Note:
        """Note the old value."""
        return credentials.Note(old=credentials.place_of(self.credential, values).secret)

    def change(self, note: Note) -> None:
        """Nothing but the file takes it."""

    def prove_new(self, note: Note) -> dict[str, str]:
        """Read the file."""
        held, wanted = self.held(), credentials.plain_values(note.values)
        if not wanted:
            return {"verdict": INCONCLUSIVE, "why": "the command gave it to what it knows; nothing was asked"}
        right = all(held.get(key) == value for key, value in wanted.items())
        return {"verdict": PASSED if right else FAILED, "why": "" if right else "the file does not hold the new value"}

    def prove_old(self, note: Note) -> dict[str, str]:  # noqa: ARG002 - no server to ask
        """Nobody is known who could refuse it."""
        return {"verdict": INCONCLUSIVE, "why": "no server was asked whether it still takes the old value"}

    def lock_old(self, note: Note) -> None:
        """Nothing has it."""

    def end_sessions(self, note: Note) -> int:  # noqa: ARG002 - nothing is open
        """Return that nothing was open."""
        return 0

    def put_back(self, note: Note) -> None:
        """Only the file has it."""


def _require_secret(one: Credential, secret: str | None) -> None:
    """Refuse where the old secret is not known, because it could not be put back."""
    if not secret:
        raise RollbackError(
            f"The environment file holds no password for the credential {one.name}. Nothing was changed.",
            f"Look at {', '.join(one.env_keys)}: one of them must hold the password that the application uses now.",
        )


def usable(login: Login, passwords: list[str]) -> Login:
    """Return the login with the first of these passwords that the server takes; raises the refusal of the first."""
    refusal: RollbackError | None = None
    for password in dict.fromkeys(passwords):
        candidate = replace(login, password=password)
        try:
            candidate.connect().close()
        except RollbackError as error:
            refusal = refusal or error
        else:
            return candidate
    raise refusal or RollbackError("No password is given.", "Give login_password.")


def secret_of(value: str | None) -> str | None:
    """Return the secret that a variable holds."""
    return secret_value.read(value).secret if value else None
