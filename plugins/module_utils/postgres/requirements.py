# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump needs of the server that it is loaded into: roles, extensions, and the rights of a superuser.

A load meets these by itself and fails with nothing changed; a plan must say them without a load.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .server import is_superuser

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .dump import Statement

_NAME = r'("(?:[^"]|"")+"|[^\s;"]+)'
_OWNER = re.compile(rf"ALTER .* OWNER TO {_NAME};$", re.DOTALL)
_GRANT = re.compile(rf"GRANT .* TO {_NAME}(?: WITH GRANT OPTION)?;$", re.DOTALL)
_DEFAULTS = re.compile(rf"ALTER DEFAULT PRIVILEGES FOR ROLE {_NAME} .*?(?: TO {_NAME}(?: WITH GRANT OPTION)?)?;$")
_EXTENSION = re.compile(rf"CREATE EXTENSION (?:IF NOT EXISTS )?{_NAME}[ ;]")
# https://www.postgresql.org/docs/current/: only a superuser may create them (notes of each command).
_SUPERUSER = re.compile(
    r"CREATE (EVENT TRIGGER|FOREIGN DATA WRAPPER|PUBLICATION) \S+(?P<publication> FOR (?:ALL TABLES|TABLES IN SCHEMA))?"
)
_MISSING_ROLES = "SELECT r FROM unnest(%s::text[]) r WHERE r NOT IN (SELECT rolname FROM pg_roles) ORDER BY 1"
# Whoever gives an object to a role, or sets what it grants by default, must be a member of it. Who that one role is
# depends on the database, and the schema that it gets is its own already.
_STRANGERS = """
  SELECT r FROM unnest(%s::text[]) r WHERE r <> 'pg_database_owner' AND NOT pg_has_role(session_user, r, 'MEMBER')
  ORDER BY 1"""
_EXTENSIONS = """
  SELECT wanted, v.name IS NOT NULL, coalesce(v.superuser AND NOT v.trusted, false)
  FROM unnest(%s::text[]) wanted LEFT JOIN pg_available_extensions e ON e.name = wanted
  LEFT JOIN pg_available_extension_versions v ON v.name = wanted AND v.version = e.default_version ORDER BY 1"""


@dataclass
class Requirements:
    """What the statements seen so far need."""

    roles: set[str] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    """Those of the roles that get objects, or whose default privileges are set."""
    extensions: set[str] = field(default_factory=set)
    superuser: set[str] = field(default_factory=set)
    """What only a superuser may create, as ``EVENT TRIGGER``."""

    def note(self, statement: Statement) -> None:
        """Take a statement into account; one in another encoding than UTF-8 is left to the load."""
        try:
            sql = statement.sql.decode()
        except UnicodeDecodeError:
            return
        for pattern in (_OWNER, _GRANT, _DEFAULTS):
            match = pattern.match(sql)
            self.roles |= {_plain(name) for name in match.groups() if name} if match else set()
            self.owners |= {_plain(match.group(1))} if match and pattern is not _GRANT else set()
        extension, special = _EXTENSION.match(sql), _SUPERUSER.match(sql)
        if extension:
            self.extensions.add(_plain(extension.group(1)))
        if special and (special.group(1) != "PUBLICATION" or special["publication"]):
            self.superuser.add(special.group(1))

    def check(self, cursor: Any) -> None:
        """Refuse a dump that this server, or the role that logged in, cannot load."""
        cursor.execute(_MISSING_ROLES, (sorted(self.roles - {"PUBLIC"}),))
        missing = [row[0] for row in cursor.fetchall()]
        if missing:
            raise _refusal("names roles that this server does not have", missing, "Create them, or make the dump with "
                           "--no-owner and --no-acl")  # fmt: skip
        cursor.execute(_EXTENSIONS, (sorted(self.extensions),))
        found = cursor.fetchall()
        absent = [name for name, available, _special in found if not available]
        if absent:
            raise _refusal("needs extensions that are not installed on this server", absent, "Install their files")
        if is_superuser(cursor):
            return
        special = [f"extension {name}" for name, _available, needs in found if needs]
        special += [kind.lower() for kind in sorted(self.superuser)]
        if special:
            raise _refusal("holds what only a superuser may create", special, "Log in as a superuser")
        cursor.execute(_STRANGERS, (sorted(self.owners),))
        strangers = [row[0] for row in cursor.fetchall()]
        if strangers:
            raise _refusal("has objects or default privileges of roles that the login role is no member of", strangers,
                           "Log in as a superuser, or make the dump with --no-owner and --no-acl")  # fmt: skip


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _refusal(what: str, names: Iterable[str], way_out: str) -> RollbackError:
    return RollbackError(f"The dump {what}: {', '.join(names)}. Nothing was changed.", f"{way_out}, then run again.")
