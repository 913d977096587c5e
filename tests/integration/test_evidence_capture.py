# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a real project and a real server: nothing is altered, nothing is told, and every change is found."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.capture import evidence_capture
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.store import Store
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from git_projects import digest, git, make_project
from harness import BASE_IMAGE, COLLECTIONS, REPOSITORY, call_module, command
from postgres_servers import Server, docker, fresh_database
from stacks import Stack, stack
from system_packages import programs

if TYPE_CHECKING:
    from ansible_collections.usdx.rollback.plugins.module_utils.evidence.item import Item

SECRETS = ("s3cr3t-env", "s3cr3t-log", "s3cr3t-file", "s3cr3t-word", "s3cr3t-token", "s3cr3t-query")
COMPOSE = f"""
services:
  web:
    image: {BASE_IMAGE}
    command: ["sh", "-c", "echo s3cr3t-log; echo intruder > /etc/backdoor; while :; do sleep 1; done"]
    environment: {{DB_PASSWORD: s3cr3t-env}}
    init: true
  job:
    image: {BASE_IMAGE}
    command: ["sh", "-c", "echo done; mkdir /out; echo result > /out/result; exit 3"]
"""
QUICK = ["processes", "containers", "docker", "logs", "changed_files", "images", "repository", "project_files"]
DEFAULTS: dict[str, Any] = {
    "state": "sealed", "docker_host": None, "state_directory": "/nowhere", "run_id": "", "events_hours": 1.0,
    "max_item_mb": 512, "max_total_mb": 8192, "item_seconds": 600.0, "controller_time": "", "database": None,
    "brought": [], "encrypt": None, "manifest_sha256": "",
}  # fmt: skip
RUN = """
import json, sys
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.capture import evidence_capture
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
try:
    told = evidence_capture(json.load(sys.stdin), login_of, check=False)
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({**told, "peak_megabytes": int(peak) / 1024}))
except RollbackError as error:
    print(json.dumps({"msg": error.msg, "next_step": error.next_step}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Stack]:
    """Give a running project with a container that runs and one that has ended, in a Git checkout with edits."""
    tree = make_project(tmp_path / "repositories").tree
    with stack(tree) as made:
        made.write({"compose.yml": COMPOSE, ".env": "TOKEN=s3cr3t-file\n", "app.txt": "edited\n"})
        git(tree, "config", "remote.origin.url", "https://ann:s3cr3t-token@git.example/x.git")
        made.up()
        until(lambda: made.states() == {"web-1": "running", "job-1": "exited"})
        yield made


def until(holds: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def options(made: Stack, directory: Path, **more: Any) -> dict[str, Any]:
    return {
        "project": made.project, "project_directory": str(made.directory), "directory": str(directory),
        "operator": "ann", "items": QUICK, **more,
    }  # fmt: skip


def modes(directory: Path) -> tuple[set[int], set[int]]:
    """Return the modes of all directories and of all files."""
    every = [directory, *directory.rglob("*")]
    folders = {stat.S_IMODE(one.stat().st_mode) for one in every if one.is_dir()}
    return folders, {stat.S_IMODE(one.stat().st_mode) for one in every if one.is_file()}


def entries(directory: Path) -> dict[str, dict[str, Any]]:
    told = json.loads((directory / "manifest.json").read_text())
    return {one["name"]: one for one in told["files"]}


def assert_sums(directory: Path) -> None:
    """Check the manifest with sha256sum, and that it names every file."""
    lines = "".join(f"{one['sha256']}  {name}\n" for name, one in entries(directory).items())
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "-"], cwd=directory, input=lines, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert there == {*entries(directory), "manifest.json"}


def world(made: Stack) -> Any:
    """Return all of the project that a capture must not alter."""
    containers = {
        name: (one["Id"], one["State"], one["RestartCount"], one["HostConfig"]["RestartPolicy"], one["LogPath"])
        for name, one in made.containers().items()
    }
    return containers, digest(made.directory)


def done_to(made: Stack, since: float) -> set[str]:
    """Return what was done to the containers of a project since then, as the daemon saw it."""
    label = f"label=com.docker.compose.project={made.project}"
    moments = ["--since", f"{since:.3f}", "--until", f"{time.time():.3f}"]
    return set(command("docker", "events", *moments, "--filter", label, "--format", "{{.Action}}").split())


def test_check_real_check_real(project: Stack, tmp_path: Path) -> None:
    """Nothing of the project is altered by any call; all that was taken is there, private, summed and read-only."""
    directory = tmp_path / "evidence" / "one"
    before, began = world(project), time.time()
    planned = call_module("evidence_capture", options(project, directory), check=True)
    assert (planned.failed, planned["changed"], planned["state"]) == (False, True, "planned"), planned.result
    assert not directory.parent.exists()
    done = call_module("evidence_capture", options(project, directory))
    assert (done.failed, done["changed"], done["state"]) == (False, True, "sealed"), done.result
    assert modes(directory) == ({0o500}, {0o400})
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    assert_sums(directory)
    assert done["manifest_sha256"] == command("sha256sum", str(directory / "manifest.json")).split()[0]
    taken = digest(directory)
    again = call_module("evidence_capture", options(project, directory), check=True)
    assert not again["changed"]
    again = call_module("evidence_capture", options(project, directory))
    assert (again["changed"], again["manifest_sha256"]) == (False, done["manifest_sha256"])
    assert digest(directory) == taken
    assert world(project) == before
    assert done_to(project, began) <= {"top", "archive-path"}
    for outcome in (planned, done, again):
        assert not [word for word in SECRETS if word in json.dumps(outcome.result) + outcome.shown]


def test_what_was_taken_is_what_was_there(project: Stack, tmp_path: Path) -> None:
    directory = tmp_path / "d"
    # The daemon remembers its last 256 events only, and other tests make many: this is a fresh one of the project.
    command("docker", "top", f"{project.project}-web-1")
    done = call_module("evidence_capture", options(project, directory, controller_time="2024-12-28T01:45:00Z"))
    assert not done.failed, done.result
    web, job = (directory / "containers" / f"{project.project}-{name}" for name in ("web-1", "job-1"))
    assert (web / "log.txt").read_text().endswith("Z s3cr3t-log\n")
    assert (job / "log.txt").read_text().endswith("Z done\n")
    assert json.loads((job / "inspect.json").read_bytes())["State"]["ExitCode"] == 3
    assert "s3cr3t-env" in (web / "inspect.json").read_text()
    assert "sleep 1" in (web / "top.json").read_text()
    assert not (job / "top.json").exists()
    for container, name, content in ((web, "etc/backdoor", b"intruder\n"), (job, "out/result", b"result\n")):
        with tarfile.open(container / "changed_files.tar") as archive:
            file = archive.extractfile(f"files/{name}")
            assert file
            assert file.read() == content
            assert archive.getnames()[-1] == "index.jsonl"
    with tarfile.open(directory / "project/files.tar") as archive:
        assert {"files/.env", "files/compose.yml"} <= set(archive.getnames())
    assert "+edited" in (directory / "git/diff.patch").read_text()
    assert "s3cr3t" not in (directory / "git/remotes.txt").read_text()
    assert project.project in (directory / "docker/events.jsonl").read_text()
    told = json.loads((directory / "manifest.json").read_text())
    (attempt,) = told["attempts"]
    assert (attempt["operator"], told["project"], attempt["clock_ahead_seconds"] > 0) == ("ann", project.project, True)
    entry = entries(directory)[f"containers/{project.project}-web-1/log.txt"]
    assert entry["by"].startswith("GET /containers/")
    assert told["started"] <= entry["from"] <= entry["until"] <= told["ended"]


def test_a_project_that_was_paused_or_stopped_gives_the_same(project: Stack, tmp_path: Path) -> None:
    project.compose("pause", "web")
    paused = call_module("evidence_capture", options(project, tmp_path / "paused", items=["containers", "processes"]))
    assert project.states()["web-1"] == "paused"
    project.compose("unpause", "web")
    project.compose("stop", "web")
    before = world(project)
    stopped = call_module("evidence_capture", options(project, tmp_path / "stopped", items=["logs", "changed_files"]))
    assert not paused.failed, paused.result
    assert not stopped.failed, stopped.result
    assert world(project) == before
    with tarfile.open(tmp_path / f"stopped/containers/{project.project}-web-1/changed_files.tar") as archive:
        assert "files/etc/backdoor" in archive.getnames()


def test_whole_file_systems_are_taken_without_an_image(project: Stack, tmp_path: Path) -> None:
    before, began = world(project), time.time()
    done = call_module("evidence_capture", options(project, tmp_path / "d", items=["file_systems"]))
    assert not done.failed, done.result
    with tarfile.open(tmp_path / f"d/containers/{project.project}-job-1/file_system.tar") as archive:
        file = archive.extractfile("out/result")
        assert file
        assert file.read() == b"result\n"
    assert world(project) == before
    assert done_to(project, began) == {"export"}


def test_wrong_input_is_refused_before_anything_is_taken(project: Stack, tmp_path: Path) -> None:
    for wrong, named in (
        ({"project": "usdx-no-such-project"}, "usdx-no-such-project"),
        ({"encrypt": {"tool": "gpg", "public_key": str(tmp_path / "absent.pub")}}, "absent.pub"),
        ({"directory": str(project.directory)}, "directory"),
        ({"max_item_mb": 0}, "max_item_mb"),
    ):
        outcome = call_module("evidence_capture", options(project, tmp_path / "d") | wrong)
        assert outcome.failed
        assert named in outcome["msg"]
        assert outcome["next_step"]
    assert not (tmp_path / "d").exists()


def test_a_disk_that_is_too_small_is_refused_before_anything_is_taken(project: Stack, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "4m") as small:
        outcome = call_module("evidence_capture", options(project, small / "d"))
        assert outcome.failed
        assert "Nothing was taken" in outcome["msg"]
        assert "max_item_mb" in outcome["next_step"]
        assert list(small.iterdir()) == []


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Give a disk of this size, removed after."""
    place.mkdir()
    command("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(place))
    try:
        yield place
    finally:
        command("umount", str(place))


LOUD = f"""
services:
  web:
    image: {BASE_IMAGE}
    command: ["sh", "-c", "echo begin; yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 200000000; echo end"]
"""  # noqa: E501


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Give a container that has written 200 MB into its log, and has ended."""
    with stack(tmp_path_factory.mktemp("loud")) as made:
        made.write({"compose.yml": LOUD})
        made.up()
        until(lambda: made.states() == {"web-1": "exited"}, 300)
        yield made


@pytest.mark.long
def test_a_log_of_200_megabytes_is_streamed_within_the_limit(loud: Stack, tmp_path: Path) -> None:
    """Both its ends are there, and the process that takes it stays small."""
    process = started(loud, tmp_path / "d", items=["logs"], max_item_mb=16)
    told = result_of(process)
    assert told["state"] == "sealed", told
    folder = tmp_path / f"d/containers/{loud.project}-web-1"
    parts = sorted(folder.iterdir())
    assert sum(path.stat().st_size for path in parts) <= 16 << 20
    assert b" begin\n" in parts[0].read_bytes()[:100]
    assert parts[-1].read_bytes().endswith(b"end\n")
    (finding,) = told["not_taken"]
    assert (finding["verdict"], "left out" in finding["why"]) == ("cut", True)
    assert_sums(tmp_path / "d")
    assert told["peak_megabytes"] < 100


def started(made: Stack, directory: Path, **more: Any) -> subprocess.Popen[str]:
    """Start the work in a process of its own, which a test can kill."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(COLLECTIONS)},
    )  # fmt: skip
    assert process.stdin
    with process.stdin as stdin:
        json.dump(DEFAULTS | options(made, directory, **more), stdin)
    return process


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    with process.stdout as stdout:
        told: dict[str, Any] = json.loads(stdout.read())
    process.wait(timeout=60)
    return told


@pytest.mark.long
def test_killed_in_the_middle_it_goes_on_and_overwrites_nothing(loud: Stack, tmp_path: Path) -> None:
    directory = tmp_path / "d"
    log = directory / f"containers/{loud.project}-web-1/log.txt"
    process = started(loud, directory, items=["processes", "logs"])
    until(lambda: log.exists() and log.stat().st_size > 1 << 20)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    cut_off = command("sha256sum", str(log))
    first = entries_of_ledger(directory)
    assert "host/processes.jsonl" in first
    assert not (directory / "manifest.json").exists()
    refused = call_module("evidence_capture", {"state": "verified", "directory": str(directory)})
    assert refused.failed
    done = call_module("evidence_capture", options(loud, directory, items=["processes", "logs"]))
    assert (done.failed, done["state"], done["attempts"]) == (False, "sealed", 2), done.result
    assert command("sha256sum", str(log)) == cut_off
    told = entries(directory)
    assert told[str(log.relative_to(directory))]["what"].startswith("not recorded as whole")
    whole = [name for name, one in told.items() if "log.txt" in name and one["verdict"] == "taken"]
    assert sum(told[name]["bytes"] for name in whole) > 200_000_000
    assert told["host/processes.jsonl"]["sha256"] == first["host/processes.jsonl"]
    assert_sums(directory)


def entries_of_ledger(directory: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (directory / "ledger.jsonl").read_text().splitlines()]
    return {file["name"]: file["sha256"] for line in lines for file in line.get("files", [])}


def test_a_container_that_vanishes_in_the_middle_is_a_finding(
    project: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are taken, and what was taken of it before stays."""
    directory = tmp_path / "d"
    web, take = f"containers/{project.project}-web-1", Store.take

    def taken(self: Store, item: Item) -> dict[str, Any]:
        line = take(self, item)
        if item.name == f"{web}/inspect.json":
            docker("rm", "--force", f"{project.project}-web-1")
        return line

    monkeypatch.setattr(Store, "take", taken)
    items = ["containers", "logs", "changed_files", "images"]
    told = evidence_capture(DEFAULTS | options(project, directory, items=items), login_of, check=False)
    assert told["state"] == "sealed"
    lost = {one["item"]: one["verdict"] for one in told["not_taken"]}
    assert lost == {f"{web}/{name}": "missing" for name in ("diff.json", "log.txt", "changed_files.tar")}
    there = entries(directory)
    assert f"{web}/inspect.json" in there
    assert f"containers/{project.project}-job-1/changed_files.tar" in there
    assert_sums(directory)


@pytest.mark.long
def test_a_disk_that_fills_on_the_way_ends_it_and_the_next_call_goes_on(loud: Stack, tmp_path: Path) -> None:
    """Somebody else fills the disk: what was taken is whole, nothing is sealed, and room is left for others."""
    with small_disk(tmp_path / "small", "400m") as small:
        process = started(loud, small / "d", items=["processes", "logs"], max_item_mb=256)
        until((small / f"d/containers/{loud.project}-web-1/log.txt").exists)
        os.kill(process.pid, signal.SIGSTOP)
        command("fallocate", "-l", "330m", str(small / "other"))
        os.kill(process.pid, signal.SIGCONT)
        told = result_of(process)
        assert "was stopped" in told["msg"], told
        assert not (small / "d/manifest.json").exists()
        assert shutil.disk_usage(small).free > 0
        assert "host/processes.jsonl" in entries_of_ledger(small / "d")
        (small / "other").unlink()
        again = options(loud, small / "d", items=["processes", "logs"], max_item_mb=256)
        done = call_module("evidence_capture", again)
        assert (done.failed, done["state"], done["attempts"]) == (False, "sealed", 2), done.result
        assert_sums(small / "d")


@pytest.mark.parametrize("what", ["damaged", "missing", "extra"])
def test_verify_names_what_was_altered(project: Stack, tmp_path: Path, what: str) -> None:
    directory = tmp_path / "d"
    sealed = call_module("evidence_capture", options(project, directory, items=["images", "containers"]))
    asked = {"state": "verified", "directory": str(directory), "manifest_sha256": sealed["manifest_sha256"]}
    good = call_module("evidence_capture", asked)
    assert (good.failed, good["changed"]) == (False, False)
    victim = directory / f"containers/{project.project}-web-1/inspect.json"
    name = str(victim.relative_to(directory))
    for path in (victim.parent, victim):
        path.chmod(0o700)
    if what == "damaged":
        content = victim.read_bytes()
        victim.write_bytes(content.replace(b"s3cr3t-env", b"s3cr3t-ENV"))
    elif what == "missing":
        victim.unlink()
    else:
        victim.with_name("planted").touch()
        name = str(victim.with_name("planted").relative_to(directory))
    after = digest(directory)
    for again in (asked, options(project, directory)):
        bad = call_module("evidence_capture", again, check=again is asked)
        assert bad.failed
        assert bad[what] == [name]
        assert name in bad["msg"]
    assert digest(directory) == after


# Postgres


@contextlib.contextmanager
def limited(server: Server, database: str) -> Iterator[dict[str, Any]]:
    """Give a login of a role without any special right."""
    server.execute(database, "CREATE ROLE viewer LOGIN PASSWORD 's3cr3t-word'")
    try:
        yield {**server.login, "db": database, "login_user": "viewer", "login_password": "s3cr3t-word"}
    finally:
        server.execute(database, "DROP ROLE viewer")


@pytest.mark.parametrize("who", ["superuser", "viewer"])
def test_a_server_is_asked_and_what_it_refuses_is_named(server: Server, tmp_path: Path, who: str) -> None:
    with fresh_database(server) as database:
        server.execute(database, "CREATE TABLE planted (a int); CREATE FUNCTION f() RETURNS int LANGUAGE sql "
                                 "SECURITY DEFINER AS 'SELECT 1'")  # fmt: skip
        with limited(server, database) as viewer:
            login = viewer if who == "viewer" else {**server.login, "db": database}
            busy = server.connect(database)
            busy.cursor().execute("SELECT 's3cr3t-query'")
            done = call_module(
                "evidence_capture", {"directory": str(tmp_path / "d"), "items": ["database"], "database": login}
            )
            busy.close()
    assert not done.failed, done.result
    refused = {Path(one["item"]).stem: one["verdict"] for one in done["not_taken"]}
    needs_more = {"setting_files": "refused", "hba": "refused", "changes_pg_authid": "refused"}
    assert refused == ({} if who == "superuser" else needs_more), done["not_taken"]
    found = {path.stem: path.read_text() for path in (tmp_path / "d/database").iterdir()}
    assert '"public.planted"' in found["changes_pg_class"]
    assert "f()" in found["definer_functions"]
    assert ("s3cr3t-query" in found["sessions"]) is (who == "superuser")
    assert '"viewer"' in found["roles"]
    assert "SCRAM-SHA-256$" not in "".join(found.values())
    assert not [word for word in SECRETS if word in json.dumps(done.result)]


def test_a_server_that_is_down_costs_no_more_than_one_attempt(tmp_path: Path) -> None:
    login = {"db": "shop", "login_host": "127.0.0.1", "login_port": 1, "login_password": "s3cr3t-word"}
    began = time.monotonic()
    done = call_module(
        "evidence_capture", {"directory": str(tmp_path / "d"), "items": ["database", "processes"], "database": login}
    )
    assert time.monotonic() - began < 20
    assert not done.failed, done.result
    assert {one["verdict"] for one in done["not_taken"]} == {"missing"}
    assert "host/processes.jsonl" in entries(tmp_path / "d")
    assert "s3cr3t" not in json.dumps(done.result)


# Encryption


def age_key(place: Path) -> tuple[Path, list[str]]:
    """Return a public key, and the command that decrypts its standard input."""
    told = command("age-keygen", "--output", str(place / "key.txt"))
    (place / "age.pub").write_text(told.split("Public key: ")[1])
    return place / "age.pub", ["age", "--decrypt", "--identity", str(place / "key.txt")]


def gpg_key(place: Path) -> tuple[Path, list[str]]:
    home = place / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]
    command(*gpg, "--quick-generate-key", "incident@shop.example", "default", "default", "never")
    command(*gpg, "--armor", "--output", str(place / "gpg.pub"), "--export", "incident@shop.example")
    return place / "gpg.pub", [*gpg, "--decrypt"]


KEYS = {"age": age_key, "gpg": gpg_key}


@pytest.mark.parametrize("tool", ["age", "gpg"])
def test_it_is_encrypted_and_decrypted_equal(project: Stack, tmp_path: Path, tool: str) -> None:
    programs(["age", "gpg"], ["age", "gnupg"])
    public, decrypt = KEYS[tool](tmp_path)
    directory = tmp_path / "state" / "d"
    asked = options(project, directory, items=["containers", "logs", "images"])
    plain = call_module("evidence_capture", asked)
    before, kept = digest(directory), tmp_path / "kept"
    shutil.copytree(directory, kept)
    asked["encrypt"] = {"tool": tool, "public_key": str(public)}
    planned = call_module("evidence_capture", asked, check=True)
    assert planned["changed"]
    assert digest(directory) == before
    done = call_module("evidence_capture", asked)
    assert (done.failed, done["state"]) == (False, "encrypted"), done.result
    assert done["manifest_sha256"] == plain["manifest_sha256"]
    encrypted = Path(done["encrypted"]["path"])
    assert sorted(path.name for path in directory.parent.iterdir()) == ["d.receipt.json", encrypted.name]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.parent.iterdir()} == {0o400}
    assert b"s3cr3t" not in encrypted.read_bytes()
    with encrypted.open("rb") as file:
        opened = subprocess.run(decrypt, stdin=file, capture_output=True, check=True).stdout
    if tool == "gpg":
        command("gpgconf", "--homedir", str(tmp_path / "gpg"), "--kill", "gpg-agent")
    (tmp_path / "opened").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "opened")], input=opened, check=True)
    command("diff", "--recursive", str(kept), str(tmp_path / "opened" / "d"))
    assert_sums(tmp_path / "opened" / "d")
    again = call_module("evidence_capture", asked)
    assert (again["changed"], again["state"]) == (False, "encrypted")
    verify = {"state": "verified", "directory": str(directory), "manifest_sha256": plain["manifest_sha256"]}
    assert not call_module("evidence_capture", verify).failed
    encrypted.chmod(0o600)
    encrypted.write_bytes(encrypted.read_bytes()[:-1])
    bad = call_module("evidence_capture", verify)
    assert (bad.failed, bad["damaged"]) == (True, [encrypted.name])
    assert not [word for word in SECRETS if word in json.dumps([done.result, again.result, bad.result])]


def test_the_plain_copy_stays_when_the_tool_fails_or_a_file_was_altered(project: Stack, tmp_path: Path) -> None:
    programs(["age"], ["age"])
    public, _decrypt = age_key(tmp_path)
    asked = options(project, tmp_path / "d", items=["containers"])
    private = call_module("evidence_capture", asked | {"encrypt": {"tool": "age", "public_key": f"{tmp_path}/key.txt"}})
    assert (private.failed, "private" in private["next_step"]) == (True, True)
    (tmp_path / "wrong.pub").write_text("no key\n")
    wrong = call_module("evidence_capture", asked | {"encrypt": {"tool": "age", "public_key": f"{tmp_path}/wrong.pub"}})
    assert (wrong.failed, "wrong.pub" in wrong["msg"]) == (True, True)
    assert not (tmp_path / "d").exists()
    call_module("evidence_capture", asked)
    victim = tmp_path / f"d/containers/{project.project}-web-1/inspect.json"
    victim.chmod(0o600)
    victim.write_bytes(b"{}")
    altered = call_module("evidence_capture", asked | {"encrypt": {"tool": "age", "public_key": str(public)}})
    assert altered.failed
    assert victim.exists()
    assert not (tmp_path / "d.receipt.json").exists()


# The screen


def test_nothing_secret_is_on_the_screen_with_vvv(project: Stack, server15: Server, tmp_path: Path) -> None:
    with fresh_database(server15) as database, limited(server15, database) as login:
        asked = options(project, tmp_path / "d", database=login)
        del asked["items"]
        play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
            {"name": "Take", "usdx.rollback.evidence_capture": asked, "register": "taken"},
            {"name": "Tell", "ansible.builtin.debug": {"var": "taken"}},
        ]}]  # fmt: skip
        book = tmp_path / "play.json"
        book.write_text(json.dumps(play))
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-vvv", "--diff", str(book)]
        argv += ["-e", f"ansible_python_interpreter={sys.executable}"]
        screen = command(*argv, cwd=REPOSITORY, ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"))
    assert "manifest_sha256" in screen
    assert not [word for word in SECRETS if word in screen]
    assert (tmp_path / "d/database/roles.jsonl").exists()
    assert_sums(tmp_path / "d")
