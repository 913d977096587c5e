# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SHA-256 sum of a file of any size."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_CHUNK = 1 << 20


def sha256_of(file: BinaryIO) -> str:
    """Return the sum of what is left to read of a file, in hexadecimal digits; raises ``OSError``."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
