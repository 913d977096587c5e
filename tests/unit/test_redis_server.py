# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: SIM117 - pylint of ansible-test does not know a name that the same line has bound
"""The protocol of Redis, also when the other side does not speak it. A real server answers in the integration tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import redis_server
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[tuple[redis_server.Place, list[bytes]]]:
    """Give a server that sends one answer to each request, then closes; and what it was sent."""
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                for answer in answers:
                    sent.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield redis_server.Place("127.0.0.1", listener.getsockname()[1]), sent


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b"+PONG\r\n", "PONG"),
        (b":12\r\n", 12),
        (b"$5\r\na\r\nbc\r\n", "a\r\nbc"),
        (b"$-1\r\n", None),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", ["a", [1]]),
        (b"*0\r\n", []),
    ],
)
def test_answers(answer: bytes, value: object) -> None:
    with answering(answer) as (place, sent):
        with place.session() as session:
            assert session.call("GET", "ä b") == value
    assert sent == [b"*2\r\n$3\r\nGET\r\n$4\r\n\xc3\xa4 b\r\n"]


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n", b"$999999999999\r\n", b"$x\r\n", b"*1\r\n" * 20, b"no line", b"-ERR no\r\n"],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with answering(answer) as (place, _sent):
        with place.session() as session, pytest.raises(redis_server.RedisError):
            session.call("PING")


@pytest.mark.parametrize(
    ("answers", "let_in"),
    [
        ((b"+OK\r\n", b"+PONG\r\n"), True),
        ((b"+OK\r\n", b"-NOPERM no permissions\r\n"), True),
        ((b"-WRONGPASS invalid\r\n",), False),
        ((b"-ERR AUTH <password> called without any password configured\r\n",), False),
    ],
)
def test_who_is_let_in(answers: tuple[bytes, ...], let_in: bool) -> None:  # noqa: FBT001
    with answering(*answers) as (place, sent):
        assert redis_server.lets_in(place, "worker", "s")[0] is let_in
    assert sent[0] == b"*3\r\n$4\r\nAUTH\r\n$6\r\nworker\r\n$1\r\ns\r\n"


@pytest.mark.parametrize("answer", [b"-LOADING Redis is loading\r\n", b"", b"garbage\r\n"])
def test_a_server_that_cannot_say_is_not_one_that_refuses(answer: bytes) -> None:
    with answering(answer) as (place, _sent), pytest.raises(RollbackError, match="does not answer"):
        redis_server.lets_in(place, "default", None)


def test_of_a_user_only_the_sum_is_sent() -> None:
    with answering(b"+OK\r\n") as (place, sent):
        with place.session() as session:
            redis_server.set_password(session, "worker", "s3cr3t")
    assert b"s3cr3t" not in sent[0]
    assert b"resetpass" in sent[0]


def test_only_sessions_from_before_and_of_the_user_are_ended() -> None:
    listed = "id=3 addr=1 user=worker\nid=9 addr=1 user=worker\nid=4 addr=1 user=default\n"
    answer = f"${len(listed)}\r\n{listed}\r\n".encode()
    with answering(answer, b":1\r\n") as (place, sent):
        with place.session() as session:
            assert redis_server.end_sessions(session, "worker", 9) == 1
    assert sent[1].endswith(b"$2\r\nID\r\n$1\r\n3\r\n")


def test_a_server_that_cannot_keep_its_password_says_so_and_is_no_failure() -> None:
    about = "# Server\r\nconfig_file:/etc/redis/redis.conf\r\n"
    answers = (
        f"${len(about)}\r\n{about}\r\n".encode(), b"*2\r\n$7\r\naclfile\r\n$6\r\n/x.acl\r\n",
        b"-ERR Rewriting config file: Read-only file system\r\n", b"+OK\r\n",
    )  # fmt: skip
    with answering(*answers) as (place, sent):
        with place.session() as session:
            kept, wrong = redis_server.persist(session)
    assert kept == "its ACL file"
    assert "Read-only" in wrong
    assert [b"REWRITE" in sent[2], b"SAVE" in sent[3]] == [True, True]
