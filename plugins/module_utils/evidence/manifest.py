# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: every file with its sum, what it is, when and how it was taken; written once, checked ever after."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..digest import sha256_of
from ..errors import RollbackError
from ..journal import stamp, utc_now
from ..whole_file import write_whole
from . import ledger
from .item import TAKEN
from .store import MANIFEST, TEMPORARY, Store, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FORMAT = "usdx.rollback.evidence"
_LIMIT = 64 << 20  # bytes of a manifest that are read
_FILE, _DIRECTORY = 0o400, 0o500
_UNKNOWN = "not recorded as whole: left by an attempt that was cut off, or put there by somebody"


def seal(store: Store, brought: Mapping[str, Mapping[str, str]], facts: dict[str, Any]) -> None:
    """Write the manifest, and take away every right to change what is in the directory.

    ``brought`` describes files that others have put there, by name: ``what`` and ``by``. ``facts`` stand at the top.
    """
    directory = store.directory
    try:
        for path in directory.glob(f"{TEMPORARY}*"):  # of a seal that was killed
            path.unlink()
        known = {**brought, ledger.NAME: {"what": "the order in which all this was taken", "by": "usdx.rollback"}}
        content = {
            _FORMAT: 1, **facts,
            "started": store.ledger.attempts[0]["at"], "ended": stamp(utc_now()), "attempts": store.ledger.attempts,
            "files": [_entry(directory, name, store.ledger.files, known) for name in sorted(_names(directory))],
            "not_taken": not_taken(store),
        }  # fmt: skip
        write_whole(directory / MANIFEST, json.dumps(content, indent=1) + "\n", _FILE)
        make_read_only(directory)
    except OSError as error:
        raise unusable(directory, error) from error


def not_taken(store: Store) -> list[dict[str, str]]:
    """Return what was refused, missing or cut, and why."""
    lines = [line for line in store.ledger.items.values() if line["verdict"] != TAKEN]
    return [{key: line[key] for key in ("item", "what", "verdict", "why")} for line in lines]


def _names(directory: Path) -> Iterator[str]:
    """Yield the names of all files below a directory; a link is not followed."""
    for folder, _folders, files in os.walk(directory):
        for name in files:
            yield str(Path(folder, name).relative_to(directory))


def _entry(
    directory: Path, name: str, taken: Mapping[str, Mapping[str, Any]], known: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return what the manifest says of a file; the sum of one that we did not write is made now."""
    line = taken.get(name)
    if line:
        keys = ("name", "bytes", "sha256", "what", "by", "from", "until", "verdict", "why")
        return {key: line[key] for key in keys}
    told = known.get(name, {"what": _UNKNOWN, "by": ""})
    path, until = directory / name, stamp(utc_now())
    facts = path.lstat()
    entry = {"name": name, "bytes": facts.st_size, "sha256": "", **told, "from": "", "until": until}
    if not stat.S_ISREG(facts.st_mode):
        return {**entry, "what": f"{told['what']}; no regular file", "verdict": "listed", "why": ""}
    return {**entry, "sha256": sum_of(path), "verdict": "found", "why": ""}


def make_read_only(directory: Path) -> bool:
    """Take away every right but that of the owner to read; tell whether there was another one."""
    changed = False
    for folder, _folders, files in os.walk(directory, topdown=False):
        for name in files:
            changed = _set_mode(Path(folder, name), _FILE) or changed
        changed = _set_mode(Path(folder), _DIRECTORY) or changed
    return changed


def _set_mode(path: Path, mode: int) -> bool:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode) or stat.S_IMODE(facts.st_mode) == mode:
        return False
    path.chmod(mode)
    return True


def sum_of(path: Path) -> str:
    """Return the sha256 sum of a file."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return sha256_of(file)


def read(directory: Path) -> dict[str, Any]:
    """Return the manifest of a directory, with ``sha256``, its own sum; refuse one that is none."""
    path = directory / MANIFEST
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            content = file.read(_LIMIT)
        told = _parsed(content)
    except FileNotFoundError as error:
        raise RollbackError(
            f"{directory} holds no {MANIFEST}: it is no evidence, or its capture has not ended. Nothing was changed.",
            "Name the directory of a sealed capture, or seal it: call again with state=sealed.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RollbackError(
            f"{path} cannot be read as a manifest: {error}. Nothing was changed.",
            "It was altered or damaged. Compare it with a copy, by the sum that the journal of the run holds.",
        ) from error
    return {**told, "sha256": hashlib.sha256(content).hexdigest()}


def _parsed(content: bytes) -> dict[str, Any]:
    """Return a manifest; raise ``ValueError``, ``KeyError`` or ``TypeError`` for what is none."""
    told: dict[str, Any] = json.loads(content)
    names = [PurePosixPath(one["name"]) for one in told["files"]]
    if told[_FORMAT] != 1 or any(name.is_absolute() or ".." in name.parts for name in names):
        raise ValueError("it has another format")
    for one in told["files"]:
        _sum, _size = str(one["sha256"]), int(one["bytes"])
    return told


def verify(directory: Path, told: dict[str, Any], expected: str = "") -> None:
    """Compare every file with the manifest; refuse what differs, by name. ``expected`` is the manifest's own sum."""
    if expected and told["sha256"] != expected:
        raise RollbackError(
            f"The manifest of {directory} is not the one that was sealed: its sum is {told['sha256']}, and it should "
            f"be {expected}. Nothing was changed.",
            "Compare manifest_sha256 with the journal of the run. If it is right, the evidence was altered.",
            directory=str(directory), manifest_sha256=told["sha256"],
        )  # fmt: skip
    files = {one["name"]: one for one in told["files"]}
    there = set(_names(directory)) - {MANIFEST}
    missing = sorted(set(files) - there)
    extra = sorted(name for name in there - set(files) if not name.startswith(TEMPORARY))
    damaged = sorted(name for name in set(files) & there if _differs(directory / name, files[name]))
    if not (missing or extra or damaged):
        return
    wrong = (("damaged", damaged), ("missing", missing), ("not of it", extra))
    found = [f"{what}: {', '.join(names)}" for what, names in wrong if names]
    raise RollbackError(
        f"The evidence in {directory} is not as it was sealed. {'; '.join(found)}. Nothing was changed.",
        "Keep it as it is, and use a copy that verifies. The other files are as they were.",
        directory=str(directory), manifest_sha256=told["sha256"], damaged=damaged, missing=missing, extra=extra,
    )  # fmt: skip


def _differs(path: Path, entry: dict[str, Any]) -> bool:
    if not entry["sha256"]:  # no regular file
        return False
    try:
        return path.lstat().st_size != entry["bytes"] or sum_of(path) != str(entry["sha256"])
    except OSError:
        return True
