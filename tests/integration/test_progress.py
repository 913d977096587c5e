# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of pg_safe_restore on the screen, and controllers that are killed in the middle of a load.

A load is slow here as long as a test wants it: a check of the dump sleeps for each row while a certain session is open.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import REPOSITORY
from postgres_servers import MAINTENANCE, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 240
SLOW = """
CREATE FUNCTION slow(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_stat_clear_snapshot();
  IF EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'slow {name}') THEN PERFORM pg_sleep(0.1); END IF;
  RETURN true;
END $$;
CREATE TABLE lines (line text CHECK (slow(line)));
INSERT INTO lines SELECT repeat(md5(i::text), 2800) FROM generate_series(1, {rows}) i;
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Restore
      usdx.rollback.pg_safe_restore:
        login_host: "{{ options.login_host }}"
        login_port: "{{ options.login_port }}"
        login_user: "{{ options.login_user }}"
        login_password: "{{ options.login_password }}"
        db: "{{ options.db }}"
        backup: "{{ options.backup }}"
        run_id: "{{ options.run_id }}"
        state: "{{ options.state | default(omit) }}"
        jobs: "{{ options.jobs | default(omit) }}"
      no_log: "{{ quiet | default(false) }}"
      async: "{{ limit | default(0) }}"
      poll: "{{ poll | default(1) }}"
      ignore_errors: true
      register: result

    - name: Show
      ansible.builtin.debug:
        var: result
"""
JOB_FIELDS = {"ansible_job_id", "started", "finished", "results_file", "stdout", "stderr"}


# -- controllers -------------------------------------------------------------------------------------------------------


class Run:
    """One ``ansible-playbook`` without ``-v``, in a process group of its own."""

    def __init__(
        self, folder: Path, hosts: dict[str, dict[str, Any]], common: dict[str, Any], *, pipelining: bool
    ) -> None:
        """Start it; what it prints goes into files, so that it can be read on the way."""
        folder.mkdir()
        self.folder = folder
        (folder / "play.yml").write_text(PLAY, encoding="utf-8")
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}), encoding="utf-8")
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": str(pipelining),
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [program, "-i", folder / "inventory.json", folder / "play.yml"], env=environment, cwd=REPOSITORY,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip

    def lives(self) -> bool:
        """Say whether any process of it lives: those that it forks survive a SIGKILL."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                found.append((process / "cmdline").read_bytes())
        return any(os.fsencode(self.folder / "inventory.json") in words for words in found)

    @property
    def printed(self) -> str:
        """All that was printed so far."""
        return self._stdout.read_text(encoding="utf-8") + self._stderr.read_text(encoding="utf-8")

    def lines(self, host: str = "here") -> list[str]:
        """Return the lines of progress of a host that were printed so far."""
        head = f"[{host}] pg_safe_restore: "
        return [line[len(head) :] for line in self.printed.splitlines() if line.startswith(head)]

    def result(self, host: str = "here") -> dict[str, Any]:
        """Wait for the end and return the result of a host."""
        self.process.wait(timeout=60)
        shown = self.printed.partition("TASK [Show]")[2].partition(f"ok: [{host}] => ")[2]
        assert shown, self.printed
        result: dict[str, Any] = json.JSONDecoder().raw_decode(shown)[0]["result"]
        return result


class Controller:
    """Runs playbooks whose hosts are all this machine; ``jobs`` is the directory for asynchronous jobs."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder for all that runs need."""
        self.folder = folder
        self.jobs = folder / "jobs"
        self.runs: list[Run] = []

    def run(self, *, pipelining: bool = True, **hosts: dict[str, Any]) -> Run:
        """Start a playbook for these hosts, each with its variables; without pipelining modules are called."""
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_async_dir": str(self.jobs),
        }
        self.runs.append(Run(self.folder / f"run{len(self.runs)}", hosts, common, pipelining=pipelining))
        return self.runs[-1]

    def loading(self, count: int = 1) -> list[int]:
        """Wait until so many jobs load rows; return the processes of their modules."""
        wait_until(lambda: len(self._loading()) == count)
        return self._loading()

    def _loading(self) -> list[int]:
        texts = [path.read_text(encoding="utf-8") for path in self.jobs.glob("usdx-restore-*")]
        return [json.loads(text.splitlines()[0])["pid"] for text in texts if '"rows"' in text]

    def left(self) -> list[Path]:
        """Return what is left of jobs."""
        return list(self.jobs.iterdir())

    def close(self) -> None:
        """End what a failed test has left."""
        for run in self.runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = Controller(tmp_path)
    yield made
    made.close()


def wait_until(holds: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def kill_job(pid: int) -> None:
    """Kill a module and what Ansible put around it."""
    os.killpg(os.getpgid(pid), signal.SIGKILL)


# -- databases ---------------------------------------------------------------------------------------------------------


class Live:
    """A live database with a backup; until it is let go, the load takes a tenth of a second for each row."""

    def __init__(self, server: Server, folder: Path, rows: int) -> None:
        """Make both."""
        self.server = server
        self.name = server.create_database()
        server.psql(self.name, SLOW.format(name=self.name, rows=rows))
        self.backup = folder / f"{self.name}.sql"
        self.backup.write_bytes(server.pg_dump(self.name))
        self._brake = server.connect(MAINTENANCE, application_name=f"slow {self.name}")

    def let_go(self) -> None:
        """Let loads be quick from now on."""
        self._brake.close()

    def host(self, run_id: str = "first", **more: Any) -> dict[str, Any]:
        """Return the variables of a host that restores this database."""
        of_task = {name: more.pop(name) for name in ("quiet", "limit", "poll") if name in more}
        own = {"db": self.name, "backup": str(self.backup), "run_id": run_id}
        return {"options": {**self.server.login, **own, **more}, **of_task}

    @property
    def beside(self) -> list[str]:
        """The names of the databases beside the live one."""
        return self.server.databases(f"{self.name}_")

    def locked(self) -> bool:
        """Say whether a restore works on this server, as far as the server knows."""
        return bool(self.server.value(MAINTENANCE, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))


@pytest.fixture
def make_live(server15: Server, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def make(rows: int = ROWS) -> Live:
        made.append(Live(server15, tmp_path, rows))
        return made[-1]

    yield make
    for live in made:
        live.let_go()
        for one in server15.databases(live.name):
            server15.drop_database(one)


@pytest.fixture
def live(make_live: Callable[..., Live]) -> Live:
    return make_live()


# -- what is on the screen ---------------------------------------------------------------------------------------------


def test_lines_of_two_hosts_and_none_under_no_log(controller: Controller, make_live: Callable[..., Live]) -> None:
    first, second = make_live(), make_live()
    run = controller.run(one=first.host(), two=second.host(quiet=True))
    amount = re.compile(r"load \d+ % \([\d.,]+ of 22 MB\), \d\.\d MB/s, \d+ s left")
    wait_until(lambda: any(amount.fullmatch(line) for line in run.lines("one")))
    first.let_go()
    second.let_go()
    result = run.result("one")
    assert any(re.fullmatch(r"load done: 22 MB in \d+ s, \d+\.\d MB/s", line) for line in run.lines("one"))
    assert len(run.lines("one")) < 6
    assert result["tables"] == {"public.lines": ROWS}
    assert not JOB_FIELDS & set(result)
    assert run.result("two")["phases_seconds"]["rows"] > 2
    assert "two] pg_safe_restore" not in run.printed
    assert len(second.beside) == 1
    assert controller.left() == []
    assert controller.jobs.stat().st_mode & 0o777 == 0o700


def test_quick_restores_print_nothing_and_a_failure_or_async_of_the_user_are_as_for_every_module(
    controller: Controller, make_live: Callable[..., Live]
) -> None:
    rows = 3  # quick on any machine
    lives = {name: make_live(rows) for name in ("good", "cut", "waiting", "going")}
    for live in lives.values():
        live.let_go()
    cut, going = lives["cut"], lives["going"]
    cut.backup.write_bytes(cut.backup.read_bytes()[:-3000])
    of_task = {"waiting": {"limit": 60, "poll": 1}, "going": {"limit": 60, "poll": 0}}
    run = controller.run(**{name: live.host(**of_task.get(name, {})) for name, live in lives.items()})
    for name in ("good", "waiting"):
        assert run.result(name)["tables"] == {"public.lines": rows}
    failed = run.result("cut")
    assert (failed["failed"], failed["live_untouched"]) == (True, True)
    assert failed["next_step"]
    assert not JOB_FIELDS & set(failed)
    assert cut.beside == []
    assert [line for name in lives for line in run.lines(name)] == []
    job = run.result("going")["ansible_job_id"]
    wait_until(lambda: [name for name in going.beside if "_before_" in name] and not going.locked())
    assert [path.name for path in controller.left()] == [job]


def test_a_secret_that_the_result_of_a_job_quotes_is_not_shown(controller: Controller, live: Live) -> None:
    run = controller.run(here=live.host(backup=f"/nowhere/{live.server.password}.sql"))
    failed = run.result()
    assert failed["failed"]
    assert "/nowhere/********.sql" in failed["msg"]
    assert live.server.password not in run.printed


# -- what is killed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop", "pipelining"), [("SIGKILL", True), ("SIGINT", True), ("SIGKILL", False)])
def test_the_next_run_finds_the_load_of_a_controller_that_ended(
    controller: Controller, live: Live, stop: str, *, pipelining: bool
) -> None:
    first = controller.run(pipelining=pipelining, here=live.host())
    controller.loading()
    sides = live.beside
    if stop == "SIGKILL":
        first.process.kill()
    else:
        os.killpg(first.process.pid, signal.SIGINT)
    first.process.wait(timeout=10)
    wait_until(lambda: not first.lives(), 6)
    run = controller.run(here=live.host("second"))
    wait_until(run.lines)
    assert re.fullmatch(r"found the load that an earlier run began \d+ s ago, watching it", run.lines()[0])
    live.let_go()
    result = run.result()
    assert (result["attached"], result["changed"], [result["side_database"]]) == (True, True, sides)
    assert not JOB_FIELDS & set(result)
    assert live.beside == [result["old_database"]]
    assert controller.left() == []


def test_other_arguments_are_refused_while_a_load_goes_on(controller: Controller, live: Live) -> None:
    first = controller.run(here=live.host(state="verified"))
    controller.loading()
    other = controller.run(here=live.host("second", state="verified", jobs=1)).result()
    assert other["failed"]
    assert "Another run works on the database" in other["msg"]
    assert first.process.poll() is None
    live.let_go()
    assert live.beside == [first.result()["side_database"]]
    assert controller.left() == []


def test_two_runs_that_watch_one_load_both_get_an_answer(controller: Controller, live: Live) -> None:
    runs = [controller.run(here=live.host())]
    controller.loading()
    runs.append(controller.run(here=live.host("second")))
    wait_until(lambda: any("found the load" in line for line in runs[1].lines()))
    live.let_go()
    results = [run.result() for run in runs]
    assert not any(result["failed"] for result in results), results
    assert [result["changed"] or bool(result["already"]) for result in results] == [True, True]
    assert live.beside == [results[0]["old_database"]] == [results[1]["old_database"]]
    assert controller.left() == []


def test_a_load_whose_process_was_killed_too_is_begun_anew(controller: Controller, live: Live) -> None:
    first = controller.run(here=live.host())
    (pid,) = controller.loading()
    sides = live.beside
    first.process.kill()
    first.process.wait(timeout=10)
    kill_job(pid)
    live.let_go()
    wait_until(lambda: not live.locked())
    result = controller.run(here=live.host("second")).result()
    assert result["changed"]
    assert "attached" not in result
    assert result["side_database"] not in sides
    assert live.beside == [result["old_database"]]
    assert controller.left() == []


def test_a_process_that_is_killed_while_it_is_watched_is_a_failure(
    controller: Controller, make_live: Callable[..., Live]
) -> None:
    run = controller.run(one=make_live().host(), two=make_live().host())
    module, job = controller.loading(2)
    os.kill(module, signal.SIGKILL)
    kill_job(job)
    wait_until(lambda: run.process.poll() is not None, 10)
    for host in ("one", "two"):
        assert run.result(host)["failed"]
        assert "ended without a result" in run.result(host)["msg"]
        assert "run again" in run.result(host)["next_step"]
    assert controller.left() == []
