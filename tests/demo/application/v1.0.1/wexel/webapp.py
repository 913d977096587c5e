"""The web application: a dashboard, a small API, and /health."""

from __future__ import annotations

import html
import json
import signal
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2

from . import health, metrics, queries, stores

VERSION = "v" + json.loads(Path("package.json").read_text(encoding="utf-8"))["version"]
API = {"/api/pools": queries.POOLS, "/api/wexels": queries.WEXELS}


def dashboard() -> str:
    """Return the page that users open: the pools as they are now."""
    lines = [f"<li>{html.escape(str(pool['name']))}: {pool['deposited']}</li>" for pool in stores.rows(queries.POOLS)]
    return f"<!doctype html><title>usdx-wexel</title><h1>usdx-wexel {VERSION}</h1><ul>{''.join(lines)}</ul>\n"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self) -> None:
        """Answer, and turn what the database refuses into a 500 as users know it."""
        self.began = time.monotonic()
        if self.path == "/metrics":
            self.send(200, "text/plain; version=0.0.4", metrics.report())
            return
        try:
            self.route(self.path.partition("?")[0])
        except psycopg2.Error as error:
            print(f"error: {self.path}: {error}", file=sys.stderr, flush=True)
            self.answer(500, "text/plain", "Internal Server Error\n")

    def route(self, path: str) -> None:
        """Find what a path shows."""
        if path == "/health":
            status, body = health.report(VERSION)
            self.answer_json(status, body)
        elif path == "/":
            self.answer(200, "text/html; charset=utf-8", dashboard())
        elif path in API:
            self.answer_json(200, stores.rows(API[path]))
        elif path == "/api/stats":
            self.answer_json(200, {"version": VERSION, **stores.rows(queries.STATISTICS)[0]})
        else:
            self.answer(404, "text/plain", "Not Found\n")

    def answer_json(self, status: int, body: object) -> None:
        """Answer with JSON; amounts and times become text."""
        self.answer(status, "application/json", json.dumps(body, default=str) + "\n")

    def answer(self, status: int, kind: str, text: str) -> None:
        """Send an answer, and count it."""
        metrics.observe(status, time.monotonic() - self.began)
        self.send(status, kind, text)

    def send(self, status: int, kind: str, text: str) -> None:
        """Send one whole answer."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # whoever asked has not waited for it
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep the log for errors."""


class Server(ThreadingHTTPServer):
    """Ends only when the requests that run have their answer."""

    daemon_threads = False


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("", 8000), Handler)
    # shutdown() waits for the loop below, which this very thread runs.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"usdx-wexel {VERSION} serves", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    main()
