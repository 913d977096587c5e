# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every specimen of the zoo can be made, dumped, and restored by psql without an error, on each version."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from dump_zoo import FORMS, SPECIMENS, everything, normal, scale_database
from postgres_servers import Server, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator


# pg_dump --inserts writes the float -0 as a number without a sign; --clean cannot be restored into an empty database
# where a view needs a primary key, not even by psql; the others are looked at below.
RESTORED = ["plain", "inserts", "column_inserts", "gzip", "members", "custom", "custom_stored", "custom_gzip", "tar"]
WITHOUT_SIGN = ("inserts", "column_inserts")


@pytest.fixture(scope="module")
def zoo(server17: Server) -> Iterator[str]:
    """Give a database that holds everything."""
    with fresh_database(server17) as name:
        everything(server17, name)
        yield name


def restored(server: Server, dump: bytes) -> list[bytes]:
    """Restore a plain dump with psql into a control database; return the normal form of the control's dump."""
    with fresh_database(server) as control:
        server.psql(control, dump, "--single-transaction")
        return normal(server.pg_dump(control))


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_survives_dump_and_restore(server: Server, database: str, name: str) -> None:
    """The restored control has the same dump."""
    SPECIMENS[name].create(server, database)
    dump = server.pg_dump(database)
    assert restored(server, dump) == normal(dump)


def test_everything_at_once_on_the_older_version(server15: Server) -> None:
    """The specimens do not get into each other's way."""
    with fresh_database(server15) as name:
        everything(server15, name)
        dump = server15.pg_dump(name)
    assert restored(server15, dump) == normal(dump)


@pytest.mark.parametrize("form", RESTORED)
def test_every_form_holds_everything(server17: Server, zoo: str, form: str) -> None:
    """Each form restores to the database that was dumped, whatever way it is decoded."""
    dump = FORMS[form](server17, zoo)
    if dump.startswith(b"\x1f\x8b"):
        dump = gzip.decompress(dump)
    if form.startswith(("custom", "tar")):
        dump = server17.pg_restore(dump, "-f", "-")
    expected = server17.pg_dump(zoo)
    if form in WITHOUT_SIGN:
        expected = expected.replace(b"\t-0\t", b"\t0\t")
    assert restored(server17, dump) == normal(expected)


def test_forms_are_what_they_say(server17: Server, zoo: str) -> None:
    """The forms that are not restored here begin and differ as they should."""
    assert b"\n\\connect " in FORMS["create"](server17, zoo)
    assert b" OWNER TO " not in FORMS["no_owner"](server17, zoo)
    assert b"\nDROP SCHEMA IF EXISTS " not in FORMS["clean"](server17, zoo)
    assert b"\nDROP SCHEMA IF EXISTS " in FORMS["clean_if_exists"](server17, zoo)
    assert FORMS["directory_tar"](server17, zoo)[257:262] == b"ustar"


def test_a_scaled_database_has_the_size_asked_for(server15: Server) -> None:
    """Within a fifth, indexes included."""
    with fresh_database(server15) as name:
        empty = server15.value(name, "SELECT pg_database_size(current_database())")
        size = scale_database(server15, name, 40) - empty
        assert 32e6 < size < 48e6
        assert server15.value(name, "SELECT count(*) FROM pg_indexes WHERE tablename = 'events'") == 5
