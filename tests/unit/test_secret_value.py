# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret is replaced where it stands, alone or inside a URL, and nothing else changes."""

from __future__ import annotations

import sys
import time
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import secret_value
from ansible_collections.usdx.rollback.plugins.module_utils.environment_file import check_variables
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(alphabet="abcXYZ019:/@?#%&=+ äß€'\"$", min_size=1, max_size=16)


@pytest.mark.parametrize(
    ("value", "user", "secret", "after"),
    [
        ("postgres://usdx:old@db:5432/app?sslmode=require", "usdx", "old", "postgres://usdx:N%2F%40@db:5432/app?sslmode=require"),
        ("postgres://usdx:o%40l%2Fd@db/app", "usdx", "o@l/d", "postgres://usdx:N%2F%40@db/app"),
        ("postgres://usdx:o@ld@db/app", "usdx", "o@ld", "postgres://usdx:N%2F%40@db/app"),
        ("postgres://usdx:a:b@db1,db2:5433/app", "usdx", "a:b", "postgres://usdx:N%2F%40@db1,db2:5433/app"),
        ("postgres://usdx@db/app", "usdx", None, "postgres://usdx:N%2F%40@db/app"),
        ("redis://redis:6379/0", "", None, "redis://:N%2F%40@redis:6379/0"),
        ("redis://:old@redis", "", "old", "redis://:N%2F%40@redis"),
        ("jdbc:postgresql://db/app?user=usdx&password=old&ssl=true", "usdx", "old",
         "jdbc:postgresql://db/app?user=usdx&password=N%2F%40&ssl=true"),
        ("postgres://[::1]:5432/app?password=o%20d#x", "", "o d", "postgres://[::1]:5432/app?password=N%2F%40#x"),
        ("old", "", "old", "N/@"),
        ("", "", None, "N/@"),
    ],
)  # fmt: skip
def test_known_forms(value: str, user: str, secret: str | None, after: str) -> None:
    assert secret_value.read(value)[:2] == (user, secret)
    assert secret_value.replaced(value, "N/@") == after
    assert secret_value.read(secret_value.replaced(value, "N/@"))[:2] == (user, "N/@")


@given(TEXT, TEXT, TEXT, TEXT)
def test_what_is_put_into_a_url_is_read_from_it_and_the_rest_stays(old: str, new: str, user: str, other: str) -> None:
    value = secret_value.replaced("postgres://db:5432/app?x=1", old, user)
    assert secret_value.read(value)[:2] == (user, old)
    once = secret_value.replaced(value, new, other)
    parts = urlsplit(once)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (other, new)
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("db", 5432, "/app", "x=1")
    assert secret_value.replaced(once, old, user) == value
    assert once.isascii()
    assert not set(once) & set(" '\"$\\`"), "whatever the secret is, the line needs no quotes"


def test_only_the_user_in_a_query_changes_with_its_password() -> None:
    after = secret_value.replaced("jdbc:postgresql://db/app?password=a&user=app_a", "n", "app_b")
    assert after == "jdbc:postgresql://db/app?password=n&user=app_b"


def test_keywords_are_refused_without_the_value() -> None:
    with pytest.raises(RollbackError, match="DSN") as caught:
        secret_value.check_value("DSN", "host=db user=usdx password=s3cr3t")
    assert "s3cr3t" not in caught.value.msg + caught.value.next_step


@given(st.sampled_from(sorted(secret_value.ALPHABETS)), st.integers(secret_value.LEAST_LENGTH, 80))
def test_new_secrets_have_their_length_and_alphabet_and_are_new(alphabet: str, length: int) -> None:
    one, two = (secret_value.generate(length, alphabet) for _time in range(2))
    assert len(one) == length
    assert set(one) <= set(secret_value.ALPHABETS[alphabet])
    assert one != two
    check_variables({"KEY": one})


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_command_gives_one_line() -> None:
    assert secret_value.from_command("key", python("print(' a b ')"), None, 10) == "a b"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('s3cr3t'); raise SystemExit(3)", "returned 3"),
        ("print()", "one line"),
        ("print('s3cr3t\\ns3cr3t')", "one line"),
        ("print('s3cr3t\\x1b[31m')", "one line"),
        ("import sys; sys.stdout.buffer.write(b's3cr3t' * 10**7)", "more than 4096"),
        ("import sys; sys.stderr.write('s3cr3t'); raise SystemExit(1)", "returned 1"),
    ],
)
def test_a_command_that_gives_none_is_refused_and_nothing_of_it_is_shown(text: str, why: str) -> None:
    with pytest.raises(RollbackError, match=why) as caught:
        secret_value.from_command("key", python(text), None, 10)
    assert "s3cr3t" not in caught.value.msg + caught.value.next_step + str(caught.value.__cause__)


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    began = time.monotonic()
    script = ["sh", "-c", "sleep 60 & wait"]
    with pytest.raises(RollbackError, match="too long"):
        secret_value.from_command("key", script, None, 0.5)
    assert time.monotonic() - began < 10


def test_a_command_that_is_not_there_is_refused() -> None:
    with pytest.raises(RollbackError, match="cannot be run"):
        secret_value.from_command("key", ["/nowhere/at/all"], None, 1)
