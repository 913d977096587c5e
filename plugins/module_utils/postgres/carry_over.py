# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump does not hold and a new database would lose: owners, grants, default privileges, settings.

The live database is the model: a right that was revoked since the backup does not come back with it, and one that was
granted is not lost. Objects that exist only in the backup keep what the dump gives them.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .connection import PSYCOPG2_IMPORT_ERROR, message
from .server import is_superuser

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    from psycopg2.extensions import quote_ident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .server import Database

# Every kind of object that has an owner and privileges: the word of GRANT, its name, its owner, its privileges with the
# defaults filled in, and whether its owner can be changed by itself (not that of an extension's or a column's).
_OBJECTS = """
WITH own AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e' OR (classid = 'pg_class'::regclass AND deptype IN ('a', 'i')
    AND refobjsubid > 0 AND refclassid = 'pg_class'::regclass)
), object AS (
  SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name, '' AS schema, nspowner AS owner, nspacl AS acl, 'n' AS code,
         'pg_namespace'::regclass AS class, oid FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL
  SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text,
         quote_ident(nspname), relowner, relacl,
         CASE relkind WHEN 'S' THEN 's' ELSE 'r' END, 'pg_class'::regclass, c.oid
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL
  SELECT 'ROUTINE', p.oid::regprocedure::text, quote_ident(nspname), proowner, proacl, 'f', 'pg_proc'::regclass, p.oid
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL
  SELECT 'TYPE', t.oid::regtype::text, quote_ident(nspname), typowner, typacl, 'T', 'pg_type'::regclass, t.oid
    FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace LEFT JOIN pg_class c ON c.oid = typrelid
    WHERE (typtype IN ('d', 'e', 'r') OR c.relkind = 'c') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  UNION ALL
  SELECT 'LANGUAGE', quote_ident(lanname), '', lanowner, lanacl, 'l', 'pg_language'::regclass, oid
    FROM pg_language WHERE lanpltrusted
  UNION ALL
  SELECT 'FOREIGN DATA WRAPPER', quote_ident(fdwname), '', fdwowner, fdwacl, 'F',
         'pg_foreign_data_wrapper'::regclass, oid
    FROM pg_foreign_data_wrapper
  UNION ALL
  SELECT 'FOREIGN SERVER', quote_ident(srvname), '', srvowner, srvacl, 'S', 'pg_foreign_server'::regclass, oid
    FROM pg_foreign_server
  UNION ALL
  SELECT 'LARGE OBJECT', oid::text, '', lomowner, lomacl, 'L', 'pg_largeobject'::regclass, oid
    FROM pg_largeobject_metadata
)
SELECT kind, name, '', schema, pg_get_userbyid(owner),
       NOT EXISTS (SELECT FROM own WHERE classid = class AND objid = object.oid),
       ARRAY(SELECT ARRAY[pg_get_userbyid(grantor), CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, is_grantable::text]
             FROM aclexplode(coalesce(acl, acldefault(code::"char", owner))) ORDER BY 1)
FROM object
UNION ALL
SELECT 'TABLE', c.oid::regclass::text, quote_ident(attname), quote_ident(nspname), pg_get_userbyid(relowner), false,
       ARRAY(SELECT ARRAY[pg_get_userbyid(grantor), CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, is_grantable::text] FROM aclexplode(attacl) ORDER BY 1)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE attnum > 0 AND NOT attisdropped AND attacl IS NOT NULL
  AND nspname !~ '^pg_' AND nspname <> 'information_schema'"""
# Kinds that have an owner and no privileges. The name is what ALTER .. OWNER TO takes.
_OWNED = """
WITH object AS (
  SELECT 'pg_collation'::regclass AS class, oid, collowner AS owner FROM pg_collation
  UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
  UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
  UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner FROM pg_opclass
  UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_opfamily
  UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
  UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
  UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
  UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication
  UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
)
SELECT replace(upper(i.type), 'STATISTICS OBJECT', 'STATISTICS'), i.identity, '', '', pg_get_userbyid(owner), true,
       ARRAY[]::text[]
FROM object o, pg_identify_object(class, oid, 0) i
WHERE oid >= 16384 -- what initdb made is below
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = o.oid AND deptype = 'e')"""
_DEFAULTS = """
SELECT pg_get_userbyid(defaclrole), coalesce(nspname, ''), defaclobjtype::text,
       ARRAY(SELECT ARRAY[pg_get_userbyid(grantor), CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, is_grantable::text] FROM aclexplode(defaclacl) ORDER BY 1)
FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace"""
_BUILT_IN = """
SELECT ARRAY(SELECT ARRAY[pg_get_userbyid(grantor), CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, is_grantable::text] FROM aclexplode(acldefault(%s::"char", oid)))
FROM pg_roles WHERE rolname = %s"""
_DEFAULT_WORDS = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS"}
_DATABASE = """
SELECT ARRAY(SELECT ARRAY[pg_get_userbyid(grantor), CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, is_grantable::text]
             FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) ORDER BY 1)
FROM pg_database WHERE oid = %s"""
_SETTINGS = """
SELECT coalesce(rolname, ''), setconfig FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole
WHERE setdatabase = %s ORDER BY 1"""
_LABELS = (
    "SELECT provider, label FROM pg_shseclabel WHERE objoid = %s AND classoid = 'pg_database'::regclass ORDER BY 1"
)


@dataclass(frozen=True, order=True)
class Grant:
    """One privilege as aclexplode tells it; an empty grantee is PUBLIC."""

    grantor: str
    grantee: str
    privilege: str
    grantable: bool


@dataclass(frozen=True)
class Target:
    """What is granted on: its words in GRANT, its owner, its schema and, for a column, that column's name."""

    name: str
    owner: str
    schema: str = ""
    column: str = ""


@dataclass(frozen=True)
class Holder:
    """Who owns an object and who may do what with it."""

    schema: str
    owner: str
    own_owner: bool
    grants: frozenset[Grant]


Key = tuple[str, str, str]
"""Kind, name and column of what is granted; the column is empty for the object itself."""


@dataclass
class Lost:
    """What could not be carried over, in sentences; all empty is what one wants."""

    owners: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)


def carry_over_database(cursor: Any, live: Database, side: Database) -> list[str]:
    """Give the side database the privileges, settings, limit and labels of the live one; return what could not be.

    The cursor is one of the maintenance database. Settings go through set_config and SET .. FROM CURRENT, which copies
    a value exactly, lists and quotes included.
    """
    lost: list[str] = []
    name = quote_ident(side.name, cursor)
    limit, template = live.facts["datconnlimit"], live.facts["datistemplate"]
    _try(cursor, [f"ALTER DATABASE {name} CONNECTION LIMIT {limit:d} IS_TEMPLATE {template}"], "connection limit", lost)
    cursor.execute(_DATABASE, (live.oid,))
    wanted = _grants(cursor.fetchone()[0])
    cursor.execute(_DATABASE, (side.oid,))
    present = _grants(cursor.fetchone()[0])
    if wanted != present:
        _try(
            cursor,
            _grant_statements(cursor, Target(f"DATABASE {name}", live.owner), present, wanted),
            "privileges of the database",
            lost,
        )
    _carry_settings(cursor, live, side, lost)
    cursor.execute(_LABELS, (live.oid,))
    for provider, label in cursor.fetchall():
        statement = f"SECURITY LABEL FOR {quote_ident(provider, cursor)} ON DATABASE {name} IS {_text(label)}"
        _try(cursor, [statement], "security label", lost)
    return lost


def _carry_settings(cursor: Any, live: Database, side: Database, lost: list[str]) -> None:
    name = quote_ident(side.name, cursor)
    cursor.execute(_SETTINGS, (side.oid,))
    for role, _settings in cursor.fetchall():  # a side database that was verified earlier may hold older ones
        _try(cursor, [_alter(cursor, role, name) + " RESET ALL"], f"settings of {role or 'the database'}", lost)
    cursor.execute(_SETTINGS, (live.oid,))
    for role, settings in cursor.fetchall():
        for setting in settings:
            parameter, _equals, value = setting.partition("=")
            quoted = ".".join(quote_ident(part, cursor) for part in parameter.split("."))
            statements = [
                f"SELECT set_config({_text(parameter)}, {_text(value)}, true)",
                f"{_alter(cursor, role, name)} SET {quoted} FROM CURRENT",
            ]
            _try(cursor, statements, f"setting {parameter} of {role or 'the database'}", lost)


def _alter(cursor: Any, role: str, database: str) -> str:
    return f"ALTER ROLE {quote_ident(role, cursor)} IN DATABASE {database}" if role else f"ALTER DATABASE {database}"


def carry_over_objects(connect: Callable[[str], Any], live: str, side: str) -> Lost:
    """Give the objects of the side database the owners and privileges that they have in the live one."""
    lost = Lost()
    with closing(connect(live)) as connection, connection.cursor() as cursor:
        wanted, wanted_defaults = _holders(cursor), _defaults(cursor)
    with closing(connect(side)) as connection, connection.cursor() as cursor:
        if is_superuser(cursor):  # else event triggers of the application would see what is done here
            cursor.execute("SET session_replication_role = replica")
        _carry_owners(cursor, wanted, lost)
        # Schemas last: whoever passed a privilege on gets USAGE for that, and loses it again here.
        _carry_grants(cursor, {key: one for key, one in wanted.items() if key[0] != "SCHEMA"}, lost)
        _carry_grants(cursor, {key: one for key, one in wanted.items() if key[0] == "SCHEMA"}, lost)
        _carry_defaults(cursor, wanted_defaults, lost)
    return lost


def _holders(cursor: Any) -> dict[Key, Holder]:
    cursor.execute("SET search_path = ''")  # so that every name comes out qualified
    cursor.execute(_OBJECTS)
    objects = cursor.fetchall()
    cursor.execute(_OWNED)
    return {
        (kind, name, column): Holder(schema, owner, own_owner, _grants(grants))
        for kind, name, column, schema, owner, own_owner, grants in objects + cursor.fetchall()
    }


def _grants(rows: Iterable[list[str]]) -> frozenset[Grant]:
    return frozenset(
        Grant(grantor, grantee, privilege, grantable == "true") for grantor, grantee, privilege, grantable in rows
    )


def _carry_owners(cursor: Any, wanted: dict[Key, Holder], lost: Lost) -> None:
    present = _holders(cursor)
    for key, holder in present.items():
        model = wanted.get(key)
        if model and model.owner != holder.owner and holder.own_owner:
            kind, name, _column = key
            word = {"FOREIGN SERVER": "SERVER"}.get(kind, kind)
            statement = f"ALTER {word} {name} OWNER TO {quote_ident(model.owner, cursor)}"
            _try(cursor, [statement], f"owner of {kind.lower()} {name}", lost.owners)


def _carry_grants(cursor: Any, wanted: dict[Key, Holder], lost: Lost) -> None:
    present = _holders(cursor)
    names = {key[:2] for key in present}
    nobody = Holder("", "", own_owner=False, grants=frozenset())
    for key in sorted(wanted.keys() | present.keys()):
        kind, name, column = key
        if (kind, name) not in names or (key not in wanted and (kind, name, "") not in wanted):
            continue
        model = wanted.get(key) or nobody
        now = present.get(key) or nobody
        if model.grants != now.grants:
            whole = present[kind, name, ""]
            target = Target(f"{kind} {name}", whole.owner, whole.schema, column)
            statements = _grant_statements(cursor, target, now.grants, model.grants)
            what = f"privileges of {kind.lower()} {name}" + (f", column {column}" if column else "")
            _try(cursor, statements, what, lost.grants)


def _grant_statements(cursor: Any, target: Target, present: frozenset[Grant], wanted: frozenset[Grant]) -> list[str]:
    """Return REVOKEs for everybody who has something now, and GRANTs in an order in which each grantor may grant."""
    part = f" ({target.column})" if target.column else ""
    grantees = sorted({grant.grantee for grant in present})
    statements = [f"REVOKE ALL{part} ON {target.name} FROM {_role(cursor, grantee)} CASCADE" for grantee in grantees]
    role = ""
    for grant in _in_grant_order(target.owner, wanted):
        grantor = "" if grant.grantor == target.owner else quote_ident(grant.grantor, cursor)
        if grantor != role:
            statements.append("RESET ROLE")
            if grantor and target.schema:
                statements.append(f"GRANT USAGE ON SCHEMA {target.schema} TO {grantor}")
            if grantor:
                statements.append(f"SET ROLE {grantor}")
            role = grantor
        option = " WITH GRANT OPTION" if grant.grantable else ""
        grantee = _role(cursor, grant.grantee)
        statements.append(f"GRANT {grant.privilege}{part} ON {target.name} TO {grantee}{option}")
    return [*statements, "RESET ROLE"] if role else statements


def _in_grant_order(owner: str, grants: frozenset[Grant]) -> list[Grant]:
    ordered: list[Grant] = []
    may = {owner}
    left = sorted(grants)
    while left:
        ready = [grant for grant in left if grant.grantor in may] or left
        ordered += ready
        may |= {grant.grantee for grant in ready if grant.grantable}
        left = [grant for grant in left if grant not in ready]
    return ordered


def _role(cursor: Any, name: str) -> str:
    return quote_ident(name, cursor) if name else "PUBLIC"


def _defaults(cursor: Any) -> dict[tuple[str, str, str], frozenset[Grant]]:
    cursor.execute(_DEFAULTS)
    return {(role, schema, kind): _grants(grants) for role, schema, kind, grants in cursor.fetchall()}


def _carry_defaults(cursor: Any, wanted: dict[tuple[str, str, str], frozenset[Grant]], lost: Lost) -> None:
    present = _defaults(cursor)
    for role, schema, kind in sorted(wanted.keys() | present.keys()):
        model, now = wanted.get((role, schema, kind)), present.get((role, schema, kind))
        if model == now:
            continue
        where = f" IN SCHEMA {quote_ident(schema, cursor)}" if schema else ""
        head = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_ident(role, cursor)}{where}"
        words = _DEFAULT_WORDS.get(kind, kind)
        grantees = sorted({grant.grantee for grant in now or frozenset()} | ({"", role} if not schema else set()))
        statements = [f"{head} REVOKE ALL ON {words} FROM {_role(cursor, grantee)}" for grantee in grantees]
        for grant in sorted(model if model is not None else _built_in(cursor, role, schema, kind)):
            option = " WITH GRANT OPTION" if grant.grantable else ""
            statements.append(f"{head} GRANT {grant.privilege} ON {words} TO {_role(cursor, grant.grantee)}{option}")
        _try(cursor, statements, f"default privileges of {role} on {words.lower()}", lost.grants)


def _built_in(cursor: Any, role: str, schema: str, kind: str) -> frozenset[Grant]:
    """Return what holds without an entry: the built-in defaults, and nothing more inside one schema."""
    if schema:
        return frozenset()
    code = {"S": "s"}.get(kind, kind)
    cursor.execute(_BUILT_IN, (code, role))
    row = cursor.fetchone()
    return _grants(row[0]) if row else frozenset()


def _try(cursor: Any, statements: list[str], what: str, lost: list[str]) -> None:
    """Carry statements out together; where the server refuses, note it and go on."""
    try:
        cursor.execute("BEGIN")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("COMMIT")
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK")
        lost.append(f"{what}: {message(error)}")


def _text(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{quoted}'"
