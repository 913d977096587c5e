# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump needs of a server is read from its statements, as pg_dump writes them."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import Statement
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.requirements import Requirements


@pytest.mark.parametrize(
    ("sql", "roles"),
    [
        ("ALTER TABLE public.pools OWNER TO usdx;", {"usdx"}),
        ('ALTER FUNCTION public.total(a text) OWNER TO "Fleet ""x"" Owner";', {'Fleet "x" Owner'}),
        ("GRANT SELECT,INSERT ON TABLE public.pools TO reader;", {"reader"}),
        ("GRANT SELECT(id) ON TABLE public.pools TO reader WITH GRANT OPTION;", {"reader"}),
        ("GRANT ALL ON SCHEMA public TO PUBLIC;", {"PUBLIC"}),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE usdx IN SCHEMA public GRANT SELECT ON TABLES  TO reader;",
            {"usdx", "reader"},
        ),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE usdx REVOKE ALL ON FUNCTIONS  FROM PUBLIC;", {"usdx"}),
        ("COMMENT ON TABLE public.t IS 'ALTER TABLE t OWNER TO nobody;';", set()),
        ("CREATE FUNCTION f() RETURNS void AS $$ GRANT x TO nobody; $$;", set()),
    ],
)
def test_roles(sql: str, roles: set[str]) -> None:
    needs = Requirements()
    needs.note(Statement(sql.encode(), None))
    assert needs.roles == roles


def test_who_owns_is_told_from_who_is_granted_something() -> None:
    needs = Requirements()
    for sql in (
        "ALTER TABLE public.pools OWNER TO usdx;",
        "GRANT SELECT ON TABLE public.pools TO reader;",
        "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES  TO reader;",
    ):
        needs.note(Statement(sql.encode(), None))
    assert needs.owners == {"usdx", "app"}


@pytest.mark.parametrize(
    ("sql", "extensions", "superuser"),
    [
        ("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;", {"hstore"}, set()),
        ('CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;', {"uuid-ossp"}, set()),
        ("CREATE EVENT TRIGGER watch ON ddl_command_end\n   EXECUTE FUNCTION f();", set(), {"EVENT TRIGGER"}),
        ("CREATE PUBLICATION whole FOR ALL TABLES WITH (publish = 'insert');", set(), {"PUBLICATION"}),
        ("CREATE PUBLICATION part WITH (publish = 'insert');", set(), set()),
        ("CREATE FOREIGN DATA WRAPPER w;", set(), {"FOREIGN DATA WRAPPER"}),
    ],
)
def test_extensions_and_rights(sql: str, extensions: set[str], superuser: set[str]) -> None:
    needs = Requirements()
    needs.note(Statement(sql.encode(), None))
    assert (needs.extensions, needs.superuser) == (extensions, superuser)


def test_another_encoding_is_no_accident() -> None:
    needs = Requirements()
    needs.note(Statement("ALTER TABLE t OWNER TO rôle;".encode("latin-1"), None))
    assert needs.roles == set()
