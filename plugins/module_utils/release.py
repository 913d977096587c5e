# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of releases: ``v1.0.2`` and ``1.0.2`` are one release; what an operator types is checked here, once."""

from __future__ import annotations

import re

from .errors import RollbackError

# A letter or a digit first, so that no name can be an option; no slash and no "..", so that none can be a path.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_+-]|\.(?!\.)){0,126}")
_NUMBER = re.compile(r"[vV](?=[0-9])")


def parse_release(version: str, option: str = "version") -> str:
    """Return the name of a release as typed, without surrounding blanks.

    Raises ``RollbackError`` for an empty name and for one that looks like an option, a path or a Git expression.
    """
    name = version.strip()
    if not name:
        raise RollbackError(
            f"The option {option} is empty. Nothing was changed.",
            f"Name the release to roll back to, for example -e {option}=v1.0.2.",
        )
    if not _NAME.fullmatch(name) or name.endswith((".", ".lock")):
        raise RollbackError(
            f"{option}={name!r} is not the name of a release. Nothing was changed.",
            "Give a tag such as v1.0.2 or 1.0.2: letters, digits, '.', '_', '+' and '-', starting with a letter or "
            "digit, at most 127 characters.",
        )
    return name


def release_number(name: str) -> str:
    """Return the number of a release: ``1.0.2`` for ``v1.0.2`` and for ``1.0.2``."""
    return _NUMBER.sub("", name, count=1) if _NUMBER.match(name) else name


def same_release(one: str, other: str) -> bool:
    """Tell whether two names are names of one release. A leading ``v`` before a digit makes no difference."""
    return release_number(one.strip()) == release_number(other.strip())


def tag_names(name: str) -> list[str]:
    """Return the tags that may name a release, the typed one first."""
    number = release_number(name)
    if not number[:1].isdigit():
        return [name]
    return list(dict.fromkeys([name, f"v{number}", number]))


def is_release(name: str) -> bool:
    """Tell whether ``parse_release`` would take this name as it is."""
    try:
        return parse_release(name) == name
    except RollbackError:
        return False


def version_order(name: str) -> tuple[list[tuple[int, int, str]], bool, list[tuple[int, int, str]]]:
    """Return a key that sorts releases: ``1.0.9`` before ``1.0.10``, ``1.0.2-rc1`` before ``1.0.2``."""
    main, _dash, early = release_number(name).partition("+")[0].partition("-")
    return _parts(main), not early, _parts(early)


def _parts(text: str) -> list[tuple[int, int, str]]:
    """Split into numbers and words; a number counts more than a word in the same place."""
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"[0-9]+|[^0-9.]+", text)]
