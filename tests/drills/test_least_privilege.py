# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guard, rollback with its database, and undo, by a user of the group docker and a role that only owns the database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import snapshot
from harness import REPOSITORY, command

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = [sys.executable, str(REPOSITORY / "tests/demo/demo.py")]
PROJECT = "usdx-it-unprivileged"
USER = 10001  # of tests/unprivileged.sh
LOSS = ["-e", "accept_data_loss=1h"]
RELATIONS = """
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END || ' ' || oid::regclass
    FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND relkind = 'S')
"""


def psql(user: str, database: str, query: str) -> list[str]:
    """Return what the demo's server answers to one of its roles, row by row."""
    argv = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-Atc", query]
    return snapshot.lines("docker", "exec", f"{PROJECT}-db-1", *argv)


def give_away(directory: Path) -> None:
    """Let the application own its database by a role that is no superuser, and the user own the project.

    The first role of a server cannot lose its rights; so it gets another name, and its name goes to a role with few.
    """
    settings = dict(line.split("=", 1) for line in (directory / "project/.env").read_text("utf-8").splitlines())
    psql("usdx", "postgres", "CREATE ROLE admin SUPERUSER LOGIN")
    psql("admin", "postgres", "ALTER ROLE usdx RENAME TO first")
    psql("admin", "postgres", f"CREATE ROLE usdx LOGIN CREATEDB PASSWORD '{settings['POSTGRES_PASSWORD']}'")
    psql("admin", "postgres", "ALTER DATABASE usdx_wexel OWNER TO usdx")
    for relation in psql("admin", "usdx_wexel", RELATIONS):
        psql("admin", "usdx_wexel", f"ALTER {relation} OWNER TO usdx")
    psql("admin", "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'first'")
    for path in (directory, *directory.rglob("*")):
        os.lchown(path, USER, USER)


@pytest.fixture(name="directory", scope="module")
def _directory() -> Iterator[Path]:
    """Give a demo that belongs to the user; in /tmp, because only root enters the folder of this test."""
    directory = Path(tempfile.mkdtemp(prefix="usdx-it-unprivileged-")) / "demo"
    try:
        directory.parent.chmod(0o755)
        command(*DEMO, "up", "--project", PROJECT, "--directory", str(directory))
        give_away(directory)
        yield directory
    finally:
        command(*DEMO, "down", "--directory", str(directory))
        shutil.rmtree(directory.parent, ignore_errors=True)


def typed(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Let the user type a command."""
    home = directory / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    for path in (home, home / "tmp"):
        os.chown(path, USER, USER)
    told = {"USDX_DEMO_DIRECTORY": str(directory), "TMPDIR": str(home / "tmp"), "NO_COLOR": "1"}
    return subprocess.run(
        [str(REPOSITORY / "tests/unprivileged.sh"), str(home), *argv],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
        env=os.environ | told, cwd=REPOSITORY,
    )  # fmt: skip


def play(directory: Path, *argv: str) -> str:
    """Let the user type a playbook that ends well; return the screen."""
    done = typed(directory, "ansible-playbook", "-i", "inventories/demo", *argv)
    assert done.returncode == 0, done.stdout
    return done.stdout


def served(directory: Path) -> str:
    """Return the version that the application says it is."""
    url = json.loads((directory / "demo.json").read_text("utf-8"))["url"]
    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - 127.0.0.1
        return str(json.load(answer)["version"])


def live() -> str:
    """Return the object id of the live database."""
    return psql("admin", "postgres", "SELECT oid FROM pg_database WHERE datname = 'usdx_wexel'")[0]


def test_neither_root_nor_a_superuser_is_needed(directory: Path) -> None:
    told = typed(directory, "sh", "-c", "id -un; id -u; cat /etc/shadow; grep NoNewPrivs /proc/self/status").stdout
    assert told.startswith(f"prod\n{USER}\n"), told
    assert "NoNewPrivs:\t1" in told
    assert "/etc/shadow: Permission denied" in told
    assert psql("admin", "postgres", "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'usdx'") == ["f|f"]
    before = live()

    play(directory, "guard.yml")
    assert live() == before
    play(directory, "rollback.yml", "-e", "version=v1.0.2", *LOSS)
    assert (served(directory), live() == before) == ("v1.0.2", False)
    owners = {
        psql("admin", "postgres", "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'usdx_wexel'")[0]
    }
    owners |= set(psql("admin", "usdx_wexel", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"))
    assert owners == {"usdx"}
    play(directory, "undo.yml", *LOSS)
    assert (served(directory), live()) == ("v1.0.3", before)
    not_mine = [str(path) for path in directory.rglob("*") if path.lstat().st_uid != USER]
    assert not_mine == []
