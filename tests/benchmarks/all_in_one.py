#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users see of a rollback: by the commands of the runbook, by other collections, and by the playbooks.

The variants run in turn, round after round, each on a demo made anew that is removed in the end:

  boot                no rollback: docker compose stop, docker compose start, on an idle stack
  runbook             the quick procedure of the runbook, its commands typed without any pause
  scenario-1          scenario 1 of the runbook: the same without a build
  peers               the quick procedure with community.docker and ansible.builtin.git, see peers.yml
  stop-start          rollback.yml -e database=skip
  rolling             application_bug.yml -e rolling=true
  held                rollback.yml -e database=skip; nginx stays and holds requests, see docs/holding
  runbook-database    the quick procedure with the commands for the database as they stand in the runbook
  by-hand-database    the same, mended: DROP DATABASE and CREATE DATABASE in a psql command each
  peers-database      the same with community.postgresql, which needs psql on this machine
  restore             rollback.yml -e database=restore
  held-restore        the same; nginx stays and holds requests

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import chart
import measuring
import on_demo
import peers
from measuring import MeasuringError, Run
from on_demo import BAD, GOOD, PLAYBOOK, ROOT, Command, stack

sys.path.insert(0, str(ROOT / "tests"))
import database_probe
import dump_zoo
from postgres_servers import Server, ServerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

PROJECT, DIRECTORY = "usdx-bench", ROOT / ".cache" / "bench" / "demo"
COLLECTIONS = ROOT / ".cache" / "bench" / "peers"
CLIENT = f"{PROJECT}-client"
BULK = "bulk"  # the schema with the rows that make a database as large as was asked
SECONDS_BEFORE = 1.0
PATIENCE = 30
PAUSE_OF_CLIENTS = 0.02
WITH_DATA = "SELECT 1 / sign(count(*)) FROM users"  # an error where the table is missing, or is still empty
SECONDS_ABOVE_BOOT = 1.5

OUTAGE, FAILED = "outage, s", "failed requests"
VERIFIED, ENDED, OWN = "verified after, s", "command ended after, s", "own overhead, s"
SPEED, GAP, REFUSED = "restore, MB/s", "without data, s", "refused connections"
COMPARED = (OUTAGE, VERIFIED, ENDED, SPEED, GAP)


# --- what is typed ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """The database before the bad release: its size, what proves that it is back, and its backup."""

    server: Server
    megabytes: float
    proof: str
    backup: Path


def typed(demo: stack.Demo, name: str, *argv: str) -> Command:
    """Return a command of an operator in the checkout."""
    return Command(name, argv, demo.checkout)


def stop(demo: stack.Demo) -> Command:
    """Return how the runbook stops."""
    return typed(demo, "stop", "docker", "compose", "stop", "webapp", "indexer", "nginx")


def checkout(demo: stack.Demo) -> Command:
    """Return how the runbook goes to a release."""
    return typed(demo, "checkout", "git", "checkout", "--quiet", GOOD)


def start(demo: stack.Demo) -> Command:
    """Return how the runbook starts."""
    return typed(demo, "start", "docker", "compose", "up", "--detach")


def quick_procedure(demo: stack.Demo, *database: Command) -> list[Command]:
    """Return the quick procedure, with or without commands for the database."""
    fetch = typed(demo, "fetch", "git", "fetch", "--tags")
    describe = typed(demo, "describe", "git", "describe", "--tags")
    build = typed(demo, "build", "docker", "compose", "build")
    return [stop(demo), fetch, checkout(demo), describe, *database, build, start(demo)]


def runbook(demo: stack.Demo) -> list[Command]:
    """Return the quick procedure without the database."""
    return quick_procedure(demo)


def scenario_1(demo: stack.Demo) -> list[Command]:
    """Return scenario 1 of the runbook."""
    return [stop(demo), checkout(demo), start(demo)]


def idle(demo: stack.Demo) -> list[Command]:
    """Return what takes the application away and brings the same release back."""
    return [stop(demo), typed(demo, "start", "docker", "compose", "start", "webapp", "indexer", "nginx")]


def playbook(name: str, **variables: Any) -> list[Command]:
    """Return one of our playbooks."""
    return [Command(name, [PLAYBOOK, name, "--extra-vars", json.dumps({"version": GOOD, **variables})])]


# The proxy stays, and the indexer, which must not run twice, stops first.
WITHOUT_NGINX = {
    "rollback_application_services": ["indexer", "webapp"],
    "rollback_keep_services": ["db", "redis", "nginx"],
}


def rolling(_demo: stack.Demo) -> list[Command]:
    """Return a rolling rollback."""
    return playbook("application_bug.yml", rolling=True, rollback_rolling_services=["webapp"], **WITHOUT_NGINX)


def with_peers(demo: stack.Demo, **variables: Any) -> list[Command]:
    """Return the quick procedure with other collections."""
    place = {"ANSIBLE_COLLECTIONS_PATH": str(peers.collections(COLLECTIONS))}
    given = {
        "project": str(demo.checkout),
        "origin": str(demo.origin),
        "release": GOOD,
        "ansible_python_interpreter": sys.executable,
        **variables,
    }
    argv = [PLAYBOOK, "--inventory", "localhost,", "--connection", "local", str(peers.PLAYBOOK)]
    return [Command("peers.yml", [*argv, "--extra-vars", json.dumps(given)], environment=place)]


# --- what is typed for the database -----------------------------------------------------------------------------------

PSQL = 'gunzip -c "$BACKUP_FILE" | docker compose exec -T db psql -U usdx'
LEAVE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = 'usdx_wexel' AND pid <> pg_backend_pid();"""
DROP, CREATE = "DROP DATABASE IF EXISTS usdx_wexel;", "CREATE DATABASE usdx_wexel OWNER usdx;"
AS_IT_STANDS = f"""
{PSQL} -d postgres -c "{LEAVE}"
{PSQL} -d postgres -c "{DROP} {CREATE}"
{PSQL} -d usdx_wexel
"""
MENDED = f"""
{PSQL} -d postgres -c "{LEAVE}"
{PSQL} -d postgres -c "{DROP}" -c "{CREATE}"
{PSQL} -d usdx_wexel
"""
SAFETY = 'docker compose exec -T db pg_dump -U usdx usdx_wexel | gzip > "$SAFETY_FILE"'
RESTORE = "restore the database"


def by_psql(demo: stack.Demo, data: Data, script: str) -> list[Command]:
    """Return the quick procedure with these commands for the database."""
    files = {"BACKUP_FILE": str(data.backup), "SAFETY_FILE": str(safety(demo))}
    again = typed(demo, "stop the indexer", "docker", "compose", "stop", "indexer")
    dump = Command("safety backup", ["bash", "-c", SAFETY], demo.checkout, files)
    return quick_procedure(demo, dump, again, Command(RESTORE, ["bash", "-c", script], demo.checkout, files))


def safety(demo: stack.Demo) -> Path:
    """Return where the safety backup goes; it must not look like a backup that the playbooks would take."""
    return demo.directory / "safety.sql.gz"


def runbook_database(demo: stack.Demo, data: Data) -> list[Command]:
    """Return the commands as they stand in the runbook."""
    return by_psql(demo, data, AS_IT_STANDS)


def by_hand_database(demo: stack.Demo, data: Data) -> list[Command]:
    """Return the commands of the runbook in the only form in which they restore anything."""
    return by_psql(demo, data, MENDED)


def peers_database(demo: stack.Demo, data: Data) -> list[Command]:
    """Return the quick procedure with other collections, with the database."""
    files = {"backup": str(data.backup), "safety": str(safety(demo))}
    return with_peers(demo, database_host=data.server.host, **files)


def restore(_demo: stack.Demo, _data: Data) -> list[Command]:
    """Return our restore, which finds the newest backup by itself."""
    return playbook("rollback.yml", database="restore", accept_data_loss="1h")


def held_restore(_demo: stack.Demo, _data: Data) -> list[Command]:
    """Return our restore behind a proxy that stays."""
    return playbook("rollback.yml", database="restore", accept_data_loss="1h", **WITHOUT_NGINX)


CODE: dict[str, tuple[str, Callable[[stack.Demo], list[Command]]]] = {
    "runbook": ("quick procedure, typed by a script", runbook),
    "scenario-1": ("scenario 1, typed by a script, no build", scenario_1),
    "peers": ("community.docker, ansible.builtin.git", with_peers),
    "stop-start": ("`rollback.yml -e database=skip`", lambda _demo: playbook("rollback.yml", database="skip")),
    "rolling": ("`application_bug.yml -e rolling=true`", rolling),
    "held": (
        "`rollback.yml -e database=skip`, requests are held",
        lambda _demo: playbook("rollback.yml", database="skip", **WITHOUT_NGINX),
    ),
}
DATABASE: dict[str, tuple[str, Callable[[stack.Demo, Data], list[Command]]]] = {
    "runbook-database": ("quick procedure with the database, as it stands", runbook_database),
    "by-hand-database": ("the same, mended", by_hand_database),
    "peers-database": ("the same with community.postgresql", peers_database),
    "restore": ("`rollback.yml -e database=restore`", restore),
    "held-restore": ("`rollback.yml -e database=restore`, requests are held", held_restore),
}
BOOT = "boot"
ROWS = {BOOT: "the release of before, stopped and started", **{name: one[0] for name, one in (CODE | DATABASE).items()}}
BASES = dict.fromkeys([BOOT, *CODE], "runbook") | dict.fromkeys(DATABASE, "by-hand-database")
OURS = ("stop-start", "rolling", "held", "restore", "held-restore")
HELD = ("held", "held-restore")
PATIENCE_OF_A_REQUEST, PATIENCE_WHEN_HELD = 2, 60
# What restores, by the name of a command or of a task.
RESTORING = (
    RESTORE,
    "Drop the database",
    "Create the database",
    "Load the backup",
    "Load and prove the backup beside the live database",
    "Change the names of the databases",
)


# --- one run ----------------------------------------------------------------------------------------------------------


def measure(run: Run, options: argparse.Namespace) -> None:
    """Measure one variant once, on a demo that is made anew."""
    if run.row == BOOT:
        measure_boot(run, options.rate)
    elif run.row in CODE:
        demo = on_demo.bring_up(PROJECT, DIRECTORY)
        roll_back(run, demo, CODE[run.row][1](demo), options.rate)
    else:
        measure_database(run, options)


def measure_boot(run: Run, rate: float) -> None:
    """Stop and start the release that a rollback goes to."""
    demo = on_demo.bring_up(PROJECT, DIRECTORY, GOOD)
    with users(run, demo, rate):
        on_demo.carry_out(demo, idle(demo))
        on_demo.wait_for_users(demo)


def measure_database(run: Run, options: argparse.Namespace) -> None:
    """Roll back code and database, while a client connects to the database again and again."""
    demo, data = demo_with_data(options.megabytes)
    commands = DATABASE[run.row][1](demo, data)
    with clients(run, demo, data):
        seconds = roll_back(run, demo, commands, options.rate)
    if proof_of(data.server) != data.proof:
        raise MeasuringError("it ended with success, and the database is not that of the backup")
    restoring = sum(seconds.get(name, 0) for name in RESTORING)
    if restoring:
        run.figures[SPEED] = round(data.megabytes / restoring, 1)
    run.told["megabytes"] = data.megabytes


def roll_back(run: Run, demo: stack.Demo, commands: Sequence[Command], rate: float) -> dict[str, float]:
    """Carry out the commands before a witness, note what was seen, return the seconds of each command and task."""
    with tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder:
        with users(run, demo, rate), on_demo.watching(lambda: on_demo.complaints(demo)) as watch:
            began = time.monotonic()
            seconds = on_demo.carry_out(demo, [noting_tasks(command, folder) for command in commands])
            ended, verified = time.monotonic() - began, watch.seconds(PATIENCE)
        seconds |= seconds_of_tasks(Path(folder))
    run.figures |= {VERIFIED: verified, ENDED: round(ended, 2)}
    if run.row in OURS:
        run.figures[OWN] = round(ended - measuring.work_of_others(on_demo.journal_of(demo)), 2)
    run.told["seconds"] = {name: round(value, 2) for name, value in seconds.items()}
    return seconds


@contextmanager
def users(run: Run, demo: stack.Demo, rate: float) -> Iterator[None]:
    """Let users ask for as long as the block runs, and a little before."""
    held = run.row in HELD
    patience = PATIENCE_WHEN_HELD if held else PATIENCE_OF_A_REQUEST
    with on_demo.holding(demo) if held else nullcontext(), on_demo.witness(demo, rate, patience) as requests:
        time.sleep(SECONDS_BEFORE)
        yield
    run.figures[OUTAGE] = measuring.longest_silence(requests)
    run.figures[FAILED] = sum(not one["ok"] for one in requests)
    run.told["requests"] = len(requests)


def noting_tasks(command: Command, folder: str) -> Command:
    """Return the command with what makes Ansible write how long each task took; others do not look at it."""
    noting = {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": folder}
    return Command(command.name, command.argv, command.place, {**command.environment, **noting})


def seconds_of_tasks(folder: Path) -> dict[str, float]:
    """Return the seconds of each task that restores."""
    seconds: dict[str, float] = {}
    for path in folder.glob("*.xml"):
        for case in ET.parse(path).iter("testcase"):  # noqa: S314 - Ansible has written it a moment ago
            # "[host] play: task", and then the options of the task
            name = next((name for name in RESTORING if f": {name}" in case.get("name", "")), "")
            if name and case.find("skipped") is None:
                seconds[name] = seconds.get(name, 0) + float(case.get("time", 0))
    return seconds


# --- our own part -----------------------------------------------------------------------------------------------------


# --- the database -----------------------------------------------------------------------------------------------------


def demo_with_data(megabytes: int) -> tuple[stack.Demo, Data]:
    """Bring the demo to the bad release, with a database of this size and a backup of it."""
    demo = on_demo.bring_up(PROJECT, DIRECTORY, GOOD)
    server = server_of(demo)
    stack.say(f"filling the database with {megabytes} MB")
    server.execute("usdx_wexel", f"CREATE SCHEMA {BULK}")
    size = dump_zoo.scale_database(server, "usdx_wexel", megabytes, BULK)
    data = Data(server, round(size / 1e6, 1), proof_of(server), stack.write_backup(demo))
    stack.deploy(demo, BAD)
    on_demo.wait_for_users(demo)
    return demo, Data(server_of(demo), data.megabytes, data.proof, data.backup)


def server_of(demo: stack.Demo) -> Server:
    """Return the database server of the demo, as this machine reaches it: its port is not published."""
    container = stack.compose(demo, "ps", "--quiet", "db").strip()
    (host,) = stack.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
    settings = dict(line.split("=", 1) for line in (demo.checkout / ".env").read_text(encoding="utf-8").splitlines())
    return Server(version=15, container=container, port=5432, password=settings["POSTGRES_PASSWORD"], host=host)


def proof_of(server: Server) -> str:
    """Return what the bad release has changed and the indexer does not change."""
    proof = f"SELECT (SELECT sum(balance) FROM users) || ' ' || (SELECT count(*) FROM {BULK}.events)"
    return str(server.value("usdx_wexel", proof))


@contextmanager
def clients(run: Run, demo: stack.Demo, data: Data) -> Iterator[None]:
    """Let a client in the network of the application connect and ask for as long as the block runs."""
    login = {"host": "db", "port": 5432, "user": "usdx", "password": data.server.password, "dbname": "usdx_wexel"}
    program = Path(database_probe.__file__).read_text(encoding="utf-8")
    argv = ["docker", "run", "--interactive", "--name", CLIENT, "--network", f"{demo.project}_default"]
    argv += ["--label", f"{stack.LABEL}=true", "usdx-demo/python", "python3", "-c", program]
    try:
        with database_probe.asking(argv, login, query=WITH_DATA, pause=PAUSE_OF_CLIENTS) as seen:
            yield
    finally:
        remove_client()
    run.figures[GAP] = round(seen.longest_gap_ms / 1000, 2)
    run.figures[REFUSED] = seen.refused
    run.told |= {"errors": seen.errors, "questions": seen.attempts, "broken": seen.broken}


def remove_client() -> None:
    """Remove the client, if it is still there."""
    stack.remove_each("container", stack.docker("ps", "--all", "--quiet", "--filter", f"name=^{CLIENT}$"), "--force")


# --- the report -------------------------------------------------------------------------------------------------------


def verdict(runs: Sequence[Run]) -> str:
    """Say whether the outage of a rollback of the code is what the older release needs to boot, and little more."""
    boot, ours = (measuring.median(runs, row, OUTAGE) for row in (BOOT, "stop-start"))
    if boot is None or ours is None:
        return f"Boot and stop-start were not both measured: whether boot + {SECONDS_ABOVE_BOOT} s is kept is unknown."
    kept = "kept" if ours <= boot + SECONDS_ABOVE_BOOT else "not kept"
    return f"Outage of stop-start {ours:g} s, boot {boot:g} s: boot + {SECONDS_ABOVE_BOOT} s is {kept}."


def markdown(runs: Sequence[Run], facts: dict[str, Any]) -> str:
    """Return the report for the documents."""
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    parts = [
        ["Medians, in brackets the least and the most.", "", *measuring.table(runs, ROWS)],
        ["Ratios of the medians.", "", *measuring.ratio_table(runs, BASES, COMPARED)],
        measuring.failures(runs),
        [verdict(runs)],
        [f"Machine: {told}."],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def drawing(runs: Sequence[Run]) -> str:
    """Return the chart of the outages."""
    seen = [row for row in ROWS if any(run.row == row for run in runs)]
    failed = {run.row for run in runs if run.failed}
    bars = [
        chart.Bar(row, measuring.values(runs, row, OUTAGE), "failed" if row in failed else "unknown", row in OURS)
        for row in seen
    ]
    boot = measuring.median(runs, BOOT, OUTAGE)
    label = f"boot + {SECONDS_ABOVE_BOOT} s"
    of_code = sum(row not in DATABASE for row in seen)
    limit = chart.Limit(boot + SECONDS_ABOVE_BOOT, label, of_code) if boot is not None else None
    return chart.svg("Outage of a rollback, seconds", "The longest time without a good answer.", bars, limit)


def write(runs: Sequence[Run], facts: dict[str, Any], folder: Path) -> None:
    """Write what was measured for programs, for the documents, and for the eye."""
    folder.mkdir(parents=True, exist_ok=True)
    ratios = {
        f"{row}/{base}, {name}": measuring.ratio(runs, row, base, name)
        for row, base in BASES.items()
        for name in COMPARED
    }
    measuring.write_json(folder / "bench.json", measuring.as_data(runs, facts, ratios))
    (folder / "bench.md").write_text(markdown(runs, facts), encoding="utf-8")
    (folder / "bench.svg").write_text(drawing(runs), encoding="utf-8")


# --- command line -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = measuring.parser(str(__doc__), rounds=3)
    parser.add_argument(
        "--only", nargs="+", metavar="VARIANT", choices=list(ROWS), default=list(ROWS), help="which (all)"
    )
    parser.add_argument("--rate", type=measuring.above_zero, default=10, help="requests in a second (%(default)s)")
    parser.add_argument(
        "--megabytes", type=measuring.above_zero, default=200, help="size of the database (%(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / ".cache" / "bench" / "results",
        help="folder for JSON, table, chart (%(default)s)",
    )
    return parser.parse_args()


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()

    def work() -> int:
        stack.require_docker()
        before = measuring.machine(rounds=options.rounds, requests_a_second=options.rate, megabytes=options.megabytes)
        runs = measuring.measure_all(
            options.only, options.rounds, lambda run: measure(run, options), (stack.DemoError, ServerError)
        )
        facts = before | {"load_average_after": measuring.load_average(), "peers": peers.versions(COLLECTIONS)}
        print("\n" + markdown(runs, facts))
        write(runs, facts, options.output)
        print(f"Kept in {options.output}: bench.json, bench.md, bench.svg")
        return measuring.exit_code(runs)

    return on_demo.on_demos([DIRECTORY], work)


if __name__ == "__main__":
    sys.exit(main())
