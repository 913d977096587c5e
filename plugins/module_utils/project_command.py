# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own scripts: run without a shell, within a time limit, their failure a warning or a stop."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import RollbackError
from .waiter import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]

OUTPUT_LIMIT = 4000
# A script that prints its settings must not put their secrets on the screen and into the journal.
_SECRET = re.compile(
    r"""(?ix)( [\w.-]* (?:password|passwd|secret|token|api_?key|private_?key|credential) [\w.-]* ["']? \s* [=:] \s* )
    (?: "[^"\n]*" | '[^'\n]*' | \S+ )"""
)
_URL_SECRET = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)")
# timeout(1) returns 124 when the limit ended the command, 137 when only SIGKILL did.
_LIMIT_CODES = frozenset({124, 137, -9})
# Where a name without a slash is looked for, when the environment does not say.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Command(NamedTuple):
    """A command of the project, as it is run."""

    name: str
    argv: list[str]
    directory: str | None
    timeout: float
    on_failure: str
    environment: dict[str, str]


def plan(options: dict[str, Any]) -> list[Command]:
    """Return the commands that the options ask for; refuse wrong options."""
    environment = {str(key): str(value) for key, value in (options.get("environment") or {}).items()}
    for key, value in environment.items():
        if not key or "=" in key or "\0" in key + value:
            raise _refused("environment", key, "names without '=' and values without NUL characters")
    return [_planned(one, options, environment) for one in options["commands"]]


def _planned(one: dict[str, Any], options: dict[str, Any], environment: dict[str, str]) -> Command:
    argv = [str(word) for word in one["argv"]]
    if not argv or not argv[0].strip():
        raise _refused("argv", argv, "the command and its arguments as a list")
    if any("\0" in word for word in argv):
        raise _refused("argv", argv, "words without NUL characters")
    limit = one.get("timeout")
    timeout = checked_seconds(options.get("timeout", 60) if limit is None else limit, "timeout", 0.1)
    on_failure = one.get("on_failure") or options.get("on_failure", "warn")
    name = one.get("name") or os.path.basename(argv[0])  # noqa: PTH119 - of the managed host
    return Command(name, argv, options.get("chdir"), timeout, on_failure, environment)


def located(command: Command) -> tuple[str, str]:
    """Return the file that a command runs, and why it cannot be run, or an empty reason."""
    if command.directory is not None and not os.path.isdir(command.directory):  # noqa: PTH112 - of the managed host
        return "", f"the directory {command.directory} does not exist"
    first = command.argv[0]
    if "/" not in first:
        path = command.environment.get("PATH") or os.environ.get("PATH") or _DEFAULT_PATH
        found = shutil.which(first, path=path)
        return found or "", "" if found else f"{first} is not found in PATH"
    file = os.path.abspath(os.path.join(command.directory or "", first))  # noqa: PTH100, PTH118
    if not os.path.exists(file):  # noqa: PTH110
        return file, f"{file} does not exist"
    if not os.path.isfile(file):  # noqa: PTH113
        return file, f"{file} is not a file"
    return file, "" if os.access(file, os.X_OK) else f"{file} is not executable"


def project_command(options: dict[str, Any], run: Run, *, check: bool = False) -> dict[str, Any]:
    """Run commands of the project, one after the other; with ``check`` only say whether they could be run.

    All are run, also after one that failed. Raises ``RollbackError`` when one failed whose ``on_failure`` is ``stop``.
    """
    commands = plan(options)
    results = [_result(one, run, check) for one in commands]
    told = [(one, f"The project's command {one.name} failed: {result['reason']}.")
            for one, result in zip(commands, results) if result["reason"]]  # fmt: skip
    facts = {"changed": any(result["changed"] for result in results), "results": results}
    stops = [words for one, words in told if one.on_failure == "stop"]
    if stops:
        raise RollbackError(
            " ".join([*stops, "Nothing after these commands was done."]),
            "Repair it or run it by hand, then start again. If the run may go on without it, set on_failure to warn.",
            **facts,
        )
    goes_on = "The run goes on, because on_failure is warn. Run it by hand if need be."
    return {**facts, **({"warnings": [f"{words} {goes_on}" for _one, words in told]} if told else {})}


def _result(command: Command, run: Run, check: bool) -> dict[str, Any]:  # noqa: FBT001
    file, reason = located(command)
    facts: dict[str, Any] = {
        "changed": not reason, "name": command.name, "rc": None, "stdout": "", "stderr": "", "seconds": 0.0,
        "timed_out": False, "verdict": "failed" if reason else "passed", "reason": reason,
    }  # fmt: skip
    if not reason and not check:
        facts.update(carried_out(command, file, run))
        facts["reason"] = why_failed(facts, command.timeout)
    return facts


def carried_out(command: Command, file: str, run: Run) -> dict[str, Any]:
    """Run the command and return what it did."""
    started = time.monotonic()
    code, out, err = run(
        [file, *command.argv[1:]], cwd=command.directory, environment=command.environment, timeout=command.timeout
    )
    seconds = time.monotonic() - started
    timed_out = code in _LIMIT_CODES and seconds >= command.timeout
    return {
        "rc": code, "stdout": tail(out), "stderr": tail(err), "seconds": round(seconds, 3), "timed_out": timed_out,
        "verdict": "failed" if code else "passed",
    }  # fmt: skip


def tail(text: str) -> str:
    """Return the last characters of an output without secrets, as text that can be written as JSON."""
    shown = without_secrets(text[-2 * OUTPUT_LIMIT :])
    return shown[-OUTPUT_LIMIT:].encode("utf-8", "backslashreplace").decode("utf-8")


def without_secrets(text: str) -> str:
    """Return a text in which values whose name tells that they are secret are not shown."""
    return _URL_SECRET.sub(r"\1not shown", _SECRET.sub(r"\1not shown", text))


def why_failed(facts: dict[str, Any], timeout: float) -> str:
    """Return in words why a command that ran has failed, or an empty text."""
    if facts["timed_out"]:
        return f"it was ended after its limit of {timeout:g} seconds"
    if facts["rc"] in {126, 127} and facts["stderr"].startswith("timeout: "):
        return str(facts["stderr"]).strip()
    if facts["rc"]:
        said = facts["stderr"].strip() or facts["stdout"].strip()
        return f"it returned {facts['rc']}" + (f" and said: {said.splitlines()[-1][:200]}" if said else "")
    return ""


def command_checks(results: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of commands as checks. One that was not run has not passed.

    ``asked`` are the options of each: what its failure means, and its limit.
    """
    return [_check(result, options) for result, options in zip(results, asked)]


def _check(result: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    ran = result.get("rc") is not None
    good = "it returned 0" if ran else "not run"
    limit = f"returns 0 within {options.get('timeout', 300)} s"
    return {
        "name": str(result.get("name", "")), "kind": "command", "expected": limit, "limit": limit,
        "seen": str(result.get("reason") or good), "seconds": result.get("seconds", 0.0), "attempts": int(ran),
        "verdict": result.get("verdict", "inconclusive") if ran or result.get("reason") else "inconclusive",
        "decides": options.get("on_failure", "stop") == "stop",
    }  # fmt: skip


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was run.", f"Give {accepted}.")
