# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions over the network, and what came back, unjudged.

This file is also a script: its text is given to a Python of its own, on standard input, that runs in the network of a
container (``places``). So it imports the standard library only, and runs on Python 3.9. What the other side sends is
untrusted: everything is bounded in size and in time.

A question has ``kind``, ``host``, ``port`` and ``timeout`` (seconds). An answer has ``fault`` and ``why``, both empty
when the question was answered, ``seconds``, ``address``, and what its kind adds. The faults:

``name``         the name server says that there is no such name
``resolver``     no name server answers, or it refuses or fails
``refused``      nothing listens there
``timeout``      no whole answer in time
``unreachable``  there is no way to that address
``tls``          the certificate or the encryption is not accepted
``protocol``     something answers, but not in the language that was spoken
``broken``       the connection broke off
"""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import ipaddress
import json
import os
import re
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_LIMIT = 1024 * 1024
TEXT_LIMIT = 300
_REPLY_LIMIT = 256 * 1024
_LINE_LIMIT = 64 * 1024
_MESSAGE_LIMIT = 8 * 1024
_DNS_SECONDS = 2.0
_TYPES = {"A": 1, "AAAA": 28}
_NO_ERROR, _NO_SUCH_NAME = 0, 3
# https://www.rfc-editor.org/rfc/rfc1035 section 4.1.1
_RCODES = {1: "it does not understand the question", 2: "it failed (SERVFAIL)", 4: "it cannot do that", 5: "it refuses"}
_PROTOCOL_3 = 196608
# Validity is the only place in a certificate with two times after each other, https://www.rfc-editor.org/rfc/rfc5280
_TIMES = re.compile(rb"\x17\x0d(\d{12})Z|\x18\x0f(\d{14})Z")


class Fault(Exception):  # noqa: N818 - what is wrong with the other side is no error here
    """Why there is no answer."""

    def __init__(self, fault: str, why: str) -> None:
        """Keep the word for programs and that for people."""
        super().__init__(why)
        self.fault = fault
        self.why = why


class Deadline:
    """The end of the time that a question has."""

    def __init__(self, seconds: float) -> None:
        """Begin now."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left; ``Fault`` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Fault("timeout", f"no whole answer within {self.seconds:g} s")
        return left


# --- names ------------------------------------------------------------------------------------------------------------


def addresses(host: str, resolver: dict[str, Any] | None, deadline: Deadline) -> list[str]:
    """Return the addresses of a name. Without ``resolver`` the system is asked.

    ``resolver`` holds ``nameservers``, ``search``, ``ndots`` and ``hosts`` (name to addresses), as the files of a
    container say: the C library would read those of the host.
    """
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    if resolver is None:
        return _asked_of_system(host)
    known = resolver["hosts"].get(host.lower())
    if known:
        return list(known)
    if not resolver["nameservers"]:
        raise Fault("resolver", "no name server is configured there")
    missing: Fault | None = None
    for name in _candidates(host, resolver):
        try:
            return _asked_of_servers(name, resolver["nameservers"], deadline)
        except Fault as fault:  # noqa: PERF203
            if fault.fault != "name":
                raise
            missing = missing or fault
    raise missing or Fault("name", f"{_shown(host)} is not a name that can be asked for")


def _asked_of_system(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL):
            raise Fault("resolver", f"{_shown(host)} cannot be looked up: {error.strerror}") from error
        raise Fault("name", f"{_shown(host)} does not resolve: {error.strerror}") from error
    except UnicodeError as error:
        raise Fault("name", f"{_shown(host)} is not a name that can be asked for") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _candidates(host: str, resolver: dict[str, Any]) -> list[str]:
    """Return the whole names that a name may mean, in the order of resolv.conf(5)."""
    if host.endswith("."):
        return [host.rstrip(".")]
    searched = [f"{host}.{one}" for one in resolver["search"]]
    return [host, *searched] if host.count(".") >= resolver["ndots"] else [*searched, host]


def _asked_of_servers(name: str, servers: list[str], deadline: Deadline) -> list[str]:
    """Return the addresses that the first name server which answers gives for a whole name."""
    wrong: list[str] = []
    for server in servers:
        try:
            found = [one for kind in _TYPES for one in _dns_query(name, kind, server, deadline)]
        except OSError as error:
            wrong.append(f"{server}: {'no answer' if isinstance(error, socket.timeout) else _os_words(error)}")
            continue
        except Fault as fault:
            if fault.fault == "name":
                raise
            wrong.append(f"{server}: {fault.why}")
            continue
        if found:
            return found
        raise Fault("name", f"{_shown(name)} has no address, says {server}")
    raise Fault("resolver", f"{_shown(name)} cannot be looked up: {'; '.join(wrong)}")


def _dns_query(name: str, kind: str, server: str, deadline: Deadline) -> list[str]:
    number = secrets.randbelow(65536)
    try:
        labels = [one.encode("idna") for one in name.split(".")]
    except UnicodeError as error:
        raise Fault("name", f"{_shown(name)} is not a name that can be asked for") from error
    if not all(labels):
        raise Fault("name", f"{_shown(name)} is not a name that can be asked for")
    question = b"".join(bytes([len(one)]) + one for one in labels) + b"\0" + struct.pack("!HH", _TYPES[kind], 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(min(_DNS_SECONDS, deadline.left()))
        link.connect((server, 53))
        link.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + question)
        while True:
            answer = link.recv(4096)
            if len(answer) >= 12 and answer[:2] == struct.pack("!H", number):  # noqa: PLR2004 - the head
                break
    return dns_addresses(name, kind, server, answer)


def dns_addresses(name: str, kind: str, server: str, answer: bytes) -> list[str]:
    """Return the addresses in an answer of a name server; ``Fault`` when it says that it has none, or fails."""
    code = answer[3] & 0x0F
    if code == _NO_SUCH_NAME:
        raise Fault("name", f"{_shown(name)} does not exist, says the name server {server}")
    if code != _NO_ERROR:
        raise Fault("resolver", _RCODES.get(code, f"it answers with code {code}"))
    questions, records = struct.unpack("!HH", answer[4:8])
    try:
        position = 12
        for _number in range(questions):
            position = _after_name(answer, position) + 4
        return _records(answer, position, records, _TYPES[kind])
    except (IndexError, struct.error, ValueError) as error:
        raise Fault("resolver", "its answer cannot be read") from error


def _records(answer: bytes, position: int, records: int, wanted: int) -> list[str]:
    found = []
    for _number in range(records):
        position = _after_name(answer, position)
        kind, _class, _ttl, length = struct.unpack("!HHIH", answer[position : position + 10])
        position += 10
        if kind == wanted:
            found.append(str(ipaddress.ip_address(answer[position : position + length])))
        position += length
    return found


def _after_name(answer: bytes, position: int) -> int:
    """Return where a name ends: after its labels, or after a pointer to others."""
    while True:
        length = answer[position]
        if length >= 0xC0:  # noqa: PLR2004 - a pointer
            return position + 2
        position += length + 1
        if length == 0:
            return position


# --- connections ------------------------------------------------------------------------------------------------------


def connect(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> socket.socket:
    """Return a connection to the first address that takes one; ``answer`` gets the address.

    ``at_address`` in the question is taken instead of what the name means.
    """
    known = question.get("at_address")
    found = [known] if known else addresses(question["host"], question.get("resolver"), deadline)
    wrong: Fault | None = None
    for address in found:
        answer["address"] = address
        try:
            return socket.create_connection((address, question["port"]), timeout=deadline.left())
        except OSError as error:
            wrong = _fault_of(error, deadline)
    raise wrong or Fault("name", f"{_shown(question['host'])} has no address")


def _fault_of(error: Exception, deadline: Deadline) -> Fault:  # noqa: PLR0911 - a table that looks at types
    """Return the fault that an error of a connection means."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault("tls", f"the certificate is not accepted: {_shown(error.verify_message)}")
    if isinstance(error, ssl.SSLError):
        return Fault("tls", f"TLS does not come about: {_shown(error.reason or str(error))}")
    if isinstance(error, (socket.timeout, TimeoutError)):
        return Fault("timeout", f"no whole answer within {deadline.seconds:g} s")
    if isinstance(error, ConnectionRefusedError):
        return Fault("refused", "connection refused, nothing listens there")
    if isinstance(error, OSError) and error.errno in _NO_WAY:
        return Fault("unreachable", f"there is no way to it: {_os_words(error)}")
    if isinstance(error, (ConnectionError, EOFError)):
        return Fault("broken", "the connection broke off before an answer came")
    if isinstance(error, OSError):
        return Fault("broken", _os_words(error))
    return Fault("protocol", f"no answer that can be read: {_shown(str(error) or type(error).__name__)}")


_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)


def _os_words(error: OSError) -> str:
    return _shown(error.strerror or str(error) or type(error).__name__)


def encrypted(link: socket.socket, question: dict[str, Any], answer: dict[str, Any]) -> ssl.SSLSocket:
    """Return the connection with TLS; ``answer`` gets ``not_after``, when the certificate ends, in UTC."""
    context = ssl.create_default_context(cafile=question.get("ca_path") or None)
    if not question.get("validate_certs", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    name = question.get("server_name") or question["host"]
    secured = context.wrap_socket(link, server_hostname=name)
    answer["not_after"] = end_of(secured.getpeercert(binary_form=True) or b"")
    return secured


def end_of(certificate: bytes) -> str:
    """Return when a certificate (DER) ends, as ``2026-11-24T15:04:05Z``; empty when it cannot be read."""
    times = [short or long for short, long in _TIMES.findall(certificate)]
    if len(times) < 2:  # noqa: PLR2004 - from and to
        return ""
    text = times[1].decode()
    if len(text) == 12:  # noqa: PLR2004 - two digits of the year, from 1950 to 2049
        text = ("20" if text < "50" else "19") + text
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}Z"


# --- the kinds of questions -------------------------------------------------------------------------------------------


def ask_tcp(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Connect and go."""
    connect(question, deadline, answer).close()


def ask_dns(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Look a name up; ``addresses`` are what it means."""
    answer["addresses"] = addresses(question["host"], question.get("resolver"), deadline)


def ask_tls(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Shake hands; ``not_after`` is when the certificate ends."""
    with connect(question, deadline, answer) as link, encrypted(link, question, answer):
        pass


def ask_http(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Ask ``url`` with ``method``, ``body`` and ``headers``; get ``status``, ``body``, ``whole``, ``date``.

    ``date_at`` is when that Date came. Redirects are answers. User and password in the URL become a header.
    """
    parts = urlsplit(question["url"])
    secure = parts.scheme == "https"
    where = {**question, "host": parts.hostname or "", "port": parts.port or (443 if secure else 80)}
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(connect(where, deadline, answer))
        if secure:
            link = stack.enter_context(encrypted(link, where, answer))
        connection = http.client.HTTPConnection(where["host"], where["port"])
        connection.sock = link
        headers = {"User-Agent": "usdx.rollback", "Host": _host_header(parts), **(question.get("headers") or {})}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        body = question.get("body")
        path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.request(question.get("method", "GET"), path, body.encode() if body else None, headers)
        response = connection.getresponse()
        answer["status"] = response.status
        answer["date"], answer["date_at"] = _shown(response.getheader("Date") or ""), time.time()
        content = _read_body(response, link, deadline)
        answer["body"] = content[:BODY_LIMIT].decode("utf-8", "replace")
        answer["whole"] = len(content) <= BODY_LIMIT


def _host_header(parts: Any) -> str:
    return str(parts.netloc).rpartition("@")[2]


def _read_body(response: http.client.HTTPResponse, link: socket.socket, deadline: Deadline) -> bytes:
    content = bytearray()
    while len(content) <= BODY_LIMIT:
        link.settimeout(deadline.left())
        part = response.read1(65536)
        if not part:
            break
        content += part
    return bytes(content)


def ask_redis(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Log in if ``password`` is given, then PING and INFO; ``replies`` holds what came, errors begin with a minus."""
    # The last one says whether the user may write, and writes nothing.
    commands = [["PING"], ["INFO"], ["ACL", "DRYRUN", question.get("username") or "default", "SET", "key", "value"]]
    if question.get("password"):
        user = [question["username"]] if question.get("username") else []
        commands.insert(0, ["AUTH", *user, question["password"]])
    replies: dict[str, str] = {}
    answer["replies"] = replies
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(connect(question, deadline, answer))
        if question.get("tls"):
            link = stack.enter_context(encrypted(link, question, answer))
        stream = stack.enter_context(link.makefile("rb"))
        for command in commands:
            link.settimeout(deadline.left())
            began = time.monotonic()
            link.sendall(_resp(command))
            replies[command[0]] = _reply(stream)
            answer[f"{command[0].lower()}_seconds"] = time.monotonic() - began


def _resp(words: list[str]) -> bytes:
    """Return a command as Redis reads it, https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        content = word.encode()
        parts += [f"${len(content)}\r\n".encode(), content, b"\r\n"]
    return b"".join(parts)


def _reply(stream: Any) -> str:
    line = stream.readline(_LINE_LIMIT)
    if not line:
        raise EOFError
    head, rest = line[:1], line[1:].strip()
    if head == b"-":
        return "-" + _shown(rest.decode("utf-8", "replace"))
    if head == b"+":
        return _shown(rest.decode("utf-8", "replace"))
    if head == b"$" and rest.isdigit() and int(rest) <= _REPLY_LIMIT:
        content = stream.read(int(rest) + 2)
        if len(content) == int(rest) + 2:
            return str(content[:-2].decode("utf-8", "replace"))
    raise Fault("protocol", f"it does not speak Redis: {_shown(line[:60].decode('utf-8', 'replace'))!r}")


def ask_postgres(question: dict[str, Any], deadline: Deadline, answer: dict[str, Any]) -> None:
    """Begin a session without logging in; get ``accepts``, or ``sqlstate`` and ``message`` of the refusal.

    https://www.postgresql.org/docs/current/protocol-message-formats.html (StartupMessage, ErrorResponse)
    """
    words = {"user": question["user"], "database": question["database"], "application_name": "usdx.rollback"}
    text = b"".join(f"{key}\0{value}\0".encode() for key, value in words.items()) + b"\0"
    with connect(question, deadline, answer) as link, link.makefile("rb") as stream:
        link.sendall(struct.pack("!II", len(text) + 8, _PROTOCOL_3) + text)
        head = stream.read(5)
        if not head:
            raise EOFError
        kind, length = head[:1], struct.unpack("!I", head[1:])[0] if len(head) == 5 else 0  # noqa: PLR2004
        if kind not in (b"R", b"E") or not 4 <= length <= _MESSAGE_LIMIT:  # noqa: PLR2004
            raise Fault("protocol", f"it does not speak Postgres: {_shown(head.decode('utf-8', 'replace'))!r}")
        answer["accepts"] = kind == b"R"
        if kind == b"E":
            fields = {part[:1]: part[1:] for part in stream.read(length - 4).split(b"\0") if part}
            answer["sqlstate"] = _shown(fields.get(b"C", b"").decode("utf-8", "replace"))
            answer["message"] = _shown(fields.get(b"M", b"").decode("utf-8", "replace"))


_KINDS: dict[str, Callable[[dict[str, Any], Deadline, dict[str, Any]], None]] = {
    "tcp": ask_tcp,
    "dns": ask_dns,
    "tls": ask_tls,
    "http": ask_http,
    "redis": ask_redis,
    "postgres": ask_postgres,
}


def _shown(text: str) -> str:
    """Return text from outside in one line that is not long and cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_LIMIT])


# --- asking -----------------------------------------------------------------------------------------------------------


def ask(question: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one question."""
    deadline, began = Deadline(question["timeout"]), time.monotonic()
    answer: dict[str, Any] = {"fault": "", "why": "", "address": ""}
    try:
        _KINDS[question["kind"]](question, deadline, answer)
    except Exception as error:  # noqa: BLE001 - whatever the other side sent must not end the other questions
        fault = _fault_of(error, deadline)
        answer.update(fault=fault.fault, why=fault.why)
    return {**answer, "seconds": time.monotonic() - began}


def ask_all(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask all at once; what has no answer at its time is not waited for. The answers stand in the same order."""
    answers: list[dict[str, Any] | None] = [None] * len(questions)

    def work(number: int) -> None:
        answers[number] = ask(questions[number])

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread, question in zip(threads, questions):
        # A look-up by the system, or a handshake that comes letter by letter, does not know of the time-out.
        thread.join(max(0.0, began + question["timeout"] + 0.5 - time.monotonic()))
    return [answer or _late(question) for answer, question in zip(list(answers), questions)]


def _late(question: dict[str, Any]) -> dict[str, Any]:
    seconds = question["timeout"]
    why = f"no whole answer within {seconds:g} s"
    return {"fault": "timeout", "why": why, "address": "", "seconds": seconds}


def script_main(text: str) -> None:
    """Answer the questions in a JSON text on standard output, and end at once, whatever still waits."""
    sys.stdout.write(json.dumps(ask_all(json.loads(text))))
    sys.stdout.flush()
    os._exit(0)
