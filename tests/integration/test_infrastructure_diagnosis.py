# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""infrastructure_diagnosis against real containers: one fault after the other is made, must be named, and is mended."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from harness import REPOSITORY, Outcome, call_module, command
from receivers import http_receiver, own_certificate
from rpc_node import CHAIN
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD, WRONG, CONNECTIONS = "of-this-test-only", "another", 12
HELPS, HELPS_NOT, UNCLEAR = "rollback will help", "rollback will not help", "cannot tell"
COMPOSE = f"""
services:
  db:
    image: usdx-demo/postgres
    command: [postgres, -c, max_connections={CONNECTIONS}, -c, superuser_reserved_connections=2]
    environment: {{POSTGRES_USER: shop, POSTGRES_DB: ledger, POSTGRES_PASSWORD: {PASSWORD}}}
    stop_grace_period: 20s
  redis:
    image: usdx-demo/redis
    command: [redis-server, --bind, 0.0.0.0, --protected-mode, "no", --dir, /data, --save, "3600 1"]
  rpc: &node
    image: usdx-demo/python
    command: [python3, /node/rpc_node.py, "8545", /modes/rpc]
    volumes: ["{REPOSITORY}/tests/rpc_node.py:/node/rpc_node.py:ro", "./modes:/modes:ro"]
    stop_grace_period: 1s
  spare:
    <<: *node
    command: [python3, /node/rpc_node.py, "8545", /modes/spare]
  webapp:
    image: {IMAGE}
    depends_on: [db, redis]
    restart: unless-stopped
    tmpfs: ["/small:size=8m"]
  crash: {{image: {IMAGE}, command: crash, restart: always, profiles: [extra]}}
  greedy:
    image: usdx-demo/python
    command: [python3, -c, "import time; time.sleep(1); x = bytearray(300 << 20)"]
    mem_limit: 32m
    restart: always
    profiles: [extra]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Give a project with a database, redis, two nodes and an application; nothing is wrong with it."""
    build_image()
    command(sys.executable, "-c", "import demo; demo.build_bases()", cwd=REPOSITORY / "tests" / "demo")
    with stack(tmp_path_factory.mktemp("shop")) as made:
        made.write({"compose.yml": COMPOSE, "modes/rpc": "good", "modes/spare": "good"})
        made.up()
        wait_for("the database", lambda: "accepting" in made.compose("exec", "db", "pg_isready", check=False))
        wait_for("the node", lambda: diagnosed(made, dependencies=[node()])["cause"] is None)
        yield made


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


# --- what is diagnosed ------------------------------------------------------------------------------------------------


def database(**more: Any) -> dict[str, Any]:
    """Return the entry of the database."""
    login = {"login_user": "shop", "login_password": PASSWORD, "db": "ledger"}
    return {"name": "database", "kind": "postgres", "service": "db", "used_by": ["webapp"], **login, **more}


def cache(**more: Any) -> dict[str, Any]:
    """Return the entry of redis."""
    return {"name": "cache", "kind": "redis", "service": "redis", **more}


def node(**more: Any) -> dict[str, Any]:
    """Return the entry of the node, which only containers know by name, as one that is elsewhere."""
    return {
        "name": "rpc", "kind": "rpc", "url": "http://rpc:8545/key-of-this-test", "used_by": ["webapp"],
        "chain_id": CHAIN, "timeout": 3, "env_key": "RPC_URL", "backup_url": "http://spare:8545/spare-of-this-test",
        "limits": {"max_latency": 1000}, **more,
    }  # fmt: skip


def diagnosed(shop: Stack, *, check: bool = False, **options: Any) -> Outcome:
    """Call the module for the project."""
    defaults = {
        "project": shop.project, "application_services": ["webapp"], "keep_services": ["db", "redis"],
        "dependencies": [database(), cache(), node()], "paths": [str(shop.directory)],
    }  # fmt: skip
    outcome = call_module("infrastructure_diagnosis", defaults | options, check=check)
    assert not outcome.failed, outcome.result
    assert outcome["changed"] is False
    return outcome


def cause_of(outcome: Outcome) -> tuple[str, str]:
    """Return which component is the root cause, and the word for its fault."""
    assert outcome["cause"], json.dumps([one for one in outcome["probes"] if one["verdict"] != "passed"], indent=1)
    return outcome["cause"]["component"], outcome["cause"]["fault"]


@contextlib.contextmanager
def mode(shop: Stack, name: str, told: str) -> Iterator[None]:
    """Have a node misbehave."""
    shop.write({f"modes/{name}": told})
    try:
        yield
    finally:
        shop.write({f"modes/{name}": "good"})


@contextlib.contextmanager
def container(shop: Stack, service: str, fault: str, mending: str) -> Iterator[None]:
    """Do something to the container of a service, and undo it."""
    name = f"{shop.project}-{service}-1"
    command("docker", fault, name)
    try:
        yield
    finally:
        command("docker", mending, name)
        if service == "db":
            wait_for("the database", lambda: "accepting" in shop.compose("exec", "db", "pg_isready", check=False))


def address(shop: Stack, service: str) -> str:
    """Return the address of a container."""
    networks = shop.containers()[f"{service}-1"]["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def session(shop: Stack) -> Any:
    """Return a connection to the database."""
    return psycopg2.connect(
        host=address(shop, "db"), user="shop", password=PASSWORD, dbname="ledger", application_name="leaky"
    )


def redis(shop: Stack, *words: str) -> str:
    """Type a command of redis."""
    return shop.compose("exec", "-T", "redis", "redis-cli", *words, check=False)


# --- nothing is wrong -------------------------------------------------------------------------------------------------


def test_a_healthy_project_has_no_cause_with_check_and_without(shop: Stack) -> None:
    before = shop.identity("db-1", "redis-1", "webapp-1", "rpc-1", "spare-1")
    outcomes = [diagnosed(shop, check=check) for check in (True, False)]
    assert shop.identity("db-1", "redis-1", "webapp-1", "rpc-1", "spare-1") == before
    for outcome in outcomes:
        assert (outcome["verdict"], outcome["cause"], outcome["action"]["kind"]) == (UNCLEAR, None, "none")
        assert outcome["places"] == ["host", "webapp"]
        answering = {(one["component"], one["from"]) for one in outcome["probes"] if one["kind"] == "answers"
                     and one["verdict"] == "passed"}  # fmt: skip
        assert answering >= {(name, "webapp") for name in ("database", "cache", "rpc", "rpc (backup)")}
        assert answering >= {("database", "host"), ("cache", "host"), ("Docker daemon", "host")}
    everything = json.dumps([outcome.result for outcome in outcomes])
    assert [secret for secret in (PASSWORD, "key-of-this-test", "spare-of-this-test") if secret in everything] == []


def test_errors_that_began_with_the_release_and_nothing_else_wrong(shop: Stack) -> None:
    outcome = diagnosed(shop, began_with_release=True, previous_release="v1.0.2")
    assert outcome["verdict"] == HELPS
    assert outcome["action"]["command"].startswith("ansible-playbook usdx.rollback.rollback -e version=v1.0.2")


# --- the node ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ("silent", "timeout"),
        ("lagging", "lagging"),
        ("other_chain", "chain"),
        ("garbage", "garbage"),
        ("slow", "slow"),
        ("error", "error"),
        ("limited", "limited"),
    ],
)
def test_a_node_that_misbehaves_is_named_and_its_backup_proposed(shop: Stack, told: str, fault: str) -> None:
    with mode(shop, "rpc", told):
        outcome = diagnosed(shop, release_changed_recently=True)
    assert cause_of(outcome) == ("rpc", fault)
    assert outcome["verdict"] == HELPS_NOT
    assert [outcome["action"][key] for key in ("kind", "dependency", "env_key")] == [
        "switch_dependency", "rpc", "RPC_URL",
    ]  # fmt: skip
    assert "\x1b" not in json.dumps(outcome.result)


def test_a_node_that_is_gone_and_whose_backup_is_dead_is_not_switched(shop: Stack) -> None:
    with mode(shop, "spare", "garbage"), container(shop, "rpc", "stop", "start"):
        outcome = diagnosed(shop)
    assert cause_of(outcome)[0] == "rpc"
    assert outcome["action"]["kind"] == "wait"
    assert "so does its backup" in outcome["action"]["text"]


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "mending", "word", "action"),
    [("stop", "start", "stopped", "start_service"), ("pause", "unpause", "paused", "fix")],
)
def test_a_database_that_does_not_run(shop: Stack, fault: str, mending: str, word: str, action: str) -> None:
    with container(shop, "db", fault, mending):
        outcome = diagnosed(shop)
    assert cause_of(outcome) == ("database", word)
    assert (outcome["verdict"], outcome["action"]["kind"]) == (HELPS_NOT, action)
    assert outcome["action"]["service"] == "db"


def test_connections_that_are_used_up_and_who_holds_them(shop: Stack) -> None:
    with contextlib.ExitStack() as held:
        for _number in range(CONNECTIONS - 2):
            held.enter_context(contextlib.closing(session(shop)))
        outcome = diagnosed(shop)
        held.enter_context(contextlib.closing(session(shop)))
        held.enter_context(contextlib.closing(session(shop)))
        refused = diagnosed(shop)
    assert cause_of(outcome) == ("database", "connections")
    assert "leaky" in " ".join(outcome["evidence"])
    assert cause_of(refused) == ("database", "connections")
    assert "53300" in refused["cause"]["summary"]


def test_a_long_transaction_and_those_that_wait_for_it(shop: Stack) -> None:
    limits = {"max_transaction_age": 1, "max_lock_wait": 1}
    with contextlib.closing(session(shop)) as holder, contextlib.closing(session(shop)) as waiting:
        cursor = holder.cursor()
        cursor.execute("CREATE TABLE IF NOT EXISTS pools (id int)")
        holder.commit()
        cursor.execute("LOCK TABLE pools")
        time.sleep(1.2)
        alone = diagnosed(shop, dependencies=[database(limits=limits)])
        fileno = waiting.fileno()
        assert fileno
        pid = holder.get_backend_pid()
        with contextlib.closing(background_query(shop, "SELECT * FROM pools")):
            time.sleep(1.5)
            blocked = diagnosed(shop, dependencies=[database(limits=limits)])
    assert cause_of(alone) == ("database", "transaction")
    assert f"session {pid}" in alone["cause"]["summary"]
    assert cause_of(blocked) == ("database", "locks")
    assert blocked["action"]["command"] == f"SELECT pg_terminate_backend({pid})"


def background_query(shop: Stack, query: str) -> Any:
    """Begin a query that waits, and return its connection."""
    connection = psycopg2.connect(
        host=address(shop, "db"), user="shop", password=PASSWORD, dbname="ledger", async_=True
    )
    while connection.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.02)
    connection.cursor().execute(query)
    return connection


def test_a_login_that_is_refused_and_one_that_takes_no_writes(shop: Stack) -> None:
    refused = diagnosed(shop, dependencies=[database(login_password=WRONG)])
    assert cause_of(refused) == ("database", "auth")
    with contextlib.closing(session(shop)) as connection:
        connection.autocommit = True
        connection.cursor().execute("ALTER DATABASE ledger SET default_transaction_read_only = on")
        try:
            outcome = diagnosed(shop)
        finally:
            connection.cursor().execute("ALTER DATABASE ledger RESET default_transaction_read_only")
    assert cause_of(outcome) == ("database", "readonly")


def test_a_login_that_sees_only_its_own_sessions_does_not_call_the_others_well(shop: Stack) -> None:
    with contextlib.closing(session(shop)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        try:
            outcome = diagnosed(shop, dependencies=[database(login_user="reader")])
        finally:
            connection.cursor().execute("DROP ROLE reader")
    verdicts = {one["kind"]: one["verdict"] for one in outcome["probes"] if one["component"] == "database"}
    assert [verdicts[kind] for kind in ("login", "connections", "locks", "transactions")] == [
        "passed", "passed", "inconclusive", "inconclusive",
    ]  # fmt: skip


# --- redis ------------------------------------------------------------------------------------------------------------


def test_redis_that_does_not_run(shop: Stack) -> None:
    with container(shop, "redis", "kill", "start"):
        outcome = diagnosed(shop)
    assert cause_of(outcome) == ("cache", "stopped")
    assert outcome["action"]["command"] == f"docker compose --project-name {shop.project} start redis"


def test_redis_that_wants_a_password(shop: Stack) -> None:
    redis(shop, "CONFIG", "SET", "requirepass", PASSWORD)
    try:
        without, wrong = diagnosed(shop), diagnosed(shop, dependencies=[cache(login_password=WRONG)])
        right = diagnosed(shop, dependencies=[cache(login_password=PASSWORD)])
    finally:
        redis(shop, "-a", PASSWORD, "CONFIG", "SET", "requirepass", "")
    assert cause_of(without) == cause_of(wrong) == ("cache", "auth")
    assert right["cause"] is None


def test_redis_that_refuses_writes_because_it_cannot_save(shop: Stack) -> None:
    shop.compose("exec", "-T", "--user", "root", "redis", "chmod", "0500", "/data")
    try:
        redis(shop, "SET", "key", "value")
        redis(shop, "BGSAVE")
        wait_for("MISCONF", lambda: "MISCONF" in redis(shop, "SET", "key", "value"))
        outcome = diagnosed(shop)
    finally:
        shop.compose("exec", "-T", "--user", "root", "redis", "chmod", "0750", "/data")
        redis(shop, "BGSAVE")
    assert cause_of(outcome) == ("cache", "misconf")
    assert "Do not restart it" in outcome["action"]["text"]
    wait_for("a save", lambda: "rdb_last_bgsave_status:ok" in redis(shop, "INFO", "persistence"))


@pytest.mark.parametrize(("policy", "found"), [("noeviction", True), ("volatile-lru", True), ("allkeys-lru", False)])
def test_redis_at_its_limit_of_memory(shop: Stack, policy: str, found: bool) -> None:  # noqa: FBT001
    redis(shop, "CONFIG", "SET", "maxmemory-policy", policy)
    redis(shop, "CONFIG", "SET", "maxmemory", "900000")
    try:
        outcome = diagnosed(shop, dependencies=[cache()])
    finally:
        redis(shop, "CONFIG", "SET", "maxmemory", "0")
    assert (outcome["cause"] or {}).get("fault") == ("maxmemory" if found else None)


def test_redis_that_became_a_replica(shop: Stack) -> None:
    redis(shop, "REPLICAOF", "192.0.2.1", "6379")
    try:
        outcome = diagnosed(shop)
    finally:
        redis(shop, "REPLICAOF", "NO", "ONE")
    assert cause_of(outcome) == ("cache", "readonly")


def test_redis_whose_user_may_not_write(shop: Stack) -> None:
    redis(shop, "ACL", "SETUSER", "default", "-@write")
    try:
        outcome = diagnosed(shop)
    finally:
        redis(shop, "ACL", "SETUSER", "default", "+@all")
    assert cause_of(outcome) == ("cache", "readonly")


# --- names, certificates, networks ------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve(shop: Stack) -> None:
    name = {"name": "prices", "kind": "dns", "host": "prices.invalid", "used_by": ["webapp"], "timeout": 6}
    outcome = diagnosed(shop, dependencies=[database(), cache(), name])
    # Where no name server can be reached at all, that is the cause.
    assert outcome["cause"]["component"] in ("prices", "DNS")
    assert "prices.invalid" in outcome["cause"]["summary"]
    assert outcome["verdict"] == HELPS_NOT


def test_a_certificate_that_ends_soon(shop: Stack, tmp_path: Path) -> None:
    with http_receiver(certificate=own_certificate(tmp_path, days=3)) as server:
        entry = {"name": "bank", "kind": "tls", "host": "127.0.0.1", "port": server.port, "validate_certs": False}
        outcome = diagnosed(shop, dependencies=[entry])
        untrusted = diagnosed(shop, dependencies=[entry | {"validate_certs": True}])
    assert cause_of(outcome) == ("bank", "expiring")
    assert cause_of(untrusted) == ("bank", "tls")


def test_a_container_without_its_network(shop: Stack) -> None:
    network = f"{shop.project}_default"
    command("docker", "network", "disconnect", network, f"{shop.project}-webapp-1")
    try:
        outcome = diagnosed(shop)
    finally:
        command("docker", "network", "connect", network, f"{shop.project}-webapp-1", "--alias", "webapp")
    assert outcome["cause"]["component"] == "network of webapp"
    assert outcome["verdict"] == HELPS_NOT


def test_a_container_whose_name_server_is_gone(shop: Stack) -> None:
    inside = ["exec", "-T", "--user", "root", "webapp", "sh", "-c"]
    shop.compose(*inside, "cp /etc/resolv.conf /tmp/good; echo nameserver 192.0.2.1 > /etc/resolv.conf")
    try:
        outcome = diagnosed(shop)
    finally:
        shop.compose(*inside, "cat /tmp/good > /etc/resolv.conf")
    assert outcome["cause"]["component"] == "DNS of webapp"
    assert "192.0.2.1" in outcome["cause"]["summary"]


def test_a_cache_without_its_network(shop: Stack) -> None:
    network = f"{shop.project}_default"
    command("docker", "network", "disconnect", network, f"{shop.project}-redis-1")
    try:
        outcome = diagnosed(shop)
    finally:
        command("docker", "network", "connect", network, f"{shop.project}-redis-1", "--alias", "redis")
    assert outcome["cause"]["component"] == "cache"


# --- host and containers ----------------------------------------------------------------------------------------------


def test_a_disk_in_a_container_that_is_full(shop: Stack) -> None:
    inside = ["exec", "-T", "webapp", "sh", "-c"]
    shop.compose(*inside, "head -c 9000000 /dev/zero > /small/fill", check=False)
    try:
        outcome = diagnosed(shop)
    finally:
        shop.compose(*inside, "rm /small/fill")
    assert cause_of(outcome) == ("disk webapp:/small", "full")
    assert outcome["action"]["kind"] == "free_disk"


@pytest.mark.parametrize(("service", "faults"), [("crash", {"crash loop"}), ("greedy", {"oom"})])
def test_a_container_that_falls_over_and_over_again(shop: Stack, service: str, faults: set[str]) -> None:
    options = {"application_services": ["webapp", service]}
    shop.up(service)
    try:
        wait_for("restarts", lambda: shop.containers()[f"{service}-1"]["RestartCount"] >= 3, 60)
        outcome = diagnosed(shop, **options, release_changed_recently=False)
        recent = diagnosed(shop, **options, release_changed_recently=True)
        told = diagnosed(shop, **options, began_with_release=True)
    finally:
        shop.compose("rm", "--stop", "--force", service)
    component, fault = cause_of(outcome)
    assert component == service
    assert fault in faults
    assert outcome["verdict"] == UNCLEAR
    assert recent["verdict"] == (UNCLEAR if service == "greedy" else HELPS)
    assert told["verdict"] == HELPS


def test_an_application_that_fails_with_its_database_is_not_the_cause(shop: Stack) -> None:
    shop.up("crash")
    try:
        wait_for("restarts", lambda: shop.containers()["crash-1"]["RestartCount"] >= 3, 60)
        with container(shop, "db", "stop", "start"):
            outcome = diagnosed(shop, application_services=["webapp", "crash"], dependencies=[
                database(used_by=["webapp", "crash"])
            ])  # fmt: skip
    finally:
        shop.compose("rm", "--stop", "--force", "crash")
    assert cause_of(outcome) == ("database", "stopped")
    assert "crash" in outcome["cause"]["explains"]


def test_a_daemon_that_does_not_answer(shop: Stack) -> None:
    outcome = diagnosed(shop, docker_host="unix:///nowhere/docker.sock")
    assert cause_of(outcome)[0] == "Docker daemon"
    assert outcome["verdict"] == HELPS_NOT
    assert any("the containers are not known" in line for line in outcome["unknown"])


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"name": "rpc", "kind": "rpc"}, "dependencies.url"),
        ({"name": "rpc", "kind": "rpc", "url": "ftp://x"}, "dependencies.url"),
        ({"name": "x", "kind": "tcp", "host": "x"}, "dependencies.port"),
        ({"name": " ", "kind": "dns", "host": "x"}, "dependencies.name"),
        ({"name": "x", "kind": "dns", "host": "x", "timeout": 0.0}, "dependencies.timeout"),
    ],
)
def test_what_cannot_be_asked_is_refused(entry: dict[str, Any], told: str) -> None:
    outcome = call_module("infrastructure_diagnosis", {"project": "shop", "dependencies": [entry]})
    assert outcome.failed
    assert told in outcome["msg"]
    assert "Nothing was looked at" in outcome["msg"] or "Nothing was changed" in outcome["msg"]
