# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation of credentials: notes first, then servers, then the environment file; proof last.

Cut off anywhere, the notes say which secrets are meant, so that a second call brings servers and file together again:

====================== ===================== ==========================================================
cut off                servers, file         a second call
====================== ===================== ==========================================================
before the notes       old, old              begins anew
before the servers     old, old              goes on with the noted secrets
between two servers    both, old             changes the rest
before the file        new, old              writes the file
before the proof       new, new              proves
while putting back     both, both            brings all to the new secrets, and proves
====================== ===================== ==========================================================
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import credentials, environment_file, redis_server, secret_value
from .credential_targets import FileTarget, PostgresTarget, RedisTarget, Target, secret_of, usable
from .credentials import COMMAND, MANUAL, POSTGRES, REDIS, Book, Credential, Note
from .docker_client import connect
from .errors import RollbackError
from .exclusive import exclusive
from .postgres.connection import container_address
from .postgres.role_password import SessionsLeftError
from .project import ALIVE, containers_of
from .verify import FAILED, INCONCLUSIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .postgres.connection import Login

_MODE = 0o600


@dataclass(frozen=True)
class Request:
    """What the options of the module ask for. ``login`` gives the login of Postgres, with its first password."""

    credentials: list[Credential]
    environment_file: str
    directory: str
    rotation: str
    project: str
    docker_host: str | None
    database: str
    login_user: str
    login: Callable[[], Login]


class Rotation:
    """One call: the request, the notes on disk, and what the environment file holds."""

    def __init__(self, request: Request) -> None:
        """Read the notes and the environment file; refuse notes that belong to other credentials."""
        self.request = request
        self.book = Book(request.directory)
        self.credentials = [one for one in request.credentials if one.kind != MANUAL]
        unknown = sorted(set(self.book.pending) - {one.name for one in self.credentials})
        if unknown:
            raise RollbackError(
                f"A rotation of {', '.join(unknown)} was cut off and is not finished; these credentials are not among "
                f"those that are given. Nothing was changed.",
                "Give them again, so that the rotation can be finished or put back.",
            )
        self.rotation = request.rotation or f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"
        self.targets = {one.name: self._target(one) for one in self.credentials}

    # --- what is there ---

    def raw(self) -> dict[str, str | None]:
        """Return the variables of all credentials as the environment file has them."""
        keys = [key for one in self.credentials for key in (*one.env_keys, *one.user_keys)]
        keys += [one.admin_key for one in self.credentials if one.admin_key]
        if not keys:
            return {}
        return environment_file.raw_values(environment_file.read_file(self.request.environment_file), keys)

    def values(self) -> dict[str, str | None]:
        """Return the same without quotes."""
        return credentials.plain_values(self.raw())

    def open(self) -> list[Credential]:
        """Return the credentials that this rotation has still to rotate."""
        return [
            one for one in self.credentials
            if one.name in self.book.pending or self.book.done.get(one.name, {}).get("rotation") != self.rotation
        ]  # fmt: skip

    def pending(self) -> list[tuple[Credential, Target, Note]]:
        """Return what was noted, with what it is about."""
        notes = self.book.pending
        return [(one, self.targets[one.name], notes[one.name]) for one in self.credentials if one.name in notes]

    def _target(self, one: Credential) -> Target:
        if one.kind == POSTGRES:
            return PostgresTarget(one, self.request.database, self._login)
        if one.kind == REDIS:
            return RedisTarget(one, lambda: self._redis(one), lambda: self._redis_passwords(one))
        return FileTarget(one, self.values)

    def _login(self) -> Login:
        """Return a login that works now, also while the password of the login itself is rotated."""
        login = self.request.login()
        mine = [one for one in self.credentials if login.user in one.roles]
        notes = [self.book.pending[one.name] for one in mine if one.name in self.book.pending]
        given = [login.password, *(text for note in notes for text in (note.new, note.old) if text)]
        held = self.values() if mine else {}
        given += [text for one in mine for key in one.env_keys if (text := secret_of(held.get(key)))]
        return usable(login, given)

    def _redis(self, one: Credential) -> redis_server.Place:
        return redis_server.Place(
            container_address(self.request.project, one.service, self.request.docker_host)[0], one.port
        )

    def _redis_passwords(self, one: Credential) -> list[str | None]:
        """Return the passwords that the default user of the same server may have now."""
        held = self.values()
        same = [
            other for other in self.credentials
            if other.kind == REDIS and other.service == one.service and other.user == redis_server.DEFAULT_USER
        ]  # fmt: skip
        notes = [self.book.pending[other.name] for other in same if other.name in self.book.pending]
        keys = [one.admin_key, *(key for other in same for key in other.env_keys)]
        found: list[str | None] = [text for note in notes for text in (note.new, note.old) if text]
        found += [secret_of(held[key]) for key in keys if held.get(key)]
        return list(dict.fromkeys([*found, None]))

    # --- changed ---

    def plan(self) -> dict[str, Any]:
        """Look at everything; change nothing."""
        todo, held = self.open(), self.values()
        for one in todo:
            if one.name not in self.book.pending:
                self._look(one, held)
        return self._told(todo, changed=bool(todo))

    def change(self) -> dict[str, Any]:
        """Note new secrets, give them to the servers, write the environment file."""
        todo, raw = self.open(), self.raw()
        held = credentials.plain_values(raw)
        fresh = {one.name: self._look(one, held) for one in todo if one.name not in self.book.pending}
        told = self._told(todo, changed=bool(todo))
        for one in todo:
            if one.name in fresh:
                note = fresh[one.name]
                note.new = _new_secret(one)
                note.before = {key: raw[key] for key in (*one.env_keys, *one.user_keys)}
                note.values = credentials.new_values(one, raw, note.new, note.user)
                self.book.pending[one.name] = note
                self.book.keep(self.rotation)
        for _one, target, note in self.pending():
            note.changed_at = note.changed_at or time.time()
            self.book.keep(self.rotation)
            target.change(note)
            self.book.keep(self.rotation)
        self._write({key: value for note in self.book.pending.values() for key, value in note.values.items()})
        return told | {"open_items": self._open_items(todo)}

    def _look(self, one: Credential, held: dict[str, str | None]) -> Note:
        return self.targets[one.name].look(held)

    def _write(self, variables: dict[str, Any]) -> None:
        """Have the variables in the file, readable by its owner only."""
        if not variables:
            return
        path = self.request.environment_file
        text = environment_file.read_file(path)
        after = environment_file.set_variables(text, variables)
        if after != text or Path(path).stat().st_mode & 0o7777 != _MODE:
            environment_file.replace_file(path, after, _MODE)
            credentials.sync(Path(path).resolve().parent)

    def _told(self, todo: list[Credential], *, changed: bool) -> dict[str, Any]:
        services = sorted({name for one in todo for name in one.services})
        alive = self._images(services)
        return {
            "changed": changed,
            "rotation": self.rotation,
            "credentials": [self._row(one, one in todo) for one in self.request.credentials],
            "services": services,
            "running": alive,
            "not_running": [name for name in services if name not in alive],
            "open_items": self._open_items(todo),
            "diff": {"before": {}, "after": {one.name: "a new secret" for one in todo}},
        }

    def _row(self, one: Credential, is_open: bool) -> dict[str, Any]:  # noqa: FBT001
        action = "rotate" if is_open else "rotated before"
        if one.name in self.book.pending:
            action = "go on"
        return {
            "name": one.name, "kind": one.kind, "action": "by a person" if one.kind == MANUAL else action,
            "roles": list(one.roles), "variables": [*one.env_keys, *one.user_keys], "services": list(one.services),
            "gap": _gap(one),
        }  # fmt: skip

    def _images(self, services: list[str]) -> dict[str, str]:
        """Return the image id of each of these services that runs."""
        if not services:
            return {}
        found = containers_of(connect(self.request.docker_host), self.request.project)
        return {
            one.service: one.image_id
            for one in found
            if one.service in services and not one.one_off and one.state in ALIVE
        }

    def _open_items(self, todo: list[Credential]) -> list[str]:
        """Return what is left to a person: what no module can do, and what a rotation of ``todo`` leaves."""
        by_hand = [one for one in self.request.credentials if one.kind == MANUAL]
        items = [f"{one.name}: {one.note or 'rotate it where it lives'}" for one in by_hand]
        return items + [f"{one.name}: {item}" for one in todo for item in self._left_by(one)]

    def _left_by(self, one: Credential) -> list[str]:
        note, keys = self.book.pending.get(one.name), ", ".join(one.env_keys)
        items = [one.note] if one.note else []
        if one.kind == COMMAND and not one.note:
            items.append("see that the old value is revoked where it was issued")
        if one.kind == POSTGRES and self.request.login_user in one.roles:
            items.append(
                f"{self.request.login_user} is also the login of the rollback; put the new password, that of {keys}, "
                "in the vault of the inventory (login_password)"
            )
        if one.kind == REDIS and note and note.mark and (note.not_kept or not note.kept):
            reason = note.not_kept or "Redis has neither a configuration file nor an ACL file"
            items.append(
                f"{reason}; what starts it must take the password from {keys}, or a restart brings the old one"
            )
        return items

    # --- finished ---

    def finish(self, *, check: bool) -> dict[str, Any]:
        """Prove, then lock and end what is old, then forget the notes."""
        now, pending = time.time(), self.pending()
        told = self._told([one for one, _target, _note in pending], changed=bool(pending))
        if check or not pending:
            return told
        rows = {row["name"]: row for row in told["credentials"]}
        for one, target, note in pending:
            rows[one.name] |= {
                "works": target.prove_new(note), "refused": {}, "worked_before": note.old_worked, "sessions_ended": 0,
                "gap_seconds": None if one.alternates or one.kind not in {POSTGRES, REDIS}
                else round(now - note.changed_at, 3),
            }  # fmt: skip
        self._refuse_failed(rows, "works", "does not work")
        for one, target, note in pending:
            target.lock_old(note)
            try:
                rows[one.name]["sessions_ended"] = target.end_sessions(note)
            except SessionsLeftError as error:
                told["open_items"].append(f"{one.name}: {error.msg} {error.next_step}")
            rows[one.name]["refused"] = target.prove_old(note)
        self._refuse_failed(rows, "refused", "is not refused")
        self.book.finish(
            [one.name for one, _target, _note in pending], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        )
        return told | {"warnings": _doubts(rows)}

    def _refuse_failed(self, rows: dict[str, dict[str, Any]], proof: str, words: str) -> None:
        failed = [name for name, row in rows.items() if row.get(proof, {}).get("verdict") == FAILED]
        if failed:
            which = "new" if proof == "works" else "old"
            whys = ", ".join(f"{name} ({rows[name][proof]['why']})" for name in failed)
            raise RollbackError(
                f"The {which} secret {words}: {whys}. Servers and environment file have the new secrets; the old ones "
                f"are kept in {self.book.pending_file}.",
                "Put the old ones back with state: put_back, or mend what is named and finish again.",
                credentials=list(rows.values()),
            )

    # --- put back ---

    def put_back(self, *, check: bool) -> dict[str, Any]:
        """Have servers and environment file as they were, then forget the notes."""
        pending = self.pending()
        told = self._told([one for one, _target, _note in pending], changed=bool(pending))
        if check or not pending:
            return told
        changed = [(target, note) for _one, target, note in pending if note.changed_at]
        for target, note in changed:
            target.put_back(note)
        self._write({key: value for _target, note in changed for key, value in note.before.items()})
        self.book.forget()
        return told


def _new_secret(one: Credential) -> str:
    if one.kind == COMMAND:
        return secret_value.from_command(one.name, list(one.argv), one.chdir or None, one.timeout)
    return secret_value.generate(one.length, one.alphabet)


def _gap(one: Credential) -> str:
    """Return in words what the application sees of a rotation."""
    if one.kind == MANUAL:
        return ""
    if one.alternates:
        return "without a gap"
    if one.kind in {POSTGRES, REDIS}:
        return "new connections fail until its services have started again"
    return "until its services have started again, they use the old value"


def _doubts(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a warning for each server that could not be asked."""
    return [
        f"{name}: not proved, {row[proof]['why']}."
        for name, row in rows.items()
        for proof in ("works", "refused")
        if row["kind"] in {POSTGRES, REDIS} and row.get(proof, {}).get("verdict") == INCONCLUSIVE
    ]


def rotate(request: Request, state: str, *, check: bool = False) -> dict[str, Any]:
    """Bring the credentials to a state: ``changed``, ``finished`` or ``put_back``; return the result of the module.

    One call at a time works with a directory of notes.
    """
    if check:
        return _carried_out(Rotation(request), state, check=True)
    try:
        Path(request.directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RollbackError(
            f"The directory {request.directory} cannot be made: {error.strerror}. Nothing was changed.",
            "Give a directory that the user that Ansible becomes can make, and that outlives a reboot.",
        ) from error
    with exclusive([request.directory]):
        return _carried_out(Rotation(request), state, check=False)


def _carried_out(rotation: Rotation, state: str, *, check: bool) -> dict[str, Any]:
    if state == "changed":
        return rotation.plan() if check else rotation.change()
    return rotation.finish(check=check) if state == "finished" else rotation.put_back(check=check)
