# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Postgres servers that the tests of a session share; each test makes databases of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from postgres_servers import VERSIONS, Server, fresh_database, running_server
from restores import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_RUNNING = Path(__file__).parents[2] / ".cache" / "steps" / f"running_{_WORKER}"


def pytest_runtest_logstart(nodeid: str) -> None:
    """Say which test runs: tests/test.sh shows it when it is cut off."""
    if _WORKER:
        with suppress(OSError):
            _RUNNING.write_text(f"{nodeid}\n")


def pytest_sessionfinish() -> None:
    """Leave nothing when no test runs any more."""
    if _WORKER:
        _RUNNING.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def server15() -> Iterator[Server]:
    """Give the server of version 15."""
    with running_server(15) as made:
        yield made


@pytest.fixture(scope="session")
def server17() -> Iterator[Server]:
    """Give the server of version 17."""
    with running_server(17) as made:
        yield made


@pytest.fixture(scope="session", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Give a server of each version in turn."""
    made: Server = request.getfixturevalue(f"server{request.param}")
    return made


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """Give the name of an empty database on ``server``; it and what was named after it is dropped."""
    with fresh_database(server) as name:
        yield name


@pytest.fixture
def live(server: Server, database: str) -> str:
    """Give the name of a database with users, pools and a log, on ``server``."""
    server.psql(database, SCHEMA)
    return database


@pytest.fixture
def live15(server15: Server) -> Iterator[str]:
    """Give the same on the server of version 15."""
    with fresh_database(server15) as name:
        server15.psql(name, SCHEMA)
        yield name
