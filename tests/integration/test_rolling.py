# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_start with rolling: a real nginx goes on answering while a real Compose changes what is behind it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, command, free_port
from stacks import Stack, demo_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS, PAUSE = 3, 0.05  # together about 40 requests a second
RELOAD = {"service": "nginx", "command": ["nginx", "-s", "reload"]}
# Asks the name server again every second.
BY_RESOLVER = "resolver 127.0.0.11 valid=1s ipv6=off; set $webapp http://webapp:8000; proxy_pass $webapp;"
# Knows the addresses of its start.
BY_START = "proxy_pass http://webapp:8000;"
NGINX = """
user www-data;
worker_processes 1;
pid /run/nginx.pid;
events {}
http {
  access_log off;
  server { listen 80; proxy_connect_timeout 1s; location / { %s } }
}
"""
# Begins to listen after BOOT seconds, and ends a request that runs before it stops.
APPLICATION = """
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
release, boot = os.environ["RELEASE"], float(os.environ["BOOT"])
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.02)
        body = release.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *said): pass
class Server(ThreadingHTTPServer):
    daemon_threads = False
time.sleep(boot)
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""
COMPOSE = """
services:
  nginx:
    image: {nginx}
    ports: ["127.0.0.1:{port}:80"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
  webapp:
    image: "{project}-webapp:{release}"
    command: [python3, /application.py]
    environment: {{RELEASE: "{release}", BOOT: "{boot}"}}
    volumes: ["./application.py:/application.py:ro"]
    healthcheck: {{test: [CMD, curl, -fsS, "http://127.0.0.1:8000/"], interval: 1s, timeout: 2s, retries: {retries}}}
    {more}
"""


@dataclass
class Site:
    """A stack behind nginx, and who asks it."""

    stack: Stack
    port: int = field(default_factory=free_port)

    def files(self, release: str, *, boot: float = 1, retries: int = 30, more: str = "") -> None:
        """Put the Compose file of a release in place."""
        text = COMPOSE.format(
            nginx="usdx-demo/nginx", port=self.port, project=self.stack.project, release=release, boot=boot,
            retries=retries, more=more,
        )  # fmt: skip
        self.stack.write({"compose.yml": text})

    def image(self, release: str) -> None:
        """Build the image of a release."""
        dockerfile = f'FROM {demo_image("python")}\nLABEL release="{release}"\n'
        name = f"{self.stack.project}-webapp:{release}"
        argv = ["docker", "build", "--quiet", "--tag", name, "-"]
        subprocess.run(argv, input=dockerfile.encode(), check=True, capture_output=True)

    def up(self, proxy: str) -> None:
        """Start v1.0.3 behind nginx, and wait until it answers."""
        self.stack.write({"nginx.conf": NGINX % proxy, "application.py": APPLICATION})
        self.files("v1.0.3", boot=0)
        for release in ("v1.0.2", "v1.0.3"):
            self.image(release)
        self.stack.up("--wait")
        deadline = time.monotonic() + 30
        while self.get() != "v1.0.3":
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def get(self) -> str:
        """Return what a user gets: a release, or what went wrong."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError) as error:
            return f"FAILED {error}"

    @contextlib.contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Ask all the time until the block is left; the list holds the answers."""
        answers: list[str] = []
        end = threading.Event()

        def client() -> None:
            while not end.wait(PAUSE):
                answers.append(self.get())

        clients = [threading.Thread(target=client) for _number in range(CLIENTS)]
        for one in clients:
            one.start()
        try:
            yield answers
        finally:
            end.set()
            for one in clients:
                one.join()

    @staticmethod
    def hear(answers: list[str], more: int) -> None:
        """Wait for so many more answers."""
        wanted, deadline = len(answers) + more, time.monotonic() + 60
        while len(answers) < wanted:
            assert time.monotonic() < deadline
            time.sleep(PAUSE)

    def start(self, *, check: bool = False, **options: Any) -> Outcome:
        """Call the module for the way back to v1.0.2."""
        defaults = {
            "project": self.stack.project, "groups": [["webapp"]], "keep": ["nginx"], "rolling": ["webapp"],
            "directory": str(self.stack.directory), "release": "v1.0.2", "timeout": 60, "settle": 1.5,
        }  # fmt: skip
        return call_module("compose_start", defaults | options, check=check)

    def webapps(self) -> dict[str, str]:
        """Return the id of each container of the webapp."""
        return {name: one["Id"] for name, one in self.stack.containers().items() if name.startswith("webapp")}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    demo_image("nginx")
    with stack(tmp_path / "checkout") as made:
        yield Site(made)


@pytest.mark.parametrize(("proxy", "options"), [(BY_RESOLVER, {}), (BY_START, {"reload": RELOAD})])
def test_no_request_fails(site: Site, proxy: str, options: dict[str, Any]) -> None:
    """Not one, for a proxy that asks for addresses and for one that has to be told; the second run changes nothing."""
    site.up(proxy)
    former, nginx = site.webapps(), site.stack.identity("nginx-1")
    site.files("v1.0.2", boot=3)

    foreseen = site.start(check=True, **options)
    assert not foreseen.failed, foreseen
    assert (foreseen["changed"], foreseen["rolled"], foreseen["recreated"]) == (True, ["webapp"], ["webapp"])
    assert site.webapps() == former

    with site.asked() as answers:
        done = site.start(**options)
        site.hear(answers, 5 * CLIENTS)
    assert not done.failed, done
    assert [one for one in answers if one.startswith("FAILED")] == []
    assert answers.count("v1.0.3") > 50
    assert answers[-CLIENTS:] == ["v1.0.2"] * CLIENTS
    assert (done["rolled"], done["recreated"]) == (["webapp"], ["webapp"])
    assert len(site.webapps()) == 1
    assert not set(site.webapps().values()) & set(former.values())
    assert site.stack.identity("nginx-1") == nginx

    again = site.start(**options)
    assert not again.failed, again
    assert (again["changed"], again["rolled"]) == (False, [])


def test_a_release_that_is_not_healthy_leaves_the_former_one_serving(site: Site) -> None:
    site.up(BY_START)
    former = site.stack.identity("webapp-1")
    site.files("v1.0.2", boot=3600, retries=2)
    with site.asked() as answers:
        done = site.start(timeout=6, reload=RELOAD)
    assert done.failed
    assert "webapp" in done["unready"]
    assert "that ran before were not stopped and serve on; the new ones were removed" in done["msg"]
    assert site.stack.identity("webapp-1") == former
    assert len(site.webapps()) == 1
    assert set(answers) == {"v1.0.3"}


def test_a_proxy_that_refuses_its_command_leaves_the_former_one_serving(site: Site) -> None:
    site.up(BY_START)
    former = site.webapps()
    site.files("v1.0.2")
    done = site.start(reload={"service": "nginx", "command": ["nginx", "-t", "-c", "/nowhere"]})
    assert done.failed
    assert "nginx -t -c /nowhere" in done["msg"]
    assert site.webapps() == former


def test_a_run_that_was_cut_off_is_finished_with_what_it_has_made(site: Site) -> None:
    """The new container is there already, and the former one still serves."""
    site.up(BY_RESOLVER)
    site.files("v1.0.2")
    options = ("--no-deps", "--no-recreate", "--scale", "webapp=2", "webapp")
    site.stack.up(*options)
    both = site.webapps()
    assert set(both) == {"webapp-1", "webapp-2"}
    done = site.start()
    assert not done.failed, done
    assert site.webapps() == {"webapp-2": both["webapp-2"]}


def test_two_containers_become_two_also_where_only_a_variable_differs(site: Site) -> None:
    site.files("v1.0.3")
    site.up(BY_RESOLVER)
    site.files("v1.0.3", boot=0, more="scale: 2")
    site.stack.up("--wait")
    former = site.webapps()
    site.files("v1.0.3", boot=0.5, more="scale: 2")
    with site.asked() as answers:
        done = site.start(release="v1.0.3")
    assert not done.failed, done
    assert done["rolled"] == ["webapp"]
    assert set(answers) == {"v1.0.3"}
    assert len(site.webapps()) == len(former) == 2
    assert not set(site.webapps().values()) & set(former.values())


def test_what_a_run_that_was_cut_off_has_left_unhealthy_is_removed_too(site: Site) -> None:
    site.up(BY_START)
    former = site.stack.identity("webapp-1")
    site.files("v1.0.2", boot=3600, retries=2)
    site.stack.up("--no-deps", "--no-recreate", "--scale", "webapp=2", "webapp")
    assert set(site.webapps()) == {"webapp-1", "webapp-2"}
    done = site.start(timeout=6)
    assert done.failed
    assert "serve on; the new ones were removed" in done["msg"]
    assert set(site.webapps()) == {"webapp-1"}
    assert site.stack.identity("webapp-1") == former


def test_a_former_container_gets_its_grace_period_and_its_death_is_told(site: Site) -> None:
    site.up(BY_RESOLVER)
    site.files("v1.0.2", boot=0)
    name = f"{site.stack.project}-webapp-1"
    done = site.start(grace_periods={"webapp": 0}, settle=0)
    assert not done.failed, done
    assert f"SIGKILL ended {name}" in done.progress


def test_a_proxy_that_does_not_run_is_no_matter_where_nothing_is_rolled(site: Site) -> None:
    """The inventory names the proxy for every run; one that stops first must still start."""
    site.up(BY_RESOLVER)
    site.files("v1.0.2", boot=0)
    site.stack.compose("stop", "nginx", "webapp")
    done = site.start(groups=[["webapp"], ["nginx"]], keep=[], rolling=[], reload=RELOAD)
    assert not done.failed, done
    assert site.get() == "v1.0.2"


def test_a_service_that_cannot_run_twice_says_why(site: Site) -> None:
    site.up(BY_RESOLVER)
    site.files("v1.0.2", boot=0, more=f"container_name: {site.stack.project}-only")
    done = site.start()
    assert not done.failed, done
    assert done["rolled"] == []
    assert done["not_rolled"] == {"webapp": f"it has the container_name {site.stack.project}-only"}
    assert done["recreated"] == ["webapp"]
    assert "webapp cannot run twice: it has the container_name" in done.progress


def test_names_and_commands_that_cannot_be_meant_are_refused(site: Site) -> None:
    site.up(BY_RESOLVER)
    former = site.webapps()
    site.files("v1.0.2")
    unknown = site.start(rolling=["web"])
    assert unknown.failed
    assert "rolling names web, which is in no group" in unknown["msg"]
    absent = site.start(reload={"service": "proxy", "command": ["x"]})
    assert absent.failed
    assert "reload names the service proxy" in absent["msg"]
    assert site.webapps() == former
    assert "nginx" in command("docker", "compose", "-p", site.stack.project, "ps", "--services")
