# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL of an archive's table of contents, as pg_restore writes it (pg_backup_archiver.c, _printTocEntry)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import RollbackError
from .archive_toc import NEXT_STEP
from .dump import DamagedBackup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .archive_toc import Header, TocEntry

# All words that are not unreserved in Postgres 15 to 17: pg_dump quotes them. Quoting one too many does no harm.
_KEYWORDS = frozenset(
    b"""
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast
    char character check coalesce collate collation column concurrently constraint create cross current_catalog
    current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable
    desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group
    grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array
    json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value
    lateral leading least left like limit localtime localtimestamp merge_action national natural nchar none normalize
    not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision
    primary real references returning right row select session_user setof similar smallint some substring symmetric
    system_user table tablesample then time timestamp to trailing treat trim true union unique user using values
    varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest
    xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
    """.split()
)
_NAMED = frozenset(
    {
        b"COLLATION", b"CONVERSION", b"DATABASE", b"DOMAIN", b"EVENT TRIGGER", b"FOREIGN DATA WRAPPER",
        b"FOREIGN TABLE",
        b"MATERIALIZED VIEW", b"PROCEDURAL LANGUAGE", b"PUBLICATION", b"SCHEMA", b"SEQUENCE", b"SERVER", b"STATISTICS",
        b"SUBSCRIPTION", b"TABLE", b"TEXT SEARCH CONFIGURATION", b"TEXT SEARCH DICTIONARY", b"TYPE", b"VIEW",
    }
)  # fmt: skip
# pg_restore up to 15 says ALTER TABLE for them; it is the same.
_RELATIONS = frozenset({b"VIEW", b"SEQUENCE", b"MATERIALIZED VIEW"})
# Named by the text behind DROP, which has the argument types.
_SIGNED = frozenset({b"AGGREGATE", b"FUNCTION", b"OPERATOR", b"OPERATOR CLASS", b"OPERATOR FAMILY", b"PROCEDURE"})
_ACL = frozenset({b"ACL", b"DEFAULT ACL"})
_SETTINGS = frozenset({b"ENCODING", b"STDSTRINGS", b"SEARCHPATH"})
_DATABASE = frozenset({b"DATABASE", b"DATABASE PROPERTIES"})
_PARTITIONED_TABLE = ord("p")
_POST_DATA = 4
_LARGE_OBJECT_ACL = re.compile(rb'((?:[^"]|"[^"]*")*?) LARGE OBJECT \d+((?:[^";]|"[^"]*")*);\s*')
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_]+)';\s*")
_UNSAFE_ENCODINGS = frozenset({b"SJIS", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB", b"SHIFT_JIS_2004"})


def identifier(name: bytes) -> bytes:
    """Return the name as SQL writes it: in double quotes where that is needed."""
    if re.fullmatch(rb"[a-z_][a-z0-9_]*", name) and name not in _KEYWORDS:
        return name
    return b'"' + name.replace(b'"', b'""') + b'"'


def _damaged(what: str) -> DamagedBackup:
    return DamagedBackup(f"The archive is damaged: {what}.", NEXT_STEP)


def passes(toc: list[TocEntry]) -> tuple[list[TocEntry], list[TocEntry]]:
    """Return the entries in the order of the table of contents, and those that pg_restore writes after them.

    Privileges come later, so that a load may write; event triggers and refreshes last, so that they meet
    the privileges.
    """
    by_pass: tuple[list[TocEntry], ...] = ([], [], [])
    for entry in toc:
        if _is_wanted(entry):
            by_pass[_restore_pass(entry)].append(entry)
    return by_pass[0], by_pass[1] + by_pass[2]


def _is_wanted(entry: TocEntry) -> bool:
    if entry.kind in _SETTINGS | _DATABASE:
        return False
    return not (entry.kind in (b"ACL", b"COMMENT", b"SECURITY LABEL") and entry.tag.startswith(b"DATABASE "))


def _restore_pass(entry: TocEntry) -> int:
    if entry.has_data:
        return 0
    if entry.kind in _ACL:
        return 1
    late = entry.kind in (b"EVENT TRIGGER", b"MATERIALIZED VIEW DATA")
    late |= entry.kind in (b"COMMENT", b"SECURITY LABEL") and entry.tag.startswith(b"EVENT TRIGGER ")
    late |= entry.kind == b"STATISTICS DATA" and entry.section == _POST_DATA
    return 2 if late else 0


class Script:
    """The SQL text of entries, with what the statements before them have set."""

    def __init__(self, header: Header, toc: list[TocEntry]) -> None:
        """Take the settings of the dump from its entries; raise ``RollbackError`` when they cannot be."""
        self._header = header
        self._toc = {entry.number: entry for entry in toc}
        settings = {entry.kind: entry.definition for entry in toc if entry.kind in _SETTINGS}
        self._encoding = _encoding(settings.get(b"ENCODING", b"SET client_encoding = 'SQL_ASCII';"))
        self.backslash_strings = b"'on'" not in settings.get(b"STDSTRINGS", b"")
        self._search_path = settings.get(b"SEARCHPATH", b"")
        self._now: dict[str, bytes] = {}

    def settings(self) -> bytes:
        """Return the statements that hold for all of the dump."""
        lines = [
            b"SET statement_timeout = 0;",
            b"SET lock_timeout = 0;",
            b"SET idle_in_transaction_session_timeout = 0;",
        ]
        if self._header.server_major >= 17:  # noqa: PLR2004 - an older server does not know it
            lines.append(b"SET transaction_timeout = 0;")
        lines.append(b"SET client_encoding = '" + self._encoding + b"';")
        lines.append(b"SET standard_conforming_strings = " + (b"off;" if self.backslash_strings else b"on;"))
        if self._search_path:
            lines.append(self._search_path.strip())
        lines += [
            b"SET check_function_bodies = false;",
            b"SET xmloption = content;",
            b"SET client_min_messages = warning;",
        ]
        if self.backslash_strings:
            lines.append(b"SET escape_string_warning = off;")
        return b"\n".join([*lines, b"SET row_security = off;", b""])

    def entry(self, entry: TocEntry) -> bytes:
        """Return the text that makes the entry: session settings, definition, owner."""
        return b"\n".join([*self._session(entry), *self._definition(entry), *self._after(entry), b""])

    def _session(self, entry: TocEntry) -> Iterator[bytes]:
        if entry.schema and not self._search_path:
            catalog = b"" if entry.schema == b"pg_catalog" else b", pg_catalog"
            yield from self._set("search_path", entry.schema, catalog)
        if entry.tablespace is not None:
            yield from self._set("default_tablespace", entry.tablespace)
        if entry.access_method is not None and entry.relation_kind != _PARTITIONED_TABLE:
            yield from self._set("default_table_access_method", entry.access_method)

    def _set(self, name: str, value: bytes, more: bytes = b"") -> Iterator[bytes]:
        if self._now.get(name) != value:
            self._now[name] = value
            yield b"SET " + name.encode() + b" = " + (identifier(value) if value else b"''") + more + b";"

    def _definition(self, entry: TocEntry) -> Iterator[bytes]:
        if entry.kind == b"BLOB METADATA":
            yield from (b"SELECT pg_catalog.lo_create('" + number + b"');" for number in self._large_objects(entry))
        elif entry.kind == b"ACL" and entry.tag.startswith(b"LARGE OBJECTS"):
            yield from self._large_object_acl(entry)
        else:
            yield entry.definition

    def _after(self, entry: TocEntry) -> Iterator[bytes]:
        if entry.owner and entry.drop:
            yield from (
                b"ALTER " + what + b" OWNER TO " + identifier(entry.owner) + b";" for what in self._owned(entry)
            )
        if entry.relation_kind == _PARTITIONED_TABLE and entry.access_method is not None:
            table = identifier(entry.schema) + b"." + identifier(entry.tag)
            yield b"ALTER TABLE " + table + b" SET ACCESS METHOD " + identifier(entry.access_method) + b";"

    def _owned(self, entry: TocEntry) -> Iterator[bytes]:
        if entry.kind == b"BLOB METADATA":
            yield from (b"LARGE OBJECT " + number for number in self._large_objects(entry))
        elif entry.kind == b"BLOB":
            yield b"LARGE OBJECT " + entry.tag
        elif entry.kind in _SIGNED:
            yield entry.drop[len(b"DROP ") :].rstrip(b";\n")
        elif entry.kind in _NAMED:
            schema = identifier(entry.schema) + b"." if entry.schema else b""
            kind = b"TABLE" if entry.kind in _RELATIONS and self._header.version < (1, 15) else entry.kind
            yield kind + b" " + schema + identifier(entry.tag)

    def created_large_objects(self) -> set[bytes]:
        """Return the numbers of all large objects that the dump creates."""
        found = {entry.tag for entry in self._toc.values() if entry.kind == b"BLOB"}
        for entry in self._toc.values():
            if entry.kind == b"BLOB METADATA":
                found.update(self._large_objects(entry))
        return found

    def _large_objects(self, entry: TocEntry) -> list[bytes]:
        numbers = entry.definition.split()
        if not all(number.isdigit() for number in numbers):
            raise _damaged("a list of large objects holds something else than numbers")
        return numbers

    def _large_object_acl(self, entry: TocEntry) -> Iterator[bytes]:
        """Repeat each command for every large object of the group; the archive holds it once."""
        group = self._toc.get(entry.dependencies[0]) if entry.dependencies else None
        if group is None or group.kind != b"BLOB METADATA":
            raise _damaged("privileges of large objects belong to none")
        at = 0
        while at < len(entry.definition):
            match = _LARGE_OBJECT_ACL.match(entry.definition, at)
            if not match:
                raise _damaged("the privileges of large objects cannot be read")
            at = match.end()
            for number in self._large_objects(group):
                yield match.group(1) + b" LARGE OBJECT " + number + match.group(2) + b";"


def _encoding(definition: bytes) -> bytes:
    match = _ENCODING.fullmatch(definition)
    if not match:
        raise _damaged("its encoding cannot be read")
    if match.group(1).upper() in _UNSAFE_ENCODINGS:
        raise RollbackError(
            f"The archive is in the encoding {match.group(1).decode()}, which cannot be read safely.",
            "Make the dump with pg_dump --encoding=UTF8.",
        )
    return match.group(1)
