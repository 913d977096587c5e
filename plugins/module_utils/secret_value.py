# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New secrets, and where a secret stands in the value of a variable: alone, or inside a URL."""

from __future__ import annotations

import os
import re
import secrets
import signal
import string
import subprocess
import threading
from typing import NamedTuple
from urllib.parse import quote, unquote

from .errors import RollbackError
from .process import started

ALPHABETS = {
    "urlsafe": string.ascii_letters + string.digits + "-_",
    "alphanumeric": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
}
LEAST_LENGTH = 16  # 64 bits with the poorest alphabet
MOST_LENGTH = 512
OUTPUT_LIMIT = 4096  # characters of a value that a command prints
_URL = re.compile(r"((?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)(.*)", re.DOTALL)
_QUERY_PART = re.compile(r"(?<=[?&])(user|password)=([^&#]*)")
_KEYWORD_STRING = re.compile(r"(?:^|\s)password\s*=", re.IGNORECASE)


class Place(NamedTuple):
    """The user and the secret that a value holds, decoded; an empty user or ``None`` where it has none."""

    user: str
    secret: str | None
    is_url: bool


def generate(length: int, alphabet: str) -> str:
    """Return a new secret from the random numbers of the operating system."""
    return "".join(secrets.choice(ALPHABETS[alphabet]) for _position in range(length))


def read(value: str) -> Place:
    """Return what a value holds: a URL with user and secret, or a secret alone."""
    url = _URL.fullmatch(value)
    if not url:
        return Place("", value or None, is_url=False)
    userinfo, at, _hosts = url[2].rpartition("@")
    user, colon, secret = userinfo.partition(":")
    query = {part[1]: unquote(part[2]) for part in _QUERY_PART.finditer(url[3])}
    found = unquote(secret) if at and colon else query.get("password")
    return Place(unquote(user) or query.get("user", ""), found, is_url=True)


def replaced(value: str, secret: str, user: str = "") -> str:
    """Return the value with another secret, and with another user if one is named.

    In a URL only these two change, percent-encoded; they go where they were, before the host or in the query.
    """
    url = _URL.fullmatch(value)
    if not url:
        return secret
    new, name = quote(secret, safe=""), quote(user, safe="")
    userinfo, _at, hosts = url[2].rpartition("@")
    if not userinfo and re.search(r"[?&]password=", url[3]):
        texts = {"password": new, **({"user": name} if user else {})}
        return url[1] + url[2] + _QUERY_PART.sub(lambda part: f"{part[1]}={texts.get(part[1], part[2])}", url[3])
    return f"{url[1]}{name or userinfo.partition(':')[0]}:{new}@{hosts}{url[3]}"


def check_value(key: str, value: str) -> None:
    """Refuse a value whose secret cannot be told from the rest of it, without showing it."""
    if _KEYWORD_STRING.search(value) and not read(value).is_url:
        raise RollbackError(
            f"The variable {key} of the environment file holds keywords (password=...). Nothing was changed.",
            f"Write it as a URL (postgres://user:password@host/database), or give the password a variable of its own "
            f"and leave {key} out of env_keys.",
        )


def from_command(name: str, argv: list[str], directory: str | None, timeout: float) -> str:
    """Return what a command prints on its standard output, one line, as a new secret.

    It runs without a shell and without input. What it writes to standard error is thrown away, because it may hold the
    secret; so a failure says only how the command ended.
    """
    try:
        process = started(
            argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise _no_value(name, argv, f"it cannot be run: {error.strerror}") from error
    late = threading.Event()

    def end() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        with process:
            output = process.stdout.read(OUTPUT_LIMIT + 1) if process.stdout else b""
            if len(output) > OUTPUT_LIMIT:
                os.killpg(process.pid, signal.SIGKILL)
    finally:
        timer.cancel()
    return _value_of(name, argv, output, "it took too long" if late.is_set() else _end_of(process.returncode))


def _end_of(code: int) -> str:
    return f"it returned {code}" if code else ""


def _value_of(name: str, argv: list[str], output: bytes, wrong: str) -> str:
    """Return the value that a command printed; refuse one that is none."""
    if len(output) > OUTPUT_LIMIT:
        raise _no_value(name, argv, f"it printed more than {OUTPUT_LIMIT} bytes")
    if wrong:
        raise _no_value(name, argv, wrong)
    value = output.decode("utf-8", "replace").strip()
    if not value or not value.isprintable() or len(value.splitlines()) != 1:
        raise _no_value(name, argv, "it did not print one line of text")
    return value


def _no_value(name: str, argv: list[str], reason: str) -> RollbackError:
    return RollbackError(
        f"The command of the credential {name} ({argv[0]}) gave no new value: {reason}. What it printed is not shown.",
        "Run it by hand on that host. It must print the new value alone on standard output and return 0. No server and "
        "no file was changed; run again when it works.",
    )
