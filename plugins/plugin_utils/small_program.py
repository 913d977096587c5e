# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logic of a module on a managed host, without what makes a module slow to start.

A module brings Ansible's own code along, which Python compiles anew on each call: several times what it takes to append
a line to a file. So the logic is sent by itself, as one program that Python reads from its standard input, and does the
same. Where that is not possible the module is called.
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import shlex
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible_collections.usdx.rollback.plugins.module_utils.border import plain

_UTILITIES = "ansible_collections.usdx.rollback.plugins.module_utils"
# What is imported for types only is indented.
_IMPORT = re.compile(r"^from (\.+)([\w.]*) import (\([^)]*\)|.+)", re.MULTILINE)
# Before the first of them nothing has been done; the second says what was. Neither is part of what a login prints.
_BEGUN, _DONE = "usdx.rollback program begun", "usdx.rollback program done "
_PROGRAM = """
import sys
sys.path[:] = [place for place in sys.path if place]  # nothing is imported from where it happens to be
import base64, json, os, types, zlib
package, packed, function, arguments, paths, runs_commands, job = json.loads({told!r})
sources = json.loads(zlib.decompress(base64.b64decode(packed)))
sys.modules[package] = types.ModuleType(package)
sys.modules[package].__path__ = []
class Loader:
    def get_source(self, name):
        return dict(sources)[name[len(package) + 1 :]]
for name, source in sources:
    parent = (package + "." + name).rpartition(".")[0]
    if parent not in sys.modules:
        sys.modules[parent] = types.ModuleType(parent)
        sys.modules[parent].__path__ = []
    module = sys.modules[package + "." + name] = types.ModuleType(package + "." + name)
    module.__package__, module.__loader__ = parent, Loader()
    exec(compile(source, name + ".py", "exec"), module.__dict__)
options = arguments.get("options", arguments)
for name in paths:
    if options.get(name) is not None:
        options[name] = os.path.expanduser(os.path.expandvars(options[name]))
if runs_commands:
    arguments["run"] = sys.modules[package + ".process"].run
def work():
    try:
        return getattr(sys.modules[package + "." + function[0]], function[1])(**arguments)
    except sys.modules[package + ".errors"].RollbackError as error:
        return dict(error.facts, failed=True, msg=error.msg, next_step=error.next_step)
if job is None:
    print({begun!r}, flush=True)
    print({done!r} + json.dumps(work(), default=str))
    sys.exit()
import signal, traceback
def write(told):
    beside = os.open(job["file"] + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(beside, "w") as file:
        file.write(json.dumps(told, default=str))
    os.rename(job["file"] + ".tmp", job["file"])
write(dict(started=1, finished=0))
print({begun!r}, flush=True)
between = os.fork()
if between:
    os.waitpid(between, 0)  # until it has left the terminal that sudo may close
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
nothing = os.open(os.devnull, os.O_RDWR)
for standard in 0, 1, 2:
    os.dup2(nothing, standard)
signal.alarm(job["limit"])
try:
    write(dict(result=work()))
except BaseException:
    write(dict(traceback=traceback.format_exc()))
"""


class JobFile(NamedTuple):
    """Where a call that goes on by itself, whatever becomes of the connection, leaves its result.

    The file is there with ``started`` before the call begins, and holds ``result`` or ``traceback`` when it has ended.
    After ``limit`` seconds the call is killed. ``words`` stand in its command, where whoever looks for it finds them.
    """

    file: str
    limit: int
    words: list[str]


class SmallProgram:
    """A function of module_utils with the files that it needs.

    A function that runs commands gets ``run`` of ``process`` as an argument.
    """

    def __init__(self, function: str, *, runs_commands: bool = False, packages: bool = False) -> None:
        """Read the files: best while a plugin is loaded, for a task's own process keeps nothing for the next one.

        ``function`` is ``FILE.NAME`` or ``FOLDER.FILE.NAME``; ``packages`` says that it needs more than the standard
        library.
        """
        self._function = function.rpartition(".")[::2]
        self.python_options = "-" if packages else "-I -S -"
        self._sources: dict[str, str] = {}
        self._runs_commands = runs_commands
        for name in ("errors", *["process"] * runs_commands, self._function[0]):
            self._add(name)
        # A slow link is the reason: it is a third of it.
        packed = zlib.compress(json.dumps(list(self._sources.items())).encode())
        self._packed = base64.b64encode(packed).decode()

    def _add(self, name: str) -> None:
        """Add a file after those that it imports."""
        if name in self._sources:
            return
        module = importlib.import_module(f"{_UTILITIES}.{name}")
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        folders = name.split(".")
        for dots, file, names in _IMPORT.findall(source):
            folder = folders[: len(folders) - len(dots)]
            for needed in [file] if file else re.findall(r"(\w+)(?: as \w+)?", names):
                self._add(".".join([*folder, needed]))
        self._sources[name] = source

    def text(self, arguments: dict[str, Any], paths: list[str], job: JobFile | None = None) -> str:
        """Return the program that calls the function with these arguments, all of which JSON can hold.

        ``paths`` are the names of those that are paths: in them ``~`` and variables mean what they mean on the host.
        With a job the program ends as soon as that is begun.
        """
        told = json.dumps(
            [
                "usdx_rollback", self._packed, self._function, arguments, paths, self._runs_commands,
                job and job._asdict(),
            ]
        )  # fmt: skip
        return _PROGRAM.format(told=told, begun=_BEGUN, done=_DONE)


class WithProgram(ActionBase):
    """An action plugin that sends the small program of its module where it can, and calls the module elsewhere.

    That is so without pipelining, for wrong options, and where the Python of the host is not known yet.
    """

    _supports_check_mode = True
    _supports_async = False
    PROGRAM: SmallProgram
    ARGUMENTS: dict[str, Any]
    """The argument spec of the module."""
    RULES: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What else it hands to ``AnsibleModule``."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        super().run(tmp, task_vars)
        return self.call(dict(self._task.args), task_vars or {})

    def call(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return what the module returns for these arguments."""
        answer = self.send(arguments, task_vars)
        result = None if answer is None else result_of(answer)
        if result is None:
            by_module: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
            return by_module
        return self.without_secrets(result, arguments)

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function."""
        return {"options": options, "check": self._task.check_mode}

    def send(
        self, arguments: dict[str, Any], task_vars: dict[str, Any], job: JobFile | None = None
    ) -> dict[str, Any] | None:
        """Send the program and return what the host answered to it; ``None`` where the module must be called."""
        python = self._python(task_vars)
        if not python or not self._is_pipelining_enabled("new"):
            return None
        checked = self._checked(arguments)
        if checked.error_messages:  # which the module says
            return None
        environment = self._compute_environment_string()  # type: ignore[no-untyped-call]
        command = f"{environment} {shlex.quote(python)} {self.PROGRAM.python_options}".strip()
        words = shlex.join(job.words if job else [])
        program = self.PROGRAM.text(self.handed_over(checked.validated_parameters), self._paths(), job)
        answer: dict[str, Any] = self._low_level_execute_command(  # type: ignore[no-untyped-call]
            f"{command} {words}".strip(), in_data=program.encode()
        )
        return answer

    def without_secrets(self, result: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a result that shows no secret option, whatever quotes it, as AnsibleModule does."""
        cleaned: dict[str, Any] = remove_values(result, self._checked(arguments)._no_log_values)  # noqa: SLF001 - no public name
        return cleaned

    def _paths(self) -> list[str]:
        return [name for name, option in self.ARGUMENTS.items() if option.get("type") == "path"]

    def _checked(self, arguments: dict[str, Any]) -> ValidationResult:
        # A path is one of the host, so it is made whole there.
        spec = {**self.ARGUMENTS, **{name: {**self.ARGUMENTS[name], "type": "str"} for name in self._paths()}}
        checked: ValidationResult = ArgumentSpecValidator(spec, **self.RULES).validate(arguments)
        return checked

    def _python(self, task_vars: dict[str, Any]) -> str:
        """Return the Python of the host, as Ansible has found it or as the inventory names it; else nothing."""
        known = task_vars
        if self._task.delegate_to:  # what is known of the host that delegates is not true of the other
            known = (task_vars.get("ansible_delegated_vars") or {}).get(self._task.delegate_to) or {}
        named = str(self._templar.template(known.get("ansible_python_interpreter") or "auto"))
        if named.startswith("auto"):
            return str((known.get("ansible_facts") or {}).get("discovered_interpreter_python") or "")
        return named


class OnlyLooks(WithProgram):
    """One whose function changes nothing, whatever the mode."""

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function."""
        return {"options": options}


def has_begun(answer: dict[str, Any]) -> bool:
    """Tell whether a program got so far that something may be done."""
    return _BEGUN in answer["stdout"].splitlines()


def result_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result that a program printed, among whatever a login prints; ``None`` when it did not begin."""
    results = [line[len(_DONE) :] for line in answer["stdout"].splitlines() if line.startswith(_DONE)]
    if results:
        return plain_result(json.loads(results[-1]))
    if not has_begun(answer):
        return None
    words = answer["stderr"].strip().splitlines()
    return {
        "failed": True, "rc": answer["rc"], "module_stderr": answer["stderr"],
        "msg": f"It ended before it was done: {plain(words[-1]) if words else 'no reason given'}. "
        "What it had done until then is done, and nothing is put back.",
        "next_step": "Run again, or resume the run: each step looks at what is there first.",
    }  # fmt: skip


def plain_result(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result of a function whose sentences cannot steer a terminal."""
    said: dict[str, Any] = {name: plain(result[name]) for name in ("msg", "next_step") if name in result}
    if "warnings" in result:
        said["warnings"] = [plain(warning) for warning in result["warnings"]]
    return result | said
