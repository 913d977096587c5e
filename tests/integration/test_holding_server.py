# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are held: nginx and the holding server of the documents, and an application that is made anew."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from harness import REPOSITORY
from stacks import Stack, demo_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDING = REPOSITORY / "docs" / "holding"
APPLICATION = """\
import http.server, pathlib, signal, socket, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"got")

    def do_POST(self):
        with open("/data/posted", "ab") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        if self.path == "/breaks":
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.answer(b"posted")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

time.sleep(2)  # it boots
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """Give a stack whose nginx holds requests, and the URL of it."""
    tree = tmp_path_factory.mktemp("held")
    python = demo_image("python")
    hold = yaml.safe_load((HOLDING / "compose.yml").read_text())["services"]["hold"]
    compose = {
        "services": {
            "hold": {**hold, "image": python, "volumes": [f"{HOLDING}/holding_server.py:/holding_server.py:ro"]},
            "nginx": {
                "image": demo_image("nginx"),
                "ports": ["127.0.0.1:0:80"],
                "volumes": [f"{HOLDING}/nginx.conf:/etc/nginx/nginx.conf:ro"],
                "stop_grace_period": "1s",
            },
            "webapp": {
                "image": python,
                "user": "0",
                "command": ["python3", "/application.py"],
                "volumes": ["./application.py:/application.py:ro", "./data:/data"],
            },
        }
    }
    with stack(tree) as made:
        made.write({"compose.yml": yaml.safe_dump(compose), "application.py": APPLICATION, "data/posted": ""})
        made.up()
        port = made.compose("port", "nginx", "80").strip().rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 60
        while fetch(url) != 200:  # the holding server starts, too
            assert time.monotonic() < deadline, made.compose("logs")
            time.sleep(0.1)
        yield made, url


def fetch(url: str, body: bytes | None = None) -> int:
    """Ask once, patiently; return the status."""
    try:
        request = urllib.request.Request(url, body)  # noqa: S310 - of this test
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("rate", [10, 100])
def test_no_request_fails_while_the_application_is_made_anew(
    shop: tuple[Stack, str], rate: int, tmp_path: Path
) -> None:
    made, url = shop
    end = tmp_path / "end"
    argv = [sys.executable, REPOSITORY / "tests/demo/demo.py", "probe", "--url", url, "--rate", str(rate)]
    with subprocess.Popen([*argv, "--timeout", "60", "--until-file", end], stdout=subprocess.PIPE, text=True) as probe:
        time.sleep(1)
        made.compose("stop", "webapp")
        time.sleep(2)
        made.up("--force-recreate", "--no-deps", "webapp")
        assert fetch(url) == 200
        time.sleep(1)
        end.touch()
        *lines, _summary = probe.communicate(timeout=120)[0].splitlines()
    requests = [json.loads(line) for line in lines]
    assert Counter(one["status"] for one in requests) == {200: len(requests)}
    assert len(requests) > 4 * rate * 0.5, "it asked all the time"
    assert max(one["ms"] for one in requests) > 3000, "some of them waited"


def test_what_was_sent_arrives_once(shop: tuple[Stack, str]) -> None:
    """A POST reaches the application that comes, and is never sent twice."""
    made, url = shop
    made.compose("stop", "webapp")
    told: dict[int, int] = {}

    def post(number: int) -> None:
        told[number] = fetch(url, f"number {number}".encode())

    clients = [threading.Thread(target=post, args=(number,)) for number in range(40)]
    for client in clients:
        client.start()
        time.sleep(0.05)
    made.up("--force-recreate", "--no-deps", "webapp")
    for client in clients:
        client.join()
    assert told == dict.fromkeys(range(40), 200)
    posted = (made.directory / "data" / "posted").read_text().splitlines()
    assert Counter(posted) == Counter(f"number {number}" for number in range(40))


def test_what_the_application_has_taken_is_not_sent_again(shop: tuple[Stack, str]) -> None:
    made, url = shop
    assert fetch(f"{url}breaks", b"taken") == 502
    assert (made.directory / "data" / "posted").read_text().splitlines().count("taken") == 1


def test_whoever_waits_in_vain_is_told() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    argv = [sys.executable, HOLDING / "holding_server.py", "--port", str(port)]
    with subprocess.Popen([*argv, "--application", "127.0.0.1:1", "--seconds", "0.5"]) as server:
        deadline = time.monotonic() + 20
        while True:
            began = time.monotonic()
            try:
                assert fetch(f"http://127.0.0.1:{port}/") == 503
                break
            except urllib.error.URLError:  # it does not listen yet
                assert began < deadline
                time.sleep(0.05)
        assert time.monotonic() - began > 0.4
        server.terminate()
        assert server.wait(10) == 0
