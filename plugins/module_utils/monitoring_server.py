# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that watches: Prometheus, Alertmanager or Grafana, how one logs in there, and JSON over HTTP with it."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .http_probe import BODY_LIMIT, HttpRequest, NoAnswerError, begin_fetch, checked_url, printable
from .verify import parse_json
from .waiter import checked_seconds

if TYPE_CHECKING:
    from .http_probe import Background, HttpAnswer

LOGIN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "bearer_token": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
}
# How these options go together, as a keyword of AnsibleModule.
LOGIN_ALONE = [("bearer_token", "username")]
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GOOD = range(200, 300)
_TEXT_LIMIT = 120


@dataclass(frozen=True)
class Server:
    """A Prometheus, an Alertmanager or a Grafana. ``timeout`` is the limit of one request, in seconds."""

    name: str
    url: str
    headers: dict[str, str] = field(repr=False)
    timeout: float
    validate_certs: bool
    ca_path: str | None

    def begin(self, path: str, **query: str) -> Background[HttpAnswer]:
        """Begin to ask; ``answered`` and ``parsed`` wait for the answer."""
        asked = f"{path}?{urlencode(query)}" if query else path
        return begin_fetch(self._request(asked, self.headers, "GET", None))

    def begin_change(self, method: str, path: str, body: dict[str, Any] | None = None) -> Background[HttpAnswer]:
        """Begin to change something there. A redirect is the answer: what is meant for this place goes nowhere else."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        return begin_fetch(self._request(path, headers, method, sent), _REDIRECTS)

    def _request(self, path: str, headers: dict[str, str], method: str, body: bytes | None) -> HttpRequest:
        return HttpRequest(
            f"{self.url.rstrip('/')}{path}",
            timeout=self.timeout,
            headers=headers,
            validate_certs=self.validate_certs,
            ca_path=self.ca_path,
            method=method,
            body=body,
        )

    def answered(self, pending: Background[HttpAnswer]) -> HttpAnswer:
        """Return an answer that is whole, whatever its status; ``NoAnswerError`` says why there is none."""
        try:
            answer = pending.result()
        except NoAnswerError as error:
            raise NoAnswerError(f"{self.name} does not answer: {error}") from error
        if not answer.whole:
            raise NoAnswerError(f"{self.name} answers more than {BODY_LIMIT} bytes")
        return answer

    def parsed(self, pending: Background[HttpAnswer]) -> tuple[int, Any]:
        """Return status and JSON of an answer; ``NoAnswerError`` says why there is none."""
        answer = self.answered(pending)
        try:
            return answer.status, parse_json(answer.body)
        except (ValueError, RecursionError) as error:
            raise NoAnswerError(f"{self.name} answers status {answer.status} without JSON") from error


class Talk:
    """Requests to one server that have one limit of time together."""

    def __init__(self, server: Server) -> None:
        """Begin; from now on the time of the server's ``timeout`` passes."""
        self._server = server
        self._deadline = time.monotonic() + server.timeout

    def read(self, path: str) -> Any:  # noqa: ANN401 - JSON from outside
        """Return what a good answer holds; ``NoAnswerError`` says why there is none."""
        server = self._hurried()
        status, answer = server.parsed(server.begin(path))
        if status not in _GOOD:
            raise NoAnswerError(f"{server.name} answers status {status}")
        return answer

    def change(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Have something changed; return the body of a good answer, ``NoAnswerError`` says why there is none.

        Only of a request that was refused as wrong (400) the reason is told, for it is about what was sent.
        """
        server = self._hurried()
        answer = server.answered(server.begin_change(method, path, body))
        if answer.status in _GOOD:
            return answer.body
        why = f": {printable(answer.body.decode(errors='replace'), _TEXT_LIMIT)}" if answer.status == 400 else ""  # noqa: PLR2004 - a status
        raise NoAnswerError(f"{server.name} answers status {answer.status}{why}")

    def _hurried(self) -> Server:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError(f"{self._server.name} gives no whole answer within {self._server.timeout:g} seconds")
        return replace(self._server, timeout=max(0.05, round(left, 2)))


def server_of(options: dict[str, Any], name: str, option: str) -> Server | None:
    """Return the server that an option names, if it names one."""
    if not options.get(option):
        return None
    headers = {}
    if options.get("bearer_token"):
        headers["Authorization"] = f"Bearer {options['bearer_token']}"
    elif options.get("username"):
        pair = f"{options['username']}:{options.get('password') or ''}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    timeout = checked_seconds(options["request_timeout"], "request_timeout", 0.1)
    url = checked_url(options[option], option)
    return Server(name, url, headers, timeout, options["validate_certs"], options.get("ca_path"))
