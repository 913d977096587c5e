# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library that decodes gzip and zlib data: isal where it is installed, else the one of Python."""

from __future__ import annotations

import importlib
import zlib
from typing import Any

try:  # three times faster than zlib; the result is the same
    library: Any = importlib.import_module("isal.isal_zlib")
except ImportError:
    library = zlib

ERRORS: tuple[type[Exception], ...] = (zlib.error, library.error)


def decompressor(window: int) -> Any:
    """Return a decoder with the methods of ``zlib.decompressobj``; ``window`` is its ``wbits``."""
    return library.decompressobj(wbits=window)
