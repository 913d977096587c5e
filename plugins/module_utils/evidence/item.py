# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thing to take: where it comes from, which file it becomes, and why it could not be taken."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from ..http_probe import printable
from ..project_command import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TAKEN, CUT, REFUSED, MISSING = "taken", "cut", "refused", "missing"
CHUNK = 1 << 16
_NAME_LIMIT = 120


@dataclass(frozen=True)
class Item:
    """One thing to take.

    ``group`` is the value of the option ``items`` that asks for it. ``name`` is its file below the directory, and tells
    it from all others. ``what`` and ``by`` stand in the manifest: what it is, and which command or API gives it.
    ``chunks`` begins to read it. ``estimate`` is about how many bytes it takes. With ``both_ends`` its beginning and
    its end are kept when it is longer than the limit, else the beginning alone.
    """

    group: str
    name: str
    what: str
    by: str
    chunks: Callable[[], Iterable[bytes]]
    estimate: int = 1 << 14
    both_ends: bool = False


class NotTaken(Exception):  # noqa: N818 - no error: what is refused or missing is a finding
    """Something that is refused or missing, and why in one line without secrets. What was read before is kept."""

    def __init__(self, verdict: str, why: str) -> None:
        """Keep the verdict and the reason."""
        super().__init__(why)
        self.verdict = verdict
        self.why = printable(without_secrets(" ".join(why.split())))


def refused_option(option: str, value: object, accepted: str) -> RollbackError:
    """Return the error for an option that is not accepted."""
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was taken and nothing was changed.", f"Give {accepted}."
    )


def file_name(text: str) -> str:
    """Return a text as the name of a file: without slashes, not hidden."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:_NAME_LIMIT].lstrip(".") or "_"


def json_line(value: dict[str, Any]) -> bytes:
    """Return a line of a file of JSON lines; names that are no UTF-8 are escaped."""
    return json.dumps(value, default=str).encode() + b"\n"
