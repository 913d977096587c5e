# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of answers: nodes, redis, Postgres, certificates, containers, the host; and options that are refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis import (
    containers,
    diagnose,
    host,
    network,
    postgres,
    redis,
    rpc,
    settings,
)
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.probe import Probe

NOW = datetime(2026, 11, 24, 15, 4, 5, tzinfo=timezone.utc)
LIMITS = settings.host_limits(None)


def dependency(kind: str, **more: Any) -> settings.Dependency:
    given = {
        "name": "thing",
        "kind": kind,
        "host": "thing.example",
        "port": 1,
        "url": "http://thing.example:1/",
        **more,
    }
    return settings.checked_dependencies([given])[0]


def faults(probes: list[Probe]) -> dict[str, str]:
    """Return the fault of each kind of probe that did not pass."""
    return {one.kind: one.fault or one.verdict for one in probes if one.verdict != "passed"}


def came(**more: Any) -> dict[str, Any]:
    return {"fault": "", "why": "", "address": "192.0.2.1", "seconds": 0.01, **more}


# --- nodes ------------------------------------------------------------------------------------------------------------


def reply(result: Any = None, status: int = 200, **more: Any) -> dict[str, Any]:
    return came(status=status, body=json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}), **more)


def node(**more: Any) -> dict[str, Any]:
    """Return the answers of a node that is well, with those that differ."""
    block = {"timestamp": hex(int(NOW.timestamp()) - 10)}
    return {"height": reply("0x64"), "block": reply(block), "syncing": reply(result=False), **more}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, {}),
        ({"height": came() | {"fault": "refused", "why": "no"}}, {"answers": "refused"}),
        ({"height": reply("0x64", seconds=9.0)}, {"latency": "slow"}),
        ({"height": reply(None)}, {"answers": "garbage"}),
        ({"height": reply("100")}, {"answers": "garbage"}),
        ({"height": came(status=200, body="<html>")}, {"answers": "garbage"}),
        ({"height": came(status=200, body="[" * 100000)}, {"answers": "garbage"}),
        ({"height": came(status=502, body="<html>")}, {"answers": "status"}),
        ({"height": came(status=401, body="")}, {"answers": "auth"}),
        ({"height": came(status=200, body='{"error": {"message": "no"}}')}, {"answers": "error"}),
        ({"block": reply({"timestamp": hex(int(NOW.timestamp()) - 9000)})}, {"newest block": "lagging"}),
        ({"block": reply(None)}, {"newest block": "inconclusive"}),
        ({"syncing": reply({"currentBlock": "0x1", "highestBlock": "0xffff"})}, {"sync": "lagging"}),
        ({"reference": reply("0x70")}, {}),
        ({"reference": reply("0x99")}, {"height": "lagging"}),
        ({"reference": came() | {"fault": "timeout", "why": "late"}}, {"height": "inconclusive"}),
    ],
)
def test_a_node(answers: dict[str, Any], expected: dict[str, str]) -> None:
    assert faults(rpc.judge(dependency("rpc"), node(**answers), "host", NOW)) == expected


@pytest.mark.parametrize(
    ("chain", "expected"), [("0x1", {}), ("0x5", {"chain": "chain"}), (7, {"chain": "inconclusive"})]
)
def test_the_chain_of_a_node(chain: Any, expected: dict[str, str]) -> None:
    one = dependency("rpc", chain_id=1)
    assert "chain" in rpc.questions(one, reference=True)
    assert faults(rpc.judge(one, node(chain=reply(chain)), "host", NOW)) == expected


def test_a_call_of_their_own_and_the_reference_that_gets_no_token() -> None:
    own = dependency("rpc", method="net_version", params=[1])
    assert json.loads(rpc.questions(own, reference=True)["call"]["body"])["params"] == [1]
    assert faults(rpc.judge(own, {"call": reply("1")}, "host", NOW)) == {}
    one = dependency("rpc", reference_url="http://other.example/", headers={"X-Token": "s3cr3t"})
    asked = rpc.questions(one, reference=True)
    assert asked["height"]["headers"]["X-Token"] == "s3cr3t"
    assert "X-Token" not in asked["reference"]["headers"]
    assert "reference" not in rpc.questions(one, reference=False)


# --- redis ------------------------------------------------------------------------------------------------------------

INFO = "# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\nconnected_clients:1\r\nmaxclients:100\r\nrole:master\r\n"


def cache(info: str = "", **replies: str) -> dict[str, Any]:
    told = {"PING": "PONG", "INFO": INFO + info, "ACL": "OK", **replies}
    return {"answers": came(replies=told, ping_seconds=0.001)}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (cache(), {}),
        (cache(PING="-NOAUTH Authentication required."), {"answers": "auth"}),
        (cache(AUTH="-WRONGPASS invalid", PING="-NOAUTH x"), {"answers": "auth"}),
        (cache(AUTH="-ERR Client sent AUTH, but no password is set"), {}),
        (cache(PING="-LOADING Redis is loading"), {"answers": "starting"}),
        (cache(PING="-ERR max number of clients reached"), {"answers": "connections"}),
        (cache(PING="-MISCONF Redis is configured to save"), {"persistence": "misconf"}),
        (cache("rdb_last_bgsave_status:err\r\n"), {"persistence": "persistence"}),
        (cache("aof_enabled:1\r\naof_last_write_status:err\r\n"), {"persistence": "persistence"}),
        (cache("maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n"), {"memory": "maxmemory"}),
        (cache("maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n"), {}),
        (cache("maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\ndb0:keys=5,expires=0\r\n"), {"memory": "maxmemory"}),
        (cache("maxmemory:1000\r\nmaxmemory_policy:volatile-lru\r\ndb0:keys=5,expires=2\r\n"), {}),
        (cache("maxmemory:9000\r\nmaxmemory_policy:noeviction\r\n"), {}),
        (cache("role:slave\r\nmaster_link_status:up\r\n"), {"role": "readonly"}),
        (cache("connected_clients:99\r\n"), {"clients": "connections"}),
        (cache(ACL="User default has no permissions to run the 'set' command"), {"rights": "readonly"}),
        (cache(ACL="User default has no permissions to access the 'key' key"), {}),
        (cache(ACL="-ERR unknown command"), {}),
        ({"answers": came(replies={"PING": "PONG", "INFO": "-NOPERM x"}, ping_seconds=0.1)}, {"state": "inconclusive"}),
        ({"answers": came() | {"fault": "timeout", "why": "late"}}, {"answers": "timeout"}),
    ],
)
def test_redis(answers: dict[str, Any], expected: dict[str, str]) -> None:
    assert faults(redis.judge(dependency("redis"), answers, "host", NOW)) == expected


def test_a_replica_of_redis_follows_its_master() -> None:
    one = dependency("redis", replica=True)
    assert faults(redis.judge(one, cache("role:slave\r\nmaster_link_status:up\r\n"), "host", NOW)) == {}
    assert faults(redis.judge(one, cache("role:slave\r\nmaster_link_status:down\r\n"), "host", NOW)) == {
        "role": "replication"
    }


# --- Postgres ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"accepts": True}, {}),
        ({"accepts": False, "sqlstate": "28000", "message": "no entry"}, {}),
        ({"accepts": False, "sqlstate": "53300", "message": "too many"}, {"answers": "connections"}),
        ({"accepts": False, "sqlstate": "57P03", "message": "starting up"}, {"answers": "starting"}),
        ({"accepts": False, "sqlstate": "XX000", "message": "x"}, {"answers": "error"}),
        ({"fault": "refused", "why": "nobody"}, {"answers": "refused"}),
    ],
)
def test_the_first_word_of_postgres(answer: dict[str, Any], expected: dict[str, str]) -> None:
    assert faults(postgres.judge_protocol(dependency("postgres"), {"answers": came(**answer)}, "host")) == expected


def server(**more: Any) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "server": (False, 100, 3, "off", "/data", 1000, -1, -1, True),
        "sessions": (5, 5, 5, 0),
        "holder": ("shop", "web", "10.0.0.3", "idle", 4),
        "waiting": (0, None, None),
        "transaction": (),
        "prepared": (0, None),
        "replicas": (0, 0, 0.0),
        "slots": (),
    }
    return rows | more


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, {}),
        ({"sessions": (90, 90, 90, 80)}, {"connections": "connections"}),
        ({"server": (False, 100, 3, "off", "/data", 1000, 5, -1, True)}, {"connections": "connections"}),
        ({"server": (False, 100, 3, "off", "/data", 1000, -1, 5, True)}, {"connections": "connections"}),
        ({"waiting": (3, 31.0, 4711)}, {"locks": "locks"}),
        ({"waiting": (3, 5.0, 4711)}, {}),
        ({"transaction": (7, "shop", "web", "idle in transaction", 900.0)}, {"transactions": "transaction"}),
        ({"prepared": (1, 900.0)}, {"prepared transactions": "transaction"}),
        ({"server": (False, 100, 3, "on", "/data", 1000, -1, -1, True)}, {"role": "readonly"}),
        ({"server": (False, 100, 3, "off", "/data", 2_100_000_000, -1, -1, True)}, {"wraparound": "wraparound"}),
        ({"server": (True, 100, 3, "off", "/data", 1000, -1, -1, True), "replay": (0, 1)}, {"role": "readonly"}),
        ({"replicas": (2, 1, 0.0)}, {"replication": "replication"}),
        ({"replicas": (2, 0, 99.0)}, {"replication": "replication"}),
        ({"slots": ("old", 2e10)}, {"replication slots": "slot"}),
        ({"slots": ("old", 2e6)}, {}),
    ],
)
def test_what_postgres_tells(rows: dict[str, Any], expected: dict[str, str]) -> None:
    assert faults(postgres.judge_rows(dependency("postgres"), server(**rows))) == expected


@pytest.mark.parametrize(
    ("replay", "expected"), [((2.0, 1), {}), ((99.0, 1), "replication"), ((0.0, 0), "replication")]
)
def test_a_replica_of_postgres(replay: tuple[float, int], expected: Any) -> None:
    rows = server(server=(True, 100, 3, "off", "/data", 1000, -1, -1, True), replay=replay)
    found = faults(postgres.judge_rows(dependency("postgres", replica=True), rows))
    assert found == (expected and {"replication": expected})


def test_a_login_that_fails() -> None:
    one = dependency("postgres")
    (full,) = postgres.refusal(one, RollbackError("FATAL: remaining connection slots are reserved", "x"))
    (wrong,) = postgres.refusal(one, RollbackError("password authentication failed", "x"))
    (missing,) = postgres.refusal(one, RollbackError("psycopg2 is missing", "Install it.", exception="trace"))
    assert [full.fault, wrong.fault, missing.verdict] == ["connections", "auth", "inconclusive"]


# --- certificates, content --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "expected"),
    [(30, {}), (3, {"certificate": "expiring"}), (-1, {"certificate": "expired"}), (None, "unread")],
)
def test_a_certificate(days: float | None, expected: Any) -> None:
    end = "" if days is None else (NOW + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = faults(network.judge_plain(dependency("tls"), {"answers": came(not_after=end)}, "host", NOW))
    assert found == ({"certificate": "inconclusive"} if expected == "unread" else expected)


@pytest.mark.parametrize(
    ("status", "body", "options", "expected"),
    [
        (200, "all is up", {"contains": "up"}, {}),
        (200, "all is down", {"contains": "up"}, {"answers": "content"}),
        (302, "", {}, {}),
        (302, "", {"status": [200]}, {"answers": "status"}),
        (500, "", {}, {"answers": "status"}),
    ],
)
def test_http(status: int, body: str, options: dict[str, Any], expected: dict[str, str]) -> None:
    answer = {"answers": came(status=status, body=body)}
    assert faults(network.judge_web(dependency("http", **options), answer, "host", NOW)) == expected


# --- containers -------------------------------------------------------------------------------------------------------

ROLES = containers.Roles(application=("web",), keep=("db",), one_shot=("migrate",))


def look(service: str = "web", status: str = "running", restarts: int = 0, **state: Any) -> containers.Look:
    started = (NOW - timedelta(seconds=state.pop("age", 9999))).strftime("%Y-%m-%dT%H:%M:%S.1Z")
    return containers.look_from(
        {
            "Id": "ab" * 32, "Name": f"/shop-{service}-1", "RestartCount": restarts,
            "State": {"Status": status, "StartedAt": started, "FinishedAt": "2026-11-24T15:00:00.1Z", **state},
            "Config": {"Labels": {"com.docker.compose.service": service, "com.docker.compose.oneoff": "False"}},
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "killed", "expected"),
    [
        (look(), False, {}),
        (look(Health={"Status": "unhealthy", "Log": [{"Output": "no db"}]}), False, "unhealthy"),
        (look(Health={"Status": "starting"}), False, "inconclusive"),
        (look(status="restarting", restarts=9), False, "crash loop"),
        (look(restarts=9, age=10), False, "crash loop"),
        (look(restarts=9), False, {}),
        (look(restarts=9, age=10), True, "oom"),
        (look(status="exited", ExitCode=137, OOMKilled=True), False, "oom"),
        (look(), True, "oom"),
        (look(status="exited", ExitCode=143), False, "stopped"),
        (look(status="exited", ExitCode=3), False, "exited"),
        (look(status="paused"), False, "paused"),
        (look(status="dead"), False, "dead"),
        (look("migrate", "exited", ExitCode=0), False, {}),
        (look("migrate", "exited", ExitCode=1), False, "exited"),
        (look("tool", "exited", ExitCode=0), False, {}),
        (look("tool", "created"), False, "inconclusive"),
    ],
)
def test_the_state_of_a_container(one: containers.Look, killed: bool, expected: Any) -> None:  # noqa: FBT001
    ids = {one.container.id} if killed else set()
    probes = [p for p in containers.judge([one], ROLES, ids, LIMITS, NOW) if p.component == one.container.service]
    assert faults(probes) == (expected and {"container": expected})


def test_a_service_without_a_container_and_a_huge_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 3000)
    one = containers.look_from({**_inspected(), "LogPath": str(log)})
    unseen = containers.look_from({**_inspected(), "LogPath": str(tmp_path / "missing")})
    small = {**LIMITS, "max_log_megabytes": 0.001}
    assert faults(containers.judge([one], ROLES, set(), small, NOW)) == {"container": "absent", "log": "log"}
    assert faults(containers.judge([unseen], ROLES, set(), small, NOW))["log"] == "inconclusive"


def _inspected() -> dict[str, Any]:
    labels = {"com.docker.compose.service": "web", "com.docker.compose.oneoff": "False"}
    return {"Id": "ab" * 32, "Name": "/shop-web-1", "State": {"Status": "running"}, "Config": {"Labels": labels}}


def test_memory_of_a_container_and_when_it_was_deployed() -> None:
    one = containers.look_from({**_inspected(), "HostConfig": {"Memory": 100}, "Created": "2026-11-24T10:00:00.5Z"})
    assert containers.judge_memory(one, 99, LIMITS).fault == "memory limit"
    assert containers.judge_memory(one, 9, LIMITS).verdict == "passed"
    assert containers.judge_memory(one, None, LIMITS).verdict == "inconclusive"
    assert containers.deployed_at([one], ["web"]) == datetime(2026, 11, 24, 10, tzinfo=timezone.utc)
    assert containers.deployed_at([one], ["other"]) is None


# --- the host ---------------------------------------------------------------------------------------------------------


def kernel(tmp_path: Path, **files: str) -> Path:
    told = {
        "meminfo": "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 500 kB\n",
        "pressure/memory": "some avg10=0 avg60=0.0 avg300=0 total=1\nfull avg10=0 avg60=0.0 avg300=0 total=1\n",
        "pressure/cpu": "some avg10=0 avg60=10.5 avg300=0 total=1\n",
        "pressure/io": "some avg10=0 avg60=0.0 avg300=0 total=1\nfull avg10=0 avg60=0.0 avg300=0 total=1\n",
        "sys/fs/file-nr": "100\t0\t1000\n",
    }
    for name, text in {**told, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {}),
        ({"meminfo": "MemTotal: 1000 kB\nMemAvailable: 9 kB\n"}, {("memory", "memory"): "memory"}),
        ({"meminfo": "nonsense"}, {("memory", "memory"): "inconclusive"}),
        ({"pressure/cpu": "some avg10=0 avg60=99.1 avg300=0 total=1\n"}, {("cpu", "pressure"): "pressure"}),
        ({"pressure/io": "off"}, {("io", "pressure"): "inconclusive"}),
        ({"sys/fs/file-nr": "990\t0\t1000\n"}, {("open files", "table"): "table full"}),
        (
            {"sys/net/netfilter/nf_conntrack_count": "99", "sys/net/netfilter/nf_conntrack_max": "100"},
            {("connection tracking", "table"): "table full"},
        ),
    ],
)
def test_what_the_kernel_tells(tmp_path: Path, files: dict[str, str], expected: dict[Any, str]) -> None:
    probes = host.judge_kernel(LIMITS, kernel(tmp_path, **files))
    assert {(p.component, p.kind): p.fault or p.verdict for p in probes if p.verdict != "passed"} == expected


def test_disks_are_there_once_and_know_who_needs_them(tmp_path: Path) -> None:
    one = containers.look_from({**_inspected(), "State": {"Status": "running", "Pid": 7}})
    (tmp_path / "7/root/data").mkdir(parents=True)
    (tmp_path / "7/root/dev/shm").mkdir(parents=True)
    ident = "ab" * 32
    (tmp_path / "7/mountinfo").write_text(
        "1 0 0:9 / / rw - overlay overlay rw\n2 1 0:5 / /proc rw - proc proc rw\n3 1 8:1 /v /data rw - ext4 /dev/a rw\n"
        f"4 1 0:6 / /dev/shm rw - tmpfs shm rw\n5 1 8:1 /{ident}/hosts /etc/hosts rw - ext4 /dev/a rw\n"
    )
    (found,) = host.disks({str(tmp_path / "not/there"): ("*",)}, [one], tmp_path)
    assert found.uses == [str(tmp_path / "not/there"), "web:/data", "web:/dev/shm"]
    assert found.affects == {"*", "web"}


def test_a_disk_is_judged_by_share_and_size() -> None:
    disk = host.Disk("/", ["/"], {"*"})
    assert faults(host.judge_disk(disk, {**LIMITS, "min_disk_free_percent": 0, "min_inodes_free_percent": 0})) == {}
    full = host.judge_disk(disk, {**LIMITS, "min_disk_free_percent": 100, "min_disk_free_megabytes": 1e12})
    assert faults(full)["disk"] in ("nearly full", "full")
    assert full[0].affects == ("*",)
    assert host.judge_disk(host.Disk("/no/such/place", ["x"]), LIMITS)[0].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Tue, 24 Nov 2026 15:04:05 GMT", 0.0),
        ("Tue, 24 Nov 2026 15:04:04 GMT", 0.0),
        ("Tue, 24 Nov 2026 14:04:05 GMT", pytest.approx(3598.9)),
        ("Tue, 24 Nov 2026 16:04:05 GMT", -3600.0),
        ("yesterday", None),
        ("", None),
    ],
)
def test_how_far_the_clock_is_off(date: str, expected: Any) -> None:
    assert host.offset(date, NOW, 0.1) == expected


@pytest.mark.parametrize(
    ("offsets", "synchronised", "expected"),
    [
        ({"a": 0.0}, None, "passed"),
        ({"a": 3600.0}, True, "failed"),
        ({"a": 3600.0, "b": 0.0}, None, "passed"),
        ({"a": 3600.0, "b": 3599.0, "c": 0.0}, None, "failed"),
        ({}, True, "passed"),
        ({}, False, "inconclusive"),
        ({}, None, "inconclusive"),
    ],
)
def test_the_clock(offsets: dict[str, float], synchronised: Any, expected: str) -> None:
    assert host.judge_clock(offsets, synchronised, LIMITS).verdict == expected


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"name": "a", "kind": "dns", "host": "x"}] * 2, "a name of its own"),
        ([{"name": "a (backup)", "kind": "dns", "host": "x"}], "dependencies.name"),
        ([{"name": "a", "kind": "tcp", "host": "x y", "port": 1}], "dependencies.host"),
        ([{"name": "a", "kind": "tcp", "host": "x", "port": 70000}], "dependencies.port"),
        ([{"name": "a", "kind": "dns", "host": "x", "limits": {"max_lag": -1.0}}], "max_lag"),
        ([{"name": "a", "kind": "dns", "host": "x", "timeout": 99.0}], "dependencies.timeout"),
        (
            [{"name": "a", "kind": "tcp", "host": "x", "port": 1, "backup_url": "http://[bad"}],
            "dependencies.backup_url",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(given: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(RollbackError) as caught:
        settings.checked_dependencies(given)
    assert told in caught.value.msg + caught.value.next_step


def test_a_backup_is_asked_like_the_first_one() -> None:
    one, backup = settings.checked_dependencies(
        [
            {
                "name": "rpc",
                "kind": "rpc",
                "url": "https://a.example/k",
                "backup_url": "http://b.example:81/",
                "chain_id": 5,
            }
        ]
    )
    assert (one.where, backup.where, backup.chain_id, backup.backup_of) == ("a.example:443", "b:81", 5, "rpc")
    assert "a.example" not in repr(one).replace("host='a.example'", "")


def test_what_may_be_shown_of_the_options() -> None:
    entry = {"name": "rpc", "url": "https://u:p@a.example/v2/KEY?x=1", "backup_url": None, "reference_url": "b.example:1",
             "headers": {"X": "KEY"}}  # fmt: skip
    shown = settings.shown({"time_url": None, "endpoints": [{"url": "http://c/KEY"}], "dependencies": [entry]})
    assert "KEY" not in str(shown)
    assert shown["dependencies"][0]["url"] == "https://a.example:443"


def test_no_project_is_refused() -> None:
    with pytest.raises(RollbackError):
        diagnose.settings_of({"project": " "})
