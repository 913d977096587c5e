# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redis server, asked in its own protocol (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/).

Six commands are needed, so no library is.
"""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_USER = "default"
_LIMIT = 16 * 1024 * 1024  # bytes of one answer; the list of 100 000 clients has about that
_DEPTH = 8
_SECONDS = 5.0


class RedisError(Exception):
    """An error that the server answered, or that the connection broke. It holds no argument of a command."""


@dataclass(frozen=True)
class Place:
    """Where a server listens."""

    host: str
    port: int = 6379

    @contextmanager
    def session(self, user: str = DEFAULT_USER, password: str | None = None) -> Iterator[Session]:
        """Yield a session of a user, authenticated when there is a password; raises ``RedisError``."""
        try:
            connection = socket.create_connection((self.host, self.port), timeout=_SECONDS)
        except OSError as error:
            raise RedisError(f"no connection: {error}") from error
        with closing(connection):
            session = Session(connection)
            if password is not None:
                session.call("AUTH", *([] if user == DEFAULT_USER else [user]), password)
            yield session


class Session:
    """One connection; calls are answered in their order."""

    def __init__(self, connection: socket.socket) -> None:
        """Speak on an open connection."""
        self._connection = connection
        self._file = connection.makefile("rb")

    def call(self, *words: str) -> Any:  # noqa: ANN401 - an answer is a text, a number, a list or nothing
        """Return the answer to a command; raises ``RedisError``."""
        parts = [word.encode("utf-8", "surrogateescape") for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        try:
            self._connection.sendall(request)
            return self._answer(0)
        except (OSError, ValueError) as error:
            raise RedisError(f"the connection broke at {words[0]}: {type(error).__name__}") from error

    def _answer(self, depth: int) -> Any:  # noqa: ANN401 - see call
        line = self._file.readline(_LIMIT)
        if not line.endswith(b"\r\n") or depth > _DEPTH:
            raise RedisError("the server closed the connection, or does not speak the protocol of Redis")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"-":
            raise RedisError(rest[:200])
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        size = int(rest)
        if kind not in {b"$", b"*"} or size > _LIMIT:
            raise RedisError("the server does not speak the protocol of Redis")
        if size < 0:
            return None
        if kind == b"*":
            return [self._answer(depth + 1) for _number in range(size)]
        return self._file.read(size + 2)[:-2].decode("utf-8", "replace")


def lets_in(place: Place, user: str, password: str | None) -> tuple[bool, str]:
    """Return whether the server serves this user with this password (``None``: without any), and what it said if not.

    Raises ``RollbackError`` when the server cannot be reached, because then nothing is known.
    """
    try:
        with place.session(user, password) as session:
            session.call("PING")
    except RedisError as error:
        text = str(error)
        if text.startswith("NOPERM"):  # who may not say PING is logged in nevertheless
            return True, ""
        if text.startswith(("no connection", "the connection broke", "the server", "LOADING", "MAXCLIENTS")):
            raise unreachable(place, text) from error
        return False, text
    return True, ""


def unreachable(place: Place, reason: str) -> RollbackError:
    """Return the refusal for a server that does not answer."""
    return RollbackError(
        f"Redis on {place.host}, port {place.port} does not answer: {reason}.",
        "Look at its container and its log; when it answers, run again. What was done so far is kept and gone on with.",
    )


def set_password(session: Session, user: str, password: str | None) -> None:
    """Give a user one password, all others end; ``None`` lets everybody in as that user.

    Of an ACL user only the sum is sent; ``requirepass`` is sent as it is, because Redis keeps it so.
    Redis leaves both commands out of MONITOR, and redacts them in its slow log.
    """
    if user == DEFAULT_USER:
        session.call("CONFIG", "SET", "requirepass", password or "")
        return
    how = ["nopass"] if password is None else [f"#{hashlib.sha256(password.encode()).hexdigest()}"]
    session.call("ACL", "SETUSER", user, "resetpass", *how)


def persist(session: Session) -> tuple[str, str]:
    """Write the passwords where the server reads them when it starts; return where that is, and what went wrong.

    Without a place only its memory has them: then what starts it (its command in the Compose file) must get the
    password from the environment file.
    """
    about = dict(line.split(":", 1) for line in str(session.call("INFO", "server")).splitlines() if ":" in line)
    file, _problem = _tried(session, "CONFIG", "GET", "aclfile")
    wanted = {"its configuration file": ("CONFIG", "REWRITE")} if about.get("config_file", "").strip() else {}
    wanted |= {"its ACL file": ("ACL", "SAVE")} if file and file[1] else {}
    problems = {where: _tried(session, *words)[1] for where, words in wanted.items()}
    kept = " and ".join(where for where, problem in problems.items() if not problem)
    return kept, "; ".join(f"{where} was not written: {problem}" for where, problem in problems.items() if problem)


def _tried(session: Session, *words: str) -> tuple[Any, str]:
    """Return the answer to a command, and the error when the server refuses it."""
    try:
        return session.call(*words), ""
    except RedisError as error:
        return None, str(error)


def end_sessions(session: Session, user: str, before: int) -> int:
    """End the sessions of a user whose id is less than ``before``; ids grow with each connection. Return how many."""
    ended = 0
    for line in str(session.call("CLIENT", "LIST", "TYPE", "normal")).splitlines():
        client = dict(word.split("=", 1) for word in line.split(" ") if "=" in word)
        if client.get("user", DEFAULT_USER) == user and 0 <= int(client.get("id", "-1")) < before:
            ended += int(session.call("CLIENT", "KILL", "ID", client["id"]) or 0)
    return ended


def last_id(session: Session) -> int:
    """Return the id of this session; every later one has a greater one."""
    return int(session.call("CLIENT", "ID"))
