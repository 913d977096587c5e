# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a Postgres server by psycopg2, with settings that no role, database or environment can bend."""

from __future__ import annotations

import traceback
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..docker_client import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from ..docker_client import connect as connect_docker
from ..errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import psycopg2
    import psycopg2.extensions
    import psycopg2.sql
except ImportError:
    PSYCOPG2_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    PSYCOPG2_IMPORT_ERROR = None

# Limits that a role or database may have set would end a long load, the first two even its first statement.
_PARAMETERS = "-c client_min_messages=warning -c statement_timeout=0 -c lock_timeout=0"
# search_path and the rest could change its meaning.
_SETTINGS = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
    "('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'); "
    "SET client_min_messages = warning; SET default_transaction_read_only = off; SET bytea_output = hex; "
    "SET DateStyle = ISO; SET search_path = pg_catalog; SET role = none"
)


@dataclass(frozen=True)
class Login:
    """How a server is reached. ``secrets`` never shows in a representation."""

    host: str
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)
    maintenance_database: str = "postgres"
    ssl: dict[str, str] = field(default_factory=dict)
    parameters: str = ""
    """More settings of the server for each session, as ``-c name=value``."""

    def connect(self, database: str | None = None) -> Any:
        """Return a connection in autocommit mode, to the maintenance database unless one is named.

        Raises ``RollbackError`` when psycopg2 is missing or the server refuses.
        """
        name = self.maintenance_database if database is None else database
        if PSYCOPG2_IMPORT_ERROR is not None:
            raise RollbackError(
                "The Python library psycopg2 is missing on the managed host. Nothing was changed.",
                "Install it for the Python that Ansible uses there: apt-get install python3-psycopg2, or "
                "pip install psycopg2-binary.",
                exception=PSYCOPG2_IMPORT_ERROR,
            )
        try:
            connection = psycopg2.connect(
                host=self.host, port=self.port, user=self.user, password=self.password or None, dbname=name,
                connect_timeout=15, application_name="usdx.rollback", options=f"{_PARAMETERS} {self.parameters}",
                keepalives=1, keepalives_idle=30, keepalives_interval=10, keepalives_count=6, **self.ssl,
            )  # fmt: skip
        except (psycopg2.Error, UnicodeError) as error:
            raise RollbackError(
                f"The database {name} on {self.host}, port {self.port} cannot be reached as {self.user}: "
                f"{message(error)}.",
                "Check login_host, login_port, login_user and login_password, or project and service; the server must "
                "run and accept this user from this host (pg_hba.conf).",
            ) from error
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)
        return connection

    @contextmanager
    def cursor(self, database: str | None = None) -> Iterator[Any]:
        """Yield a cursor on a connection of its own, closed at the end."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            yield cursor


def message(error: BaseException) -> str:
    """Return what an error of psycopg2 says, in one line."""
    text = " ".join(str(error).split())
    return text.rstrip(".")


def container_address(project: str, service: str, docker_host: str | None = None) -> tuple[str, str]:
    """Return the address of the running container of a Compose service, and its name.

    A database port need not be published: the address on the container's own network is reached from the same host.
    Raises ``RollbackError`` when there is not exactly one running container, or it has no address.
    """
    client = connect_docker(docker_host)
    labels = [f"{PROJECT_LABEL}={project}", f"{SERVICE_LABEL}={service}", f"{ONE_OFF_LABEL}=False"]
    found = client.containers.list(filters={"label": labels, "status": "running"})
    if len(found) != 1:
        raise RollbackError(
            f"The project {project} has {len(found)} running containers of service {service}; the database needs one. "
            "Nothing was changed.",
            f"Look with: docker ps --all --filter label={PROJECT_LABEL}={project}. Name the service of the database, "
            "or give login_host and login_port.",
        )
    networks = found[0].attrs["NetworkSettings"]["Networks"]
    addresses = [network.get("IPAddress") for _name, network in sorted(networks.items())]
    address = next((one for one in addresses if one), "127.0.0.1" if "host" in networks else "")
    if not address:
        raise RollbackError(
            f"The container {found[0].name} has no address that this host can reach. Nothing was changed.",
            "Publish its port on 127.0.0.1 and give login_host and login_port.",
        )
    return address, str(found[0].name)
