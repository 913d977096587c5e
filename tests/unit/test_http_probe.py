# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a URL is opened: what it costs, by which way, and as whom."""

from __future__ import annotations

import http.server
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import http_probe
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import HttpRequest, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 418 with what it was asked, also as a proxy."""

    def do_GET(self) -> None:
        """Answer."""
        body = f"{self.path} {self.headers.get('Authorization', 'nobody')}".encode()
        self.send_response(418)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Keep the screen quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_no_certificates_are_read_without_tls(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: pytest.fail("they were read"))
    answer = fetch(HttpRequest(f"http://127.0.0.1:{port}/health"))
    assert (answer.status, answer.body) == (418, b"/health nobody")


def test_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    http_probe._tls.cache_clear()
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def noted(cafile: str | None) -> ssl.SSLContext:
        made.append(make(cafile=cafile))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", noted)
    for _time in range(2):
        http_probe._opener(HttpRequest("https://x/"), "https://x/")
    assert [context.verify_mode for context in made] == [ssl.CERT_REQUIRED]
    http_probe._opener(HttpRequest("https://x/", validate_certs=False), "https://x/")
    assert made[-1].verify_mode == ssl.CERT_NONE
    http_probe._tls.cache_clear()


def test_credentials_of_the_url_are_sent_as_a_header(port: int) -> None:
    answer = fetch(HttpRequest(f"http://ann:s%40fe@127.0.0.1:{port}/"))
    assert answer.body == b"/ Basic YW5uOnNAZmU="


def test_a_proxy_is_asked_for_what_is_not_on_this_machine(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch(HttpRequest("http://elsewhere.example/a")).body == b"http://elsewhere.example/a nobody"
    assert fetch(HttpRequest(f"http://127.0.0.1:{port}/b")).body == b"/b nobody"
