# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project with Postgres and Redis, roles that an application uses, and its environment file."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg2
from ansible_collections.usdx.rollback.plugins.module_utils import environment_file, redis_server, secret_value
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.connection import container_address
from postgres_servers import image_of
from stacks import Stack, demo_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADMIN, ADMIN_PASSWORD, DATABASE = "admin", "admin-Secret-0", "shop"
COMPOSE = """\
services:
  db:
    image: {postgres}
    command: [postgres, -c, log_statement=all, -c, fsync=off]
    environment: {{POSTGRES_USER: {admin}, POSTGRES_DB: {database}, POSTGRES_PASSWORD: {password}}}
    stop_grace_period: 1s
  redis:
    image: {redis}
    command: [redis-server, --bind, 0.0.0.0, --protected-mode, "no", --save, "", --dir, /tmp]
    stop_grace_period: 1s
"""
PAIR = """
CREATE ROLE {0}_owner NOLOGIN; CREATE ROLE {0}_a LOGIN PASSWORD '{1}' IN ROLE {0}_owner;
CREATE ROLE {0}_b NOLOGIN IN ROLE {0}_owner;
ALTER ROLE {0}_a SET role = {0}_owner; ALTER ROLE {0}_b SET role = {0}_owner;
"""


@dataclass
class Stand:
    """The project, and how a test asks its servers as the application would."""

    stack: Stack
    version: int
    old: str = field(default_factory=lambda: f"old-{secrets.token_urlsafe(12)}")

    @property
    def project(self) -> str:
        """Return the name of the Compose project."""
        return self.stack.project

    @property
    def file(self) -> Path:
        """Return the environment file."""
        return self.stack.directory / ".env"

    @property
    def state(self) -> Path:
        """Return the directory for the notes of a rotation."""
        return self.stack.directory / "state"

    def address(self, service: str) -> str:
        """Return the address of a server."""
        return container_address(self.project, service)[0]

    # --- what is there ---

    def up(self, more: str = "") -> None:
        """Start the project, and wait until both servers answer."""
        text = COMPOSE.format(
            postgres=image_of(self.version),
            redis=demo_image("redis"),
            admin=ADMIN,
            database=DATABASE,
            password=ADMIN_PASSWORD,
        )
        self.stack.write({"docker-compose.yml": text + more})
        self.stack.up("db", "redis")
        deadline = time.monotonic() + 60
        while not (self.opens(ADMIN, ADMIN_PASSWORD) and self.redis_answers()):
            assert time.monotonic() < deadline, "the servers do not answer"
            time.sleep(0.1)

    def redis_answers(self) -> bool:
        """Tell whether Redis answers at all."""
        with contextlib.suppress(Exception):
            redis_server.lets_in(redis_server.Place(self.address("redis")), "default", None)
            return True
        return False

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute SQL as the superuser."""
        with contextlib.closing(self.connect(ADMIN, ADMIN_PASSWORD)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def connect(self, user: str, password: str) -> Any:
        """Return a connection in autocommit mode."""
        connection = psycopg2.connect(
            host=self.address("db"), user=user, password=password, dbname=DATABASE, connect_timeout=10
        )
        connection.autocommit = True
        return connection

    def opens(self, user: str, password: str) -> bool:
        """Tell whether Postgres lets this client in."""
        with contextlib.suppress(psycopg2.OperationalError):
            self.connect(user, password).close()
            return True
        return False

    def redis_opens(self, password: str | None, user: str = "default") -> bool:
        """Tell whether Redis lets this client in."""
        return redis_server.lets_in(redis_server.Place(self.address("redis")), user, password)[0]

    def redis(self, *words: str, password: str | None = None) -> Any:
        """Return what Redis answers."""
        with redis_server.Place(self.address("redis")).session("default", password) as session:
            return session.call(*words)

    def logs(self, service: str) -> str:
        """Return what a server has logged."""
        return self.stack.compose("logs", "--no-color", service)

    # --- an application with one role, or with two that take turns ---

    def fresh(self, *, pair: bool) -> None:
        """Make roles, the password of Redis and an environment file anew, all with the old secret; nothing is noted."""
        shutil.rmtree(self.state, ignore_errors=True)
        for role in ("app_a", "app_b", "app", "app_owner"):
            if self.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
                self.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
        with contextlib.suppress(redis_server.RedisError):
            self.redis("CONFIG", "SET", "requirepass", "", password=self.held("REDIS_PASSWORD"))
        self.old = f"old-{secrets.token_urlsafe(12)}"
        self.sql(PAIR.format("app", self.old) if pair else f"CREATE ROLE app LOGIN PASSWORD '{self.old}'")
        self.redis("CONFIG", "SET", "requirepass", self.old)
        user = "app_a" if pair else "app"
        self.file.write_text(
            f"# of the application\nAPP_VERSION=1.0.3\nexport DB_USER={user}\nDB_PASSWORD='{self.old}'\n"
            f"DATABASE_URL=postgres://{user}:{self.old}@db:5432/{DATABASE}?sslmode=prefer\nREDIS_PASSWORD={self.old}\n"
            f'REDIS_URL="redis://:{self.old}@redis:6379/0"\nSESSION_SECRET={self.old}\nAPI_URL=https://k:{self.old}@api/\n'
        )
        self.file.chmod(0o644)

    def held(self, key: str) -> str | None:
        """Return a variable of the environment file as a client reads it."""
        if not self.file.exists():
            return None
        return environment_file.read_variables(self.file.read_text(), [key])[key]

    def database_login(self) -> tuple[str, str]:
        """Return role and password as the application takes them from the URL; the other variables must agree."""
        place = secret_value.read(self.held("DATABASE_URL") or "")
        assert (self.held("DB_USER"), self.held("DB_PASSWORD")) == (place.user, place.secret)
        return place.user, place.secret or ""

    def works(self) -> bool:
        """Tell whether the application gets in with what the environment file holds."""
        url = secret_value.read(self.held("REDIS_URL") or "").secret
        assert url == self.held("REDIS_PASSWORD")
        return self.opens(*self.database_login()) and self.redis_opens(url)

    def secrets_of_file(self) -> set[str]:
        """Return every secret that the environment file holds."""
        keys = ("DB_PASSWORD", "DATABASE_URL", "REDIS_PASSWORD", "REDIS_URL", "SESSION_SECRET", "API_URL")
        return {secret_value.read(self.held(key) or "").secret or "" for key in keys}

    def credentials(self, *, pair: bool) -> list[dict[str, Any]]:
        """Return the option credentials for all of it."""
        roles: dict[str, Any] = {"roles": ["app_a", "app_b"], "user_keys": ["DB_USER"]} if pair else {"role": "app"}
        script = "import secrets; print(secrets.token_urlsafe(20) + '+/=')"
        return [
            {"name": "database", "kind": "postgres", "env_keys": ["DATABASE_URL", "DB_PASSWORD"], **roles},
            {"name": "cache", "kind": "redis", "service": "redis", "env_keys": ["REDIS_URL", "REDIS_PASSWORD"]},
            {"name": "sessions", "kind": "env", "env_keys": ["SESSION_SECRET"], "length": 64, "alphabet": "hex"},
            {"name": "api", "kind": "command", "argv": ["python3", "-c", script], "env_keys": ["API_URL"]},
            {"name": "mail", "kind": "manual", "note": "make a new key in its console"},
        ]

    def options(self, *, pair: bool, **more: Any) -> dict[str, Any]:
        """Return the options of credential_rotation."""
        login = {"db": DATABASE, "service": "db", "login_user": ADMIN, "login_password": ADMIN_PASSWORD}
        return {
            "environment_file": str(self.file), "directory": str(self.state), "project": self.project,
            "postgres": login, "credentials": self.credentials(pair=pair), **more,
        }  # fmt: skip


@contextlib.contextmanager
def stand(directory: Path, version: int, more: str = "") -> Iterator[Stand]:
    """Give a project of its own; remove all it made."""
    made = Stand(Stack(directory, f"usdx-it-{secrets.token_hex(4)}"), version)
    try:
        made.up(more)
        yield made
    finally:
        made.stack.remove()
