# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence: files that are only added, limits that hold, a manifest that finds every change, parsers of the host."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.evidence import manifest, store
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.archive import Archive
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.authorized_keys import keys_in
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.capture import GROUPS, evidence_capture
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.command import command_chunks
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.host import file_end, small_files
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.item import Item, NotTaken, file_name
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.processes import processes
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.repository import file_items, git_items
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.sockets import address, sockets
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.store import Limits, Store
from ansible_collections.usdx.rollback.plugins.module_utils.git import Git
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.disk import Room
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from git_projects import digest, git, make_project

WIDE = Limits(item=1 << 20, total=1 << 22, seconds=60)


def item(name: str, *chunks: bytes, both_ends: bool = False, breaks: Exception | None = None) -> Item:
    """Return an item that gives these chunks, and then breaks, or ends."""

    def read() -> Iterator[bytes]:
        yield from chunks
        if breaks:
            raise breaks

    return Item("host", name, "a thing", "a command", read, both_ends=both_ends)


def opened(directory: Path, limits: Limits = WIDE) -> Store:
    made = Store(directory, limits)
    made.make()
    made.begin({"operator": "ann", "run_id": "", "project": ""})
    return made


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


# The store


def test_a_file_is_private_summed_and_in_the_ledger(tmp_path: Path) -> None:
    made = opened(tmp_path / "new" / "one")
    line = made.take(item("host/a.txt", b"one ", b"two"))
    path = tmp_path / "new" / "one" / "host" / "a.txt"
    assert path.read_bytes() == b"one two"
    assert line["files"] == [{"name": "host/a.txt", "bytes": 7, "sha256": hashlib.sha256(b"one two").hexdigest()}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, tmp_path / "new"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Store(tmp_path / "new" / "one", WIDE).ledger.items["host/a.txt"]["verdict"] == "taken"


def test_an_empty_thing_is_an_empty_file(tmp_path: Path) -> None:
    assert opened(tmp_path).take(item("a"))["verdict"] == "taken"
    assert (tmp_path / "a").read_bytes() == b""


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NotTaken("refused", "no"), "refused"),
        (FileNotFoundError(2, "no", "/etc/x"), "missing"),
        (PermissionError(13, "Permission denied"), "refused"),
        (ConnectionError("broken"), "refused"),
    ],
)
def test_what_is_refused_is_a_finding_and_leaves_no_file(tmp_path: Path, error: Exception, verdict: str) -> None:
    line = opened(tmp_path).take(item("a", breaks=error))
    assert (line["verdict"], line["files"]) == (verdict, [])
    assert line["why"]
    assert names(tmp_path) == ["ledger.jsonl"]


def test_what_was_read_before_a_source_broke_off_is_kept(tmp_path: Path) -> None:
    line = opened(tmp_path).take(item("a", b"half", breaks=NotTaken("missing", "the container is gone")))
    assert (line["verdict"], line["why"]) == ("cut", "the container is gone")
    assert (tmp_path / "a").read_bytes() == b"half"


def test_a_reason_shows_no_secret(tmp_path: Path) -> None:
    why = "login postgres://usdx:s3cr3t-a@db failed, password=s3cr3t-b \x1b[31m"
    line = opened(tmp_path).take(item("a", breaks=NotTaken("refused", why)))
    assert "s3cr3t" not in line["why"]
    assert "\x1b" not in line["why"]


def test_an_item_ends_at_its_limit(tmp_path: Path) -> None:
    line = opened(tmp_path, Limits(item=10, total=100, seconds=60)).take(item("a", b"x" * 8, b"y" * 8))
    assert (tmp_path / "a").read_bytes() == b"x" * 8 + b"yy"
    assert (line["verdict"], line["files"][0]["bytes"]) == ("cut", 10)


def test_of_a_long_log_both_ends_are_kept_and_the_disk_never_holds_more(tmp_path: Path) -> None:
    made = opened(tmp_path, Limits(item=400, total=1000, seconds=60))
    most = 0

    def lines() -> Iterator[bytes]:
        nonlocal most
        for number in range(200):
            most = max(most, sum(path.stat().st_size for path in tmp_path.glob("log*")))
            yield f"{number:09d}\n".encode()

    line = made.take(Item("logs", "log.txt", "log", "", lines, both_ends=True))
    kept = [(tmp_path / file["name"]).read_text().split() for file in line["files"]]
    assert names(tmp_path) == sorted(["ledger.jsonl", *(file["name"] for file in line["files"])])
    assert (kept[0][0], kept[-1][-1]) == ("000000000", "000000199")
    assert kept[1:] == [[f"{number:09d}" for number in range(start, start + 10)] for start in (170, 180, 190)]
    assert most <= 400
    assert line["verdict"] == "cut"
    assert line["why"].startswith("1600 bytes")


def test_a_log_within_the_limit_is_whole_in_its_parts(tmp_path: Path) -> None:
    content = [f"{number:09d}\n".encode() for number in range(35)]
    line = opened(tmp_path, Limits(item=400, total=1000, seconds=60)).take(item("log", *content, both_ends=True))
    assert line["verdict"] == "taken"
    assert b"".join((tmp_path / file["name"]).read_bytes() for file in line["files"]) == b"".join(content)


def test_the_limit_for_all_is_kept(tmp_path: Path) -> None:
    made = opened(tmp_path, Limits(item=10, total=15, seconds=60))
    assert [made.take(item(name, b"x" * 10))["verdict"] for name in "abc"] == ["taken", "cut", "missing"]
    assert made.ledger.bytes == 15


def test_a_source_that_drips_ends_at_the_time_limit(tmp_path: Path) -> None:
    clock = iter(range(0, 1000, 25))
    line = opened(tmp_path).take(item("a", *[b"x"] * 30), clock=lambda: float(next(clock)))
    assert line["verdict"] == "cut"
    assert "60 seconds" in line["why"]
    assert 1 <= (tmp_path / "a").stat().st_size <= 3


def test_a_file_of_a_cut_off_attempt_is_never_touched(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "a").write_bytes(b"cut off")
    made = Store(tmp_path, WIDE)
    made.begin({})
    assert made.take(item("a", b"whole"))["files"][0]["name"] == "a.again-2"
    assert [(tmp_path / name).read_bytes() for name in ("a", "a.again-2")] == [b"cut off", b"whole"]
    manifest.seal(made, {}, {})
    told = {one["name"]: one for one in manifest.read(tmp_path)["files"]}
    assert told["a"]["what"].startswith("not recorded as whole")
    assert told["a"]["sha256"] == hashlib.sha256(b"cut off").hexdigest()


def test_a_torn_line_of_the_ledger_is_passed_over_and_closed(tmp_path: Path) -> None:
    opened(tmp_path).take(item("a", b"1"))
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"item": "b", "fil')
    made = Store(tmp_path, WIDE)
    assert list(made.ledger.items) == ["a"]
    made.take(item("c", b"3"))
    assert list(Store(tmp_path, WIDE).ledger.items) == ["a", "c"]


def test_a_disk_that_fills_ends_the_capture_and_what_was_taken_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(tmp_path)
    made.take(item("a", b"1"))
    monkeypatch.setattr(store, "_LOOK_EVERY", 4)
    monkeypatch.setattr(store, "room_of", lambda _directory: Room(100, 10_000))
    with pytest.raises(RollbackError) as caught:
        made.take(item("b", b"12345", b"67890"))
    assert "call again" in caught.value.next_step
    assert list(Store(tmp_path, WIDE).ledger.items) == ["a"]
    with pytest.raises(RollbackError, match="Nothing was taken"):
        store.refuse_small(tmp_path, 1)


@pytest.mark.parametrize("why", ["mode", "file", "link", "full", "relative"])
def test_a_directory_that_is_not_ours_alone_is_refused(tmp_path: Path, why: str) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    if why == "mode":
        directory.chmod(0o750)
    elif why == "full":
        (directory / "other").touch()
    elif why == "relative":
        directory = Path("d")
    else:
        directory.rmdir()
        directory.touch() if why == "file" else directory.symlink_to(tmp_path)
    with pytest.raises(RollbackError, match="Nothing was taken"):
        Store(directory, WIDE)


# The manifest


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Give a sealed directory with two things taken, one refused, and a dump that was brought."""
    directory = tmp_path / "sealed"
    made = opened(directory)
    made.take(item("host/a", b"aaa"))
    made.take(item("host/b", b"bbb"))
    made.take(item("host/c", breaks=NotTaken("refused", "no right")))
    (directory / "dump.sql").write_bytes(b"dump")
    manifest.seal(made, {"dump.sql": {"what": "the dump", "by": "pg_dump"}}, {"operator": "ann"})
    return directory


def test_a_sealed_directory_is_read_only_and_says_what_is_in_it(sealed: Path) -> None:
    told = manifest.read(sealed)
    assert told["sha256"] == hashlib.sha256((sealed / "manifest.json").read_bytes()).hexdigest()
    assert [one["name"] for one in told["files"]] == ["dump.sql", "host/a", "host/b", "ledger.jsonl"]
    assert told["files"][0]["what"] == "the dump"
    assert told["not_taken"] == [{"item": "host/c", "what": "a thing", "verdict": "refused", "why": "no right"}]
    assert {stat.S_IMODE(path.stat().st_mode) for path in sealed.rglob("*") if path.is_file()} == {0o400}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (sealed, sealed / "host")} == {0o500}
    manifest.verify(sealed, told)
    assert not manifest.make_read_only(sealed)


@pytest.mark.parametrize("what", ["damaged", "missing", "extra", "same_size"])
def test_every_change_is_found_by_name(sealed: Path, what: str) -> None:
    for path in (sealed, sealed / "host", sealed / "host/a"):
        path.chmod(0o700)
    if what == "extra":
        (sealed / "host/new").touch()
    elif what == "missing":
        (sealed / "host/a").unlink()
    else:
        (sealed / "host/a").write_bytes(b"aab" if what == "same_size" else b"aaaa")
    with pytest.raises(RollbackError) as caught:
        manifest.verify(sealed, manifest.read(sealed))
    key = "damaged" if what == "same_size" else what
    assert caught.value.facts[key] == ["host/new" if what == "extra" else "host/a"]
    assert [caught.value.facts[other] for other in ("damaged", "missing", "extra") if other != key] == [[], []]


def test_a_manifest_that_was_written_anew_is_found_by_its_sum(sealed: Path) -> None:
    told = manifest.read(sealed)
    manifest.verify(sealed, told, told["sha256"])
    with pytest.raises(RollbackError, match="not the one that was sealed"):
        manifest.verify(sealed, told, "0" * 64)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"usdx.rollback.evidence": 2, "files": []}',
     b'{"usdx.rollback.evidence": 1, "files": [{"name": "../x", "sha256": "", "bytes": 1}]}'],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(RollbackError, match="cannot be read as a manifest"):
        manifest.read(tmp_path)


# The archive


def added(content: bytearray, steps: Generator[bytes, None, str]) -> str:
    """Add a member to an archive, and return why its data broke off."""

    def kept() -> Generator[bytes, None, None]:
        whys.append((yield from steps))

    whys: list[str] = []
    content += b"".join(kept())
    return whys[0]


def test_an_archive_is_whole_whatever_its_members_do() -> None:
    def broken() -> Iterator[bytes]:
        yield b"12"
        raise OSError("gone")

    archive, content, whys = Archive(3000), bytearray(), list[str]()
    for name, data in (("/etc/a", [b"12345"]), ("/b", broken()), ("/c", [b"1234567"])):
        member = tarfile.TarInfo("wrong")
        member.size, member.pax_headers = 5, {"path": "wrong"}
        assert archive.fits(member)
        whys.append(added(content, archive.member(name, member, data)))
    large = tarfile.TarInfo("large")
    large.size = 10_000
    assert not archive.fits(large)
    archive.note("/large", "cut", "too large")
    content += b"".join(archive.end())
    with tarfile.open(fileobj=io.BytesIO(content)) as opened_again:
        found = {one.name: opened_again.extractfile(one) for one in opened_again}
        read = {name: file.read() for name, file in found.items() if file}
    assert [read[name] for name in ("files/etc/a", "files/b", "files/c")] == [b"12345", b"12\0\0\0", b"12345"]
    assert whys == ["", "gone", ""]
    assert json.loads(read["index.jsonl"])["verdict"] == "cut"


# The host


def test_addresses_are_read_as_linux_writes_them() -> None:
    assert address("0100007F:1F90") == "127.0.0.1:8080"
    assert address("00000000000000000000000001000000:0016") == "[::1]:22"
    assert address("0000000000000000FFFF00000100007F:0016") in {"[::ffff:127.0.0.1]:22", "[::ffff:7f00:1]:22"}


def test_sockets_and_processes_of_a_captured_host(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 4711 1 0 100 0\n"
        "   1: 020011AC:1538 0A0011AC:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4\n"
        "   2: torn\n"
    )
    folder = tmp_path / "42"
    (folder / "fd").mkdir(parents=True)
    (folder / "fd/3").symlink_to("socket:[4711]")
    (folder / "status").write_text("Name:\tpostgres\nPPid:\t1\nUid:\t999\t999\t999\t999\n")
    (folder / "stat").write_text("42 (a b) c) S 1 " + " ".join(["0"] * 17) + " 500 0\n")
    (folder / "cmdline").write_bytes(b"postgres\0-c\0x=1\0")
    (folder / "exe").symlink_to("/usr/bin/postgres (deleted)")
    (tmp_path / "43").mkdir()
    found = [json.loads(line) for line in sockets(tmp_path)]
    assert [(one["local"], one["state"], one["processes"]) for one in found] == [
        ("127.0.0.1:5432", "LISTEN", [42]),
        ("172.17.0.2:5432", "ESTABLISHED", []),
    ]
    (one,) = [json.loads(line) for line in processes(tmp_path)]
    assert (one["pid"], one["Name"], one["command"]) == (42, "postgres", ["postgres", "-c", "x=1"])
    assert one["exe"] == "/usr/bin/postgres (deleted)"
    assert one["seconds_after_boot"] == 500 / os.sysconf("SC_CLK_TCK")
    assert one["login_uid"] is None


def test_our_own_process_and_listener_are_seen() -> None:
    found = {json.loads(line)["pid"] for line in processes()}
    assert os.getpid() in found


def test_keys_are_listed_by_fingerprint_as_ssh_keygen_shows_them() -> None:
    blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(36)).decode()
    text = f'# comment\n\nssh-ed25519 {blob} ann@laptop\ncommand="/bin/x a",no-pty ssh-ed25519 {blob}\nrubbish\n'
    plain, limited, rubbish = keys_in(text)
    digest_of = hashlib.sha256(base64.b64decode(blob)).digest()
    expected = "SHA256:" + base64.b64encode(digest_of).decode().rstrip("=")
    assert (plain["fingerprint"], plain["comment"], plain["options"]) == (expected, "ann@laptop", "")
    assert (limited["fingerprint"], limited["options"]) == (expected, 'command="/bin/x a",no-pty')
    assert rubbish == {"line": 5, "why": "this line is no key"}


def test_small_files_name_what_they_cannot_read_and_never_hang(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text \xff")
    (tmp_path / "large").write_bytes(b"x" * (1 << 19))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    lines = {Path(one["path"]).name: one for one in map(json.loads, small_files([f"{tmp_path}/*"]))}
    assert (lines["a"]["text"], lines["a"]["cut"]) == ("text \\xff", False)
    assert (len(lines["large"]["text"]), lines["large"]["cut"]) == (1 << 18, True)
    assert "no regular file" in lines["pipe"]["why"]
    assert lines["link"]["leads_to"] == "nowhere"


def test_of_a_long_file_the_end_is_given(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    assert b"".join(file_end(str(tmp_path / "log"), 4)) == b"6789"
    assert b"".join(file_end(str(tmp_path / "log"), 40)) == b"0123456789"


# Commands


def test_a_command_is_streamed_and_its_failure_is_a_finding() -> None:
    assert b"".join(command_chunks(["printf", "%s", "$(id); a'b"])) == b"$(id); a'b"
    with pytest.raises(NotTaken, match="not on this host"):
        list(command_chunks(["no-such-command"]))
    with pytest.raises(NotTaken, match="returned 3: oops"):
        list(command_chunks(["sh", "-c", "echo oops >&2; exit 3"]))
    with pytest.raises(NotTaken, match="did not end"):
        list(command_chunks(["sleep", "60"], seconds=0.2))


def test_a_command_that_nobody_reads_on_is_ended() -> None:
    chunks = command_chunks(["sh", "-c", "echo $$; exec sleep 600"])
    pid = int(next(iter(chunks)))
    chunks.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The repository


def test_git_is_looked_at_and_nothing_of_it_is_run_or_written(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    tree, trap = project.tree, tmp_path / "trap"
    (tree / "app.txt").write_text("edited\n")
    (tree / ".env").write_text("PASSWORD=s3cr3t-env\n")
    (tree / "new.txt").write_text("untracked\n")
    (tree / ".gitattributes").write_text("*.txt filter=evil diff=evil\n")
    command = f"touch {trap}; cat"
    for key in ("filter.evil.clean", "filter.evil.process", "diff.evil.textconv", "diff.evil.command", "core.pager",
                "diff.external", "core.fsmonitor"):  # fmt: skip
        git(tree, "config", key, command)
    git(tree, "config", "filter.evil.required", "true")
    git(tree, "config", "remote.second.url", "https://ann:s3cr3t-token@git.example/x.git")
    before = digest(tree)
    got = Git(str(tree), run)
    items = [*git_items(lambda: got), *file_items(str(tree), lambda: got, 1 << 20)]
    found = {one.name: b"".join(one.chunks()) for one in items}
    assert digest(tree) == before
    assert not trap.exists()
    assert project.new.encode() in found["git/head.txt"]
    assert b"+edited" in found["git/diff.patch"]
    assert b"? new.txt" in found["git/status.txt"]
    assert b"https://git.example/x.git" in found["git/remotes.txt"]
    assert b"s3cr3t" not in found["git/remotes.txt"]
    with tarfile.open(fileobj=io.BytesIO(found["project/files.tar"])) as archive:
        there = archive.getnames()
    assert {"files/.env", "files/new.txt", "files/.git/config", "index.jsonl"} <= set(there)
    assert "files/app.txt" not in there


def test_a_directory_without_git_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    got = Git(str(tmp_path), run)
    with pytest.raises(NotTaken, match="no Git checkout"):
        list(next(iter(git_items(lambda: got))).chunks())
    _listing, files = file_items(str(tmp_path), lambda: got, 1000)
    with tarfile.open(fileobj=io.BytesIO(b"".join(files.chunks()))) as archive:
        assert archive.getnames() == ["files/.env", "index.jsonl"]


# The whole


def options(where: Path, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "state": "sealed", "project": None, "project_directory": None, "docker_host": None,
        "directory": str(where), "state_directory": "/nowhere", "run_id": "", "operator": "ann",
        "items": ["processes", "host"], "events_hours": 24.0, "max_item_mb": 8, "max_total_mb": 64,
        "item_seconds": 60.0, "controller_time": "", "database": None, "brought": [], "encrypt": None,
        "manifest_sha256": "",
    }  # fmt: skip
    return {**given, **more}


def called(where: Path, *, check: bool = False, **more: Any) -> dict[str, Any]:
    def no_login(_given: dict[str, Any]) -> Any:
        raise AssertionError("nothing asks a database")

    return evidence_capture(options(where, **more), no_login, check=check)


def test_check_real_check_real(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    planned = called(directory, check=True)
    assert (planned["state"], planned["changed"]) == ("planned", True)
    assert planned["needed_bytes"] > 0
    assert not directory.exists()
    done = called(directory, controller_time="2024-12-28T01:45:00Z")
    assert (done["state"], done["changed"]) == ("sealed", True)
    before = digest(directory)
    assert not called(directory, check=True)["changed"]
    again = called(directory)
    assert (again["changed"], again["manifest_sha256"]) == (False, done["manifest_sha256"])
    assert digest(directory) == before
    assert not called(directory, state="verified", manifest_sha256=done["manifest_sha256"])["changed"]
    assert manifest.read(directory)["attempts"][0]["clock_ahead_seconds"] > 0


def test_what_is_collected_can_be_added_to_and_sealed(tmp_path: Path) -> None:
    first = called(tmp_path / "d", state="collected", run_id="")
    assert (first["state"], "manifest" in first) == ("collected", False)
    assert not called(tmp_path / "d", state="collected")["changed"]
    (tmp_path / "d/dump.sql").write_bytes(b"dump")
    brought = [{"path": "dump.sql", "what": "the dump", "by": "pg_dump"}]
    with pytest.raises(RollbackError, match="was not sealed"):
        called(tmp_path / "d", brought=[*brought, {"path": "absent", "what": "x", "by": ""}])
    done = called(tmp_path / "d", brought=brought)
    assert done["attempts"] == 1
    told = {one["name"]: one for one in manifest.read(tmp_path / "d")["files"]}
    assert told["dump.sql"]["by"] == "pg_dump"


def test_evidence_of_two_runs_is_not_mixed(tmp_path: Path) -> None:
    called(tmp_path / "d", state="collected", run_id="20261124T160728Z-960a")
    with pytest.raises(RollbackError, match="holds evidence of run_id"):
        called(tmp_path / "d", run_id="20261124T160728Z-960b")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"directory": ""}, "run_id"),
        ({"directory": "relative"}, "directory"),
        ({"max_item_mb": 0}, "max_item_mb"),
        ({"max_total_mb": -1}, "max_total_mb"),
        ({"item_seconds": 0}, "item_seconds"),
        ({"events_hours": float("nan")}, "events_hours"),
        ({"items": []}, "items"),
        ({"items": ["logs"]}, "project"),
        ({"controller_time": "yesterday"}, "controller_time"),
        ({"brought": [{"path": "../x", "what": "x", "by": ""}]}, "brought.path"),
        ({"brought": [{"path": "/etc/x", "what": "x", "by": ""}]}, "brought.path"),
        ({"encrypt": {"tool": "age", "public_key": "/no/such/key"}}, "encrypt"),
    ],
)
def test_wrong_options_are_refused_by_name_before_anything_is_taken(
    tmp_path: Path, wrong: dict[str, Any], named: str
) -> None:
    for check in (True, False):
        with pytest.raises(RollbackError) as caught:
            called(tmp_path / "d", check=check, **wrong)
        assert named in caught.value.msg
        assert caught.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_the_default_directory_is_one_of_the_run(tmp_path: Path) -> None:
    run_id = "20261124T160728Z-960a"
    done = called(Path(), directory="", state_directory=str(tmp_path), run_id=run_id, items=["processes"])
    assert done["directory"] == str(tmp_path / "evidence" / run_id)


def test_every_group_has_a_place_in_the_order() -> None:
    assert GROUPS[0] == "processes"
    assert len(set(GROUPS)) == len(GROUPS) == 12


def test_a_name_from_outside_stays_in_the_directory() -> None:
    assert file_name("../../etc/x") == "_.._etc_x"
    assert file_name("...") == "_"
    assert "/" not in file_name("a/b\0c")
