# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What credentials may be said to be, where their secrets stand in the environment file, and how notes are kept."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import credential_rotation, credentials, environment_file
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = {"name": "database", "kind": "postgres", "role": "app", "env_keys": ["URL", "PASSWORD"]}
PAIR = {"name": "pair", "kind": "postgres", "roles": ["app_a", "app_b"], "env_keys": ["URL"], "user_keys": ["USER"]}
CACHE = {"name": "cache", "kind": "redis", "service": "redis", "env_keys": ["REDIS_URL"]}


def credential(**said: Any) -> credentials.Credential:
    (made,) = credentials.from_options([said], has_postgres=True)
    return made


def test_what_is_not_said_has_its_default_and_null_says_nothing() -> None:
    made = credential(**CACHE, user=None, port=None, length=None, alphabet="", roles=[], services=["web"])
    assert (made.user, made.port, made.length, made.alphabet) == ("default", 6379, 43, "urlsafe")
    assert (made.env_keys, made.services, made.alternates) == (("REDIS_URL",), ("web",), False)
    assert credential(**PAIR).alternates
    assert credential(**DATABASE).roles == ("app",)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ([{"name": " ", "kind": "env", "env_keys": ["A"]}], "kind"),
        ([{"name": "x", "kind": "vault", "env_keys": ["A"]}], "vault"),
        ([{"name": "x", "kind": "env"}], "env_keys"),
        ([{"name": "x", "kind": "redis", "env_keys": ["A"]}], "service"),
        ([{"name": "x", "kind": "command", "env_keys": ["A"]}], "argv"),
        ([{"name": "x", "kind": "manual", "env_keys": ["A"]}], "env_keys"),
        ([{**DATABASE, "service": "db"}], "service"),
        ([{key: value for key, value in DATABASE.items() if key != "role"}], "roles"),
        ([{**PAIR, "roles": ["a", "a"]}], "roles"),
        ([{**PAIR, "roles": ["a", "b", "c"]}], "roles"),
        ([{**PAIR, "role": "app"}], "roles"),
        ([{**DATABASE, "length": 15}], "length=15"),
        ([{"name": "x", "kind": "command", "argv": ["a"], "timeout": 0.01}], "timeout"),
        ([{**DATABASE, "length": 513}], "length=513"),
        ([DATABASE, {**CACHE, "name": "database"}], "'database' stands twice"),
        ([DATABASE, {**CACHE, "env_keys": ["URL"]}], "'URL' stands twice"),
        ([DATABASE, {**DATABASE, "name": "again", "env_keys": ["B"]}], "'app' stands twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(RollbackError, match="Nothing was changed") as caught:
        credentials.from_options(said, has_postgres=True)
    assert word in caught.value.msg
    assert caught.value.next_step


def test_postgres_needs_a_server() -> None:
    with pytest.raises(RollbackError, match="postgres"):
        credentials.from_options([DATABASE], has_postgres=False)


def test_variables_that_belong_together_have_one_user_and_one_secret() -> None:
    values = {"URL": "postgres://app_a:s%2F1@db/shop", "USER": "app_a", "PASSWORD": "s/1"}
    assert credentials.place_of(credential(**PAIR), values)[:2] == ("app_a", "s/1")
    assert credentials.place_of(credential(**DATABASE), values)[:2] == ("app_a", "s/1")
    for wrong in ({**values, "USER": "app_b"}, {**values, "URL": None}):
        with pytest.raises(RollbackError, match="Nothing was changed") as caught:
            credentials.place_of(credential(**PAIR), wrong)
        assert "s/1" not in caught.value.msg + caught.value.next_step
    with pytest.raises(RollbackError, match="different secrets") as caught:
        credentials.place_of(credential(**DATABASE), {**values, "PASSWORD": "other-one"})
    assert "other-one" not in caught.value.msg + caught.value.next_step


@pytest.mark.parametrize(
    ("written", "value"),
    [("a", "a"), ("'a$b\\'", "a$b\\"), ('"a b"', "a b"), ("", ""), ("a=b==", "a=b=="), ("a#b", "a#b")],
)
def test_values_are_read_without_their_quotes(written: str, value: str) -> None:
    assert credentials.plain_values({"A": written, "B": None}) == {"A": value, "B": None}


@pytest.mark.parametrize(
    "written", ["${B}", "a$b", '"a${B}"', "'a", "s3cr3t # why", '"s3cr3t\\n"', "'s3cr3t' # why", "'a'b'"]
)
def test_values_that_readers_understand_differently_are_refused(written: str) -> None:
    with pytest.raises(RollbackError, match="KEY") as caught:
        credentials.plain_values({"KEY": written})
    assert "s3cr3t" not in caught.value.msg + caught.value.next_step


SECRET = st.text(alphabet="abcXYZ019:/@?%&=+~!*()[]{}|;,.<>^äß", min_size=1, max_size=20)


@given(SECRET, st.sampled_from(["", "'", '"']))
def test_what_is_written_is_read_again_in_the_quotes_that_were_there(secret: str, quote: str) -> None:
    one = credential(**PAIR)
    raw: dict[str, str | None] = {"URL": f"{quote}postgres://app_a:old@db/shop{quote}", "USER": f"{quote}app_a{quote}"}
    made = credentials.new_values(one, raw, secret, "app_b")
    text = environment_file.set_variables("URL=x\nexport USER=y\n", made)
    again = environment_file.raw_values(text, ["URL", "USER"])
    assert credentials.place_of(one, credentials.plain_values(again))[:2] == ("app_b", secret)
    assert "export USER=" in text
    assert all(line.count(quote) == 2 for line in text.splitlines()) or not quote


@pytest.mark.parametrize("secret", ["a b", "a'b", 'a"b', "a$b", "a#b", "a\\b", "a`b", "a\x00b"])
def test_a_value_that_cannot_be_written_is_refused_and_not_shown(secret: str) -> None:
    one = credential(name="x", kind="command", argv=["x"], env_keys=["KEY"])
    with pytest.raises(RollbackError, match="KEY") as caught:
        credentials.new_values(one, {"KEY": "old"}, secret, "")
    assert secret not in caught.value.msg + caught.value.next_step


# --- notes ------------------------------------------------------------------------------------------------------------


def test_notes_are_private_and_forgotten_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "credentials"
    book = credentials.Book(str(folder))
    book.pending["database"] = credentials.Note(new="n", old="o", verifiers={"app": None}, values={"URL": "n"})
    book.keep("first")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, book.pending_file)]
    assert modes == [0o700, 0o600]
    again = credentials.Book(str(folder))
    assert (again.rotation, again.pending) == ("first", book.pending)
    again.finish(["database"], "now")
    last = credentials.Book(str(folder))
    assert (last.pending, last.done) == ({}, {"database": {"rotation": "first", "at": "now"}})
    assert [path.name for path in folder.iterdir()] == ["done.json"]


def test_notes_that_cannot_be_read_or_kept_are_never_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    (folder / "pending.json").write_text('{"rotation": "first", "credentials": {"database": {"new"')
    with pytest.raises(RollbackError, match="cannot be read"):
        credentials.Book(str(folder))
    (folder / "pending.json").unlink()
    book = credentials.Book(str(folder))
    folder.chmod(0o750)
    with pytest.raises(RollbackError, match="open to others"):
        book.keep("first")
    assert list(folder.iterdir()) == []


def test_a_rotation_of_the_file_alone(tmp_path: Path) -> None:
    """Without any server: what is in the file changes, once under one name, and can be put back."""
    file = tmp_path / ".env"
    file.write_text("A=old\n# kept\nSESSION_SECRET='old' \n")
    given: list[dict[str, Any]] = [
        {"name": "sessions", "kind": "env", "env_keys": ["SESSION_SECRET"]},
        {"name": "x", "kind": "manual"},
    ]

    def call(state: str, rotation: str = "first", *, check: bool = False) -> dict[str, Any]:
        request = credential_rotation.Request(
            credentials.from_options(given, has_postgres=False), str(file), str(tmp_path / "notes"), rotation, "shop",
            None, "", "", lambda: pytest.fail("no server is asked"),
        )  # fmt: skip
        return credential_rotation.rotate(request, state, check=check)

    before = file.read_text()
    assert (call("changed", check=True)["changed"], file.read_text()) == (True, before)
    assert not (tmp_path / "notes").exists()
    assert call("changed")["changed"] is True
    once = file.read_text()
    assert call("changed")["credentials"][0]["action"] == "go on"
    assert file.read_text() == once != before
    assert call("put_back")["changed"] is True
    assert environment_file.read_variables(file.read_text(), ["SESSION_SECRET"]) == {"SESSION_SECRET": "old"}
    call("changed")
    told = call("finished")
    assert told["credentials"][0]["works"]["verdict"] == "passed"
    assert told["credentials"][0]["refused"]["verdict"] == "inconclusive"
    after = file.read_text()
    assert (call("changed")["changed"], file.read_text()) == (False, after)
    assert (call("changed", "second")["changed"], file.read_text() == after) == (True, False)
    file.write_text(file.read_text().replace("SESSION_SECRET=", "SESSION_SECRET=y"))
    with pytest.raises(RollbackError, match="does not hold the new value"):
        call("finished", "second")
