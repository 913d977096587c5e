# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers of messages on 127.0.0.1: HTTP that answers as told, also with TLS, a mail server, and one that hangs."""

from __future__ import annotations

import datetime as dt
import email
import json
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPBACK = "127.0.0.1"


@dataclass
class Request:
    """What was asked for: method, path, headers and the body that was JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """A server of HTTP: its port, and what it was asked, in order."""

    port: int
    requests: list[Request] = field(default_factory=list)


def _handler(receiver: Receiver, answer: Callable[[Request], tuple[int, Any]]) -> type[BaseHTTPRequestHandler]:
    """Return a handler that writes down what it is asked and answers as told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), json.loads(content) if content else None)
            receiver.requests.append(request)
            status, body = answer(request)
            told = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815 - the names of http.server

        def log_message(self, *_words: Any) -> None:
            """Stay quiet."""

    return Handler


class _Server(ThreadingHTTPServer):
    """A server that says nothing of a client that was killed and broke off."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet."""


@contextmanager
def http_receiver(
    answer: Callable[[Request], tuple[int, Any]] = lambda _request: (200, {}), certificate: Path | None = None
) -> Iterator[Receiver]:
    """Run a server that answers as told; with a certificate it speaks TLS."""
    server = _Server((LOOPBACK, 0), BaseHTTPRequestHandler)
    receiver = Receiver(server.server_address[1])
    server.RequestHandlerClass = _handler(receiver, answer)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hanging_receiver() -> Iterator[int]:
    """Give the port of a server that accepts and never says a word."""
    with socket.create_server((LOOPBACK, 0), backlog=50) as listener:
        yield listener.getsockname()[1]


@contextmanager
def dripping_receiver() -> Iterator[int]:
    """Give the port of a server that sends the headers of its answer letter by letter, and never ends."""
    ended = threading.Event()
    with socket.create_server((LOOPBACK, 0), backlog=50) as listener:

        def drip(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not ended.wait(0.1):
                        connection.sendall(b"x")
                except OSError:
                    return

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        ended.set()


@contextmanager
def mail_server() -> Iterator[tuple[int, list[Message]]]:
    """Run a real server of SMTP; give its port and the mails that it took."""
    from aiosmtpd.controller import Controller  # noqa: PLC0415 - only here

    mails: list[Message] = []

    class Box:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
            mails.append(email.message_from_bytes(envelope.content))
            return "250 OK"

    with socket.create_server((LOOPBACK, 0)) as free:
        port: int = free.getsockname()[1]
    controller = Controller(Box(), hostname=LOOPBACK, port=port)
    controller.start()
    try:
        yield port, mails
    finally:
        controller.stop()


def own_certificate(directory: Path, days: int = 1) -> Path:
    """Return a file with a certificate that nobody else has signed and that ends after so many days, and its key."""
    from cryptography import x509  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, LOOPBACK)])
    now = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "certificate.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path
