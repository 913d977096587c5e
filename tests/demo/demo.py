#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: usdx-wexel with five real services, deployed at v1.0.2 and then at v1.0.3, which is bad.

``up`` makes it, ``show`` prints what users see, ``probe`` measures an outage, ``down`` removes all of it.
``up --monitoring`` adds Prometheus and Alertmanager, which watch it.
It needs Python, git and Docker with Compose v2 (see docker.sh), and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
BASES = ("python", "postgres", "redis", "nginx")
MONITORING = "monitoring"  # the profile, and the base image that only it needs
RELEASES = {
    "v1.0.1": "2024-12-01T09:00:00Z",
    "v1.0.2": "2024-12-20T09:00:00Z",
    "v1.0.3": "2024-12-28T02:00:00Z",
}
GOOD, BAD = "v1.0.2", "v1.0.3"
LABEL = "usdx.rollback.demo"
LABEL_OF_SOURCES = "usdx.rollback.demo.sources"
LABEL_OF_PROJECT = "com.docker.compose.project"
LABEL_OF_MAINTENANCE = "usdx.rollback.maintenance"  # its pages are of no Compose project
SEEDED_EVENTS = 300
EVENTS_BEFORE_BACKUP = 10
SECONDS_OF_A_COMMAND = 600
OK_STATUSES = range(200, 400)


class DemoError(Exception):
    """What went wrong and what to do, for people."""


@dataclass(frozen=True)
class Demo:
    """One demo on this machine."""

    project: str
    directory: Path
    port: int
    monitoring: dict[str, int] | None = None  # ports of 127.0.0.1 by service, if it is watched

    @property
    def checkout(self) -> Path:
        """Where the application is checked out, as on a server."""
        return self.directory / "project"

    @property
    def origin(self) -> Path:
        """The repository that the checkout fetches from."""
        return self.directory / "origin.git"

    @property
    def backups(self) -> Path:
        """The folder of the dumps."""
        return self.directory / "backups"

    @property
    def url(self) -> str:
        """Where users reach the application."""
        return f"http://127.0.0.1:{self.port}"


# --- commands ---------------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Return this process's environment without what would turn git or Compose elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_", "COMPOSE_"))
        and name not in {"HTTP_PORT", "POSTGRES_PASSWORD", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "HEALTH_INTERVAL"}
    }
    return kept | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "LC_ALL": "C.UTF-8"}


def run(*argv: str | Path, cwd: Path | None = None, **extra: str) -> str:
    """Run a command and return what it printed on stdout; say all it printed when it fails."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment() | extra,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_OF_A_COMMAND,
        )
    except FileNotFoundError as error:
        way = f"{HERE / 'docker.sh'} installs Docker; git comes from your system's packages."
        raise DemoError(f"{error.filename} is missing. {way}") from error
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"{' '.join(words)} did not end within {SECONDS_OF_A_COMMAND} s.") from error
    if done.returncode:
        raise DemoError(f"{' '.join(words)} returned {done.returncode}:\n{(done.stdout + done.stderr).strip()}")
    return done.stdout


def docker(*argv: str) -> list[str]:
    """Run a docker command and return its lines."""
    return run("docker", *argv).split("\n")[:-1]


def compose(demo: Demo, *argv: str) -> str:
    """Run ``docker compose`` in the checkout, as an operator would; the project's name comes from ``.env``."""
    return run("docker", "compose", *argv, cwd=demo.checkout)


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds; say what did not when it takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {seconds:.0f} s.")
        time.sleep(0.1)


# --- base images ------------------------------------------------------------------------------------------------------


def digest_of(folder: Path) -> str:
    """Return one digest of all that an image is built from."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def require_docker() -> None:
    """Refuse to begin without a daemon and Compose."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
        docker("compose", "version")
    except DemoError as error:
        raise DemoError(f"{error}\nDocker with Compose v2 must answer first: {HERE / 'docker.sh'}") from error


def build_bases(*more: str) -> None:
    """Build those base images that are missing or were built from other sources."""
    for name in (*BASES, *more):
        folder = HERE / "images" / name
        label = f"{LABEL_OF_SOURCES}={digest_of(folder)}"
        if f"usdx-demo/{name}:latest" not in image_lines(f"label={label}", "{{.Repository}}:{{.Tag}}"):
            say(f"building the image usdx-demo/{name}")
            docker("build", "--quiet", "--label", label, "--tag", f"usdx-demo/{name}", str(folder))


def image_lines(selection: str, template: str) -> list[str]:
    """List images, one line each."""
    return docker("image", "ls", "--filter", selection, "--format", template)


# --- the repository ---------------------------------------------------------------------------------------------------


def write_release(tree: Path, release: str) -> None:
    """Lay the files of every release up to this one over each other, and set the version in them."""
    for part in list(RELEASES)[: list(RELEASES).index(release) + 1]:
        source = HERE / "application" / part
        shutil.copytree(source, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("package.json", "docker-compose.yml"):
        path = tree / name
        path.write_text(path.read_text(encoding="utf-8").replace("@VERSION@", release[1:]), encoding="utf-8")


def commit_release(tree: Path, release: str) -> None:
    """Commit and tag a release, always with the same commit id."""
    person = {"NAME": "usdx-wexel developers", "EMAIL": "developers@usdx-wexel.example", "DATE": RELEASES[release]}
    identity = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    run("git", "add", "--all", cwd=tree)
    run("git", "commit", "--quiet", "--message", f"Release {release}", cwd=tree, **identity)
    run("git", "tag", "--annotate", "--message", f"usdx-wexel {release}", release, cwd=tree, **identity)


def make_repository(demo: Demo) -> None:
    """Make the origin with a commit and a tag for every release, and the server's clone of it."""
    tree = demo.directory / "making"
    run("git", "init", "--quiet", "--initial-branch", "main", tree)
    for release in RELEASES:
        write_release(tree, release)
        commit_release(tree, release)
    run("git", "clone", "--quiet", "--bare", tree, demo.origin)
    run("git", "clone", "--quiet", demo.origin, demo.checkout)
    shutil.rmtree(tree)


def commits(demo: Demo) -> dict[str, str]:
    """Return the commit of every release's tag."""
    return {tag: run("git", "rev-parse", f"{tag}^{{commit}}", cwd=demo.checkout).strip() for tag in RELEASES}


def write_settings(demo: Demo) -> None:
    """Write the environment file, which is not in git, readable by its owner alone."""
    settings = {
        "COMPOSE_PROJECT_NAME": demo.project,
        "HTTP_PORT": demo.port,
        "POSTGRES_PASSWORD": secrets.token_hex(16),
    }
    if demo.monitoring:
        settings["COMPOSE_PROFILES"] = MONITORING
        settings |= {f"{service.upper()}_PORT": port for service, port in demo.monitoring.items()}
    if interval := os.environ.get("USDX_DEMO_HEALTH_INTERVAL"):  # five checks each 2 s keep a fifth of a core busy
        settings["HEALTH_INTERVAL"] = interval
    path = demo.checkout / ".env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")


# --- deploying --------------------------------------------------------------------------------------------------------


def deploy(demo: Demo, release: str) -> None:
    """Deploy a release as a team without tools would: checkout, build, migrate, start."""
    say(f"deploying {release}")
    run("git", "checkout", "--quiet", release, cwd=demo.checkout)
    compose(demo, "build", "--quiet")
    compose(demo, "up", "--detach", "--wait", "db", "redis")
    compose(demo, "run", "--rm", "-T", "indexer", "alembic", "upgrade", "head")
    compose(demo, "up", "--detach", "--wait")


def number_of_events(demo: Demo) -> int:
    """Count the events in the database."""
    query = "SELECT count(*) FROM events"
    return int(compose(demo, "exec", "-T", "db", "psql", "-U", "usdx", "-d", "usdx_wexel", "-Atc", query))


def wait_for_events(demo: Demo) -> None:
    """Wait until the indexer has written something that is worth a backup."""
    wanted = SEEDED_EVENTS + EVENTS_BEFORE_BACKUP
    wait_for("the indexer's first events", lambda: number_of_events(demo) >= wanted)


def write_backup(demo: Demo) -> Path:
    """Write ``pg_dump | gzip`` under the name that the team uses; the time in it is UTC."""
    demo.backups.mkdir(exist_ok=True)
    path = demo.backups / f"usdx_wexel_{datetime.now(timezone.utc):%Y%m%d_%H%M%S}.sql.gz"
    say(f"writing the backup {path.name}")
    argv = ["docker", "compose", "exec", "-T", "db", "pg_dump", "-U", "usdx", "usdx_wexel"]
    with (
        path.open("wb") as file,
        subprocess.Popen(
            argv, stdout=subprocess.PIPE, cwd=demo.checkout, env=environment(), stdin=subprocess.DEVNULL
        ) as dump,
    ):
        packed = subprocess.run(["gzip"], stdin=dump.stdout, stdout=file, check=False, timeout=SECONDS_OF_A_COMMAND)
    if dump.returncode or packed.returncode:
        raise DemoError(f"the backup failed: pg_dump returned {dump.returncode}, gzip {packed.returncode}.")
    return path


# --- removing ---------------------------------------------------------------------------------------------------------


def of_project(project: str, *more: str) -> list[str]:
    """Return the filter for what belongs to a project."""
    return ["--filter", f"label={LABEL_OF_PROJECT}={project}", *more]


def remove_each(kind: str, names: list[str], *options: str) -> None:
    """Remove Docker objects of one kind, if there are any."""
    if names:
        docker(kind, "rm", *options, *names)


def images_of(project: str) -> Iterator[str]:
    """Yield the project's images: the built ones by name and what is left of them, and the pins of rollbacks."""
    built = {f"{project}-{service}" for service in ("nginx", "webapp", "indexer")}
    for line in image_lines("dangling=false", "{{.Repository}} {{.Tag}}"):
        repository, tag = line.split(" ")
        if tag == "<none>":
            continue
        if repository in built or repository.startswith(f"usdx-rollback/{project}/"):
            yield f"{repository}:{tag}"
    nameless = ["--filter", "dangling=true", "--filter", f"label={LABEL}=true"]
    yield from docker("image", "ls", "--quiet", "--no-trunc", *of_project(project, *nameless))


def remove_project(project: str) -> None:
    """Remove all that a project has in Docker."""
    demo_only = ["--filter", f"label={LABEL}=true"]
    for filters in (of_project(project, *demo_only), ["--filter", f"label={LABEL_OF_MAINTENANCE}={project}"]):
        remove_each("container", docker("ps", "--all", "--quiet", *filters), "--force", "--volumes")
    remove_each("volume", docker("volume", "ls", "--quiet", *of_project(project)))
    remove_each("network", docker("network", "ls", "--quiet", *of_project(project)))
    remove_each("image", sorted(set(images_of(project))), "--force")


def empty(directory: Path) -> None:
    """Remove all from a demo's folder but the file that says that it is one."""
    for path in directory.iterdir():
        if path.name == "demo.json":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- what is remembered -----------------------------------------------------------------------------------------------


def remember(demo: Demo, **facts: object) -> None:
    """Write ``demo.json``, which also marks the folder as ours."""
    places = {"checkout": str(demo.checkout), "origin": str(demo.origin), "backups": str(demo.backups)}
    data = asdict(demo) | {"directory": str(demo.directory), "url": demo.url} | places | facts
    for service, port in (demo.monitoring or {}).items():
        data[f"{service}_url"] = f"http://127.0.0.1:{port}"
    part = demo.directory / ".demo.json.part"
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    part.replace(demo.directory / "demo.json")


def recall(directory: Path) -> Demo | None:
    """Return the demo of a folder, or nothing when none was made there."""
    path = directory / "demo.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Demo(data["project"], directory, data["port"], data.get("monitoring"))


def known(directory: Path) -> Demo:
    """Return the demo of a folder; refuse a folder without one."""
    demo = recall(directory)
    if demo is None:
        raise DemoError(f"{directory} holds no demo. Make one: {sys.argv[0]} up --directory {directory}")
    return demo


def is_free(port: int) -> bool:
    """Say whether nothing listens on a loopback port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def choose_port(asked: int | None, remembered: int | None) -> int:
    """Return the port to publish: the one asked for, the one of last time, or a free one."""
    if asked is not None:
        if not is_free(asked):
            raise DemoError(f"port {asked} of 127.0.0.1 is taken. Name another with --port, or leave it out.")
        return asked
    return remembered if remembered is not None and is_free(remembered) else free_port()


def monitoring_ports(remembered: Demo | None) -> dict[str, int]:
    """Return a port for each service that watches: that of last time, or a free one."""
    known_ports = (remembered.monitoring if remembered else None) or {}
    return {service: choose_port(None, known_ports.get(service)) for service in ("prometheus", "alertmanager")}


# --- up, down, show ---------------------------------------------------------------------------------------------------


def refuse_what_is_not_ours(project: str, directory: Path) -> None:
    """Refuse a folder or a project name that something else uses."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        raise DemoError(f"--project {project!r}: use small letters, digits, hyphens and underscores.")
    remembered = recall(directory)
    if remembered and remembered.project != project:
        raise DemoError(f"{directory} holds the demo {remembered.project!r}. Remove that first: {sys.argv[0]} down")
    if not remembered and directory.exists() and any(directory.iterdir()):
        raise DemoError(f"--directory {directory} is neither empty nor a demo's. Nothing was touched; name another.")
    template = f'{{{{.Label "{LABEL}"}}}} {{{{.Label "com.docker.compose.project.working_dir"}}}}'
    for line in docker("ps", "--all", "--format", template, *of_project(project)):
        label, _space, place = line.partition(" ")
        if label != "true" or (not remembered and place != str(directory / "project") and Path(place).exists()):
            raise DemoError(
                f"the Compose project {project!r} runs from {place or 'elsewhere'}. Name another with --project."
            )


def up(options: argparse.Namespace) -> None:
    """Bring the demo to its known state, whatever was there of it before."""
    began = time.monotonic()
    require_docker()
    refuse_what_is_not_ours(options.project, options.directory)
    remembered = recall(options.directory)
    build_bases(*([MONITORING] if options.monitoring else []))
    remove_project(options.project)
    options.directory.mkdir(parents=True, exist_ok=True)
    empty(options.directory)
    port = choose_port(options.port, remembered.port if remembered else None)
    demo = Demo(options.project, options.directory, port, monitoring_ports(remembered) if options.monitoring else None)
    remember(demo)
    fill(demo, options.release)
    say(f"{options.release} runs at {demo.url} after {time.monotonic() - began:.0f} s")


def fill(demo: Demo, release: str) -> None:
    """Make the repository, deploy the good release, back it up, and deploy the bad one if it is asked for."""
    make_repository(demo)
    write_settings(demo)
    deploy(demo, GOOD)
    wait_for_events(demo)
    backup = write_backup(demo)
    if release == BAD:
        deploy(demo, BAD)
    remember(demo, release=release, tags=commits(demo), backup=str(backup))


def deploy_again(options: argparse.Namespace) -> None:
    """Deploy a release on a demo that runs, as its team would."""
    demo = known(options.directory)
    backup = json.loads((options.directory / "demo.json").read_text(encoding="utf-8"))["backup"]
    deploy(demo, options.release)
    remember(demo, release=options.release, tags=commits(demo), backup=backup)


def down(options: argparse.Namespace) -> None:
    """Remove the demo; with ``--all`` also the base images, if no other demo uses them."""
    demo = recall(options.directory)
    if demo:
        remove_project(demo.project)
        shutil.rmtree(options.directory)
        say(f"removed the demo {demo.project} and {options.directory}")
    else:
        say(f"{options.directory} holds no demo: nothing to remove")
    if options.all:
        remove_bases()


def other_demos() -> list[str]:
    """Return the projects whose containers still come from the base images."""
    template = f'{{{{.Label "{LABEL_OF_PROJECT}"}}}}'
    return sorted(set(docker("ps", "--all", "--filter", f"label={LABEL}=true", "--format", template)))


def remove_bases() -> None:
    """Remove the base images, unless another demo would be left without what its next build needs."""
    others = other_demos()
    if others:
        say(f"kept the base images usdx-demo/*: used by {', '.join(others)}")
        return
    names = [f"usdx-demo/{name}:latest" for name in (*BASES, MONITORING)]
    here = set(image_lines(f"label={LABEL}=true", "{{.Repository}}:{{.Tag}}"))
    remove_each("image", [name for name in names if name in here])
    say("removed the base images usdx-demo/*")


def ask(url: str, seconds: float = 5) -> tuple[int, str]:
    """Request a URL; return the status (0 without an answer) and the body or the reason."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()


def as_object(body: str) -> dict[str, Any]:
    """Return a JSON object, or an empty one when the body is something else."""
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def states(project: str) -> dict[str, str]:
    """Return what Docker says of each of the project's services."""
    template = '{{.Label "com.docker.compose.service"}}\t{{.Image}}, {{.Status}}'
    lines = docker("ps", "--all", "--format", template, *of_project(project))
    return dict(sorted((line.split("\t", 1)[0], line.split("\t", 1)[1]) for line in lines))


def look(demo: Demo) -> dict[str, Any]:
    """Return what users and operators see now."""
    paths = ("/health", "/", "/api/pools", "/api/stats")
    answers = {path: ask(demo.url + path) for path in paths}
    return {
        "url": demo.url,
        "health": as_object(answers["/health"][1]),
        "statistics": as_object(answers["/api/stats"][1]),
        "statuses": {path: status for path, (status, _body) in answers.items()},
        "services": states(demo.project),
    }


def show(options: argparse.Namespace) -> None:
    """Print what users and operators see now."""
    demo = known(options.directory)
    seen = look(demo)
    if options.json:
        say(json.dumps(seen, indent=2))
        return
    health, statistics = seen["health"], seen["statistics"]
    say(f"{seen['url']} answers as {health.get('version', 'nobody')}, status {health.get('status', 'none')}")
    for path, status in seen["statuses"].items():
        say(f"  {path:<11} {status or 'no answer'}{'' if status in OK_STATUSES else '   <- users see this fail'}")
    if statistics:
        say(f"  {statistics['events']} events; all balances together: {statistics['total_balance']}")
    for service, state in seen["services"].items():
        say(f"  {service:<12} {state}")
    for service, port in (demo.monitoring or {}).items():
        say(f"  {service:<12} http://127.0.0.1:{port}")


# --- probe ------------------------------------------------------------------------------------------------------------


def refuse_other_hosts(url: str) -> None:
    """Refuse to send a probe's traffic anywhere but to this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if parts.scheme != "http" or not local:
        raise DemoError(f"--url {url}: the probe sends requests to http:// on 127.0.0.1, ::1 or localhost only.")


def request_once(url: str, limit: float, began: float) -> dict[str, Any]:
    """Request once; return when, whether it was answered well, the status, and how long it took."""
    start = time.monotonic()
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    status, _body = ask(url, limit)
    milliseconds = round((time.monotonic() - start) * 1000, 1)
    offset = round((start - began) * 1000, 1)
    return {"time": at, "offset_ms": offset, "ok": status in OK_STATUSES, "status": status, "ms": milliseconds}


def outages(lines: list[dict[str, Any]]) -> list[float]:
    """Return how long each outage was: from the first request that failed to the next that did not."""
    found: list[float] = []
    since: float | None = None
    for line in lines:
        if not line["ok"] and since is None:
            since = line["offset_ms"]
        elif line["ok"] and since is not None:
            found.append(round(line["offset_ms"] - since, 1))
            since = None
    if since is not None:
        found.append(round(lines[-1]["offset_ms"] + lines[-1]["ms"] - since, 1))
    return found


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured, in one object."""
    times = outages(lines)
    return {
        "requests": len(lines),
        "failed": sum(not line["ok"] for line in lines),
        "outages": len(times),
        "longest_outage_ms": max(times, default=0.0),
        "slowest_ms": max((line["ms"] for line in lines), default=0.0),
    }


def request_steadily(options: argparse.Namespace, stop: Callable[[float], bool]) -> list[dict[str, Any]]:
    """Send requests at a steady rate; one that is slow does not delay the next."""
    began = time.monotonic()
    pause = threading.Event()
    with ThreadPoolExecutor(max_workers=32) as pool:
        sent = []
        while not stop(time.monotonic() - began):
            sent.append(pool.submit(request_once, options.url, options.timeout, began))
            pause.wait(max(0.0, began + len(sent) / options.rate - time.monotonic()))
        return sorted((future.result() for future in sent), key=lambda line: float(line["offset_ms"]))


def probe(options: argparse.Namespace) -> None:
    """Print one JSON line per request, in the order they were sent, and last the summary."""
    refuse_other_hosts(options.url)
    end, file = options.seconds, options.until_file
    lines = request_steadily(options, lambda passed: passed >= end or (file is not None and file.exists()))
    for line in lines:
        print(json.dumps(line))
    say(json.dumps({"summary": summary(lines)}))


# --- command line -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--directory", type=lambda text: Path(text).resolve(), required=True, help="the demo's own folder"
    )

    one = commands.add_parser("up", parents=[place], help="make the demo, or bring it back to its first state")
    one.add_argument("--project", default="usdx-demo", help="name of the Compose project (default: %(default)s)")
    one.add_argument("--release", choices=(GOOD, BAD), default=BAD, help="what runs in the end (default: %(default)s)")
    one.add_argument("--port", type=int, help="port of 127.0.0.1 (default: that of last time, or a free one)")
    one.add_argument("--monitoring", action="store_true", help="watch it with Prometheus and Alertmanager too")
    one.set_defaults(work=up)

    one = commands.add_parser("deploy", parents=[place], help="deploy a release on the demo that runs")
    one.add_argument("--release", choices=tuple(RELEASES), default=BAD, help="which one (default: %(default)s)")
    one.set_defaults(work=deploy_again)

    one = commands.add_parser("down", parents=[place], help="remove all that the demo made")
    one.add_argument(
        "--all", action="store_true", help="remove the base images usdx-demo/* too, if no other demo uses them"
    )
    one.set_defaults(work=down)

    one = commands.add_parser("show", parents=[place], help="print what users and operators see now")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(work=show)

    add_probe(commands)
    return parser


def add_probe(commands: Any) -> None:
    """Describe the command ``probe``."""
    one = commands.add_parser("probe", help="request a URL of this machine steadily and say how long it failed")
    one.add_argument("--url", required=True, help="http:// on 127.0.0.1, ::1 or localhost")
    one.add_argument("--seconds", type=float, default=3600, help="end after this time (default: %(default)s)")
    one.add_argument("--until-file", type=Path, help="end when this file exists, or after --seconds")
    one.add_argument("--timeout", type=float, default=1, help="seconds for one request (default: %(default)s)")
    one.add_argument("--rate", type=float, default=10, help="requests in a second (default: %(default)s)")
    one.set_defaults(work=probe)


def main() -> int:
    """Do what the command line asks; return the exit code."""
    options = arguments().parse_args()
    try:
        options.work(options)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; run the same command again, or: down", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
