# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a statement of a dump is for the loader: how it is carried out, and which tables it locks.

Only what pg_dump writes is accepted. A dump is input from elsewhere; what it may do is limited by the rights of the
role that loads it, and this list keeps out what has no place in a dump.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RollbackError

if TYPE_CHECKING:
    from .dump import Statement

_PART = rb'(?:"(?:[^"]|"")+"|[^\s".(;]+)'
_NAME = rb"(" + _PART + rb"(?:\." + _PART + rb")?)"

# Not ROLE, nor SESSION AUTHORIZATION: what the dump makes belongs to the role that loads it.
_SETTINGS = (
    rb"\w+_timeout|client_encoding|standard_conforming_strings|escape_string_warning|check_function_bodies|xmloption|"
    rb"client_min_messages|row_security|default_tablespace|default_table_access_method|default_with_oids|search_path"
)
_SESSION = re.compile(rb"SET (?:" + _SETTINGS + rb") = |SELECT pg_catalog\.set_config\('search_path', ")
_SEQUENCE = re.compile(rb"SELECT pg_catalog\.setval\(", re.IGNORECASE)
_INSERT = re.compile(rb"INSERT INTO " + _NAME + rb"[ (]")
_COPY = re.compile(rb"COPY " + _NAME + rb"[ (]")
# What --clean writes before the first entry; the side database is empty.
_SKIPPED = re.compile(rb"DROP\s|ALTER TABLE IF EXISTS .* DROP CONSTRAINT ")
_CLEANED = re.compile(rb"ALTER .* (?:DROP|DETACH)\b|CREATE OR REPLACE VIEW .* AS\s+SELECT\s+NULL::", re.DOTALL)
_INDEX = re.compile(rb"CREATE (?:UNIQUE )?INDEX " + _PART + rb" ON (?:ONLY )?" + _NAME + rb" USING ")
_CONSTRAINT = re.compile(
    rb"ALTER TABLE (?:ONLY )?" + _NAME + rb"\s+ADD CONSTRAINT " + _PART + rb" (?:PRIMARY KEY|UNIQUE|EXCLUDE) "
)
_FOREIGN_KEY = re.compile(
    rb"ALTER TABLE ONLY "
    + _NAME
    + rb"\s+ADD CONSTRAINT "
    + _PART
    + rb" FOREIGN KEY \([^)]*\) REFERENCES "
    + _NAME
    + rb"\("
)
_AFTER_BUILDS = re.compile(
    rb"COMMENT ON (?:INDEX|CONSTRAINT) |ALTER INDEX \S+ ATTACH PARTITION |ALTER TABLE \S+ CLUSTER ON |"
    rb"ALTER TABLE ONLY \S+ REPLICA IDENTITY USING INDEX "
)
_ACCEPTED = re.compile(
    rb"(CREATE|ALTER|COMMENT ON|GRANT|REVOKE|SECURITY LABEL|REFRESH MATERIALIZED VIEW|BEGIN|COMMIT)[\s;]|"
    rb"SELECT pg_catalog\.(lo_create|lo_open|lo_unlink|lowrite|lo_close|pg_extension_config_dump)\(",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    rb"(CREATE|DROP|ALTER)\s+(DATABASE|ROLE|USER\s(?!MAPPING)|GROUP|TABLESPACE|SYSTEM)\b|"
    rb"COMMENT ON (DATABASE|ROLE|TABLESPACE)|COPY\b",
    re.IGNORECASE,
)
_DATABASE_PROPERTY = re.compile(rb"(COMMENT ON DATABASE|SECURITY LABEL FOR \S+ ON DATABASE)\s", re.IGNORECASE)


@dataclass(frozen=True)
class Work:
    """How one statement is carried out.

    ``how`` is ``session`` (every connection needs it), ``serial``, ``at_once`` (does not wait for rows), ``rows``
    (an INSERT), ``build`` (beside others that lock no table of it), ``after_builds`` or ``skip``.
    """

    how: str
    shared: frozenset[bytes] = frozenset()
    exclusive: frozenset[bytes] = frozenset()


# Around a GRANT by somebody who is not the owner; elsewhere pg_dump writes it only when told to, and it is refused.
_AUTHORIZATION = re.compile(rb"(SET SESSION AUTHORIZATION (\S+|\"(?:[^\"]|\"\")+\")|RESET SESSION AUTHORIZATION);$")


def classify(statement: Statement) -> Work:
    """Return how a statement is carried out; raise ``RollbackError`` for one that pg_dump does not write."""
    sql = statement.sql
    if _SESSION.match(sql):
        return Work("session")
    if _INSERT.match(sql):
        return Work("rows")
    if _SEQUENCE.match(sql):
        return Work("at_once")
    cleaning = statement.entry is None and _CLEANED.match(sql)
    if cleaning or _SKIPPED.match(sql) or _DATABASE_PROPERTY.match(sql):
        return Work("skip")
    if statement.entry and statement.entry.kind in ("ACL", "DEFAULT ACL") and _AUTHORIZATION.match(sql):
        return Work("serial")
    if _REFUSED.match(sql) or not _ACCEPTED.match(sql):
        raise _refusal(sql)
    return _build(sql)


def target(sql: bytes) -> bytes:
    """Return the table that a COPY or INSERT statement names, as written; raise ``RollbackError`` for another form."""
    match = _COPY.match(sql) or _INSERT.match(sql)
    if not match:
        raise _refusal(sql)
    return match.group(1)


def _build(sql: bytes) -> Work:
    index = _INDEX.match(sql)
    if index:
        return Work("build", shared=frozenset([index.group(1)]))
    constraint = _CONSTRAINT.match(sql)
    if constraint:
        return Work("build", exclusive=frozenset([constraint.group(1)]))
    foreign_key = _FOREIGN_KEY.match(sql)
    if foreign_key:
        return Work("build", exclusive=frozenset(foreign_key.groups()))
    return Work("after_builds" if _AFTER_BUILDS.match(sql) else "serial")


def _refusal(sql: bytes) -> RollbackError:
    shown = sql[:80].decode("utf-8", "replace").replace("\n", " ")
    return RollbackError(
        f"The dump holds a statement that pg_dump does not write into the dump of one database: {shown}",
        "Make the dump with pg_dump, without --create, and do not edit it.",
    )
