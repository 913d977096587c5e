# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job of a restore: its key, what its commands print in a real shell, and a result without the job around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.progress import Progress
from ansible_collections.usdx.rollback.plugins.plugin_utils import restore_job
from ansible_collections.usdx.rollback.plugins.plugin_utils.restore_job import Job, Watch

RUNNING = {"started": True, "finished": False, "ansible_job_id": "j7.9"}
GIVEN = {"db": "d", "backup": "/b", "login_host": "h", "login_password": "secret", "run_id": "r1"}


def sh(command: str) -> str:
    """Run a command as Ansible does and return what it printed."""
    return subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True).stdout


# -- names -------------------------------------------------------------------------------------------------------------


def test_the_key_is_of_what_is_restored_and_not_of_the_run_or_the_password() -> None:
    key = restore_job.key_of(GIVEN, "inode", check=False)
    same = {**GIVEN, "run_id": "r2", "login_password": "changed", "progress_file": "/p"}
    assert restore_job.key_of(same, "inode", check=False) == key
    others = [
        restore_job.key_of({**GIVEN, "db": "e"}, "inode", check=False),
        restore_job.key_of({**GIVEN, "state": "verified"}, "inode", check=False),
        restore_job.key_of(GIVEN, "another inode", check=False),
        restore_job.key_of(GIVEN, "inode", check=True),
    ]
    assert len({key, *others}) == 5


def test_a_name_is_used_once_and_says_no_secret() -> None:
    key = restore_job.key_of(GIVEN, "", check=False)
    names = {restore_job.new_progress_file(key) for _number in range(3)}
    assert len(names) == 3
    assert all(key in name and "secret" not in name for name in names)


# -- the directory -----------------------------------------------------------------------------------------------------


def test_the_directory_is_made_private_and_lists_records(tmp_path: Path) -> None:
    directory, backup = tmp_path / "with 'quotes' and space", tmp_path / "back up"
    backup.write_text("x")
    command = restore_job.directory_command(str(directory), str(backup))
    first = restore_job.read_directory("a banner\n" + sh(command))
    assert first is not None
    assert first.records == {}
    assert str(backup.stat().st_ino) in first.backup
    assert directory.stat().st_mode & 0o777 == 0o700
    record = {"at": 5.0, "pid": 12, "job": "j3"}
    names = ["usdx-restore-k-2", "usdx-restore-k-1", "usdx-restore-other-1"]
    for number, name in enumerate(names):
        (directory / name).write_text(json.dumps({**record, "at": 5.0 - number}) + "\nmore\n")
    (directory / "usdx-restore-k-empty").touch()
    (directory / "usdx-restore-k-wrong").write_text('{"at": 1, "pid": 1, "job": "../../etc/passwd"}\n')
    (directory / "usdx-restore-k-timeless").write_text('{"pid": 1, "job": "j3"}\n')
    (directory / "usdx-restore-k-outside").write_text('{"at": 1, "pid": 1, "job": ""}\n')
    second = restore_job.read_directory(sh(command))
    assert second is not None
    assert second.backup == first.backup
    assert [name for name, _record in restore_job.with_key(second, "k")] == ["usdx-restore-k-1", "usdx-restore-k-2"]


def test_another_file_under_the_same_name_is_another_backup(tmp_path: Path) -> None:
    backup, other = tmp_path / "b", tmp_path / "other"
    backup.write_text("x")
    other.write_text("y")
    command = restore_job.directory_command(str(tmp_path / "jobs"), str(backup))
    before = restore_job.read_directory(sh(command))
    other.rename(backup)
    after = restore_job.read_directory(sh(command))
    assert before is not None
    assert after is not None
    assert before.backup != after.backup


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert restore_job.read_directory(sh(restore_job.directory_command(str(tmp_path / "file/jobs"), "b"))) is None


# -- a job that was found ----------------------------------------------------------------------------------------------


@pytest.fixture
def restoring(tmp_path: Path) -> Any:
    """Give a process that looks like the module."""
    script = tmp_path / "AnsiballZ_pg_safe_restore.py"
    script.write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, script])
    yield process
    process.kill()
    process.wait()


def found(directory: Path, pid: int) -> Job | None:
    record = {"at": time.time() - 35, "pid": pid, "job": "j7"}
    return restore_job.read_alive(sh(restore_job.alive_command(str(directory), record)), "progress", record)


def test_a_job_is_alive_while_its_process_is(tmp_path: Path, restoring: subprocess.Popen[bytes]) -> None:
    for name in ("j7.9", "j7.9.tmp", "j77.9"):
        (tmp_path / name).touch()
    job = found(tmp_path, restoring.pid)
    assert job is not None
    assert (job.name, job.progress, job.pid) == ("j7.9", "progress", restoring.pid)
    assert 34 <= job.age <= 37
    restoring.kill()
    restoring.wait()
    assert found(tmp_path, restoring.pid) is None


def test_a_process_number_that_is_anothers_by_now_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "j7.9").touch()
    assert found(tmp_path, os.getpid()) is None


def test_forgetting_removes_the_files_of_that_job_alone(tmp_path: Path) -> None:
    for name in ("j7.9", "j77.9", "mine", "other"):
        (tmp_path / name).touch()
    sh(restore_job.forget_command(str(tmp_path), {"job": "j7", "pid": 1}, "mine"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j77.9", "other"]
    sh(restore_job.remove_command(str(tmp_path), Job("j77.9", "other")))
    assert list(tmp_path.iterdir()) == []


# -- a job that is watched ---------------------------------------------------------------------------------------------


def test_a_job_that_has_ended_is_seen_at_once(tmp_path: Path) -> None:
    (tmp_path / "j7.9").write_text(json.dumps({"changed": True, "tables": {f"table {n}": n for n in range(500)}}))
    began = time.monotonic()
    watch = Watch(str(tmp_path), Job("j7.9", "progress"))
    seen = watch.read("a banner\n" + sh(watch.command()))
    assert seen is not None
    assert seen.state == "finished"
    assert time.monotonic() - began < 1


def test_lines_are_read_once_and_only_when_they_are_whole(tmp_path: Path) -> None:
    (tmp_path / "j7.9").write_text("{}")
    progress = tmp_path / "progress"
    watch = Watch(str(tmp_path), Job("j7.9", "progress"))

    def numbers(*, terminal: bool = False) -> list[int]:
        printed = sh(watch.command())
        seen = watch.read(printed.replace("\n", "\r\n") if terminal else printed)
        assert seen is not None
        return [event["n"] for event in seen.events]

    assert numbers() == []
    progress.write_text('{"n": 1}\n{"n": 2}\n{"n": ')
    assert numbers() == [1, 2]
    assert numbers() == []
    progress.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\nno json\n{"n": 4}\n')
    assert numbers(terminal=True) == [3, 4]
    progress.write_text(progress.read_text() + '{"n": 5}\n')
    assert numbers() == [5]


def test_a_job_that_goes_on_is_waited_for_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "j7.9").write_text(json.dumps(RUNNING))
    watch = Watch(str(tmp_path), Job("j7.9", "progress", pid=os.getpid()))
    process = subprocess.Popen(["/bin/sh", "-c", watch.command()], stdout=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    (tmp_path / "new").write_text("{}")
    (tmp_path / "new").rename(tmp_path / "j7.9")
    printed, _errors = process.communicate(timeout=2)
    seen = watch.read(printed)
    assert seen is not None
    assert seen.state == "finished"


def test_a_job_whose_process_is_gone_is_waited_for_only_shortly(tmp_path: Path) -> None:
    (tmp_path / "j7.9").write_text(json.dumps(RUNNING))
    process = subprocess.Popen(["true"])
    process.wait()
    watch = Watch(str(tmp_path), Job("j7.9", "progress", pid=process.pid))
    seen = watch.read(sh(watch.command()))
    assert seen is not None
    assert seen.state == "died"


def state(*answers: tuple[float, str], there: bool = False) -> list[str]:
    """Return what a watch says to a series of answers, each a time and the head of the job file."""
    watch = Watch("/d", Job("j7.9", "progress", there=there))
    seen = [watch.read(f"usdx.rollback answers\n{now}\n0\n{head}\n") for now, head in answers]
    return [one.state for one in seen if one is not None]


def test_a_job_file_that_was_there_and_is_not_was_taken_by_another_run() -> None:
    assert state((1, json.dumps(RUNNING)), (2, "vanished")) == ["running", "vanished"]
    assert state((1, "vanished"), there=True) == ["vanished"]


def test_a_slow_host_may_be_late_but_not_for_ever() -> None:
    assert state((1, "vanished"), (60, "vanished"), (200, "vanished")) == ["running", "running", "vanished"]
    running = json.dumps(RUNNING)
    assert state((1, running), (60, running), (200, running)) == ["running", "running", "died"]


def test_an_older_ansible_says_numbers_for_truth() -> None:
    assert state((1, '{"started": 1, "finished": 0, "ansible_job_id": "j7.9"}')) == ["running"]


def test_an_answer_that_is_none_is_no_state() -> None:
    assert Watch("/d", Job("j7.9", "progress")).read("sudo: a password is required\n") is None


# -- its result --------------------------------------------------------------------------------------------------------


def test_a_result_is_as_without_a_job() -> None:
    result = {
        "changed": True,
        "warnings": ["w"],
        "exception": "e",
        "rc": 1,
        "failed": True,
        "invocation": {"module_args": {"db": "d", "progress_file": "/p"}},
    }
    around = {
        "ansible_job_id": "j",
        "started": 1,
        "finished": 1,
        "results_file": "/f",
        "stdout": "",
        "stderr_lines": [],
    }
    expected = {**result, "invocation": {"module_args": {"db": "d", "progress_file": None}}}
    assert restore_job.without_job({**result, **around}) == expected
    assert restore_job.without_job({"changed": False}) == {"changed": False}


def printed_of(directory: Path, content: str) -> str:
    (directory / "j7.1").write_text(content)
    return "a banner\n" + sh(restore_job.result_command(str(directory), Job("j7.1", "progress")))


def test_the_result_of_a_program_is_read_from_its_file_and_cannot_steer_a_terminal(tmp_path: Path) -> None:
    told = {"result": {"failed": True, "msg": "\x1b[31mred", "tables": {"größe\n": 1}}}
    assert restore_job.read_result(printed_of(tmp_path, json.dumps(told))) == {**told["result"], "msg": "red"}


def test_a_program_that_crashed_has_died(tmp_path: Path) -> None:
    result = restore_job.read_result(printed_of(tmp_path, json.dumps({"traceback": "Traceback: MemoryError"})))
    assert result is not None
    assert restore_job.died(result)
    assert "MemoryError" in restore_job.failure_of_dead(result)["module_stderr"]


@pytest.mark.parametrize("content", ["", json.dumps(RUNNING), '{"changed": true}', '{"result": [1]}', '{"result": {"a'])
def test_what_a_module_left_is_not_the_result_of_a_program(tmp_path: Path, content: str) -> None:
    assert restore_job.read_result(printed_of(tmp_path, content)) is None
    (tmp_path / "j7.1").unlink()
    gone = sh(restore_job.result_command(str(tmp_path), Job("j7.1", "progress")))
    assert restore_job.read_result(gone) is None


def test_each_job_has_a_name_of_its_own_that_its_process_tells() -> None:
    names = {restore_job.new_job()[0] for _number in range(3)}
    assert len(names) == 3
    name, words = restore_job.new_job()
    assert words == ["pg_safe_restore", name.partition(".")[0]]


def test_a_killed_module_is_told_from_one_that_failed() -> None:
    killed = {"failed": True, "cmd": "/module", "data": "half", "stderr": "", "msg": "Traceback", "ansible_job_id": "j"}
    assert restore_job.died(killed)
    assert not restore_job.died({"failed": True, "msg": "The backup is damaged."})
    failure = restore_job.failure_of_dead(killed)
    assert failure["failed"]
    assert "Traceback" not in failure["msg"]
    assert failure["module_stdout"] == "half"


# -- what the module writes --------------------------------------------------------------------------------------------


def test_the_module_says_who_it_is_and_when_phases_begin_and_end(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    progress = Progress(str(path))
    progress.begin("rows", 100)
    progress.done(40)
    progress.done(100)
    progress.begin("verify")
    progress.end()
    progress.done(7)
    first, *events = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["pid"], first["job"]) == (os.getpid(), "")
    told = [(event["phase"], event["done"], event["total"], event["ended"]) for event in events]
    rows, verify = ("rows", 100), ("verify", 0)
    assert told == [(rows[0], 0, 100, False), (*rows, 100, True), (*verify, 0, False), (*verify, 0, True)]
    assert all(abs(event["at"] - time.time()) < 5 for event in events)
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(progress.seconds) == {"rows", "verify"}


def test_the_module_finds_its_job_in_the_arguments_of_the_process_around_it(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    collections = str(Path(__file__).parents[2] / ".ansible/collections")
    module = (
        f"import sys; sys.path.insert(0, {collections!r}); "
        "from ansible_collections.usdx.rollback.plugins.module_utils.postgres.progress import Progress; "
        f"Progress({str(path)!r})"
    )
    around = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[5]], check=True)"
    argv = [sys.executable, "-c", around, "j123456", "604800", "AnsiballZ_pg_safe_restore.py", "_", module]
    subprocess.run(argv, check=True)
    assert json.loads(path.read_text())["job"] == "j123456"


def test_a_progress_file_that_cannot_be_made_is_refused_and_a_full_disk_is_not(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match="cannot be written to"):
        Progress(str(tmp_path / "no folder" / "progress"))
    full = Progress("/dev/full")
    full.begin("rows")
    full.end()
    assert "rows" in full.seconds
