# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Postgres servers for tests: one container each, on a free port of 127.0.0.1, removed with all that is in it."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
from container_shell import ContainerShell
from harness import REPOSITORY, free_port
from psycopg2 import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER = "usdx"
MAINTENANCE = "postgres"
BASES = {15: os.environ.get("USDX_BASE_IMAGE", "debian:bookworm-slim"), 17: "debian:trixie-slim"}
VERSIONS = tuple(BASES)
SECONDS_TO_START = 60
QUICK = {"fsync": "off", "full_page_writes": "off"}  # enough for killed processes; only a dead machine would lose data
SETTINGS = {
    "max_prepared_transactions": "5",
    "wal_level": "logical",
    "shared_buffers": "64MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_IN_THE_WAY = (
    (
        "SELECT quote_literal(slot_name) FROM pg_replication_slots WHERE database = current_database()",
        "SELECT pg_drop_replication_slot({0})",
    ),
    ("SELECT quote_literal(gid) FROM pg_prepared_xacts WHERE database = current_database()", "ROLLBACK PREPARED {0}"),
    (
        (
            "SELECT quote_ident(subname) FROM pg_subscription JOIN pg_database d ON d.oid = subdbid"
            " WHERE datname = current_database()"
        ),
        "ALTER SUBSCRIPTION {0} DISABLE; ALTER SUBSCRIPTION {0} SET (slot_name = NONE); DROP SUBSCRIPTION {0}",
    ),
)
_LABEL = "usdx.rollback.test"
_OWNER = "usdx.rollback.test.owner"
_EXCHANGED = "usdx.rollback.test.exchange"
_SERVICE = "db"
_COMMANDS_AS = "postgres"
_EXCHANGE = "/exchange"


class ServerError(Exception):
    """A server did not do what a test needs; the message says what it printed."""


def docker(*argv: str, given: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run docker with bytes on its standard input."""
    done = subprocess.run(["docker", *argv], input=given or b"", capture_output=True, check=False)
    return _good(done, "docker", *argv) if check else done


def _good(done: subprocess.CompletedProcess[bytes], *argv: str) -> subprocess.CompletedProcess[bytes]:
    """Return what a command did, unless it failed."""
    if done.returncode:
        told = (done.stdout[-2000:] + b"\n" + done.stderr[-4000:]).decode(errors="replace")
        raise ServerError(f"{' '.join(argv)} returned {done.returncode}\n{told}")
    return done


# --- the server -------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A running server whose only superuser is ``usdx``; no role is named postgres.

    ``exchange`` is a directory of its container and of this machine; without it each command there starts a shell.
    """

    version: int
    container: str
    port: int
    password: str = field(repr=False)
    exchange: Path | None = None
    host: str = "127.0.0.1"
    user: str = USER
    _shells: list[ContainerShell] = field(default_factory=list, repr=False)

    # --- asking it ---

    @property
    def login(self) -> dict[str, Any]:
        """The options with which a module of this collection connects."""
        return {
            "login_host": self.host,
            "login_port": self.port,
            "login_user": self.user,
            "login_password": self.password,
        }

    @property
    def compose_login(self) -> dict[str, Any]:
        """The same by Compose project and service, as which every server here is labelled: its disk can be seen."""
        return {
            "login_host": None,
            "login_port": 5432,
            "project": self.container,
            "service": _SERVICE,
            "login_user": self.user,
            "login_password": self.password,
        }

    def connect(self, db: str = MAINTENANCE, **options: Any) -> Any:
        """Return a connection in autocommit mode; options go to psycopg2 (``user`` and ``password`` too)."""
        standard: dict[str, Any] = {"user": self.user, "password": self.password, "connect_timeout": 10}
        connection = psycopg2.connect(host=self.host, port=self.port, dbname=db, **(standard | options))
        connection.autocommit = True
        return connection

    def execute(self, db: str, statement: str | sql.Composable) -> list[tuple[Any, ...]]:
        """Execute SQL in a connection of its own; return the rows of the last statement, if it has any."""
        with contextlib.closing(self.connect(db)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def value(self, db: str, statement: str) -> Any:
        """Return the one value that a query gives."""
        ((value,),) = self.execute(db, statement)
        return value

    def psql(self, db: str, script: str | bytes, *options: str) -> str:
        """Run a script or a plain dump with the server's own psql, which stops at the first error."""
        given = script.encode() if isinstance(script, str) else script
        argv = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *options, "-U", self.user, "-d", db]
        return self.inside(*argv, given=given).decode()

    def pg_dump(self, db: str, *options: str) -> bytes:
        """Return what the server's own pg_dump writes."""
        return self.inside("pg_dump", "-U", self.user, "-d", db, *options)

    def pg_restore(self, dump: bytes, *options: str) -> bytes:
        """Give an archive to the server's own pg_restore; return what it prints (``-f -`` is a plain dump)."""
        return self.inside("pg_restore", "-U", self.user, *options, given=dump)

    def copy_out(self, db: str, query: str) -> bytes:
        """Return a table (by name) or a query (in parentheses) as COPY prints it."""
        out = io.BytesIO()
        with contextlib.closing(self.connect(db)) as connection, connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {query} TO STDOUT", out)
        return out.getvalue()

    # --- the container ---

    def inside(self, *argv: str, given: bytes | None = None, user: str = "postgres") -> bytes:
        """Run a command in the container, without a terminal; return what it printed."""
        if user != _COMMANDS_AS or self.exchange is None:
            return docker("exec", "--interactive", "--user", user, self.container, *argv, given=given).stdout
        shell = self._shells.pop() if self._shells else self._new_shell(self.exchange)
        try:
            done = shell.run(argv, given or b"")
        except OSError as error:
            shell.end()
            raise ServerError(f"{self.container}: {error}") from error
        self._shells.append(shell)
        return _good(done, self.container, *argv).stdout

    def _new_shell(self, exchange: Path) -> ContainerShell:
        """Return one more shell in the container; a test may have as many commands at once as it likes."""
        name = secrets.token_hex(4)
        place = exchange / name
        place.mkdir()
        place.chmod(0o777)  # for the user of the container; the directory around it is private
        return ContainerShell(self.container, _COMMANDS_AS, place, f"{_EXCHANGE}/{name}")

    def _end_shells(self) -> None:
        while self._shells:
            self._shells.pop().end()

    def logs(self) -> str:
        """Return what the server has logged."""
        done = docker("logs", self.container)
        return (done.stdout + done.stderr).decode(errors="replace")

    def stop_immediate(self) -> None:
        """End the server as ``pg_ctl stop -m immediate`` does: the next start recovers from the log."""
        docker("kill", "--signal", "QUIT", self.container)
        docker("wait", self.container)
        self._end_shells()

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut does for them."""
        docker("kill", "--signal", "KILL", self.container)
        docker("wait", self.container)
        self._end_shells()

    def start(self) -> None:
        """Start the container again, on the same port, and wait until it answers."""
        docker("start", self.container)
        self.wait()

    def wait(self) -> None:
        """Wait until the server answers on its port."""
        deadline = time.monotonic() + SECONDS_TO_START
        while (error := self._refusal()) is not None:
            state = docker("container", "inspect", "--format", "{{.State.Running}}", self.container, check=False)
            if state.stdout.strip() != b"true" or time.monotonic() > deadline:
                raise ServerError(f"the server does not answer: {error}\n{self.logs()[-4000:]}")
            time.sleep(0.05)

    def _refusal(self) -> str | None:
        """Return why the server takes no connection now, or nothing if it does."""
        try:
            self.connect(connect_timeout=2).close()
        except psycopg2.OperationalError as error:
            return str(error)
        return None

    def remove(self) -> None:
        """Remove the container with its data, running or not."""
        docker("rm", "--force", "--volumes", self.container, check=False)
        self._end_shells()
        if self.exchange:
            shutil.rmtree(self.exchange.parent, ignore_errors=True)

    # --- what is in it ---

    def create_database(self, name: str | None = None, options: str = "TEMPLATE template0") -> str:
        """Create a database, with a name that nobody else has unless one is given; return the name."""
        name = name or f"it_{secrets.token_hex(5)}"
        self.execute(MAINTENANCE, sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))
        return name

    def databases(self, prefix: str = "") -> list[str]:
        """Return the names of all databases that begin so."""
        rows = self.execute(MAINTENANCE, "SELECT datname FROM pg_database ORDER BY 1")
        return [name for (name,) in rows if name.startswith(prefix)]

    def drop_database(self, name: str) -> None:
        """Drop a database whoever is connected to it, whatever its state; no error if it is not there."""
        if name not in self.databases():
            return
        quoted = sql.Identifier(name)
        with contextlib.suppress(psycopg2.Error):  # a database whose DROP was interrupted can only be dropped
            self.execute(
                MAINTENANCE, sql.SQL("ALTER DATABASE {} IS_TEMPLATE false ALLOW_CONNECTIONS true").format(quoted)
            )
        with contextlib.suppress(psycopg2.Error):
            self._leave_replication(name)
        self.execute(MAINTENANCE, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted))

    def _leave_replication(self, name: str) -> None:
        """End what stops a DROP DATABASE: replication slots, prepared transactions, subscriptions."""
        for found, statements in _IN_THE_WAY:
            for (one,) in self.execute(name, found):
                for statement in statements.format(one).split(";"):
                    self.execute(name, statement)

    def create_tablespace(self, name: str, folder: str = "") -> None:
        """Create a tablespace in a folder of its own in the container, once."""
        if self.execute(MAINTENANCE, f"SELECT 1 FROM pg_tablespace WHERE spcname = {_literal(name)}"):
            return
        folder = folder or f"/var/lib/postgresql/tablespace-{name}"
        self.inside("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", folder, user="root")
        self.execute(
            MAINTENANCE,
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(name), sql.Literal(folder)),
        )

    def install_extension(self, name: str, script: str, control: str = "") -> None:
        """Put an extension of version 1.0 where CREATE EXTENSION finds it."""
        folder = f"/usr/share/postgresql/{self.version}/extension"
        described = f"default_version = '1.0'\ncomment = 'extension of a test'\n{control}"
        for suffix, text in ((".control", described), ("--1.0.sql", script)):
            self.inside("tee", f"{folder}/{name}{suffix}", given=text.encode(), user="root")


def _literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


# --- starting and removing --------------------------------------------------------------------------------------------


def image_of(version: int) -> str:
    """Return the name of the image with this version, and build it if it is missing; it stays as a cache."""
    image, base = f"usdx-it/postgres:{version}", BASES[version]
    if docker("image", "inspect", image, check=False).returncode:
        subprocess.run([str(REPOSITORY / "tests" / "demo" / "docker.sh"), "base", base], check=True)
        arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"VERSION={version}"]
        folder = REPOSITORY / "tests" / "demo" / "images" / "postgres"
        docker("build", "--quiet", *arguments, "--tag", image, str(folder))
    return image


def _owner(pid: int | None = None) -> str:
    """Name a process of this machine so that another one can tell whether it still lives."""
    space = str(Path("/proc/self/ns/pid").readlink())
    began = Path(f"/proc/{pid or os.getpid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return f"{space} {pid or os.getpid()} {began}"


def labels() -> list[str]:
    """Return the labels of a container that ``remove_orphans`` removes when this process is gone."""
    return ["--label", f"{_LABEL}=1", "--label", f"{_OWNER}={_owner()}"]


def remove_orphans() -> None:
    """Remove servers whose test run was killed before it could; those of a run that still lives are left alone."""
    wanted = f'{{{{.ID}}}} {{{{.Label "{_OWNER}"}}}} {{{{.Label "{_EXCHANGED}"}}}}'
    listed = docker("ps", "--all", "--no-trunc", "--filter", f"label={_OWNER}", "--format", wanted).stdout.decode()
    for container, space, pid, began, *exchange in (line.split() for line in listed.splitlines()):
        if space != str(Path("/proc/self/ns/pid").readlink()):
            continue
        try:
            alive = _owner(int(pid)) == f"{space} {pid} {began}"
        except OSError:
            alive = False
        if not alive:
            docker("rm", "--force", "--volumes", container, check=False)
            for place in exchange:
                shutil.rmtree(Path(place).parent, ignore_errors=True)


def _exchange() -> Path:
    """Return a new directory for files that host and container exchange, in one that others cannot enter."""
    place = Path(tempfile.mkdtemp(prefix="usdx-it-exchange-"), "exchange")
    place.mkdir()
    place.chmod(0o711)  # for the user of the container
    return place


def _run(server: Server, settings: Mapping[str, str], extra: list[str]) -> None:
    """Start the container of a server."""
    argv = ["run", "--detach", "--name", server.container, *labels()]
    for key, value in {"project": server.container, "service": _SERVICE, "oneoff": "False"}.items():
        argv += ["--label", f"com.docker.compose.{key}={value}"]
    argv += ["--volume", f"{server.exchange}:{_EXCHANGE}", "--label", f"{_EXCHANGED}={server.exchange}"]
    argv += ["--publish", f"{server.host}:{server.port}:5432", "--shm-size", "1g"]
    argv += ["--env", f"POSTGRES_USER={server.user}", "--env", f"POSTGRES_PASSWORD={server.password}"]
    argv += ["--env", f"POSTGRES_DB={MAINTENANCE}"]
    argv += [*extra, image_of(server.version), "postgres"]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    docker(*argv)


@contextlib.contextmanager
def running_server(
    version: int,
    *,
    crash_safe: bool = False,
    tmpfs_megabytes: int = 4000,
    tablespace_megabytes: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Give a server of its own to the block, and remove it after, whatever happens.

    ``crash_safe`` leaves fsync on and the data on a real disk, for tests that end the server the hard way. Else it lies
    in memory, and is lost when the server stops: ext4 takes long to find a place for the files of a database where
    others were just removed. ``tmpfs_megabytes`` says how much there may be, for tests that fill the disk: the server
    panics then, because its log is there too. ``tablespace_megabytes`` gives it a tablespace ``small`` on a disk of
    that size: a database in it can run out of space (53100) without harm to the server.
    """
    remove_orphans()
    name = f"usdx-it-postgres{version}-{secrets.token_hex(4)}"
    server = Server(
        version=version, container=name, port=free_port(), password=secrets.token_urlsafe(18),
        exchange=_exchange(),
    )  # fmt: skip
    atexit.register(server.remove)
    try:
        extra: list[str] = []
        if not crash_safe:
            # On a folder that the image has, a tmpfs would get that folder's mode, but not its owner.
            extra += ["--tmpfs", f"/small:rw,mode=0777,size={tmpfs_megabytes}m", "--env", "PGDATA=/small/cluster"]
        if tablespace_megabytes:
            extra += ["--tmpfs", f"/space:rw,mode=0777,size={tablespace_megabytes}m"]
        _run(server, SETTINGS | ({} if crash_safe else QUICK) | dict(settings or {}), extra)
        server.wait()
        if tablespace_megabytes:
            server.create_tablespace("small", "/space/small")
        yield server
    finally:
        server.remove()
        atexit.unregister(server.remove)


@contextlib.contextmanager
def fresh_database(server: Server) -> Iterator[str]:
    """Give an empty database to the block; drop it after, and all databases whose names begin with its name."""
    name = server.create_database()
    try:
        yield name
    finally:
        for one in server.databases(name):
            server.drop_database(one)
