# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_role_password through Ansible on real servers: check, real, check again, real again; then the server is asked."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import scram
from harness import Outcome, call_module, flat
from psycopg2 import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_servers import Server

OLD, NEW = "old-Secret/1", "new-Secret/2"


@pytest.fixture
def role(server: Server) -> Iterator[str]:
    """Give a login role with the password OLD; it is dropped with all that depends on it."""
    server.execute("postgres", "ALTER SYSTEM SET log_statement = 'all'")
    server.execute("postgres", "SELECT pg_reload_conf()")
    name = f"Role {secrets.token_hex(4)}"
    server.execute(
        "postgres", sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(OLD))
    )
    yield name
    server.execute("postgres", sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))
    server.execute("postgres", "ALTER SYSTEM RESET log_statement")
    server.execute("postgres", "SELECT pg_reload_conf()")


def opens(server: Server, role: str, password: str) -> bool:
    """Tell whether a client of its own gets in."""
    with contextlib.suppress(psycopg2.OperationalError):
        server.connect(user=role, password=password).close()
        return True
    return False


def stored(server: Server, role: str) -> str:
    query = sql.SQL("SELECT rolpassword FROM pg_authid WHERE rolname = {}").format(sql.Literal(role))
    return str(server.value("postgres", query))  # type: ignore[arg-type]


def options(server: Server, role: str, **more: Any) -> dict[str, Any]:
    return {**server.login, "db": "postgres", "role": role, "password": NEW, "old_password": OLD, **more}


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.failed
    assert all(word in outcome["msg"] for word in words), outcome["msg"]
    assert outcome["next_step"]


def test_check_real_check_real(server: Server, role: str) -> None:
    before = stored(server, role)
    foreseen = call_module("pg_role_password", options(server, role), check=True)
    assert (foreseen.failed, foreseen["changed"], stored(server, role)) == (False, True, before)

    done = call_module("pg_role_password", options(server, role))
    assert (done.failed, done["changed"]) == (False, True), done.result
    assert (done["works"]["verdict"], done["refused"]["verdict"]) == ("passed", "passed")
    assert (opens(server, role, NEW), opens(server, role, OLD)) == (True, False)
    after = stored(server, role)
    assert scram.matches(after, NEW, role)
    assert done["iterations"] == 4096
    for again in (call_module("pg_role_password", options(server, role), check=check) for check in (True, False)):
        assert (again.failed, again["changed"], stored(server, role)) == (False, False, after)
    log = server.logs()
    assert f'CREATE ROLE "{role}' in log, "the server logs every statement"
    assert NEW not in log
    assert after not in log, "a superuser keeps the verifier out of the log"
    assert not [secret for secret in (NEW, OLD, after) if secret in str(done.result) + done.shown]


def test_verifiers_are_those_that_the_server_makes(server: Server, role: str) -> None:
    """Passwords with letters that are prepared, and such that cannot be, open with libpq of the server's own kind."""
    for password in ("pä ss\u00a0wörd", "I\u00adX\u2168", "\u0627\u0031", "\ue000x", "it's \\ $x"):
        done = call_module("pg_role_password", options(server, role, password=password))
        assert (done.failed, done["changed"], done["works"]["verdict"]) == (False, True, "passed"), done.result
        server.execute(
            "postgres", sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
        assert scram.matches(stored(server, role), password, role)


def test_iterations_are_those_of_the_server(server17: Server) -> None:
    name = f"rounds_{secrets.token_hex(4)}"
    server17.execute("postgres", f"CREATE ROLE {name} LOGIN; ALTER ROLE {server17.user} SET scram_iterations = 5000")
    try:
        done = call_module("pg_role_password", options(server17, name, old_password=None))
        assert done["iterations"] == 5000
        assert stored(server17, name).startswith("SCRAM-SHA-256$5000:")
        assert done["refused"]["verdict"] == "inconclusive"
        assert opens(server17, name, NEW)
    finally:
        server17.execute("postgres", f"ALTER ROLE {server17.user} RESET scram_iterations; DROP ROLE {name}")


def test_sessions_from_before_are_ended_when_that_is_asked(server: Server, role: str) -> None:
    intruder = server.connect(user=role, password=OLD)
    kept = call_module("pg_role_password", options(server, role))
    assert kept["sessions_ended"] == 0
    with intruder.cursor() as cursor:
        cursor.execute("SELECT 1")
    ended = call_module("pg_role_password", options(server, role, password=NEW + "x", end_sessions=True))
    assert ended["sessions_ended"] == 1
    with pytest.raises(psycopg2.Error), intruder.cursor() as cursor:
        cursor.execute("SELECT 1")
    nobody = call_module("pg_role_password", options(server, role, password=NEW + "y", end_sessions=True))
    assert (nobody["sessions_ended"], nobody.result.get("warnings", [])) == (0, [])


def test_locked_and_back(server: Server, role: str) -> None:
    session = server.connect(user=role, password=OLD)
    locked = {**options(server, role), "state": "locked", "end_sessions": True}
    done = call_module("pg_role_password", locked)
    assert (done["changed"], done["sessions_ended"], done["refused"]["verdict"]) == (True, 1, "passed"), done.result
    assert session.closed or not opens(server, role, OLD)
    assert call_module("pg_role_password", locked)["changed"] is False
    server.execute("postgres", sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role)))
    assert not opens(server, role, OLD), "who unlocks it does not bring the old password back"
    back = call_module("pg_role_password", options(server, role))
    assert (back["changed"], opens(server, role, NEW)) == (True, True)


def test_wrong_rights_and_wrong_names_are_refused(server: Server, role: str) -> None:
    before = stored(server, role)
    other = f"other_{secrets.token_hex(4)}"
    server.execute("postgres", f"CREATE ROLE {other} LOGIN PASSWORD 'x'")
    try:
        mine = {"login_user": other, "login_password": "x"}
        for check in (True, False):
            assert_refused(call_module("pg_role_password", options(server, role, **mine), check=check), other, role)
        itself = call_module("pg_role_password", options(server, other, **mine) | {"old_password": "x"})
        assert (itself["changed"], itself["refused"]["verdict"]) == (True, "passed"), itself.result
        assert "holds the new verifier" in flat(itself.progress), (
            "this server logs statements, and a plain role cannot prevent it"
        )
        again = call_module("pg_role_password", options(server, other, login_user=other, login_password=NEW))
        assert again["changed"] is False
        server.execute("postgres", f"ALTER ROLE {other} CREATEROLE")
        creator = {"login_user": other, "login_password": NEW}
        assert_refused(call_module("pg_role_password", options(server, server.user, **creator)), other)
        creates = call_module("pg_role_password", options(server, role, **creator))
        assert creates.failed is (server.version >= 16), creates.result
        assert (stored(server, role) == before) is (server.version >= 16)
    finally:
        server.execute("postgres", f"DROP ROLE {other}")
    assert_refused(call_module("pg_role_password", options(server, "no such role")), "no such role")
    assert_refused(call_module("pg_role_password", options(server, role, password="")), "password")


def test_a_server_that_trusts_proves_nothing_and_one_that_still_takes_the_old_fails(server15: Server) -> None:
    """What pg_hba.conf says is what counts, whatever the verifier is."""
    name = f"trusted_{secrets.token_hex(4)}"
    server15.execute("postgres", f"CREATE ROLE {name} LOGIN PASSWORD '{OLD}'")
    hba = server15.value("postgres", "SHOW hba_file")
    text = server15.inside("cat", hba)
    try:
        server15.inside("tee", hba, given=f"host all {name} all trust\n".encode() + text)
        server15.execute("postgres", "SELECT pg_reload_conf()")
        done = call_module("pg_role_password", options(server15, name))
        assert (done.failed, done["changed"]) == (False, True), done.result
        assert (done["works"]["verdict"], done["refused"]["verdict"]) == ("inconclusive", "inconclusive")
        assert "pg_hba" in done["works"]["why"]
        server15.inside("tee", hba, given=f"host all {name} all reject\n".encode() + text)
        server15.execute("postgres", "SELECT pg_reload_conf()")
        before = stored(server15, name)
        failed = call_module("pg_role_password", options(server15, name, password=f"{NEW}3"))
        assert_refused(failed, name, "put back")
        assert stored(server15, name) == before
    finally:
        server15.inside("tee", hba, given=text)
        server15.execute("postgres", f"SELECT pg_reload_conf(); DROP ROLE {name}")
