# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The asynchronous job of a restore on its host: commands of a POSIX shell that look at it, and what they answer.

Each job has two files in the directory for asynchronous jobs: a job file, which becomes the result, and the progress
file. A small program writes the first itself; where the module is called instead, Ansible does. The name of the second
holds a key made of the arguments, and its first line the process and the job: so a later run finds a job whose
controller was killed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import uuid
from dataclasses import dataclass
from typing import Any

from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import plain_result

_PREFIX = "usdx-restore-"
_MARK = "usdx.rollback answers"  # what is printed before it comes from the login, not from the command
_PAUSE = 0.2  # seconds between two looks on the host; a result waits no longer
_GONE = 10  # looks after which a process that is gone will not write a result any more
_LOOKS_AT_FIRST, _LOOKS_LATER = 12, 25
_FIRST_SECONDS = 30
_NEVER_BEGAN = 120  # seconds; a module that has written nothing by then was killed before it could
# The secret must not be in a name; the others differ from run to run.
_NOT_COMPARED = {"login_password", "run_id", "progress_file"}
_JOB_FIELDS = (
    "ansible_job_id",
    "started",
    "finished",
    "results_file",
    "stdout",
    "stdout_lines",
    "stderr",
    "stderr_lines",
)


@dataclass(frozen=True)
class Job:
    """A job on the host; ``pid`` is that of its work, 0 as long as it is not known, ``there`` says that its file is."""

    name: str
    progress: str
    pid: int = 0
    age: float = 0.0
    there: bool = False


@dataclass(frozen=True)
class Directory:
    """What is in the directory: records of jobs by the name of their progress file, and the identity of the backup."""

    backup: str
    records: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """What one look at a job showed; ``state`` is running, died, finished or vanished."""

    state: str
    now: float
    events: list[dict[str, Any]]


# -- names -------------------------------------------------------------------------------------------------------------


def key_of(arguments: dict[str, Any], backup: str, *, check: bool) -> str:
    """Return the key of a restore: the same for the same arguments, the same file, and the same mode."""
    compared = {name: value for name, value in arguments.items() if name not in _NOT_COMPARED}
    text = json.dumps([compared, backup, check], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_progress_file(key: str) -> str:
    """Return a name that no other job has."""
    return f"{_PREFIX}{key}-{uuid.uuid4().hex}"


def new_job() -> tuple[str, list[str]]:
    """Return the name of a job file that no other job has, and the words by which its process is found again."""
    beginning = f"j{uuid.uuid4().int}"
    return f"{beginning}.1", ["pg_safe_restore", beginning]


# -- the directory -----------------------------------------------------------------------------------------------------


def directory_command(directory: str, backup: str) -> str:
    """Make the directory, private if it is new; list the backup and the records of jobs."""
    return f"""umask 077; mkdir -p {shlex.quote(directory)} && cd {shlex.quote(directory)} && [ -w . ] || exit 3
echo {shlex.quote(_MARK)}
printf '%s\\n' "$(LC_ALL=C ls -Lldin -- {shlex.quote(backup)} 2>/dev/null | head -n 1)"
for file in {_PREFIX}*; do if [ -f "$file" ]; then printf '%s %s\\n' "$file" "$(head -n 1 "$file")"; fi; done"""


def read_directory(printed: str) -> Directory | None:
    """Read what ``directory_command`` printed; none when it did not get so far."""
    answer = _answer(printed)
    if not answer:
        return None
    records = {}
    for line in answer[1:]:
        name, _space, text = line.partition(" ")
        record = _event(text)
        if record and _is_record(record):
            records[name] = record
    return Directory(answer[0], records)


def _is_record(event: dict[str, Any]) -> bool:
    """Say whether a first line names a process and a job; both become words of a command."""
    job, pid, moment = event.get("job"), event.get("pid"), event.get("at")
    return bool(re.fullmatch(r"j\d+", str(job))) and isinstance(pid, int) and isinstance(moment, (int, float))


def with_key(directory: Directory, key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the records of jobs with this key, the oldest first."""
    found = [(name, record) for name, record in directory.records.items() if name.startswith(f"{_PREFIX}{key}-")]
    return sorted(found, key=lambda one: float(one[1]["at"]))


# -- a job that was found ----------------------------------------------------------------------------------------------


def alive_command(directory: str, record: dict[str, Any]) -> str:
    """Print the job file when the process of a record lives and is a restore: its number may be another's by now."""
    pid = int(record["pid"])
    return f"""cd {shlex.quote(directory)} || exit 3
echo {shlex.quote(_MARK)}
date +%s
kill -0 {pid} 2>/dev/null && tr '\\000' ' ' < /proc/{pid}/cmdline | grep -q pg_safe_restore || exit 0
for file in {record["job"]}.*; do case "$file" in *.tmp) ;; *) if [ -f "$file" ]; then echo "$file"; fi ;; esac; done"""


def read_alive(printed: str, progress: str, record: dict[str, Any]) -> Job | None:
    """Read what ``alive_command`` printed; none when nobody works on that job any more."""
    answer = _answer(printed)
    if len(answer) != 2:  # noqa: PLR2004 - the time and one job file
        return None
    age = max(0.0, float(answer[0]) - float(record["at"]))
    return Job(answer[1], progress, int(record["pid"]), age, there=True)


def forget_command(directory: str, record: dict[str, Any], progress: str) -> str:
    """Remove the files of a job that nobody works on and nobody waits for."""
    return f"cd {shlex.quote(directory)} && rm -f {record['job']}.* {shlex.quote(progress)}"


def remove_command(directory: str, job: Job) -> str:
    """Remove the files of a job whose result was read."""
    return f"cd {shlex.quote(directory)} && rm -f {shlex.quote(job.name)} {shlex.quote(job.progress)}"


# -- a job that is watched ---------------------------------------------------------------------------------------------


class Watch:
    """Looks at one job until it has ended. One look waits on the host, so that few commands are needed."""

    def __init__(self, directory: str, job: Job) -> None:
        """Keep where the job is."""
        self._directory = shlex.quote(directory)
        self._job = job
        self._pid = job.pid
        self._was_there = job.there
        self._lines = 0
        self._began: float | None = None
        self._now = 0.0

    def command(self) -> str:
        """Wait until the job has ended or some seconds are over, then print its state and the new progress."""
        early = self._began is None or self._now - self._began < _FIRST_SECONDS
        lives = f"kill -0 {self._pid}" if self._pid else "true"
        job, progress = shlex.quote(self._job.name), shlex.quote(self._job.progress)
        return f"""cd {self._directory} || exit 3
looks={_LOOKS_AT_FIRST if early else _LOOKS_LATER}; gone=0
while [ "$looks" -gt 0 ]; do
  [ -e {job} ] || {{ sleep 1; break; }}
  line=; read -r line < {job}
  case "$line" in *'"started"'*) ;; *) break ;; esac
  if {lives}; then gone=0; else gone=$((gone + 1)); if [ "$gone" -ge {_GONE} ]; then break; fi; fi
  sleep {_PAUSE}; looks=$((looks - 1))
done 2>/dev/null
echo {shlex.quote(_MARK)}
date +%s
echo "$gone"
if [ -e {job} ]; then head -c 300 {job} | tr -d '\\n'; else printf vanished; fi; echo
tail -n +{self._lines + 1} {progress} 2>/dev/null; :"""

    def read(self, printed: str) -> Seen | None:
        """Read what ``command`` printed; none when it did not get so far."""
        answer = _answer(printed)
        if len(answer) < 3:  # noqa: PLR2004 - time, looks, job file
            return None
        self._now = float(answer[0])
        self._began = self._now if self._began is None else self._began
        complete = answer[3:] if printed.endswith("\n") else answer[3:-1]
        self._lines += len(complete)
        events = [event for event in map(_event, complete) if event]
        self._pid = next((event["pid"] for event in events if isinstance(event.get("pid"), int)), self._pid)
        return Seen(self._state(answer[2], int(answer[1])), self._now, events)

    def _state(self, head: str, gone: int) -> str:
        waited = self._now - (self._now if self._began is None else self._began)
        if head == "vanished":  # a slow host makes the file after it has said that the job was started
            return "vanished" if self._was_there or waited > _NEVER_BEGAN else "running"
        self._was_there = True
        told = _event(head)
        if told is None or "started" not in told:  # a result, whole or its beginning
            return "finished"
        never_began = not self._pid and waited > _NEVER_BEGAN
        return "died" if gone >= _GONE or never_began else "running"


# -- its result --------------------------------------------------------------------------------------------------------


def result_command(directory: str, job: Job) -> str:
    """Print the job file."""
    return f"""cd {shlex.quote(directory)} || exit 3
echo {shlex.quote(_MARK)}
cat {shlex.quote(job.name)} 2>/dev/null"""


def read_result(printed: str) -> dict[str, Any] | None:
    """Read what ``result_command`` printed; none when it is nothing that a small program has left."""
    told = _event("".join(_answer(printed))) or {}
    if "traceback" in told:
        return {"failed": True, "cmd": "", "data": "", "stderr": told["traceback"]}
    result = told.get("result")
    return plain_result(result) if isinstance(result, dict) else None


def died(result: dict[str, Any]) -> bool:
    """Say whether Ansible found no result of the module in what a job printed: its process was killed."""
    return bool(result.get("failed")) and "cmd" in result and "data" in result


def failure_of_dead(result: dict[str, Any]) -> dict[str, Any]:
    """Return the failure that says that the process of a restore was killed."""
    return {
        "failed": True,
        "changed": False,
        "msg": "The process of the restore ended without a result: it was killed, or the host ran out of memory. The "
        "live database is whole: names are changed in one transaction, or not at all.",
        "next_step": "Look for the reason in the log of the host, then run again: it looks at the catalog first.",
        "module_stdout": result.get("data", ""),
        "module_stderr": result.get("stderr", ""),
    }


def without_job(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result as the module would have given it without a job around it."""
    kept = {name: value for name, value in result.items() if name not in _JOB_FIELDS}
    arguments = kept.get("invocation", {}).get("module_args", {})
    if "progress_file" in arguments:
        kept["invocation"] = {**kept["invocation"], "module_args": {**arguments, "progress_file": None}}
    return kept


def _answer(printed: str) -> list[str]:
    """Return the lines behind the mark."""
    lines = printed.splitlines()
    return lines[lines.index(_MARK) + 1 :] if _MARK in lines else []


def _event(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
