# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines in the logs of containers that look like errors: counted, a few of them quoted, bounded in bytes and time."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .border import plain
from .errors import RollbackError
from .http_probe import printable
from .project_command import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BYTES_LIMIT = 16 * 1024 * 1024
SECONDS_LIMIT = 10.0
# More of a line is neither looked at nor kept, so that a line without an end costs nothing.
LINE_LIMIT = 2000
QUOTES = 3
_QUOTE_LENGTH = 160
_QUOTE_AMONG = 100
_CHUNK = 65536
_FRAME_HEAD = 8
_NEVER = "0001-"
ERRORS = [r"(?:error|exception)\b", r"\b(?:fatal|panic(?:ked)?|traceback)\b"]


class LogPatterns(NamedTuple):
    """What looks like an error, and what of it is known and harmless."""

    errors: list[re.Pattern[str]]
    noise: list[re.Pattern[str]]

    def finds(self, line: str) -> bool:
        """Tell whether a line looks like an error and is not known."""
        return any(one.search(line) for one in self.errors) and not any(one.search(line) for one in self.noise)


@dataclass
class LogFindings:
    """What was read of the logs of one service."""

    lines: int = 0
    errors: int = 0
    quotes: list[str] = field(default_factory=list)
    read: int = 0
    cut: str = ""

    def words(self) -> str:
        """Return what was found, with at most a few lines of it."""
        told = f"{self.lines} lines read, {self.errors} look like errors"
        told += f", {self.cut}" if self.cut else ""
        return told + (": " + " | ".join(self.quotes) if self.quotes else "")


def log_patterns(options: dict[str, Any]) -> LogPatterns:
    """Return the patterns of the option ``logs``; refuse those that are no regular expressions."""
    errors = ERRORS if options.get("errors") is None else options["errors"]
    if not errors:
        raise _refused("logs.errors", errors, "at least one pattern, or leave it out")
    return LogPatterns(
        [_compiled("logs.errors", one) for one in errors],
        [_compiled("logs.noise", one) for one in options.get("noise") or []],
    )


def _compiled(option: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise _refused(option, pattern, f"a regular expression of Python; this one is wrong: {error}") from error
    if compiled.search(""):
        raise _refused(option, pattern, "a regular expression that does not match an empty line")
    return compiled


def read_log(
    chunks: Iterable[bytes],
    patterns: LogPatterns,
    found: LogFindings,
    *,
    terminal: bool,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Add what a log holds to what was found; stop at the limit of bytes or time, and say so."""
    deadline = clock() + SECONDS_LIMIT
    frames, lines = Frames(), Lines()
    for chunk in chunks:
        for stream, part in [(0, chunk)] if terminal else frames.of(chunk):
            _count(lines.of(stream, part), patterns, found)
        found.read += len(chunk)
        if found.read >= BYTES_LIMIT:
            found.cut = f"only the first {BYTES_LIMIT // 1024 // 1024} MiB since the start were read"
            break
        if clock() >= deadline:
            found.cut = f"reading ended after {SECONDS_LIMIT:g} seconds"
            break
    _count(lines.unfinished(), patterns, found)


def _count(lines: Iterable[bytes], patterns: LogPatterns, found: LogFindings) -> None:
    for line in lines:
        text = line.decode("utf-8", "replace")
        text = plain(text) if "\x1b" in text else text
        found.lines += 1
        if not patterns.finds(text):
            continue
        found.errors += 1
        if len(found.quotes) < QUOTES and found.errors <= _QUOTE_AMONG:
            quote = printable(without_secrets(text.strip()[: 2 * _QUOTE_LENGTH]), _QUOTE_LENGTH)
            found.quotes += [quote] if quote not in found.quotes else []


class Frames:
    """The stream of a container without a terminal: 8 bytes that name stream and length, then that many bytes.

    https://docs.docker.com/reference/api/engine/ (attach to a container, stream format)
    """

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._head = bytearray()
        self._stream = self._left = 0

    def of(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the parts of frames in a chunk, each with its stream; a frame may go on in the next chunk."""
        position = 0
        while position < len(chunk):
            if not self._left:
                missing = _FRAME_HEAD - len(self._head)
                self._head += chunk[position : position + missing]
                position += missing
                if len(self._head) == _FRAME_HEAD:
                    self._stream, self._left = self._head[0], int.from_bytes(self._head[4:], "big")
                    self._head.clear()
                continue
            part = chunk[position : position + self._left]
            position += len(part)
            self._left -= len(part)
            yield self._stream, part


class Lines:
    """Lines of several streams that come in parts; of each line only its beginning is kept."""

    def __init__(self) -> None:
        """Begin with no open line."""
        self._open: dict[int, bytearray] = {}

    def of(self, stream: int, part: bytes) -> Iterator[bytes]:
        """Return the lines that end in a part."""
        line = self._open.setdefault(stream, bytearray())
        pieces = part.split(b"\n")
        for piece in pieces[:-1]:
            yield bytes(line + piece[: LINE_LIMIT - len(line)])
            line.clear()
        line += pieces[-1][: LINE_LIMIT - len(line)]

    def unfinished(self) -> list[bytes]:
        """Return the lines that have not ended yet."""
        return [bytes(line) for line in self._open.values() if line]


def since(started: str, finished: str) -> str:
    """Return from when on the log of a container is of its present life, as Docker wants it; empty if it never started.

    ``StartedAt`` is taken when the process runs already, so its first lines are older. The end of the life before is a
    better border; a container that has ended again has only its start, and gets a second more.
    """
    start, end = _moment(started), _moment(finished)
    if start is None:
        return ""
    if end is None:
        return "0"
    seconds, fraction = end if end <= start else (start[0] - 1, start[1])
    return f"{seconds}.{fraction}"


def _moment(text: str) -> tuple[int, str] | None:
    """Return seconds and nanoseconds of a time of Docker; ``None`` of one that has not come."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", text)
    if not match or text.startswith(_NEVER):
        return None
    seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    return seconds, (match[2] or "").ljust(9, "0")


def fetch_log(client: Any, container_id: str, start: str) -> Iterator[bytes]:  # noqa: ANN401 - of the Docker SDK
    """Return the log of a container since its start, in chunks; raise ``OSError`` when Docker does not give it.

    The SDK's own ``logs`` knows no fractions of a second, and reads line by line, which takes long for many.
    """
    api = client.api
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/logs"
    asked = {"stdout": 1, "stderr": 1, "follow": 0, "since": start}
    with api.get(url, params=asked, stream=True, timeout=SECONDS_LIMIT) as answer:
        if answer.status_code != 200:  # noqa: PLR2004 - OK
            said = next(answer.iter_content(1000), b"").decode("utf-8", "replace")
            raise OSError(f"status {answer.status_code}: {printable(said)}")
        yield from answer.iter_content(_CHUNK)


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was asked and nothing was changed.", f"Give {accepted}."
    )
