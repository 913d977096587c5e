# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong around a run, on a real stack: connections, the database server, a second operator.

Each drill begins and ends with the stack as it was; an undo brings it there. The stack is looked at from outside.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import snapshot
from cut_off import Typed, events, journals, when_begun
from drills.killed_controller import differences
from harness import REPOSITORY, command, free_port
from receivers import dripping_receiver, hanging_receiver
from ssh_server import SshServer, running_ssh_server
from stand import ACCEPTED, MIGRATE, SECONDS, Stand, at_gate, gated, once, standing, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 300_000
UNREACHABLE = 4  # the exit code of ansible-playbook


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Give a stack that was rolled back once, while another tried the same, and undone."""
    with standing(REPOSITORY / ".cache" / "test-drills", "usdx-drills") as made:
        yield made


@pytest.fixture(scope="module")
def ssh(stand: Stand) -> Iterator[SshServer]:
    """Give an SSH server, and an inventory in which the demo is reached through it."""
    with tempfile.TemporaryDirectory(prefix="usdx-ssh-") as name, running_ssh_server(Path(name)) as server:
        inventory = stand.drill.directory / "through_ssh"
        inventory.mkdir()
        (inventory / "group_vars").symlink_to(REPOSITORY / "inventories/demo/group_vars")
        host = {**server.variables, "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        hosts = {"rollback_app": {"hosts": {"demo": host}}}
        (inventory / "hosts.yml").write_text(json.dumps(hosts), encoding="utf-8")
        yield server


@pytest.fixture
def through_ssh(stand: Stand, ssh: SshServer) -> Iterator[SshServer]:
    """Give the server while every playbook goes through it."""
    stand.drill.inventory, former = str(stand.drill.directory / "through_ssh"), stand.drill.inventory
    yield ssh
    stand.drill.inventory = former


@pytest.fixture(scope="module")
def large_backup(stand: Stand) -> str:
    """Give the name of a backup like that of the demo with many more events, so that its load takes a while."""
    (backup,) = (stand.drill.directory / "backups").glob("*.sql.gz")
    head, copy, rest = gzip.decompress(backup.read_bytes()).partition(b"COPY public.events ")
    columns, _line_end, tail = rest.partition(b"\n")
    more = b"".join(b"-%d\t2\t1.00\t2024-12-01 00:01:00+00\n" % number for number in range(1, ROWS + 1))
    (backup.parent / "large.sql.gz").write_bytes(
        gzip.compress(head + copy + columns + b"\n" + more + tail, compresslevel=1)
    )
    return "large.sql.gz"


# --- two operators ----------------------------------------------------------------------------------------------------


def test_of_two_runs_at_once_the_second_is_refused_and_names_the_first(stand: Stand) -> None:
    (run_id, *_others) = journals(stand.drill.state_directory)
    assert stand.meanwhile.code == 2
    assert "Refused before anything changed." in words(stand.meanwhile)
    assert run_id in words(stand.meanwhile)
    assert stand.first.code == 0


def test_what_is_undone_goes_forward_again_only_by_the_name_of_the_undo(stand: Stand) -> None:
    undo = stand.drill.last_run()
    refused = stand.type("undo.yml", *ACCEPTED)
    assert refused.code == 2
    assert "is undone" in words(refused)
    stand.expect(stand.before)
    stand.good("undo.yml", "-e", f"run={undo}", *ACCEPTED)
    forward = stand.drill.last_run()
    stand.put_back(forward)


def test_a_run_that_is_gone_on_with_is_not_gone_on_with_by_another(stand: Stand) -> None:
    run_id = stand.killed_in("switch_release", *MIGRATE)
    place, typed = stand.drill.directory / "resumed", list[Typed]()
    waits = gated(place, "rollback_verify_commands")
    stand.good("resume.yml", *waits, act=at_gate(stand.drill, place, ["resume.yml"], typed))
    assert typed[0].code == 2
    assert "Refused before anything changed." in words(typed[0])
    assert run_id in words(typed[0])
    stand.expect_rolled_back()
    stand.put_back(run_id)


def test_half_a_run_is_undone(stand: Stand) -> None:
    run_id = stand.killed_in("switch_release", *MIGRATE)
    assert differences(stand.before, stand.drill.look())
    stand.put_back(run_id)


# --- the connection ---------------------------------------------------------------------------------------------------


def started_again(stand: Stand) -> bool:
    """Tell whether the start has made a container: it waits until all are healthy then."""
    ours = [one for one in snapshot.containers().values() if one["project"] == stand.drill.project]
    return any(one["service"] == "webapp" and one["status"] == "running" for one in ours)


@pytest.mark.parametrize("step", ["start_services", "prepare_database"])
def test_a_connection_that_is_cut_in_the_middle(
    stand: Stand, through_ssh: SshServer, large_backup: str, step: str
) -> None:
    begun, count, cut = when_begun(stand.drill.state_directory, step), stand.databases(), list[int]()
    options = ["-e", f"backup={large_backup}"] if step == "prepare_database" else []

    def at_work() -> bool:
        return begun(0) and (stand.databases() > count if options else started_again(stand))

    broken = stand.type(*MIGRATE, *options, act=once(at_work, lambda: cut.append(through_ssh.cut())))
    assert sum(cut) > 0, broken.screen
    assert not broken.killed
    assert broken.code == UNREACHABLE, broken.screen
    run_id = stand.drill.last_run()
    assert events(journals(stand.drill.state_directory)[run_id])[-1]["event"] != "run_finished"
    through_ssh.start()
    stand.good("resume.yml")
    stand.expect_rolled_back()
    assert stand.drill.last_run() == run_id
    stand.put_back(run_id)


# --- people who cannot be told ----------------------------------------------------------------------------------------


def test_a_rollback_whose_receivers_are_all_dead_ends_well_and_says_so(stand: Stand) -> None:
    """It takes at most 20 s longer than one that tells nobody; measured one after the other."""
    seconds = []
    with hanging_receiver() as hanging, dripping_receiver() as dripping:
        dead = {
            "refused": f"json://127.0.0.1:{free_port()}/", "hanging": f"json://127.0.0.1:{hanging}/",
            "dripping": f"json://127.0.0.1:{dripping}/", "nowhere": "json://nobody.invalid/",
            "mail": f"mailto://a:b@127.0.0.1:{hanging}/?from=a@example.com&to=b@example.com",
        }  # fmt: skip
        people = {
            "rollback_notifiers": [
                {"name": name, "url": url, "audiences": ["team", "users", "stakeholders"]} for name, url in dead.items()
            ],
            "rollback_status_page": {
                "provider": "cachet", "api_url": f"http://127.0.0.1:{hanging}/api", "token": "t", "components": ["1"],
            },
        }  # fmt: skip
        for options in ([], ["-e", json.dumps(people)]):
            done = stand.type("application_bug.yml", "-e", "version=v1.0.2", *options)
            assert done.code == 0, done.screen
            seconds.append(done.seconds)
            assert stand.drill.look()["head"] == stand.after["head"]
            told = words(done)
            stand.put_back(stand.drill.last_run())
    print(f"told nobody: {seconds[0]:.1f} s; every receiver dead: {seconds[1]:.1f} s")
    assert seconds[1] - seconds[0] < 20
    assert [name for name in [*dead, "status page"] if name not in told] == []
    assert "The message is kept in" in told


# --- the database server ----------------------------------------------------------------------------------------------


@pytest.fixture
def server_kill(stand: Stand) -> Iterator[Callable[[], None]]:
    """Give what kills the database server; it runs again afterwards in any case."""
    yield lambda: command("docker", "kill", f"{stand.drill.project}-db-1") and None
    start_database(stand)


def start_database(stand: Stand) -> None:
    """Start the server and wait until it answers."""
    name = f"{stand.drill.project}-db-1"
    command("docker", "start", name)
    deadline = time.monotonic() + SECONDS
    while snapshot.containers()[name]["health"] != "healthy":
        assert time.monotonic() < deadline, f"{name} does not get healthy"
        time.sleep(0.2)


def test_a_database_server_that_is_killed_during_the_load(
    stand: Stand, large_backup: str, server_kill: Callable[[], None]
) -> None:
    begun, count = when_begun(stand.drill.state_directory, "prepare_database"), stand.databases()
    broken = stand.type(
        *MIGRATE, "-e", f"backup={large_backup}", act=once(lambda: begun(0) and stand.databases() > count, server_kill)
    )
    assert broken.code == 2
    assert "Step 'Prepare the database' failed" in words(broken)
    assert "usdx.rollback.resume" in words(broken)
    run_id = stand.drill.last_run()
    begun_steps = {event["step"] for event in events(journals(stand.drill.state_directory)[run_id])}
    assert "stop_services" not in begun_steps
    start_database(stand)
    stand.expect(stand.before)
    stand.good("resume.yml")
    stand.expect_rolled_back()
    stand.put_back(run_id)


def test_a_database_server_that_is_killed_in_the_outage(stand: Stand, server_kill: Callable[[], None]) -> None:
    begun = when_begun(stand.drill.state_directory, "restore_database")
    broken = stand.type(*MIGRATE, act=once(lambda: begun(0), server_kill))
    assert broken.code == 2
    assert "Step 'Roll back database' failed" in words(broken)
    assert "Down: indexer, nginx, webapp" in words(broken)
    start_database(stand)
    stand.expect(stand.before, "containers")
    run_id = stand.drill.last_run()
    stand.good("resume.yml")
    stand.expect_rolled_back()
    stand.put_back(run_id)


# --- an application that was down already; last, for no container from before is left ---------------------------------


def test_an_application_that_was_down_is_down_again_after_an_undo(stand: Stand) -> None:
    services = ("indexer", "nginx", "webapp")
    command("docker", "stop", *[f"{stand.drill.project}-{service}-1" for service in services])
    before = stand.drill.look()
    stand.good(*MIGRATE)
    stand.expect_rolled_back()
    stand.good("undo.yml", *ACCEPTED)
    after = stand.drill.look()
    assert differences(before, after, but=("containers",)) == []
    # Made anew of the image of before, and not started.
    assert {service: after["containers"][service][1] for service in services} == dict.fromkeys(services, "created")
