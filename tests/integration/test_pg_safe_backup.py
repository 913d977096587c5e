# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is there whole and with its sidecar, or there is none: also when it is killed or the disk is full."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import COLLECTIONS, call_module
from postgres_servers import Server, docker, fresh_database, image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = """
CREATE TABLE pools (id int, name text); INSERT INTO pools SELECT i, 'pool ' || i FROM generate_series(1, 500) i;
CREATE TABLE "Odd name" (a int); INSERT INTO "Odd name" VALUES (1)"""
RUN = """
import json, sys
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import options, safe_backup
try:
    print(json.dumps(safe_backup.safe_backup(json.load(sys.stdin), options.login_of, check=False)))
except RollbackError as error:
    print(json.dumps({"msg": error.msg, "next_step": error.next_step}))
"""


@pytest.fixture
def filled(server15: Server) -> Iterator[str]:
    """Give the name of a database with some rows."""
    with fresh_database(server15) as name:
        server15.execute(name, ROWS)
        yield name


def options_of(server: Server, database: str, directory: Path, **more: Any) -> dict[str, Any]:
    return {**server.login, "db": database, "directory": str(directory), **more}


def started(server: Server, database: str, place: Path, **more: Any) -> subprocess.Popen[str]:
    """Start the work in a process of its own, which a test can kill."""
    given = {
        "project": None, "service": None, "docker_host": None, "ssl_mode": "prefer", "ca_cert": None,
        "maintenance_db": "postgres", "name": "", "format": "plain", "compression_level": 6, "release": "",
        "commit": "", "run_id": "", "timeout": 60, "min_free_ratio": 0,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(COLLECTIONS)},
    )  # fmt: skip
    assert process.stdin
    with process.stdin as stdin:
        json.dump(given | options_of(server, database, place) | more, stdin)
    return process


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    with process.stdout as stdout:
        result: dict[str, Any] = json.loads(stdout.read())
    process.wait(timeout=30)
    return result


@contextmanager
def held(server: Server, database: str) -> Iterator[None]:
    """Hold a lock that lets every pg_dump wait."""
    connection = server.connect(database)
    try:
        connection.cursor().execute("BEGIN; LOCK TABLE pools IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        connection.close()


def sessions(server: Server, database: str) -> list[tuple[Any, ...]]:
    query = (
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'usdx.rollback %' AND wait_event_type = 'Lock'"
    )
    return server.execute("postgres", f"{query} AND datname = '{database}'")


def until_it_waits(server: Server, database: str) -> int:
    """Wait until pg_dump waits for the lock; return the process of its session."""
    deadline = time.monotonic() + 30
    while not (found := sessions(server, database)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found[0][0])


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_it_is_there_whole_with_its_sidecar(server15: Server, filled: str, tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "new"
    options = options_of(server15, filled, directory, format=kind, release="v1.0.3", run_id="r1")
    planned = call_module("pg_safe_backup", options, check=True)
    assert planned["changed"]
    assert not directory.exists()
    made = call_module("pg_safe_backup", options)
    assert not made.failed
    rows = {"public.Odd name": 1, "public.pools": 500}
    assert (made["changed"], made["tables"], made["rows_total"]) == (True, rows, 501)
    assert sorted(one.name for one in directory.iterdir()) == sorted(
        Path(made[key]).name for key in ("path", "sidecar")
    )
    assert [oct(path.stat().st_mode)[-3:] for path in (directory, *directory.iterdir())] == ["700", "600", "600"]
    side = json.loads(Path(made["sidecar"]).read_text())
    assert (side["usdx.rollback"], side["tables"], side["sha256"]) == (1, rows, made["sha256"])
    assert (side["release"], side["database"], side["run_id"]) == ("v1.0.3", filled, "r1")
    seen = call_module("pg_backup_info", {"path": str(directory)})["newest"]
    assert (seen["path"], seen["taken_at"], seen["taken_at_source"]) == (made["path"], made["taken_at"], "sidecar")


def test_the_password_is_in_no_argument_and_no_environment(server15: Server, filled: str, tmp_path: Path) -> None:
    with held(server15, filled):
        process = started(server15, filled, tmp_path)
        until_it_waits(server15, filled)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        shown = [Path(f"/proc/{pid}/{name}").read_bytes() for pid in children for name in ("cmdline", "environ")]
        assert any(b"pg_dump" in one for one in shown)
        assert all(server15.password.encode() not in one for one in shown)
    assert told(process)["rows_total"] == 501


def test_nothing_is_overwritten(server15: Server, filled: str, tmp_path: Path) -> None:
    (tmp_path / "mine.sql.gz").write_text("precious")
    refused = call_module("pg_safe_backup", options_of(server15, filled, tmp_path, name="mine"), check=True)
    assert refused.failed
    assert "exists already" in refused["msg"]
    assert "exists already" in told(started(server15, filled, tmp_path, name="mine"))["msg"]
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("mine.sql.gz", "precious")]


def test_a_name_that_appears_meanwhile_is_not_overwritten(server15: Server, filled: str, tmp_path: Path) -> None:
    with held(server15, filled):
        process = started(server15, filled, tmp_path, name="mine")
        until_it_waits(server15, filled)
        (tmp_path / "mine.sql.gz").write_text("precious")
    assert "cannot be written" in told(process)["msg"]
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("mine.sql.gz", "precious")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(server15: Server, filled: str, tmp_path: Path, number: signal.Signals) -> None:
    with held(server15, filled):
        process = started(server15, filled, tmp_path)
        until_it_waits(server15, filled)
        process.send_signal(number)
        said = told(process)
    assert f"signal {int(number)}" in said["msg"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["client", "session"])
def test_a_pg_dump_that_dies_leaves_nothing(server15: Server, filled: str, tmp_path: Path, how: str) -> None:
    with held(server15, filled):
        process = started(server15, filled, tmp_path)
        pid = until_it_waits(server15, filled)
        if how == "client":
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGKILL)
        else:
            server15.execute("postgres", f"SELECT pg_terminate_backend({pid})")
        said = told(process)
    assert ("signal 9" if how == "client" else "ended with code 1") in said["msg"]
    assert "the database is untouched" in said["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_timeout_leaves_nothing_and_no_session(server15: Server, filled: str, tmp_path: Path) -> None:
    with held(server15, filled):
        said = told(started(server15, filled, tmp_path, timeout=0.5))
        assert "timeout (0.5 seconds)" in said["msg"]
        assert list(tmp_path.iterdir()) == []
        deadline = time.monotonic() + 10
        while sessions(server15, filled):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_after_a_kill_only_a_hidden_file_stays_for_a_day(server15: Server, filled: str, tmp_path: Path) -> None:
    with held(server15, filled):
        process = started(server15, filled, tmp_path)
        until_it_waits(server15, filled)
        process.kill()
        process.wait()
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".")
    mine = tmp_path / ".mine.partial"
    mine.touch()
    assert "msg" not in told(started(server15, filled, tmp_path, name="a"))
    assert left.exists()
    for path in (left, mine):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert "msg" not in told(started(server15, filled, tmp_path, name="b"))
    assert (left.exists(), mine.exists()) == (False, True)


@pytest.mark.parametrize("kind", ["plain", "custom"])
def test_a_full_disk_leaves_nothing(server15: Server, filled: str, tmp_path: Path, kind: str) -> None:
    random = "CREATE TABLE noise AS SELECT md5(random()::text) FROM generate_series(1, 100000)"
    server15.execute(filled, random)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)], check=False).returncode:
        pytest.skip("this machine allows no mount, so there is no disk to fill")
    try:
        said = told(started(server15, filled, tmp_path, format=kind))
        assert "space left" in said["msg"]
        assert list(tmp_path.iterdir()) == []
        refused = call_module("pg_safe_backup", options_of(server15, filled, tmp_path), check=True)
        assert "min_free_ratio" in refused["msg"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("more", "about"),
    [
        ({"name": "../up"}, "name is ../up"), ({"compression_level": 10}, "compression_level is 10"),
        ({"timeout": 0}, "timeout is 0"), ({"db": "not_there"}, "not_there"), ({"login_password": "wrong"}, "password"),
        ({"directory": "/dev/null/x"}, "directory is /dev/null/x"),
    ],
)  # fmt: skip
def test_what_is_refused(server15: Server, filled: str, tmp_path: Path, more: dict[str, Any], about: str) -> None:
    said = told(started(server15, filled, tmp_path, **more))
    assert about in said["msg"]
    assert said["next_step"]
    assert list(tmp_path.iterdir()) == []


def test_the_pg_dump_of_the_container_is_used_for_a_newer_server(tmp_path: Path) -> None:
    """Its password holds what a shell and a password file could take amiss."""
    project, password = f"usdx-bk-{secrets.token_hex(4)}", "a'b \\c:$d\"é"
    labels = {"project": project, "service": "db", "oneoff": "False"}
    argv = [word for key, value in labels.items() for word in ("--label", f"com.docker.compose.{key}={value}")]
    environment = ["--env", "POSTGRES_USER=usdx", "--env", f"POSTGRES_PASSWORD={password}", "--env", "POSTGRES_DB=shop"]
    docker("run", "--detach", "--name", project, *argv, *environment, image_of(17), "postgres")
    try:
        options = {
            "project": project, "service": "db", "login_user": "usdx", "login_password": password, "db": "shop",
            "directory": str(tmp_path),
        }  # fmt: skip
        deadline = time.monotonic() + 30
        ready = ["exec", project, "psql", "-U", "usdx", "-h", "127.0.0.1", "-d", "shop", "-w", "-c", "SELECT 1"]
        while docker("exec", "--env", f"PGPASSWORD={password}", *ready[1:], check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        docker("exec", project, "psql", "-U", "usdx", "-d", "shop", "-c", ROWS)
        made = call_module("pg_safe_backup", options)
        assert not made.failed, made.result
        assert (made["rows_total"], made["pg_dump_version"][:2]) == (501, "17")
        ended = call_module("pg_safe_backup", options | {"name": "late", "timeout": 0.001})
        assert "timeout" in ended["msg"]
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        docker("rm", "--force", "--volumes", project)
