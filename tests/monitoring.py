# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus that scrapes numbers of a test once a second, and a real Alertmanager, on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from harness import BASE_IMAGE, REPOSITORY, free_port
from postgres_servers import docker, labels, remove_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = "usdx-it/monitoring:1"
SECONDS = 30
ALERTMANAGER = {
    "route": {"receiver": "nobody", "group_wait": "0s", "group_by": ["..."]},
    "receivers": [{"name": "nobody"}],
}
# Watchdog always fires; Errors and Waiting follow numbers of the test, and Waiting never gets beyond pending.
RULES = [
    {"alert": "Watchdog", "expr": "vector(1)"},
    {"alert": "Errors", "expr": "alerting > 0"},
    {"alert": "Waiting", "expr": "waiting > 0", "for": "1h"},
]


class Numbers:
    """What Prometheus scrapes: numbers that a test sets, and counters that grow with each scrape."""

    def __init__(self) -> None:
        """Begin without numbers."""
        self.gauges: dict[str, float] = {}
        self.growth: dict[str, float] = {}
        self.version = "1.0.2"
        self.asked = 0
        self.when_asked: Callable[[int], None] = lambda _count: None
        self._counters: dict[str, float] = {}
        self._lock = threading.Lock()
        numbers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (numbers.health() if self.path == "/health" else numbers.text()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def text(self) -> str:
        """Return one scrape."""
        with self._lock:
            for name, step in self.growth.items():
                self._counters[name] = self._counters.get(name, 0.0) + step
            numbers = {**self.gauges, **self._counters}
        return "".join(f"{name} {value}\n" for name, value in numbers.items())

    def health(self) -> str:
        """Answer as the application; it is asked once in each round, so a test can change things between two rounds."""
        self.asked += 1
        self.when_asked(self.asked)
        return json.dumps({"version": self.version})

    def reset(self) -> None:
        """Do nothing any more when the application is asked."""
        self.asked, self.version, self.when_asked = 0, "1.0.2", lambda _count: None

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()


@dataclass
class Monitoring:
    """Both servers, and the numbers that they watch."""

    numbers: Numbers
    prometheus_port: int = field(default_factory=free_port)
    alertmanager_port: int = field(default_factory=free_port)
    container: str = field(default_factory=lambda: f"usdx-it-monitoring-{secrets.token_hex(4)}")
    rules: list[dict[str, Any]] = field(default_factory=lambda: RULES)
    routing: dict[str, Any] = field(default_factory=lambda: ALERTMANAGER)

    @property
    def prometheus(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.prometheus_port}"

    @property
    def alertmanager(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.alertmanager_port}"

    def configuration(self) -> dict[str, Any]:
        """Return the configuration of Prometheus; JSON is YAML."""
        return {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": "test", "static_configs": [{"targets": [f"127.0.0.1:{self.numbers.port}"]}]}
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{self.alertmanager_port}"]}]}]},
        }

    def start(self) -> None:
        """Start both in one container that has the network of this machine; only 127.0.0.1 is listened on."""
        files = {
            "prometheus": self.configuration(),
            "rules": {"groups": [{"name": "test", "rules": self.rules}]},
            "alertmanager": self.routing,
        }
        argv = ["run", "--detach", "--init", "--name", self.container, *labels(), "--network", "host"]
        for name, content in files.items():
            argv += ["--env", f"{name}={json.dumps(content)}"]
        write = [f'printf %s "${name}" >{name}.yml' for name in files]
        script = (
            f"{'; '.join(write)}; prometheus-alertmanager --config.file=alertmanager.yml --storage.path=alerts"
            f" --cluster.listen-address= --web.listen-address=127.0.0.1:{self.alertmanager_port} &"
            " exec prometheus --config.file=prometheus.yml --storage.tsdb.path=data --rules.alert.resend-delay=1s"
            f" --web.listen-address=127.0.0.1:{self.prometheus_port}"
        )
        docker(*argv, image(), "sh", "-c", script)

    def ask(self, url: str, **query: str) -> Any:
        """Return what one of both answers."""
        with urllib.request.urlopen(f"{url}?{urlencode(query)}", timeout=5) as answer:  # noqa: S310 - 127.0.0.1
            return json.load(answer)

    def value(self, query: str) -> str | None:
        """Return the one value of a query, if there is one."""
        found = self.ask(f"{self.prometheus}/api/v1/query", query=query)["data"]["result"]
        return str(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that Alertmanager has."""
        return {alert["labels"]["alertname"] for alert in self.ask(f"{self.alertmanager}/api/v2/alerts")}

    def wait_until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds; what fails because a server is not there yet does not hold."""
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError, KeyError, ValueError):
                if holds():
                    return
            if time.monotonic() > deadline:
                told = docker("logs", self.container, check=False)
                raise AssertionError(f"{what} did not happen\n{(told.stdout + told.stderr)[-3000:].decode()}")
            time.sleep(0.1)


def image() -> str:
    """Return the name of the image, and build it if it is missing; it stays as a cache."""
    if docker("image", "inspect", IMAGE, check=False).returncode:
        folder = REPOSITORY / "tests" / "images" / "monitoring"
        base = os.environ.get("USDX_BASE_IMAGE", BASE_IMAGE)
        docker("build", "--quiet", "--build-arg", f"BASE={base}", "--tag", IMAGE, str(folder))
    return IMAGE


@contextlib.contextmanager
def running(**changes: Any) -> Iterator[Monitoring]:
    """Give both servers to the block, with numbers scraped and Watchdog fired, and remove them after."""
    remove_orphans()
    made = Monitoring(Numbers(), **changes)
    try:
        made.start()
        made.wait_until(lambda: made.value("up") == "1", "a scrape")
        made.wait_until(lambda: "Watchdog" in made.firing(), "an alert")
        yield made
    finally:
        docker("rm", "--force", "--volumes", made.container, check=False)
        made.numbers.close()
