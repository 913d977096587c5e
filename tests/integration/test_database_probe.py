# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe sees what is done to a database: nothing, a cutover under a lock, a database that is away for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from database_probe import probing
from postgres_servers import MAINTENANCE, Server, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

AWAY = 0.4
SWAP = """DO $$ BEGIN
  LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE;
  PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname IN ('{0}', '{0}_new');
  ALTER DATABASE {0} RENAME TO {0}_old;
  ALTER DATABASE {0}_new RENAME TO {0};
END $$"""


@pytest.fixture
def name(server15: Server) -> Iterator[str]:
    """Give the name of an empty database."""
    with fresh_database(server15) as made:
        yield made


def test_nothing_happens(server15: Server, name: str) -> None:
    """Clients of an undisturbed database see no error."""
    with probing(server15, name, looping=2, holding=1) as seen:
        time.sleep(AWAY / 4)
    assert (seen.refused, seen.broken, seen.errors, seen.change_gap_ms) == (0, 0, {}, 0)
    assert [client.kind for client in seen.clients] == ["looping", "looping", "holding"]
    assert min(client.attempts for client in seen.clients) > 1


def test_a_database_that_is_away(server15: Server, name: str) -> None:
    """A rename for a while is a gap, refusals with their message, and a broken connection."""
    with probing(server15, name, looping=1, holding=1) as seen:
        end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
        fence = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
        server15.execute(MAINTENANCE, fence.format(name, "false"))
        server15.execute(MAINTENANCE, end)
        time.sleep(AWAY)
        server15.execute(MAINTENANCE, fence.format(name, "true"))
    looping, holding = seen.clients
    assert min(looping.longest_gap_ms, holding.longest_gap_ms) >= AWAY * 1000
    assert min(looping.refused, holding.refused) > 0
    assert holding.broken == 1
    assert f'FATAL:  database "{name}" is not currently accepting connections' in seen.errors


def test_a_swap_under_a_lock(server15: Server, name: str) -> None:
    """Every client ends on the other database, and nobody is refused."""
    for one, marker in ((name, "old"), (server15.create_database(f"{name}_new"), "new")):
        server15.execute(one, f"CREATE TABLE marker AS SELECT '{marker}'::text AS release")
    with probing(server15, name, looping=3, holding=1, query="SELECT release FROM marker") as seen:
        server15.execute(MAINTENANCE, SWAP.format(name))
        time.sleep(AWAY)
    assert [client.answers for client in seen.clients] == [["old", "new"]] * 4
    assert all(client.refused + client.broken <= 1 for client in seen.clients)
    assert 0 < seen.change_gap_ms <= seen.longest_gap_ms


def test_no_answer_at_the_beginning(server15: Server) -> None:
    """A probe of a database that is not there fails before anything is done."""
    with pytest.raises(AssertionError, match="got no answer"), probing(server15, "nobody_made_this"):
        pass
