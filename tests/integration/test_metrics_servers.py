# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that are slow, broken, huge or not who they say: metrics_gate says why there is no number, and in time."""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.metrics import ask
from harness import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1, "7"]}}).encode()
CHECK = {
    "name": "seven", "query": "7", "max": 7.0, "min": None, "changes": None, "max_ratio": None, "baseline": None,
    "unit": "", "on_no_data": "pass", "fail_after": 3,
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "bearer_token": "t0ken", "username": None, "password": None, "ca_path": None, "validate_certs": True,
    "request_timeout": 1.0, "checks": [CHECK], "window": 0.0, "interval": 1.0, "settle": 0.0, "stable_for": None,
    "min_samples": 1, "on_inconclusive": "fail", "alerts": {"watched": False},
}  # fmt: skip


class Answers:
    """An HTTP server; the first part of the path says how it behaves."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """Listen on a port of 127.0.0.1."""
        ended = self.ended = threading.Event()
        headers = self.headers = []  # type: list[dict[str, str]]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers.append(dict(self.headers))
                how = self.path.split("/")[1]
                if how == "elsewhere":
                    self.send_response(302)
                    self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/good/")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(500 if how == "broken" else 200)
                self.end_headers()
                if how == "slow":
                    ended.wait(10)
                self.wfile.write({"broken": b"<html>", "huge": b'["' + b"x" * 2_000_000}.get(how, GOOD))

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.scheme = "https" if context else "http"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def reading(self, how: str, **options: Any) -> dict[str, Any]:
        """Ask it for seven; return what was read."""
        url = f"{self.scheme}://127.0.0.1:{self.http.server_port}/{how}"
        told = ask({**OPTIONS, "prometheus_url": url, "alertmanager_url": None, **options})
        read: dict[str, Any] = told["readings"]["seven"]["now"]
        return read

    def close(self) -> None:
        """Stop listening."""
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(name="server")
def _server() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


def test_a_good_answer_is_read_and_the_token_is_sent(server: Answers) -> None:
    assert server.reading("good")["value"] == 7
    assert server.headers[0]["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("slow", "Prometheus does not answer: no"),
        ("broken", "Prometheus answers status 500 without JSON"),
        ("huge", "Prometheus answers more than 1048576 bytes"),
    ],
)
def test_a_server_that_does_not_do_its_work_is_no_missing_traffic(server: Answers, how: str, why: str) -> None:
    """The check takes missing data for good, and this is not missing data."""
    began = time.monotonic()
    reading = server.reading(how)
    assert time.monotonic() - began < 5
    assert (reading["value"], reading["no_data"]) == (None, False)
    assert reading["why"].startswith(why)


def test_a_token_does_not_follow_a_redirect_to_another_host(server: Answers) -> None:
    assert server.reading("elsewhere")["value"] == 7
    assert [("Authorization" in headers) for headers in server.headers] == [True, False]


def test_a_certificate_counts_only_when_it_is_vouched_for(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Answers(context)
    try:
        refused = server.reading("good")
        assert (refused["value"], refused["no_data"]) == (None, False)
        assert "certificate" in refused["why"].lower()
        assert server.headers == []
        assert server.reading("good", ca_path=certificate)["value"] == 7
        assert server.reading("good", validate_certs=False)["value"] == 7
    finally:
        server.close()
