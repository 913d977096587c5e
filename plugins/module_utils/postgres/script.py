# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Reader of plain dumps: SQL text as pg_dump writes it, split into statements and COPY rows.

Statements end where psql ends them (src/fe_utils/psqlscan.l): at a semicolon outside quotes, comments, parentheses
and ``BEGIN ATOMIC`` bodies. Meta-commands are never carried out; of them pg_dump writes only ``\restrict`` and
``\unrestrict``, which are skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .dump import CopyEnd, CopyRows, CopyStart, DamagedBackup, DumpFacts, Entry, Event, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = b"-- PostgreSQL database dump\n"
TRAILER = b"-- PostgreSQL database dump complete"

_HEAD = 512  # bytes that are looked at before anything is decided

_TOKEN = re.compile(rb"--|/\*|['\"$;()\\]")
_TOKEN_IN_ROUTINE = re.compile(
    rb"--|/\*|['\"$;()\\]|(?<![A-Za-z0-9_$\x80-\xff])(?:begin\s{1,9}atomic|case|end)(?![A-Za-z0-9_$\x80-\xff])",
    re.IGNORECASE,
)
_ROUTINE = re.compile(rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s", re.IGNORECASE)
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_IN_WORD = re.compile(rb"[A-Za-z0-9_$\x80-\xff]")
_COPY = re.compile(rb"COPY\s.*\sFROM\s+stdin\s*;$", re.IGNORECASE | re.DOTALL)
_ENTRY = re.compile(rb"-- (?:Data for )?Name: (.*); Type: (.*); Schema: (.*); Owner: (.*?)(?:; Tablespace: (?:.*))?$")
_BACKSLASH_STRINGS = re.compile(rb"SET\s+standard_conforming_strings\s*=\s*'?(off|on)", re.IGNORECASE)
# Encodings in which a byte of a character can look like a backslash or a quote.
_UNSAFE_ENCODING = re.compile(
    rb"SET\s+client_encoding\s*=\s*'(SJIS|BIG5|GBK|UHC|GB18030|JOHAB|SHIFT_JIS_2004)'", re.IGNORECASE
)
_FACTS = {
    b"-- Dumped from database version ": "server_version",
    b"-- Dumped by pg_dump version ": "pg_dump_version",
    b"-- Started on ": "created_at",
}


def is_script(head: bytes) -> bool:
    """Say whether the first bytes (some hundred are enough) are those of a plain dump."""
    return head.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"--\n" + HEADER)


def statements(chunks: Iterable[bytes], *, backslash_strings: bool = False) -> Iterator[bytes]:
    """Yield the statements of a part of a dump: a definition, or rows as INSERT; ``DamagedBackup`` when one is cut."""
    reader = ScriptReader(chunks)
    reader._backslash_strings = backslash_strings  # noqa: SLF001 - same module
    while reader._skip_to_statement():  # noqa: SLF001
        yield reader._take(reader._statement_end())  # noqa: SLF001


class ScriptReader:
    """The events of a plain dump. ``chunks`` are its bytes in pieces of any size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Begin before the first byte."""
        self.facts = DumpFacts(format="plain")
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self._used = 0
        self._entry: Entry | None = None
        self._backslash_strings = False

    def events(self) -> Iterator[Event]:
        """Yield statements and rows in order; raise ``DamagedBackup`` when the dump is not whole."""
        self._check_head()
        while self._skip_to_statement():
            if self.facts.complete:
                raise self._damaged("has statements after its end: two files put together, or altered")
            sql = self._take(self._statement_end())
            self._note_session(sql)
            if _COPY.match(sql):
                yield CopyStart(sql, self._entry)
                yield from self._rows()
            else:
                yield Statement(sql, self._entry)
        if not self.facts.complete:
            raise self._damaged("is cut: its last line '-- PostgreSQL database dump complete' is missing")

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _piece(self) -> bytes:
        """Return the next bytes; nothing at the end. No text of Postgres holds a zero byte, but a lost block does."""
        piece = next(self._chunks, b"")
        if b"\0" in piece:
            raise self._damaged("holds zero bytes: a block of it was lost, or it is no text")
        return piece

    def _fill(self) -> bool:
        piece = self._piece()
        self._buffer += piece
        return bool(piece)

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._used += length
        return data

    def _find(self, needle: bytes, start: int) -> int:
        """Return where ``needle`` begins, reading on as far as needed."""
        while True:
            found = self._buffer.find(needle, start)
            if found >= 0:
                return found
            start = max(start, len(self._buffer) - len(needle) + 1)
            if not self._fill():
                raise self._damaged("is cut in the middle of a statement")

    def _damaged(self, what: str) -> DamagedBackup:
        return DamagedBackup(
            f"The dump {what} (byte {self._used} of its text).",
            "Choose another backup, or fetch this one again from where it was copied and compare the sums.",
            offset=self._used,
        )

    # -- between statements --------------------------------------------------------------------------------------------

    def _check_head(self) -> None:
        while len(self._buffer) < _HEAD and self._fill():
            pass
        if self._buffer.startswith(b"\xef\xbb\xbf"):  # a byte order mark, which psql skips too
            del self._buffer[:3]
        head = bytes(self._buffer[:_HEAD])
        if b"-- PostgreSQL database cluster dump" in head:
            raise self._damaged("was made by pg_dumpall; accepted is a dump of one database, made by pg_dump")
        if b"--\r\n-- PostgreSQL" in head:
            raise self._damaged("has CR LF line ends and so altered texts: it went through a terminal (docker exec -t)")
        if not is_script(head):
            raise self._damaged("does not begin as pg_dump's plain format does")

    def _skip_to_statement(self) -> bool:
        """Use up white space, comments and meta-commands; say whether a statement follows."""
        while True:
            self._skip_white_space()
            if not self._buffer:
                return False
            while len(self._buffer) < len(b"--") and self._fill():
                pass
            if self._buffer.startswith(b"--"):
                self._note_comment(self._line())
            elif self._buffer.startswith(b"/*"):
                self._take(self._block_comment_end(0))
            elif self._buffer.startswith(b"\\"):
                self._skip_meta_command(self._line())
            else:
                return True

    def _skip_white_space(self) -> None:
        while True:
            blank = len(self._buffer) - len(self._buffer.lstrip(b" \t\n\r\f\v"))
            self._take(blank)
            if self._buffer or not self._fill():
                return

    def _line(self) -> bytes:
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if not self._fill():
                return self._take(len(self._buffer))
        return self._take(end + 1).rstrip(b"\n")

    def _note_comment(self, line: bytes) -> None:
        if line == TRAILER:
            self.facts.complete = True
            return
        for prefix, fact in _FACTS.items():
            if line.startswith(prefix) and not getattr(self.facts, fact):
                setattr(self.facts, fact, line[len(prefix) :].decode("utf-8", "replace").strip())
        match = _ENTRY.match(line)
        if match:
            name, kind, schema, owner = (part.decode("utf-8", "surrogateescape") for part in match.groups())
            self._entry = Entry(name, kind, "" if schema == "-" else schema, "" if owner == "-" else owner)

    def _skip_meta_command(self, line: bytes) -> None:
        if re.fullmatch(rb"\\(un)?restrict [A-Za-z0-9]+", line):
            return
        if line.startswith(b"\\connect"):
            raise self._damaged(
                "was made with --create and would leave the database that it is loaded into; make it without"
            )
        word = line.split(b" ")[0][:40].decode("ascii", "replace")
        raise self._damaged(
            f"holds the psql command {word}, which pg_dump does not write and which is never carried out"
        )

    def _note_session(self, sql: bytes) -> None:
        if not sql[:4].upper().startswith(b"SET "):
            return
        strings = _BACKSLASH_STRINGS.match(sql)
        if strings:
            self._backslash_strings = strings.group(1).lower() == b"off"
        if _UNSAFE_ENCODING.match(sql):
            raise self._damaged("is in an encoding that cannot be read safely; make it with --encoding=UTF8")

    # -- inside a statement --------------------------------------------------------------------------------------------

    def _statement_end(self) -> int:
        """Return the length of the statement at the beginning of the buffer, its semicolon included."""
        while len(self._buffer) < _HEAD and self._fill():
            pass
        pattern = _TOKEN_IN_ROUTINE if _ROUTINE.match(self._buffer) else _TOKEN
        position = parentheses = blocks = 0
        while True:
            at, token = self._next_token(pattern, position)
            if token == b";" and not parentheses and not blocks:
                return at + 1
            position = at + 1
            if token == b"(":
                parentheses += 1
            elif token == b")":
                parentheses = max(0, parentheses - 1)
            elif token[:1].isalpha():
                # As psql: BEGIN and, inside of it, CASE open; END closes. BEGIN alone may be a name, as of an argument.
                if not parentheses:
                    blocks = max(0, blocks + {b"b": 1, b"c": 1 if blocks else 0, b"e": -1}[token[:1].lower()])
                position = at + len(token)
            elif token != b";":
                position = self._quoted_end(token, at)

    def _next_token(self, pattern: re.Pattern[bytes], position: int) -> tuple[int, bytes]:
        while True:
            match = pattern.search(self._buffer, position)
            # A word or a comment sign at the very end of the buffer may go on in the next piece.
            if match and match.end() < len(self._buffer):
                return match.start(), match.group()
            searched = len(self._buffer)
            if not self._fill():
                if match:
                    return match.start(), match.group()
                raise self._damaged("is cut in the middle of a statement")
            if not match:
                position = max(position, searched - len(b"begin atomic") - 9)

    def _quoted_end(self, token: bytes, at: int) -> int:
        if token == b"--":
            return self._find(b"\n", at) + 1
        if token == b"/*":
            return self._block_comment_end(at)
        if token == b'"':
            return self._find(b'"', at + 1) + 1
        if token == b"'":
            return self._string_end(at)
        if token == b"$":
            return self._dollar_end(at)
        raise self._damaged("has a backslash outside quotes, where pg_dump writes none")

    def _string_end(self, at: int) -> int:
        """Return where the string ends. A doubled quote ends a plain string and opens the next: that is the same."""
        if not (self._backslash_strings or self._is_escape_string(at)):
            return self._find(b"'", at + 1) + 1
        position = at + 1
        while True:
            quote = self._find(b"'", position)
            text = self._buffer[position:quote]
            if (len(text) - len(text.rstrip(b"\\"))) % 2:
                position = quote + 1
            elif self._byte(quote + 1) == b"'":
                position = quote + 2
            elif (goes_on := self._string_goes_on(quote + 1)) > 0:
                position = goes_on
            else:
                return quote + 1

    def _string_goes_on(self, at: int) -> int:
        """Return where a string goes on that has ended: behind a line end and another quote. Else 0."""
        end = at
        while self._byte(end).isspace():
            end += 1
        return end + 1 if self._byte(end) == b"'" and re.search(rb"[\r\n]", self._buffer[at:end]) else 0

    def _byte(self, at: int) -> bytes:
        while len(self._buffer) <= at and self._fill():
            pass
        return bytes(self._buffer[at : at + 1])

    def _is_escape_string(self, at: int) -> bool:
        if at == 0 or bytes(self._buffer[at - 1 : at]) not in (b"E", b"e"):
            return False
        return at == 1 or not _IN_WORD.match(self._buffer[at - 2 : at - 1])

    def _dollar_end(self, at: int) -> int:
        if at and _IN_WORD.match(self._buffer[at - 1 : at]):
            return at + 1  # a dollar inside an identifier
        while len(self._buffer) < at + 80 and self._fill():
            pass
        match = _DOLLAR.match(self._buffer, at)
        if not match:
            return at + 1  # a parameter: $1
        tag = match.group()
        return self._find(tag, at + len(tag)) + len(tag)

    def _block_comment_end(self, at: int) -> int:
        depth, position = 1, at + 2
        while depth:
            close = self._find(b"*/", position)
            opened = self._buffer.find(b"/*", position, close + 1)  # in /*/ it is the opening that counts
            if opened >= 0:
                depth, position = depth + 1, opened + 2
            else:
                depth, position = depth - 1, close + 2
        return position

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Event]:
        r"""Yield the rows behind a COPY statement, up to the line ``\.``."""
        self._line()  # the rest of the statement's own line
        rows = 0
        lines: bytes = self._take(len(self._buffer))
        while True:
            if lines.startswith(b"\\.\n"):
                end, rest = 0, 3
            else:
                found = lines.find(b"\n\\.\n")
                end, rest = (found + 1, found + 4) if found >= 0 else (lines.rfind(b"\n") + 1, -1)
            if end:
                data = lines[:end]
                rows += data.count(b"\n")
                yield CopyRows(data)
            if rest >= 0:
                break
            lines = lines[end:] + self._more_rows()
        self._buffer[:0] = lines[rest:]
        self._used -= len(lines) - rest
        self._count(rows)
        yield CopyEnd(rows)

    def _more_rows(self) -> bytes:
        piece = self._piece()
        if not piece:
            table = f" of table {self._entry.name}" if self._entry else ""
            raise self._damaged(f"is cut in the middle of the rows{table}")
        self._used += len(piece)
        return piece

    def _count(self, rows: int) -> None:
        name = f"{self._entry.schema}.{self._entry.name}" if self._entry else "?"
        self.facts.rows[name] = self.facts.rows.get(name, 0) + rows
