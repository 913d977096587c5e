# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The credentials of an application: what each is, where its secret stands, and what a rotation notes of it.

The notes of a rotation hold secrets. They are the file ``pending.json`` in a private directory, written before a server
or a file changes, and removed when the new secrets are proved.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import secret_value
from .errors import RollbackError
from .waiter import checked_seconds
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

POSTGRES, REDIS, ENV, COMMAND, MANUAL = "postgres", "redis", "env", "command", "manual"
KINDS = (POSTGRES, REDIS, ENV, COMMAND, MANUAL)
PAIR = 2
_ODD = re.compile(r"""[\s'"\\`$#]""")
# What each kind needs, and what it may have; all have name, kind, note.
_NEEDS = {POSTGRES: ("env_keys",), REDIS: ("service", "env_keys"), ENV: ("env_keys",), COMMAND: ("argv",), MANUAL: ()}
_VALUES = ("env_keys", "services", "length", "alphabet")
_MAY = {
    POSTGRES: (*_VALUES, "role", "roles", "user_keys"),
    REDIS: (*_VALUES, "service", "port", "user", "admin_key"),
    ENV: _VALUES,
    COMMAND: ("env_keys", "services", "argv", "chdir", "timeout"),
    MANUAL: (),
}


@dataclass(frozen=True)
class Credential:
    """One credential, as the inventory describes it."""

    name: str
    kind: str
    roles: tuple[str, ...] = ()
    user_keys: tuple[str, ...] = ()
    service: str = ""
    port: int = 6379
    user: str = "default"
    admin_key: str = ""
    env_keys: tuple[str, ...] = ()
    length: int = 43
    alphabet: str = "urlsafe"
    argv: tuple[str, ...] = ()
    chdir: str = ""
    timeout: float = 60.0
    services: tuple[str, ...] = ()
    note: str = ""

    @property
    def alternates(self) -> bool:
        """Whether two roles take turns, so that the application never is without a valid password."""
        return len(self.roles) == PAIR


@dataclass
class Note:
    """What a rotation notes of one credential before it changes it.

    ``values`` and ``before`` are values of the environment file by name, the latter as they were written.
    ``changed_at`` is when the server was changed, in seconds of the managed host; ``mark`` tells sessions from before
    that: a time of the server, or an id. ``kept`` is where a Redis server keeps its password, ``not_kept`` why not.
    """

    new: str = ""
    old: str | None = None
    user: str = ""
    old_user: str = ""
    verifiers: dict[str, str | None] = field(default_factory=dict)
    logins: dict[str, bool] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    before: dict[str, str | None] = field(default_factory=dict)
    old_worked: bool = False
    changed_at: float = 0.0
    mark: str = ""
    kept: str = ""
    not_kept: str = ""


def from_options(given: list[dict[str, Any]], *, has_postgres: bool) -> list[Credential]:
    """Return the credentials that the option describes; refuse what cannot be meant."""
    made = [_credential(number, one) for number, one in enumerate(given)]
    if not has_postgres and any(one.kind == POSTGRES for one in made):
        raise RollbackError(
            "credentials has one of the kind postgres, and postgres is not given. Nothing was changed.",
            "Say how the server is reached: rollback_database and rollback_database_login in an inventory.",
        )
    _refuse_twice("name", [one.name for one in made])
    _refuse_twice("env_keys", [key for one in made for key in (*one.env_keys, *one.user_keys)])
    _refuse_twice("role", [role for one in made for role in one.roles])
    return made


def _credential(number: int, given: dict[str, Any]) -> Credential:
    said = {key: value for key, value in given.items() if value not in (None, [], "")}
    name, kind = str(said.get("name", "")).strip(), said.get("kind")
    where = f"credentials[{number}]" + (f" ({name})" if name else "")
    if not name or kind not in KINDS:
        raise _refused(f"{where}.kind={kind!r}", f"name it, and give a kind: {', '.join(KINDS)}")
    for key in _NEEDS[kind]:
        if key not in said:
            raise _refused(f"{where} has no {key}", f"give {', '.join(_NEEDS[kind])} for the kind {kind}")
    wrong = sorted(set(said) - {"name", "kind", "note", *_MAY[kind]})
    if wrong:
        raise _refused(f"{where}.{wrong[0]}", f"for the kind {kind}: {', '.join(_MAY[kind]) or 'note'}")
    roles = [*said.pop("roles", []), *([said.pop("role")] if "role" in said else [])]
    if kind == POSTGRES and (len(roles) not in {1, PAIR} or len(set(roles)) != len(roles)):
        raise _refused(f"{where}.roles={roles!r}", "give role, or roles with two names that take turns")
    length = int(said.get("length", Credential.length))
    if not secret_value.LEAST_LENGTH <= length <= secret_value.MOST_LENGTH:
        raise _refused(
            f"{where}.length={length}", f"give {secret_value.LEAST_LENGTH} to {secret_value.MOST_LENGTH} characters"
        )
    said["timeout"] = checked_seconds(said.get("timeout", Credential.timeout), f"{where}.timeout", 0.1)
    tuples = {key: tuple(map(str, value)) for key, value in said.items() if isinstance(value, list)}
    return Credential(**{**said, **tuples, "name": name, "roles": tuple(map(str, roles)), "length": length})


def _refuse_twice(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise _refused(f"credentials: {what} {value!r} stands twice", "name each once")


def _refused(wrong: str, accepted: str) -> RollbackError:
    return RollbackError(f"{wrong} is not accepted. Nothing was changed.", f"In rollback_credentials {accepted}.")


# --- where a secret stands --------------------------------------------------------------------------------------------


def plain_values(raw: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return values without their quotes; refuse those that a reader of the file would change on the way.

    What a ``$``, a backslash in double quotes, or a comment behind a value means depends on the reader.
    """
    return {key: value if value is None else _plain(key, value) for key, value in raw.items()}


def _plain(key: str, value: str) -> str:
    quote = value[:1] if value[:1] in {"'", '"'} else ""
    inner = value[1:-1] if quote and len(value) > 1 and value.endswith(quote) else value
    odd = {"'": ("'",), '"': ('"', "$", "\\"), "": ("$", " #", "\t#")}[quote]
    if (quote and inner == value) or any(one in inner for one in odd):
        raise RollbackError(
            f"The value of {key} in the environment file has a comment behind it, or a $, a backslash or quotes in it. "
            "Nothing was changed.",
            f"Where it refers to another variable, leave {key} out of env_keys and name that one. Else write it alone "
            "on its line, in single quotes.",
        )
    return inner


def place_of(one: Credential, values: Mapping[str, str | None]) -> secret_value.Place:
    """Return user and secret that the environment file holds for a credential; refuse where its keys disagree."""
    found: dict[str, secret_value.Place] = {}
    for key in one.env_keys:
        value = values.get(key)
        if value is None:
            raise RollbackError(
                f"The environment file does not set {key}, which the credential {one.name} names. Nothing was changed.",
                "Name the variables that hold the secret in env_keys, or set this one.",
            )
        secret_value.check_value(key, value)
        found[key] = secret_value.read(value)
    secrets = {place.secret for place in found.values() if place.secret is not None}
    users = {place.user for place in found.values() if place.user} | {values[key] or "" for key in one.user_keys}
    for what, different in (("secrets", secrets), ("users", users)):
        if len(different) > 1:
            raise RollbackError(
                f"The variables of the credential {one.name} hold different {what}. Nothing was changed.",
                f"Look at {', '.join((*one.env_keys, *one.user_keys))}: those that belong together have the same.",
            )
    return secret_value.Place(next(iter(users), ""), next(iter(secrets), None), is_url=False)


def new_values(one: Credential, raw: Mapping[str, str | None], secret: str, user: str) -> dict[str, str]:
    """Return the variables of a credential with the new secret, and where two roles take turns with the new user.

    They are as the file will hold them: in the quotes that they have now.
    """
    held, name = plain_values(raw), user if one.alternates else ""
    made = {key: secret_value.replaced(held[key] or "", secret, name) for key in one.env_keys}
    made |= dict.fromkeys(one.user_keys, user)
    return {key: _written(one, key, raw[key] or "", value) for key, value in made.items()}


def _written(one: Credential, key: str, before: str, value: str) -> str:
    if not value.isprintable() or _ODD.search(value):
        raise RollbackError(
            f"The new value of {key} for the credential {one.name} has characters that readers of an environment file "
            "understand differently. It is not shown, and no server and no file was changed.",
            "Have it without blanks, quotes, backslashes, back ticks, $ and #, in base64 for example.",
        )
    quote = before[:1] if before[:1] in {"'", '"'} else ""
    return f"{quote}{value}{quote}"


# --- the notes --------------------------------------------------------------------------------------------------------


class Book:
    """The two files of a directory: what is pending, with secrets, and what was done when, without any."""

    def __init__(self, directory: str) -> None:
        """Read what is there; the directory is made at the first write."""
        self.directory = Path(directory)
        self.pending_file = self.directory / "pending.json"
        self._done_file = self.directory / "done.json"
        told = self._read(self.pending_file)
        self.rotation: str = told.get("rotation", "")
        self.pending = {name: Note(**note) for name, note in told.get("credentials", {}).items()}
        self.done: dict[str, dict[str, str]] = self._read(self._done_file)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return dict(told)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise RollbackError(
                f"{path} cannot be read: {type(error).__name__}. Nothing was changed.",
                "It says which secrets a rotation was about to set. Mend its rights; do not remove it before you have "
                "logged in to each server with what the environment file holds.",
            ) from error

    def keep(self, rotation: str) -> None:
        """Have the notes on disk, also when the machine loses its power now."""
        self.rotation = rotation
        notes = {name: asdict(note) for name, note in self.pending.items()}
        self._write(self.pending_file, {"rotation": rotation, "credentials": notes})

    def finish(self, names: Iterable[str], at: str) -> None:
        """Note what was rotated, and forget the secrets."""
        self.done |= {name: {"rotation": self.rotation, "at": at} for name in names}
        self._write(self._done_file, self.done)
        self.forget()

    def forget(self) -> None:
        """Remove the notes with the secrets."""
        self.pending, self.rotation = {}, ""
        self.pending_file.unlink(missing_ok=True)
        sync(self.directory)

    def _write(self, path: Path, told: dict[str, Any]) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.directory.stat()
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise RollbackError(
                    f"The directory {self.directory} is open to others; it will hold secrets. Nothing was changed.",
                    f"chmod 0700 {self.directory}, as its owner and the user that Ansible becomes.",
                )
            write_whole(path, json.dumps(told, sort_keys=True) + "\n", 0o600)
            sync(self.directory)
        except OSError as error:
            raise RollbackError(
                f"{path} cannot be written: {error.strerror}. Nothing was changed since it was written last.",
                "Check the free space and the rights of its folder, then run again.",
            ) from error


def sync(directory: Path) -> None:
    """Have the names of a directory on disk; one that is not there has none."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
