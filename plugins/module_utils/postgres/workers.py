# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several connections that load rows and build indexes side by side.

One COPY stream is cut at line ends and shared between the connections: text COPY never has a raw line end inside a
row. Statements that build something wait for every earlier one that locks the same table in a conflicting way, so
that they neither deadlock nor stand in each other's way.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Aborted(Exception):  # noqa: N818 - not an error of its own: the cause is kept elsewhere
    """The load was given up; raised inside the workers to end what they do."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Whole lines for the COPY number ``copy``."""

    copy: int
    sql: bytes
    data: bytes
    session: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Statements that belong together in one transaction; ``label`` says what they are for, in messages."""

    statements: tuple[bytes, ...]
    label: str
    session: int
    shared: frozenset[bytes] = frozenset()
    exclusive: frozenset[bytes] = frozenset()
    table: str = ""
    """The table whose rows these INSERT statements are, or whose rows a SELECT counts."""


Task = Union[Rows, Batch]


@dataclass
class Outcome:
    """Rows as the server told them: per COPY number, per table of INSERT statements, as ``SELECT count(*)`` found."""

    copied: dict[int, int] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)


def _conflict(one: Task, other: Task) -> bool:
    if isinstance(one, Rows) or isinstance(other, Rows):
        return False
    return bool(one.exclusive & (other.exclusive | other.shared) or other.exclusive & (one.exclusive | one.shared))


def _holds_rows(task: Task) -> bool:
    return isinstance(task, Rows) or bool(task.table)


class Workers:
    """``jobs`` connections, each in a thread, that take tasks in order."""

    def __init__(self, connect: Callable[[], Any], jobs: int) -> None:
        """Start the threads; each connects when it gets its first task."""
        self._connect = connect
        self._limit = 2 * jobs
        self._change = threading.Condition()
        self._waiting: deque[Task] = deque()
        self._running: list[Task] = []
        self._connections: list[Any] = []
        self._closed = False
        self.session: list[bytes] = []
        self.failure: BaseException | None = None
        self.failed_at = ""
        self.outcome = Outcome()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _number in range(jobs)]
        for thread in self._threads:
            thread.start()

    # -- for the one who gives tasks -----------------------------------------------------------------------------------

    def put(self, task: Task) -> None:
        """Add a task; wait while too many rows wait already. Raises the failure of a worker."""
        with self._change:
            while self.failure is None and len(self._waiting) >= self._limit and _holds_rows(self._waiting[-1]):
                self._change.wait()
            self._raise()
            self._waiting.append(task)
            self._change.notify_all()

    def drain(self) -> None:
        """Wait until every task is done. Raises the failure of a worker."""
        with self._change:
            while self.failure is None and (self._waiting or self._running):
                self._change.wait()
            self._raise()

    def abort(self, reason: BaseException) -> None:
        """Fail with this reason, unless there is one already, and cancel what the connections do."""
        with self._change:
            self._waiting.clear()
            self.failure = self.failure or reason
            self._change.notify_all()
            connections = list(self._connections)
        for connection in connections:
            with suppress(Exception):  # it may have ended by itself meanwhile
                connection.cancel()

    def close(self, *, abort: bool = False) -> None:
        """End the threads and their connections; with ``abort`` at once, whatever they do."""
        if abort:
            self.abort(Aborted())
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _raise(self) -> None:
        if self.failure is not None:
            raise self.failure

    # -- the threads ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        connection: Any = None
        applied = 0
        try:
            while True:
                task = self._next()
                if task is None:
                    return
                try:
                    if connection is None:
                        connection = self._connect()
                        self._connections.append(connection)
                    with connection.cursor() as cursor:
                        applied = self._follow_session(cursor, applied, task.session)
                        self._carry_out(cursor, task)
                except BaseException as error:  # noqa: BLE001 - a thread must hand over whatever ended it
                    self._fail(error, task)
                    return
        finally:
            if connection is not None:
                connection.close()

    def _next(self) -> Task | None:
        with self._change:
            while self.failure is None:
                task = self._eligible()
                if task is not None:
                    self._waiting.remove(task)
                    self._running.append(task)
                    self._change.notify_all()
                    return task
                if self._closed and not self._waiting:
                    return None
                self._change.wait()
            return None

    def _eligible(self) -> Task | None:
        earlier: list[Task] = list(self._running)
        for task in self._waiting:
            if not any(_conflict(task, other) for other in earlier):
                return task
            earlier.append(task)
        return None

    def _finish(self, task: Task) -> None:
        with self._change:
            self._running.remove(task)
            self._change.notify_all()

    def _fail(self, error: BaseException, task: Task) -> None:
        with self._change:
            if self.failure is None:
                self.failure = error
                self.failed_at = task.label if isinstance(task, Batch) else task.sql.decode("utf-8", "replace")
            self._change.notify_all()

    def _follow_session(self, cursor: Any, applied: int, wanted: int) -> int:
        for sql in self.session[applied:wanted]:
            cursor.execute(sql)
        return max(applied, wanted)

    def _carry_out(self, cursor: Any, task: Task) -> None:
        if isinstance(task, Rows):
            feed = _Feed(self, task)
            cursor.copy_expert(task.sql, feed, size=1 << 20)
            self._count(task.copy, cursor.rowcount)
            self._finish(feed.task)
            return
        rows = self._in_transaction(cursor, task.statements) if len(task.statements) > 1 else self._one(cursor, task)
        if task.table and not cursor.description:
            with self._change:
                self.outcome.inserted[task.table] = self.outcome.inserted.get(task.table, 0) + rows
        self._finish(task)

    def _one(self, cursor: Any, task: Batch) -> int:
        cursor.execute(task.statements[0])
        if cursor.description and task.table:
            with self._change:
                self.outcome.counted[task.table] = cursor.fetchone()[0]
        return int(cursor.rowcount)

    @staticmethod
    def _in_transaction(cursor: Any, statements: Sequence[bytes]) -> int:
        rows = 0
        cursor.execute("BEGIN")
        for sql in statements:
            cursor.execute(sql)
            rows += cursor.rowcount
        cursor.execute("COMMIT")
        return rows

    def _count(self, copy: int, rows: int) -> None:
        with self._change:
            self.outcome.copied[copy] = self.outcome.copied.get(copy, 0) + rows

    def more_rows(self, task: Rows) -> Rows | None:
        """Return the next rows of the same COPY, or nothing when the next task is another one or none waits.

        A COPY that nobody feeds ends; the next rows of the table begin another one. No worker waits inside a COPY.
        """
        with self._change:
            if self.failure is not None:
                raise Aborted
            following = self._waiting[0] if self._waiting else None
            if not isinstance(following, Rows) or following.copy != task.copy:
                return None
            self._waiting.popleft()
            self._running[self._running.index(task)] = following
            self._change.notify_all()
            return following


class _Feed:
    """The file that ``copy_expert`` reads: rows of one COPY for as long as they come."""

    def __init__(self, workers: Workers, first: Rows) -> None:
        self.task = first
        self._workers = workers
        self._fresh = True

    def read(self, _size: int) -> bytes:
        if self._fresh:
            self._fresh = False
            return self.task.data
        following = self._workers.more_rows(self.task)
        if following is None:
            return b""
        self.task = following
        return following.data
