# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a database that note what they see while something happens to it, in a process of their own.

with probing(server, "live", looping=12, holding=1, query="SELECT release FROM marker") as seen:
    ...
assert seen.refused == 0 and seen.longest_gap_ms < 100
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from postgres_servers import Server

SECONDS_TO_BEGIN = 30
ORDER = {"looping": 1, "holding": 0, "query": "SELECT 1", "pause": 0.002}


@dataclass
class Client:
    """What one client saw."""

    kind: str
    """``looping``: connect, query, close, again and again; ``holding``: one connection, renewed only when it breaks."""
    attempts: int = 0
    refused: int = 0
    """Connections that were not given, whatever the reason."""
    broken: int = 0
    """Connections that ended under a query."""
    errors: dict[str, int] = field(default_factory=dict)
    longest_gap_ms: float = 0.0
    """The longest time without a success, up to the end of the probe."""
    change_gap_ms: float = 0.0
    """The longest time between two successes whose answers differ: a cutover, when the query tells the database."""
    answers: list[Any] = field(default_factory=list)
    """The answers in the order in which they came, repetitions left out."""


@dataclass
class Seen:
    """What all clients saw; filled when the block of ``probing`` is left."""

    clients: list[Client] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def refused(self) -> int:
        """How many connections were not given."""
        return sum(client.refused for client in self.clients)

    @property
    def broken(self) -> int:
        """How many connections ended under a query."""
        return sum(client.broken for client in self.clients)

    @property
    def attempts(self) -> int:
        """How many times anything was asked."""
        return sum(client.attempts for client in self.clients)

    @property
    def longest_gap_ms(self) -> float:
        """The longest time that a client was without a success."""
        return max((client.longest_gap_ms for client in self.clients), default=0.0)

    @property
    def change_gap_ms(self) -> float:
        """The longest time between two successes of a client whose answers differ."""
        return max((client.change_gap_ms for client in self.clients), default=0.0)

    @property
    def errors(self) -> dict[str, int]:
        """How often each message came."""
        told: Counter[str] = Counter()
        for client in self.clients:
            told.update(client.errors)
        return dict(told)


@contextlib.contextmanager
def probing(server: Server, db: str, *, looping: int = 1, holding: int = 0, query: str = "SELECT 1") -> Iterator[Seen]:
    """Let clients of a server ask until the block is left."""
    login = {"host": server.host, "port": server.port, "user": server.user, "password": server.password, "dbname": db}
    argv = [sys.executable, str(Path(__file__).resolve())]
    with asking(argv, login, looping=looping, holding=holding, query=query) as seen:
        yield seen


@contextlib.contextmanager
def asking(argv: Sequence[str], login: dict[str, Any], **order: Any) -> Iterator[Seen]:
    """Let clients ask until the block is left; it begins when every one of them has had an answer.

    ``argv`` runs this file; ``order`` says how many clients there are, and what they ask.
    """
    order = ORDER | order | {"login": login}
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdin
    assert process.stdout
    seen = Seen()
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        begun = process.stdout.readline()
        assert begun == "begun\n", f"the clients got no answer before anything happened: {begun or process.poll()}"
        yield seen
        told, _nothing = process.communicate(timeout=60)
        found = json.loads(told)
        seen.seconds, seen.clients = found["seconds"], [Client(**client) for client in found["clients"]]
    finally:
        process.kill()
        process.communicate()


# --- in the process of its own ----------------------------------------------------------------------------------------


class _Asker(threading.Thread):
    """One client."""

    def __init__(self, kind: str, order: dict[str, Any], ended: threading.Event) -> None:
        """Note the order; nothing is asked yet."""
        super().__init__(daemon=True)
        self.seen = Client(kind)
        self.answered = threading.Event()
        self._order, self._ended = order, ended
        self._told: Counter[str] = Counter()
        self._connection: Any = None
        self._last_success = 0.0

    def run(self) -> None:
        """Ask until the end."""
        while not self._ended.is_set():
            self._attempt()
            self._ended.wait(self._order["pause"])
        if self._last_success:
            self._note_gap(time.monotonic())
        self.seen.errors = dict(self._told)
        self._close()

    def first_refusal(self) -> list[str]:
        """Wait for the first answer; return the errors that came instead."""
        deadline = time.monotonic() + SECONDS_TO_BEGIN
        while not self.answered.wait(0.01):
            if self._told or time.monotonic() > deadline:
                return list(self._told) or ["no answer"]
        return []

    def _attempt(self) -> None:
        """Connect if there is no connection, ask, and note how it went."""
        self.seen.attempts += 1
        if self._connection is None:
            try:
                self._connection = psycopg2.connect(**self._order["login"], connect_timeout=10)
                self._connection.autocommit = True
            except psycopg2.Error as error:
                self.seen.refused += 1
                self._told[_message(error)] += 1
                return
        try:
            self._ask()
        except psycopg2.Error as error:
            self.seen.broken += 1
            self._told[_message(error)] += 1
            self._close()
        if self.seen.kind == "looping":
            self._close()

    def _ask(self) -> None:
        """Ask once."""
        with self._connection.cursor() as cursor:
            cursor.execute(self._order["query"])
            answer = cursor.fetchone()[0]
        now = time.monotonic()
        changed = self.seen.answers[-1:] != [answer]
        if self._last_success:
            self._note_gap(now)
            if changed:
                self.seen.change_gap_ms = max(self.seen.change_gap_ms, self._gap(now))
        self._last_success = now
        if changed:
            self.seen.answers.append(answer)
        self.answered.set()

    def _note_gap(self, now: float) -> None:
        """Note how long there was no success."""
        self.seen.longest_gap_ms = max(self.seen.longest_gap_ms, self._gap(now))

    def _gap(self, now: float) -> float:
        """Return how long there was no success, in milliseconds."""
        return round((now - self._last_success) * 1000, 1)

    def _close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _message(error: psycopg2.Error) -> str:
    """Return the first line of an error, without address and port."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return first.partition(" failed: ")[2] or first


def main() -> int:
    """Read an order, let the clients ask until standard input ends, print what they saw."""
    order = json.loads(sys.stdin.readline())
    ended = threading.Event()
    askers = [_Asker(kind, order, ended) for kind in ("looping", "holding") for _each in range(order[kind])]
    for asker in askers:
        asker.start()
    refusals = {told for asker in askers for told in asker.first_refusal()}
    if refusals:
        print(*refusals, flush=True)
        return 1
    began = time.monotonic()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    for asker in askers:
        asker.join(timeout=30)
    seconds = round(time.monotonic() - began, 3)
    print(json.dumps({"seconds": seconds, "clients": [vars(asker.seen) for asker in askers]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
