# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a published port answers with the maintenance page, as a client of the host sees it."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from .http_probe import Background, NoAnswerError, printable
from .maintenance_content import MARKER_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .maintenance_ports import Port

_BODY_LIMIT = 65536
# Every path and every method must get the page; one of each kind is tried.
REQUESTS = (("GET", "/"), ("POST", "/maintenance/check"))
SERVICE_UNAVAILABLE = 503


class Reply(NamedTuple):
    """Status and headers of an answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


def ask(port: Port, method: str, path: str, seconds: float) -> Reply:
    """Ask a port once; raises ``NoAnswerError`` when no whole answer comes in time."""
    return Background(lambda: _ask(port, method, path, seconds), seconds).result()


def wrong_with(reply: Reply, marker: str) -> str:
    """Return what makes an answer another one than that of the page with this marker; empty when nothing does."""
    if reply.status != SERVICE_UNAVAILABLE:
        return f"status {reply.status} instead of {SERVICE_UNAVAILABLE}"
    if reply.headers.get(MARKER_HEADER.lower()) != marker:
        return f"{SERVICE_UNAVAILABLE} from something else (no header {MARKER_HEADER}: {marker})"
    if not reply.headers.get("retry-after", "").isdigit():
        return "no header Retry-After with seconds"
    return "" if "no-store" in reply.headers.get("cache-control", "") else "no header Cache-Control: no-store"


def wrong_at(port: Port, marker: str, seconds: float) -> str:
    """Return what is wrong with a port, in a few words; empty when it answers with the page."""
    for method, path in REQUESTS:
        try:
            wrong = wrong_with(ask(port, method, path, seconds), marker)
        except NoAnswerError as error:
            wrong = str(error)
        if wrong:
            return f"{method} {path}: {wrong}"
    return ""


def _ask(port: Port, method: str, path: str, seconds: float) -> Reply:
    with closing(_connection(port, seconds)) as connection:
        try:
            connection.request(method, path, body=b"" if method == "POST" else None, headers={"Accept": "text/html"})
            answer = connection.getresponse()
            answer.read(_BODY_LIMIT)
        except (OSError, http.client.HTTPException, socket.gaierror) as error:
            raise NoAnswerError(_reason(error)) from error
        return Reply(answer.status, {name.lower(): printable(value) for name, value in answer.getheaders()})


def _connection(port: Port, seconds: float) -> http.client.HTTPConnection:
    if not port.tls:
        return http.client.HTTPConnection(port.host, port.port, timeout=seconds)
    # The certificate belongs to the public name and not to this address; the marker says whose answer it is.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(port.host, port.port, timeout=seconds, context=context)


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return printable(f"{type(error).__name__}: {error}")
