# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM-SHA-256 verifiers as Postgres stores them, made here so that no SQL holds a password in clear text.

The form is ``SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`` (RFC 5803, and
https://www.postgresql.org/docs/current/catalog-pg-authid.html); the keys are those of RFC 5802 section 3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata

ITERATIONS = 4096  # SCRAM_SHA_256_DEFAULT_ITERATIONS of Postgres; the setting scram_iterations exists since 16
_SALT_BYTES = 16
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
# Tables of RFC 3454 that RFC 4013 (SASLprep) section 2.3 prohibits; A.1, unassigned, is prohibited in stored strings.
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepared(password: str) -> bytes:
    """Return the bytes of a password after SASLprep (RFC 4013), as pg_saslprep() of Postgres makes them.

    Where SASLprep refuses a password, Postgres and libpq both take its bytes as they are. Like them, this looks for
    prohibited characters before it normalises.
    """
    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(one) else one for one in password if not stringprep.in_table_b1(one)
    )
    if not mapped or any(table(one) for one in mapped for table in _PROHIBITED) or not _one_direction(mapped):
        return raw
    return unicodedata.normalize("NFKC", mapped).encode()


def _one_direction(text: str) -> bool:
    """Tell whether a text keeps the rules of RFC 3454 section 6 for text that is written from right to left."""
    if not any(stringprep.in_table_d1(one) for one in text):
        return True
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(stringprep.in_table_d2(one) for one in text)


def verifier(password: str, iterations: int = ITERATIONS, salt: bytes | None = None) -> str:
    """Return a verifier for a password, with a salt of its own unless one is given."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    stored_key, server_key = _keys(prepared(password), salt, iterations)
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def matches(stored: str | None, password: str, role: str) -> bool:
    """Tell whether what the server has stored for a role is made from this password; MD5 is recognised too."""
    found = _VERIFIER.fullmatch(stored or "")
    if found:
        try:
            salt = base64.b64decode(found[2], validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(verifier(password, int(found[1]), salt), found[0])
    digest = hashlib.md5((password + role).encode("utf-8", "surrogateescape")).hexdigest()  # noqa: S324 - what Postgres stored
    return hmac.compare_digest(f"md5{digest}", stored or "")


def _keys(password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
