# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integration tests share: a module called as Ansible calls it, and commands on this machine."""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import multiprocessing
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

REPOSITORY = Path(__file__).resolve().parent.parent
COLLECTIONS = REPOSITORY / ".ansible" / "collections"
_MODULES = "ansible_collections.usdx.rollback.plugins.modules"
BASE_IMAGE = os.environ.get("USDX_BASE_IMAGE", "debian:bookworm-slim")


@dataclass(frozen=True)
class Outcome:
    """What a module returned: its result, whether it failed, and what Ansible showed before, such as a diff.

    ``progress`` is what was shown on the way, on standard error.
    """

    failed: bool
    result: dict[str, Any]
    shown: str
    progress: str = ""

    def __getitem__(self, key: str) -> Any:
        """Return one value of the result."""
        return self.result[key]


def call_module(name: str, options: dict[str, Any], *, check: bool = False) -> Outcome:
    """Call a module of this collection on this machine, always with ``--diff``.

    One whose part on the controller decides or does something is called through ``ansible``; the others as Ansible
    starts them on a managed host, in a process of their own that has imported already what modules need: that takes
    longer than most of them. What the part of pg_safe_restore on the controller does, which is to watch, is tested by
    playbooks.
    """
    if name in ("application_hosts", "journal_copy", "metrics_gate", "run_lock", "run_report"):
        return through_ansible(name, options, check=check)
    asked = {
        "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_no_log": False, "_ansible_debug": False,
        "_ansible_verbosity": 0, "_ansible_keep_remote_files": False, "_ansible_remote_tmp": "~/.ansible/tmp",
        "_ansible_module_name": f"usdx.rollback.{name}", "_ansible_ignore_unknown_opts": False,
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", prefix="usdx-call-", suffix=".json") as file:  # mode 0600
        json.dump({"ANSIBLE_MODULE_ARGS": options | asked}, file)
        file.flush()
        printed, progress = _in_own_process(f"{_MODULES}.{name}", [file.name])
    assert printed.strip(), f"no module result\n{progress}"
    result: dict[str, Any] = json.loads(printed)
    result.pop("invocation", None)
    warnings = "".join(f"[WARNING]: {words}\n" for words in result.get("warnings", []))
    return Outcome(
        failed=bool(result.get("failed")),
        result=result,
        shown=_diff_of(result),
        progress=progress + warnings,
    )


@functools.cache
def _processes() -> ForkServerContext:
    """Return what makes processes that have imported all modules of this collection and what these need."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([
        f"{_MODULES}.{path.stem}" for path in (REPOSITORY / "plugins" / "modules").glob("*.py")
    ])  # fmt: skip
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(COLLECTIONS)}):
        forkserver.ensure_running()
    return processes


def _in_own_process(module: str, arguments: list[str]) -> tuple[str, str]:
    """Run the main function of a Python module, and return what it printed on standard output and standard error."""
    with tempfile.TemporaryDirectory(prefix="usdx-call-") as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        for stream in streams:
            stream.touch()
        process = _processes().Process(target=_main, args=(module, arguments, dict(os.environ), streams))
        process.start()
        process.join()
        process.close()
        printed, progress = (stream.read_text(encoding="utf-8") for stream in streams)
    return printed, progress


def _main(module: str, arguments: list[str], environment: dict[str, str], streams: list[Path]) -> None:
    """Run a main function with its own environment, standard streams and arguments."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # as TMPDIR of the environment says
    os.chdir(REPOSITORY)
    for number, path in enumerate([Path(os.devnull), *streams]):
        descriptor = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv[1:] = arguments
    try:
        importlib.import_module(module).main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out; AnsibleModule removes its files there


def _diff_of(result: dict[str, Any]) -> str:
    """Return the diff of a result as Ansible shows it, and take it out of the result."""
    # Here, because the other helpers also serve unit tests on a Python too old for a controller.
    from ansible.plugins.callback import CallbackBase  # noqa: PLC0415

    diff = result.pop("diff", None)
    return str(CallbackBase()._get_diff(diff)) if diff else ""


def through_ansible(name: str, options: dict[str, Any], *, check: bool = False) -> Outcome:
    """Call a module of this collection on this machine as an operator does, with its part on the controller."""
    bin_directory = Path(sys.executable).parent
    argv = [str(bin_directory / "ansible"), "localhost", "-i", "localhost,", "-c", "local", "--diff"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-m", f"usdx.rollback.{name}"]
    argv += ["-a", json.dumps(options)]
    argv += ["--check"] if check else []
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    head, _arrow, body = done.stdout.partition("=> ")
    assert body, f"no module result\n{done.stdout}\n{done.stderr}"
    result, _end = json.JSONDecoder().raw_decode(body[body.index("{") :])
    assert isinstance(result, dict)
    failed = "FAILED" in head.splitlines()[-1] or "UNREACHABLE" in head
    return Outcome(failed=failed, result=result, shown=head, progress=done.stderr)


def command(*argv: str, cwd: Path | str | None = None, check: bool = True, **environment: str) -> str:
    """Run a command and return what it printed; an ``AssertionError`` shows all of it when it fails."""
    done = subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env=os.environ | environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{argv} returned {done.returncode}\n{done.stdout}"
    return done.stdout


def flat(screen: str) -> str:
    """Return what is on a screen in one line, as Ansible folds it where it likes."""
    return " ".join(screen.split())


def at_terminal(
    argv: list[str], environment: dict[str, str], question: str, answer: str, seconds: float = 60
) -> tuple[int, str]:
    """Run a command on a terminal of its own, where somebody types ``answer`` when ``question`` is on the screen.

    Ansible reads a terminal key by key while it asks, and throws away what was typed before. So it is typed in that
    mode only, and again if nothing follows: typed later, a Ctrl+C would end the process.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(REPOSITORY)
        os.execve(argv[0], argv, environment)  # noqa: S606 - this is the child
    screen, deadline = "", time.monotonic() + seconds
    while time.monotonic() < deadline:
        ready, _writable, _failed = select.select([terminal], [], [], 0.5)
        try:
            screen += os.read(terminal, 65536).decode("utf-8", "replace") if ready else ""
            if not ready and question and question in flat(screen) and _asks(terminal):
                os.write(terminal, answer.encode() + b"\r")
        except OSError:  # the process has ended
            break
    else:
        os.kill(process, 9)
    status = os.waitpid(process, 0)[1]
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), flat(screen)


def _asks(terminal: int) -> bool:
    """Tell whether the program at the other end of a pseudo terminal reads it key by key."""
    local_modes: int = termios.tcgetattr(terminal)[3]
    return not local_modes & termios.ICANON


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
