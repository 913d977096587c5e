# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Show a run as its runbook tells it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: runbook
type: stdout
short_description: Show a run as its runbook tells it
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Shows each step of a run with its time since the start, what happens in it, and what came of it, as the journal
    takes it. Plan, summary, warnings, questions and the progress of long work are shown as by any callback.
  - A failure is shown in full with what to do next. In the end stands how each host ended, and what to type next.
  - Bookkeeping is not shown. With C(-v) stands a line for each result of each task, with C(-vv) the result too.
  - It needs 80 columns and no colour. Commands are not folded, so that they can be copied.
extends_documentation_fragment:
  - result_format_callback
requirements:
  - set as stdout_callback in the configuration
seealso:
  - module: usdx.rollback.run_journal
"""

EXAMPLES = r"""
configuration: |
  # ansible.cfg
  [defaults]
  stdout_callback = usdx.rollback.runbook
"""

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.usdx.rollback.plugins.module_utils.run_screen import (
    RunScreen,
    commands_of,
    failure_lines,
    folded,
)

_JOURNAL = "usdx.rollback.run_journal"
_DEBUG = ("debug", "ansible.builtin.debug")
_BOOKKEEPING = ("set_fact", "include_", "import_", "assert", "debug", "meta", "fail", "set_stats")
_NO_STEPS = ("", "usdx.rollback.run", "run")
_INDENT = " " * 9


class CallbackModule(CallbackBase):
    """Lines of a runbook; what is not shown here is bookkeeping."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "usdx.rollback.runbook"

    def __init__(self) -> None:
        """Begin with an empty screen."""
        super().__init__()
        self._run = RunScreen()
        self._last_words: dict[str, str] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show the name of a play."""
        self._show([f"== {play.get_name()}"])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ANN401, ARG002, FBT001
        """Show what happens now in a step."""
        role, action = str(getattr(task, "_role", None) or ""), str(task.action).rpartition(".")[2]
        if role not in _NO_STEPS and not action.startswith(_BOOKKEEPING):
            words = _name(task)
            self._show([f"{_INDENT}{words} ..." if self._run.acting else f"  planning: {words}"])

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show what the journal has taken, and what the run says."""
        host, task, told = self._seen("changed" if _told(result).get("changed") else "ok", result)
        if task.action == _JOURNAL:
            self._show(self._run.lines(host, told.get("events") or []))
        elif task.action in _DEBUG and "msg" in told:
            self._show(told["msg"] if isinstance(told["msg"], list) else [told["msg"]])

    def v2_runner_on_skipped(self, result: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show it with -v only."""
        self._seen("skipping", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002
        """Show a failure in full."""
        host, task, told = self._seen("failed", result)
        if not ignore_errors:
            self._last_words[host] = str(told.get("msg") or "")
        self._show([*failure_lines(host, _name(task), told), *(["It is ignored."] if ignore_errors else [])])

    def v2_runner_on_unreachable(self, result: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show a host that is lost."""
        host, task, told = self._seen("unreachable", result)
        self._show([f"UNREACHABLE: {host}, in {_name(task)}", str(told.get("msg") or "no reason given")])

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Say that nothing was done."""
        self._show(["No host matches: nothing was done."])

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show how each host ended, and what to type next."""
        self._show(["== The end"])
        commands: list[str] = []
        for host in sorted(stats.processed):
            told = stats.summarize(host)
            bad = "unreachable" if told["unreachable"] else "failed" if told["failures"] else ""
            self._show([f"{host}: {bad or 'ended well'}"])
            # Words of a failure that was rescued are no last words.
            commands += commands_of(self._last_words.get(host, "")) if bad else []
        self._show(list(dict.fromkeys(commands)))

    def v2_on_file_diff(self, result: Any) -> None:  # noqa: ANN401 - of Ansible
        """Show with --diff what differs, as any callback does."""
        told = _told(result)
        for one in [told] if told.get("diff") else told.get("results") or []:
            difference = one.get("diff") if isinstance(one, dict) and one.get("changed") else None
            text = self._get_diff(difference) if difference else ""
            if text:
                self._display.display(text)

    def _seen(self, state: str, result: Any) -> tuple[str, Any, dict[str, Any]]:  # noqa: ANN401 - of Ansible
        """Show warnings, and with -v every result; return host, task and result."""
        told = _told(result)
        # The names differ between ansible-core 2.17 and 2.19.
        host, task = (result.host, result.task) if hasattr(result, "host") else (result._host, result._task)  # noqa: SLF001
        self._handle_warnings(told)
        if self._display.verbosity:
            more = f" => {self._dump_results(told)}" if self._display.verbosity > 1 else ""
            self._display.display(f"{state}: [{host.get_name()}] {task.get_name()}{more}")
        return host.get_name(), task, told

    def _show(self, lines: list[Any]) -> None:
        for text in lines:
            for line in folded(str(text), int(self._display.columns or 0), _INDENT):
                self._display.display(line)


def _told(result: Any) -> dict[str, Any]:  # noqa: ANN401 - of Ansible
    told: dict[str, Any] = result.result if hasattr(result, "result") else result._result  # noqa: SLF001
    return told


def _name(task: Any) -> str:  # noqa: ANN401 - of Ansible
    """Return the name of a task without that of its role."""
    return str(task.get_name()).rpartition(" : ")[2].strip()
