# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restores as a job, shows its progress, and finds a job that an earlier run began."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.usdx.rollback.plugins.module_utils.journal import duration
from ansible_collections.usdx.rollback.plugins.modules.pg_safe_restore import ARGUMENTS, RULES
from ansible_collections.usdx.rollback.plugins.plugin_utils import restore_job
from ansible_collections.usdx.rollback.plugins.plugin_utils.progress_lines import ProgressLines
from ansible_collections.usdx.rollback.plugins.plugin_utils.screen import show
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import (
    JobFile,
    SmallProgram,
    WithProgram,
    has_begun,
)

# Seconds. Ansible kills a job at its limit. A load of terabytes takes days; the limit only ends what hangs for ever.
LIMIT = 7 * 24 * 3600
PATIENCE = 60  # for a connection that breaks while the load goes on
PAUSE = 2


class ActionModule(WithProgram):
    """Progress on the screen for the states that take long; all others are a call like any other."""

    _supports_async = True
    PROGRAM = SmallProgram("postgres.restore.restore_as_asked", packages=True)
    ARGUMENTS = ARGUMENTS
    RULES = RULES

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function."""
        return {"options": options, "check": self._task.check_mode, "diff": self._task.diff}

    def call(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return what the module returns for these arguments."""
        self._task_vars = task_vars
        self._controller = os.getppid()
        if self._task.async_val:
            return self._module(wrap_async=True)
        listed = None
        if self._takes_long():
            directory = self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))
            listed = restore_job.read_directory(
                self._ask(restore_job.directory_command(directory, str(arguments.get("backup", ""))))
            )
        if listed is None:  # also without a directory for jobs: a restore must not fail because nobody can watch it
            return super().call(arguments, task_vars)
        return self._as_job(directory, listed)

    def _takes_long(self) -> bool:
        asked = self._task.args.get("state", "restored") in ("restored", "verified")
        return asked and not self._task.args.get("progress_file") and not self._connection.always_pipeline_modules

    def _module(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - arguments of Ansible
        result: dict[str, Any] = self._execute_module(task_vars=self._task_vars, **given)
        return result

    def _as_job(self, directory: str, listed: restore_job.Directory) -> dict[str, Any]:
        key = restore_job.key_of(self._task.args, listed.backup, check=self._task.check_mode)
        found = self._find(directory, listed, key)
        result = None
        if found is not None:
            what = "reading" if self._task.check_mode else "load"
            self._show(f"found the {what} that an earlier run began {duration(found.age)} ago, watching it")
            result = self._result_of(directory, found)
        if result is not None:
            return {**result, "attached": True}
        while result is None:
            started = self._start(directory, restore_job.new_progress_file(key))
            if isinstance(started, dict):
                return started
            result = self._result_of(directory, started)
        return result

    def _find(self, directory: str, listed: restore_job.Directory, key: str) -> restore_job.Job | None:
        """Return the job with this key that is at work; the files of those that are not are removed."""
        for progress, record in restore_job.with_key(listed, key):
            printed = self._ask(restore_job.alive_command(directory, record))
            job = restore_job.read_alive(printed, progress, record)
            if job is not None:
                return job
            self._ask(restore_job.forget_command(directory, record, progress))
        return None

    def _start(self, directory: str, progress: str) -> restore_job.Job | dict[str, Any]:
        """Start the work as a job; return its result when that failed."""
        place = self._connection._shell.join_path  # noqa: SLF001 - no public name
        arguments = {**self._task.args, "progress_file": place(directory, progress)}
        job, words = restore_job.new_job()
        begun = self.send(arguments, self._task_vars, JobFile(place(directory, job), LIMIT, words))
        if begun is not None and has_begun(begun):
            return restore_job.Job(job, progress, there=True)
        self._task.async_val = LIMIT
        try:
            answer = self._module(module_args=arguments, wrap_async=True)
        finally:
            self._task.async_val = 0  # else Ansible would wait for the job a second time
        if "ansible_job_id" not in answer:
            return answer
        return restore_job.Job(answer["ansible_job_id"], progress)

    def _result_of(self, directory: str, job: restore_job.Job) -> dict[str, Any] | None:
        """Watch a job to its end and return its result; none when another run has taken it."""
        state = self._watch(restore_job.Watch(directory, job))
        result = self._read(directory, job) if state == "finished" else {"failed": True, "cmd": "", "data": ""}
        self._ask(restore_job.remove_command(directory, job))
        if state == "vanished" or (result.get("failed") and result.get("started")):
            return None
        if restore_job.died(result):
            return restore_job.failure_of_dead(result)
        return restore_job.without_job(result)

    def _watch(self, watch: restore_job.Watch) -> str:
        lines = ProgressLines()
        deadline = time.monotonic() + PATIENCE
        while True:
            printed = self._ask(watch.command())
            if self._is_orphan():
                raise AnsibleError("The controller was ended. The restore goes on; the next run watches it.")
            seen = watch.read(printed)
            if seen is not None:
                deadline = time.monotonic() + PATIENCE
                for line in lines.due(seen.events, seen.now):
                    self._show(line)
                if seen.state != "running":
                    return seen.state
            elif time.monotonic() > deadline:
                raise AnsibleError("The restore cannot be watched any more; it goes on. Run again to watch it.")
            else:
                time.sleep(PAUSE)

    def _read(self, directory: str, job: restore_job.Job) -> dict[str, Any]:
        result = restore_job.read_result(self._ask(restore_job.result_command(directory, job)))
        if result is not None:
            return self.without_secrets(result, self._task.args)
        asked = {"jid": job.name, "mode": "status", "_async_dir": directory}
        return self._module(module_name="ansible.legacy.async_status", module_args=asked)

    def _ask(self, command: str) -> str:
        """Run a command on the host and return what it printed; a connection that breaks is tried again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            printed = self._try(command, last=time.monotonic() > deadline or self._is_orphan())
            if printed is not None:
                return printed
            time.sleep(PAUSE)
            self._connection.reset()

    def _try(self, command: str, *, last: bool) -> str | None:
        try:
            return str(self._low_level_execute_command(command)["stdout"])
        except AnsibleConnectionFailure:
            if last:
                raise
            return None

    def _is_orphan(self) -> bool:
        """Say whether the controller was killed: its workers live on, and would take the result from the next run."""
        return os.getppid() != self._controller

    def _show(self, text: str) -> None:
        show(self._task, self._task_vars, f"pg_safe_restore: {text}")
