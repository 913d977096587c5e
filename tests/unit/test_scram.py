# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM verifiers are those that Postgres makes. Real servers judge in the integration tests."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import scram
from hypothesis import given, settings
from hypothesis import strategies as st

# Stored by PostgreSQL 15.18 for: CREATE ROLE r LOGIN PASSWORD '...'
STORED = {
    "secret": "5Fx2Khf872E1HyLr2ASn7A==$"
    "l+vokpgvCPai9TpjYigwUdgK+YVm26ZzTHkBTRWe6To=:"
    "Rg/TF7jUivB4HrkbwSEcKcsKQB5XU8KwveWsTXuCTAQ=",
    "p\xe4 ss\xa0w\xf6rd": "GCy9XipgxGJwYBOvsX/K8w==$"
    "//Vo+J3ziRPIoKqmn+r3H+8NZ9xd41YYrUp0GteCDvU=:"
    "irsR3N+sZ5+QdpvdE5eYm2xw+9/1XIZTtd9tAibd7Bc=",
    "I\xadX": "6nL+L4zPGKO0puhwqpiipw==$"
    "CAxtG97WrZDmo7Szqr+ykfTsO8Cpq1kDR0crVgjm/FY=:"
    "2aFtFYrRqulixauFkTEC5tNzvJkBRwmNDu1+wxgB8q0=",
    "\u2168": "CoJX1xqeB8fsnsElfRFE/g==$"
    "k4oicCmeG99tJ7ERPboQKPfYdCvJE3qcDb8nnk7abeE=:"
    "B+0O3uVSS6bY0KHLzA5MqPVSCsiO7BKQfBkbXcj+6Bo=",
    "\u06271": "0Z/k4+tsEscFRKUDFpn4hQ==$"
    "rHK3wyxrz17pL8b2aYZ/y+DBmEDh3lIBnZm5gVSjyXs=:"
    "PERRISpn6i1ZtDLUDY8OJqXEcy5Rb77UAqbVp0ZJtl4=",
    "\ue000x": "eL1znUU56cCp3QtrqyUYLg==$"
    "fXMAGC1Dn564xhQx5ypfueM0r8BucDIEwdTPDJY8RxM=:"
    "6SMQtpIJl1h75edZcQSvH3ys4QG5eaVxKkNRJxz9YBA=",
    "'; DROP ROLE r --": "PBfe0PJv8a3PVgd2YRZ1eg==$"
    "NGA7J2BlgC0dUZ0CCOJFvoADMuDYAubs8RmfbFYnZwg=:"
    "SIYdYXkdzG/suqRVJJWpe4LvlpLpFUbroeNlLfHIBJ4=",
    "\u3000wide": "AvmCxKAlV9GUu+GLh2E6Ew==$"
    "wrl3RXKozdGR5n5LUSuc+5YncHtfMFvvkmvlgVI0yiA=:"
    "jAARzQprDq9CWmx/5w26dPEJMQ4+6J7DdhdTP2rPD7E=",
    "e\u0301": "LPj1yecSsfA+OxBqjCplwg==$"
    "glQdknhud99z96VySSdz2DhXT/GqTyPeInQnm6NjrTE=:"
    "cSx2tAgjuhgrrjxIGLgCelo1gm82iCJvHS1bXsOpODw=",
    "\u0627b\u0628": "mndYt0a6r1IS3RYZQKwfGw==$"
    "0yXIbjMItodQMCQ5cVdVliNTu6B8Hz5jsZat1KHv/Pc=:"
    "HZWP6/db7vO7G1KIpiQG2OpBhdAWVyEym7BbCWWmHAo=",
    "\u0378": "vGuptfv8Cv/I/g7kygCkvw==$"
    "eM4nQ3iCBEDhP4CLwlgm4TnOFsXgH5/Y78TdBCM3Q9E=:"
    "UZFgvfW41j5oI6BVYWH74Osn+3ga1C4qk8p/dNA12Bs=",
    "\U0001f600": "bZG95eDxMPdDkzjXNAkbVg==$"
    "oYCOWGKczESmfKkBhZ6J1wE/fJxSVrFuKbM3uhZnW00=:"
    "02rrIkyMprGjydFv7Qfnj60Dk1WVGuC7YHI10JsYiXw=",
    "\u06dd\u0627": "T9+RqNIZ8gYpTRXv+qXwEA==$"
    "AKUqndqWrlfPi6B+t6aZC2ROroHDi9y7Z5adPZCvUaE=:"
    "LIOfwm3qiLK61lgzzm3xGtOmwd2+RLGyVyglZvAKJBk=",
}
ROUNDS = 2  # the number of rounds changes nothing but time


@pytest.mark.parametrize("password", STORED)
def test_a_verifier_is_byte_for_byte_that_of_postgres(password: str) -> None:
    stored = f"SCRAM-SHA-256$4096:{STORED[password]}"
    salt = base64.b64decode(stored.split("$")[1].partition(":")[2])
    assert scram.verifier(password, 4096, salt) == stored
    assert scram.matches(stored, password, "r")
    assert not scram.matches(stored, password + "x", "r")


@pytest.mark.parametrize(
    ("password", "bytes_"),
    [
        ("plain", b"plain"),
        ("I\u00adX", b"IX"),  # the examples of RFC 4013 section 3
        ("\u00aa", b"a"),
        ("\u2168", b"IX"),
        ("\u0007", b"\x07"),  # ASCII is left alone, as in Postgres
        ("\u0627\u0031", "\u0627\u0031".encode()),  # prohibited: taken as it is
        ("a\u00a0b", b"a b"),
        ("\u00ad", "\u00ad".encode()),  # nothing would be left
        ("\ue000x", "\ue000x".encode()),  # private use
        ("\u0378", "\u0378".encode()),  # unassigned
    ],
)
def test_passwords_are_prepared_as_postgres_does(password: str, bytes_: bytes) -> None:
    assert scram.prepared(password) == bytes_


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text), st.text(max_size=20))
def test_a_verifier_matches_its_password_and_no_other(password: str, other: str) -> None:
    made = scram.verifier(password, ROUNDS)
    assert scram.matches(made, password, "role")
    assert scram.matches(made, other, "role") == (scram.prepared(password) == scram.prepared(other))
    assert made != scram.verifier(password, ROUNDS), "the salt is new each time"


def test_what_older_servers_stored_is_recognised_and_nonsense_is_not() -> None:
    md5 = "md5" + hashlib.md5(b"secretrole", usedforsecurity=False).hexdigest()
    assert scram.matches(md5, "secret", "role")
    assert not scram.matches(md5, "secret", "other")
    for nonsense in (None, "", "SCRAM-SHA-256$x", "SCRAM-SHA-256$4096:a$b:c", "secret"):
        assert not scram.matches(nonsense, "secret", "role")
