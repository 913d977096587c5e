# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed directory as one encrypted archive, for whoever holds the private key. Only the public one is needed here.

A receipt beside the archive says which file is whole; it is written when that is on the disk, and only then the plain
copy goes. So a kill at any moment leaves one of the two whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import RollbackError
from ..http_probe import printable
from ..process import started
from ..whole_file import write_whole
from .command import search_path
from .host import open_untouched
from .item import NotTaken, refused_option
from .manifest import sum_of
from .store import MANIFEST, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = {"age": ".tar.age", "gpg": ".tar.gpg"}
_PRIVATE = (b"AGE-SECRET-KEY-", b"PRIVATE KEY")
_KEY_LIMIT = 1 << 20
_SECONDS = 30.0
_READ_ONLY = 0o400


def receipt_path(directory: Path) -> Path:
    """Return where the receipt of a directory lies: beside it."""
    return directory.with_name(f"{directory.name}.receipt.json")


def receipt_of(directory: Path) -> dict[str, Any] | None:
    """Return the receipt of a directory that was encrypted, or nothing."""
    path = receipt_path(directory)
    try:
        told: dict[str, Any] = json.loads(path.read_bytes()[:_KEY_LIMIT])
        return {**told, "path": str(path.with_name(Path(told["name"]).name))}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RollbackError(
            f"{path} cannot be read as the receipt of encrypted evidence: {error}. Nothing was changed.",
            "Look at it, and at the encrypted file beside it.",
        ) from error


def refuse_key(tool: str, key: str) -> None:
    """Refuse a tool or a public key with which nothing can be encrypted here, before anything is taken."""
    option = "encrypt.public_key"
    if shutil.which(tool, path=search_path()) is None:
        raise RollbackError(
            f"encrypt.tool={tool!r}, but the command {tool} is not on this host. Nothing was taken.",
            f"Install it there: apt-get install {'gnupg' if tool == 'gpg' else tool}. Or choose the other one.",
        )
    try:
        with os.fdopen(open_untouched(key), "rb") as file:
            content = file.read(_KEY_LIMIT)
    except (OSError, NotTaken) as error:
        raise refused_option(option, key, f"a file on the managed host that can be read ({error})") from error
    if any(mark in content for mark in _PRIVATE):
        raise refused_option(option, key, "the public key. This file holds a private one, keep it away from this host")
    with tempfile.TemporaryFile() as nowhere, _running(tool, key, nowhere) as running:
        with suppress(BrokenPipeError):
            running.into.write(b"trial")
        why = running.why_failed(_SECONDS)
    if why:
        raise refused_option(option, key, f"a public key that {tool} can encrypt to ({why})")


def encrypt(directory: Path, told: dict[str, Any], tool: str, key: str) -> dict[str, Any]:
    """Encrypt a sealed directory whose manifest says ``told``, write the receipt, remove the plain copy."""
    target = _free(directory, _SUFFIXES[tool])
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            _write(directory, told, tool, key, file)
            os.fsync(descriptor)
            os.fchmod(descriptor, _READ_ONLY)
        receipt = {
            "name": target.name, "sha256": sum_of(target), "bytes": target.stat().st_size, "tool": tool,
            "manifest_sha256": told["sha256"], "files": len(told["files"]),
            "plain_bytes": sum(one["bytes"] for one in told["files"]),
        }  # fmt: skip
        write_whole(receipt_path(directory), json.dumps(receipt, indent=1) + "\n", _READ_ONLY)
        _sync(directory.parent)
    except OSError as error:
        raise unusable(target, error) from error
    remove_plain(directory)
    return {**receipt, "path": str(target)}


def remove_plain(directory: Path) -> bool:
    """Remove the plain copy, as far as it is there; tell whether it was."""
    if not directory.exists():
        return False
    try:
        for folder, _folders, _files in os.walk(directory):
            Path(folder).chmod(0o700)
        shutil.rmtree(directory)
    except OSError as error:
        raise unusable(directory, error) from error
    return True


def verify_encrypted(receipt: dict[str, Any], expected: str = "") -> None:
    """Compare an encrypted archive with its receipt; refuse what differs, by name."""
    path, name = Path(receipt["path"]), receipt["name"]
    if expected and expected != receipt["manifest_sha256"]:
        why = f"it was made of the manifest {receipt['manifest_sha256']}, and that should be {expected}"
    elif not path.exists():
        why = "it is missing"
    elif path.stat().st_size != receipt["bytes"] or sum_of(path) != receipt["sha256"]:
        why = "it is damaged"
    else:
        return
    raise RollbackError(
        f"The encrypted evidence {path} is not as it was made: {why}. Nothing was changed.",
        "Keep it as it is, and use a copy that verifies.",
        damaged=[name] if path.exists() else [], missing=[] if path.exists() else [name], extra=[],
    )  # fmt: skip


def _write(directory: Path, told: dict[str, Any], tool: str, key: str, file: IO[bytes]) -> None:
    """Stream the directory through the tool into a file."""
    why = ""
    with _running(tool, key, file) as running:
        try:
            _archive(directory, told, running.into)
        except BrokenPipeError:
            why = "it ended before it had taken everything"
        why = running.why_failed(None) or why
    if why:
        raise RollbackError(
            f"{tool} has not encrypted {directory}: {why}. The plain copy is whole and sealed; what was written of the "
            "encrypted one is worthless.",
            "Mend that and call again: it encrypts anew.",
            directory=str(directory), manifest_sha256=told["sha256"],
        )  # fmt: skip


def _archive(directory: Path, told: dict[str, Any], into: IO[bytes]) -> None:
    """Write the directory as a tar archive, and compare every file with the manifest on the way."""
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in [{"name": MANIFEST, "sha256": told["sha256"]}, *told["files"]]:
            path = directory / entry["name"]
            member = archive.gettarinfo(str(path), f"{directory.name}/{entry['name']}")
            if not member.isreg():
                archive.addfile(member)
                continue
            with path.open("rb") as file:
                summed = _Summed(file)
                archive.addfile(member, summed)
            if summed.sha256 != entry["sha256"]:
                raise RollbackError(
                    f"{path} was altered since it was sealed. The plain copy stays, and is not encrypted.",
                    "Keep it as it is, and find out who writes there.",
                    directory=str(directory), damaged=[entry["name"]],
                )  # fmt: skip


class _Summed:
    """A file that is read, and the sum of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sum.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


@dataclass(frozen=True)
class _Running:
    """The tool at work: what is written to it, and what it complains of."""

    process: subprocess.Popen[bytes]
    into: IO[bytes]
    errors: IO[bytes]

    def why_failed(self, seconds: float | None) -> str:
        """End its input, wait for its end, and return why it has failed, or nothing."""
        try:
            with suppress(BrokenPipeError):
                self.into.close()
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return "it does not end"
        self.errors.seek(0)
        said = self.errors.read(1000).decode("utf-8", "replace").strip().splitlines()
        return f"it returned {code}: {printable(said[-1] if said else 'it said nothing')}" if code else ""


@contextmanager
def _running(tool: str, key: str, output: IO[bytes]) -> Iterator[_Running]:
    """Run the tool, and end it with the block."""
    with tempfile.TemporaryDirectory(prefix="usdx-rollback-") as home, tempfile.TemporaryFile() as errors:
        # The key ring of the user is neither read nor written, and no agent is started.
        gpg = ["gpg", "--homedir", home, "--no-options", "--batch", "--no-tty", "--no-autostart", "--trust-model",
               "always", "--recipient-file", key, "--encrypt", "--output", "-"]  # fmt: skip
        argv = gpg if tool == "gpg" else ["age", "--encrypt", "--recipients-file", key]
        process = started(
            argv, stdin=subprocess.PIPE, stdout=output, stderr=errors, env={**os.environ, "PATH": search_path()}
        )
        if process.stdin is None:
            raise ValueError("a process without an input")
        try:
            yield _Running(process, process.stdin, errors)
        finally:
            if process.poll() is None:
                process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()


def _free(directory: Path, suffix: str) -> Path:
    """Return a name beside the directory that nothing has; a cut-off attempt may have left one behind."""
    names = (f"{directory.name}{f'.{number}' if number > 1 else ''}{suffix}" for number in range(1, 1000))
    return next(path for path in map(directory.with_name, names) if not os.path.lexists(path))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
