# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of an environment file such as ``.env``: read and set by name, every other line kept as it is.

The syntax is that of Compose, https://docs.docker.com/reference/compose-file/ (section env_file): one ``NAME=value`` a
line, ``#`` starts a comment line, ``export`` may stand before the name. Of several lines with one name the last counts.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_EXPORT = re.compile(r"\s*export\s+(?=[A-Za-z_])")
# Values that need no quotes for any reader of such files: Compose, a POSIX shell, python-dotenv.
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.,:/@%+?=-]*")


def check_variables(variables: Mapping[str, str | None]) -> None:
    """Refuse names that are no variable names, and values that could become a second line or an expression."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise RollbackError(
                f"variables: {name!r} is not the name of a variable. Nothing was changed.",
                "Use letters, digits and '_', not starting with a digit.",
            )
        if value is not None and not _PLAIN_VALUE.fullmatch(value):
            raise RollbackError(
                f"variables: the value of {name} has characters that are not accepted here. Nothing was changed.",
                "Use letters, digits and any of _ . , : / @ % + ? = - in the value.",
            )


def read_variables(text: str, names: list[str]) -> dict[str, str | None]:
    """Return the value of each name, without surrounding quotes; ``None`` where the file does not set it."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] in found:
            found[match[1]] = match[2].strip("\"'")
    return found


def raw_values(text: str, names: list[str]) -> dict[str, str | None]:
    """Return the value of each name as it is written, with its quotes; ``None`` where the file does not set it."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] in found:
            found[match[1]] = match[2]
    return found


def set_as_asked(options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Set the variables in the file, as the options of the module say it; return them as before and as after."""
    variables = {name: None if value is None else str(value) for name, value in options["variables"].items()}
    check_variables(variables)
    text = read_file(options["path"])
    before = read_variables(text, list(variables))
    changed = before != variables
    if changed and not check:
        replace_file(options["path"], set_variables(text, variables))
    return {"changed": changed, "before": before, "after": variables, "diff": {"before": before, "after": variables}}


def set_variables(text: str, variables: Mapping[str, str | None]) -> str:
    """Return the text with each variable set once: in place where it stood last, else as a new last line.

    A variable without a value is taken out, with all lines that set it.
    """
    lines = [line for line in text.splitlines(keepends=True) if not _is_taken_out(line, variables)]
    last = {match[1]: number for number, line in enumerate(lines) if (match := _LINE.fullmatch(line.rstrip("\r\n")))}
    for name, value in variables.items():
        if value is None:
            continue
        if name in last:
            line = lines[last[name]]
            ending = line[len(line.rstrip("\r\n")) :]
            lines[last[name]] = f"{_exported(line)}{name}={value}{ending}"
        else:
            if lines and not lines[-1].endswith("\n"):
                lines[-1] += "\n"
            lines.append(f"{name}={value}\n")
    return "".join(lines)


def _exported(line: str) -> str:
    match = _EXPORT.match(line)
    return match[0] if match else ""


def _is_taken_out(line: str, variables: Mapping[str, str | None]) -> bool:
    match = _LINE.fullmatch(line.rstrip("\r\n"))
    return match is not None and match[1] in variables and variables[match[1]] is None


def read_file(path: str) -> str:
    """Return the text of the file; ``RollbackError`` says why it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RollbackError(
            f"The environment file {path} cannot be read: {error}. Nothing was changed.",
            "Check the path and the rights, or leave the variables of the release empty if there is no such file.",
        ) from error


def replace_file(path: str, text: str, mode: int | None = None) -> None:
    """Replace the file at once by a new one with the same owner and group, which the disk holds already.

    It has the same mode too, unless another one is given.
    """
    target = Path(path).resolve()
    before = target.stat()
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o7777 if mode is None else mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RollbackError(
            f"The environment file {path} cannot be replaced: {error}. It is as it was.",
            "Check the free space and the rights of its folder, then run again.",
        ) from error
