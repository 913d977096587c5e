# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP answer, bounded in time, in size and in redirects, whatever the other side sends."""

from __future__ import annotations

import base64
import functools
import http.client
import ssl
import threading
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

BODY_LIMIT = 1024 * 1024
REDIRECT_LIMIT = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Value = TypeVar("Value")


class NoAnswerError(Exception):
    """Nothing that could be judged came back; the text says why."""


@dataclass(frozen=True)
class HttpRequest:
    """A request, GET by default. ``timeout`` is the limit in seconds of all of it, redirects and body included."""

    url: str
    timeout: float = 5.0
    ca_path: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    validate_certs: bool = True
    method: str = "GET"
    body: bytes | None = None


@dataclass(frozen=True)
class HttpAnswer:
    """Status, the first MiB of the body, whether that is all of it, and how long it all took."""

    status: int
    body: bytes
    whole: bool
    milliseconds: float


def checked_url(url: str, option: str) -> str:
    """Return a URL that can be asked; refuse all but http and https with a host."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise RollbackError(
            f"{option}={redacted(url)!r} is not a URL that can be asked. Nothing was changed.",
            "Give a whole URL with http or https and a host, for example http://127.0.0.1:8080/health.",
        )
    return url


def redacted(url: str) -> str:
    """Return a URL without the user name and password in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split("//", 1)[0] + "//***"
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rsplit("@", 1)[1]))


def printable(text: str, limit: int = 200) -> str:
    """Return text from outside in one line of at most ``limit`` characters, without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Background(Generic[Value]):
    """Work that goes on beside the caller and that the caller does not wait for longer than it wants.

    A socket time-out limits one read, not a name look-up nor headers that arrive letter by letter; this does.
    The thread is a daemon, so work that never ends does not keep the process.
    """

    def __init__(self, work: Callable[[], Value], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin the work; it has ``seconds``."""
        self._value: list[Value] = []
        self._error: Exception | None = None
        self._work = work
        self._seconds = seconds
        self._clock = clock
        self._deadline = clock() + seconds
        self._thread = threading.Thread(target=self._carry_out, daemon=True)
        self._thread.start()

    def _carry_out(self) -> None:
        try:
            self._value.append(self._work())
        except Exception as error:  # noqa: BLE001 - it is handed to the waiting thread, which must not wait in vain
            self._error = error

    def result(self) -> Value:
        """Return what the work returned or raise what it raised; ``NoAnswerError`` when its time is over."""
        self._thread.join(max(0.0, self._deadline - self._clock()))
        if self._value:
            return self._value[0]
        if self._error is None:
            raise NoAnswerError(f"no whole answer within {self._seconds:g} seconds")
        if isinstance(self._error, NoAnswerError):
            raise self._error
        raise NoAnswerError(_reason(self._error)) from self._error


def begin_fetch(request: HttpRequest, accepted: Collection[int] = ()) -> Background[HttpAnswer]:
    """Begin to ask; ``result()`` of what is returned gives the answer or raises ``NoAnswerError``."""
    return Background(lambda: fetch(request, accepted), request.timeout)


def fetch(request: HttpRequest, accepted: Collection[int] = ()) -> HttpAnswer:
    """Ask, follow at most five redirects, and return the answer; a redirect in ``accepted`` is the answer itself.

    Headers go only to the origin that they were meant for. Raises ``NoAnswerError``.
    """
    started = time.monotonic()
    deadline = started + request.timeout
    url, headers = request.url, request.headers
    for _redirects in range(REDIRECT_LIMIT + 1):
        with closing(_open(url, headers, request, deadline)) as response:
            target = _redirect(url, response, accepted)
            if target is None:
                body, whole = _read(response, deadline)
                return HttpAnswer(response.getcode(), body, whole, (time.monotonic() - started) * 1000)
        headers = headers if _origin(target) == _origin(url) else {}
        url = target
    raise NoAnswerError(f"more than {REDIRECT_LIMIT} redirects, the last one to {printable(redacted(url))}")


def _open(url: str, headers: dict[str, str], request: HttpRequest, deadline: float) -> Any:  # noqa: ANN401 - of urllib
    """Open one URL and return the response, whatever its status."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise NoAnswerError(f"no whole answer within {request.timeout:g} seconds")
    plain, credentials = _without_credentials(url)
    asked = urllib.request.Request(  # noqa: S310 - checked_url() has seen that it is http or https
        plain, request.body, {"User-agent": "usdx.rollback", "Cache-control": "no-cache", **credentials, **headers},
        method=request.method,
    )  # fmt: skip
    try:
        return _opener(request, plain).open(asked, timeout=left)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswerError(_reason(error)) from error


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without user name and password, and the header that carries them instead."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    given, _at, host = parts.netloc.rpartition("@")
    user, _colon, password = given.partition(":")
    words = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {words}"}


def _opener(request: HttpRequest, url: str) -> urllib.request.OpenerDirector:
    """Return what opens a URL and takes every status as an answer.

    Not that of Ansible: it reads all certificates of the machine for each request, also without TLS, which is longer
    than most answers take, and shares what it has set with the requests that other threads make at that time.
    """
    parts = urlsplit(url)
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None))
    opener.add_handler(urllib.request.HTTPHandler())
    if parts.scheme == "https" or "https" in urllib.request.getproxies().get("http", ""):
        opener.add_handler(urllib.request.HTTPSHandler(context=_tls(request.ca_path, request.validate_certs)))
    return opener


@functools.cache
def _tls(ca_path: str | None, validate_certs: bool) -> ssl.SSLContext:  # noqa: FBT001 - a key of the cache
    context = ssl.create_default_context(cafile=ca_path)
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _redirect(url: str, response: Any, accepted: Collection[int]) -> str | None:  # noqa: ANN401 - of urllib
    """Return where a response sends us, or ``None`` when it is the answer."""
    location = response.headers.get("Location")
    if response.getcode() not in _REDIRECTS or response.getcode() in accepted or not location:
        return None
    try:
        return checked_url(urljoin(url, location), "Location")
    except (RollbackError, ValueError) as error:
        raise NoAnswerError(f"redirect to {printable(redacted(location))!r}, which is no http or https URL") from error


def _read(response: Any, deadline: float) -> tuple[bytes, bool]:  # noqa: ANN401 - of urllib
    """Read the first MiB of a body before the deadline; return it and whether it is all."""
    body = bytearray()
    try:
        while len(body) <= BODY_LIMIT:
            part = response.read1(min(65536, BODY_LIMIT + 1 - len(body)))
            if not part:
                return bytes(body), True
            body += part
            if time.monotonic() > deadline:
                raise NoAnswerError("the body did not end in time")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswerError(f"the body broke off: {_reason(error)}") from error
    return bytes(body[:BODY_LIMIT]), False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _reason(error: Exception) -> str:
    """Return why there is no answer, in one line that holds no credentials of the URL."""
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, TimeoutError) or "timed out" in str(cause):
        return "no answer in time"
    text = f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause)
    return printable(text)
