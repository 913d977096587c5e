# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``database=auto`` decides on stacks that are not the demo, and that the run then does it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from git_projects import commit, git
from harness import REPOSITORY, command
from postgres_servers import image_of
from stacks import Stack, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

# The image of the worker does not change with the release: only the checkout tells that one was deployed.
COMPOSE = """
services:
  store:
    image: IMAGE
    environment: {POSTGRES_USER: app, POSTGRES_PASSWORD: "%pw %", POSTGRES_DB: Ledger}
    healthcheck: {test: [CMD, pg_isready, -q, -h, 127.0.0.1, -U, app], interval: 1s, retries: 30}
  worker:
    image: IMAGE
    init: true
    entrypoint: [env]
    command: [sleep, infinity]
    environment: {PGHOST: store, PGUSER: app, PGPASSWORD: "%pw %", PGDATABASE: Ledger}
    volumes: ["./sql:/sql:ro"]
    depends_on: {store: {condition: service_healthy}}
"""
FIRST = """
CREATE TABLE entries (id bigserial PRIMARY KEY, amount numeric NOT NULL, note text);
INSERT INTO entries (amount, note) SELECT i, 'entry ' || i FROM generate_series(1, 100) i"""
KINDS = {
    "same schema": ("UPDATE entries SET note = upper(note)", "", "skip"),
    "reversible": (
        "ALTER TABLE entries ADD COLUMN fee numeric DEFAULT 0",
        "ALTER TABLE entries DROP COLUMN fee",
        "revert",
    ),
    "irreversible": ("ALTER TABLE entries DROP COLUMN note", "", "restore"),
}


@dataclass
class Shop:
    """A deployed application: release 1.0 with a backup, then release 2.0 with its migration."""

    stack: Stack
    inventory: Path

    def sql(self, query: str) -> str:
        """Return what the live database answers."""
        return self.stack.compose(
            "exec", "-T", "store", "psql", "-XAtq", "-U", "app", "-d", "Ledger", "-c", query
        ).strip()

    def rolled_back(self, *argv: str) -> tuple[int, str]:
        """Type a rollback to 1.0; return exit code and screen."""
        return self.play("rollback.yml", "-e", "version=1.0", *argv)

    def play(self, playbook: str, *argv: str) -> tuple[int, str]:
        """Type the rollback; return exit code and screen."""
        program = Path(sys.executable).with_name("ansible-playbook")
        words = [program, "-i", self.inventory, REPOSITORY / playbook, *argv]
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=REPOSITORY)
        return done.returncode, " ".join((done.stdout + done.stderr).split())


def variables(made: Stack, backups: Path, down: str) -> dict[str, Any]:
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "rollback_project_directory": str(made.directory),
        "rollback_project_name": made.project,
        "rollback_application_services": ["worker"],
        "rollback_keep_services": ["store"],
        "rollback_state_directory": str(backups.parent / "state"),
        "rollback_approvals": "off",
        "rollback_package_json": "",
        "rollback_database": "Ledger",
        "rollback_database_login": {"service": "store", "login_user": "app", "login_password": "%pw %"},
        "rollback_backup_directory": str(backups),
        "rollback_migrations_reversible": bool(down),
        "rollback_migration_service": "worker",
        "rollback_migration_down": ["psql", "-v", "ON_ERROR_STOP=1", "-f", "/sql/down.sql"],
    }


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Name what the second release changes."""
    return str(request.param)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    """Deploy both releases by hand, as a team without tools would."""
    up, down, _decision = KINDS[kind]
    tree, backups = tmp_path / "shop", tmp_path / "backups"
    tree.mkdir()
    backups.mkdir()
    with stack(tree) as made:
        git(tree, "init", "--quiet", "--initial-branch", "main")
        compose = COMPOSE.replace("IMAGE", image_of(15))
        commit(tree, "first", "2024-12-01T00:00:00Z", **{"compose.yml": compose, "sql/down.sql": "SELECT 1"})
        git(tree, "tag", "1.0")
        commit(tree, "second", "2024-12-28T00:00:00Z", **{"sql/up.sql": up, "sql/down.sql": down})
        git(tree, "tag", "2.0")
        git(tree, "checkout", "--quiet", "1.0")
        shop = Shop(made, tmp_path / "hosts.yml")
        hosts = {"rollback_app": {"hosts": {"here": variables(made, backups, down)}}}
        shop.inventory.write_text(yaml.safe_dump(hosts), encoding="utf-8")
        made.up("--wait")
        shop.sql(FIRST)
        dumped = subprocess.run(
            ["docker", "exec", f"{made.project}-store-1", "pg_dump", "-U", "app", "-Fc", "Ledger"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        (backups / "nightly").write_bytes(dumped)
        time.sleep(1.1)  # times of backups are whole seconds
        git(tree, "checkout", "--quiet", "2.0")
        shop.sql(up)
        shop.sql("INSERT INTO entries (amount) VALUES (5)")
        # A backup of the bad days must not be taken.
        time.sleep(1.1)
        (backups / "newer").write_bytes(
            command("docker", "exec", f"{made.project}-store-1", "pg_dump", "-U", "app", "Ledger").encode()
        )
        (backups / f"newer_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}.sql").write_bytes(
            (backups / "newer").read_bytes()
        )
        yield shop


def printed_command(screen: str) -> list[str]:
    """Return the variables of the command that a failed run prints to put everything back."""
    return re.findall(r"usdx\.rollback\.undo -i \S+ -e (run=\S+) -e (accept_data_loss=true)", screen)[-1]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["reversible"], indirect=True)
def test_a_revert_that_fails_is_put_back_or_says_how(shop: Shop) -> None:
    oid = "SELECT oid FROM pg_database WHERE datname = 'Ledger'"
    former = shop.sql(oid)
    again_and_again = (
        "trap '' TERM INT HUP; " + 'while :; do psql -qc "CREATE TABLE IF NOT EXISTS sneaked ()"; sleep 0.1; done'
    )
    given = {"rollback_migration_down": ["sh", "-c", again_and_again], "rollback_migration_timeout": 3}
    code, screen = shop.rolled_back("-e", json.dumps(given))
    assert code == 2, screen
    assert "it was ended after its limit of 3 seconds" in screen
    assert "The live database Ledger is the one from before" in screen
    assert command("docker", "ps", "-aq", "--filter", f"name={shop.stack.project}-migrations") == ""
    assert (shop.sql(oid), shop.sql("SELECT to_regclass('sneaked')")) == (former, "")

    locked_out = "psql -qc \"ALTER ROLE app PASSWORD 'other'\"; exit 1"
    code, screen = shop.rolled_back("-e", json.dumps({"rollback_migration_down": ["sh", "-c", locked_out]}))
    assert code == 2, screen
    assert "The former database could not be put back: " in screen
    assert "The database Ledger was changed (revert); the former one is kept as Ledger_before_" in screen
    assert "The database was not touched" not in screen
    variables = printed_command(screen)
    shop.sql("ALTER ROLE app PASSWORD '%pw %'")
    code, screen = shop.play("undo.yml", *[word for one in variables for word in ("-e", one)])
    assert code == 0, screen
    assert shop.sql(oid) == former


@pytest.mark.long
def test_auto_decides_from_evidence_and_the_run_does_it(shop: Shop, kind: str) -> None:
    decision = KINDS[kind][2]
    code, screen = shop.rolled_back("-e", "accept_data_loss=1h")
    assert code == 0, screen
    assert f"Prepare the database: {decision}: " in screen
    assert git(shop.stack.directory, "describe", "--tags").strip() == "1.0"
    columns = (
        "SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute "
        "WHERE attrelid = 'entries'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert shop.sql(columns) == "amount,id,note"
    assert shop.sql("SELECT count(*) FROM entries") == ("100" if decision == "restore" else "101")
    assert shop.sql("SELECT note FROM entries WHERE id = 7") == ("ENTRY 7" if decision == "skip" else "entry 7")
    kept = shop.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'Ledger_before_%' AND NOT datallowconn")
    assert kept == ("0" if decision == "skip" else "1")
    if decision != "restore":  # once is enough
        return
    code, screen = shop.rolled_back("-e", "accept_data_loss=1h")
    assert code == 0, screen
    assert "already runs on here" in screen
    assert "Nothing was changed. The database: the live database has the schema of the backup" in screen
    assert "changed=0" in screen
