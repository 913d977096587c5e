#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that speaks a little JSON-RPC and misbehaves as told: alone, in a container, or inside of a test.

``rpc_node.py PORT [FILE]`` serves on all addresses; the file holds the mode and is read at each request. The modes:
``good``, ``lagging`` (its blocks are old), ``other_chain``, ``garbage``, ``slow``, ``error``, ``limited``, ``silent``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHAIN, HEIGHT, LAG = 1337, 5000, 900
SLOW_SECONDS, SILENT_SECONDS = 1.5, 30.0


def result_of(call: dict[str, Any], mode: str) -> Any:
    """Return the result of a call."""
    lagging = mode == "lagging"
    height = hex(HEIGHT - LAG if lagging else HEIGHT)
    return {
        "eth_chainId": hex(CHAIN + 1 if mode == "other_chain" else CHAIN),
        "eth_blockNumber": height,
        "eth_syncing": False,
        "eth_getBlockByNumber": {"number": height, "timestamp": hex(int(time.time()) - 12 * (LAG if lagging else 0))},
    }.get(call.get("method", ""))


def answer(call: dict[str, Any], mode: str) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    if mode == "garbage":
        return 200, b"<html>\x1b[31mwelcome</html>"
    if mode == "limited":
        return 429, b"slow down"
    told: dict[str, Any] = {"jsonrpc": "2.0", "id": call.get("id")}
    if mode == "error":
        return 200, json.dumps(told | {"error": {"code": -32000, "message": "header not found"}}).encode()
    return 200, json.dumps(told | {"result": result_of(call, mode)}).encode()


def handler(mode: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    """Return a handler of requests that behaves as ``mode`` says at the time."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            now = mode()
            time.sleep({"slow": SLOW_SECONDS, "silent": SILENT_SECONDS}.get(now, 0))
            status, body = answer(call, now)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    return Handler


class Node:
    """A node inside of a test, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        """Begin to serve."""
        self.mode = "good"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(lambda: self.mode))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        """Stop to serve."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def node() -> Iterator[Node]:
    """Give a node to the block."""
    made = Node()
    try:
        yield made
    finally:
        made.end()


def main() -> None:
    """Serve until killed."""
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    server = ThreadingHTTPServer(
        ("0.0.0.0", int(sys.argv[1])),  # noqa: S104 - inside of a container
        handler(lambda: file.read_text(encoding="utf-8").strip() if file and file.exists() else "good"),
    )
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
