# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that the server of tests/quick_python runs behaves as one that a Python of its own runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

WHERE = "import os, sys; print(os.getppid(), os.getcwd(), os.environ['SAID'], sys.argv, __name__)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Start a server; give its process and its directory."""
    directory = tmp_path_factory.mktemp("quick")
    (directory / "archives").mkdir()
    (directory / "bytecode").mkdir()
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "tests/quick_python/usdx_imported.py"],
        env=os.environ | {"USDX_COMPILED": str(directory)},
    )
    deadline = time.monotonic() + 60
    while not (directory / "server").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield process.pid, directory
    process.terminate()
    process.wait()


def run(directory: Path, program: str, *options: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Give a program to a Python on its standard input."""
    environment = os.environ | {"USDX_COMPILED": str(directory), "SAID": "something"}
    words = {"capture_output": True, "text": True, "env": environment, **more}
    return subprocess.run([sys.executable, *options], input=program, check=False, **words)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize("options", [[], ["-"]])
def test_streams_folder_environment_and_exit_code(server: tuple[int, Path], tmp_path: Path, options: list[str]) -> None:
    process, directory = server
    done = run(directory, f"{WHERE}\nprint('told', file=sys.stderr)\nsys.exit(7)", *options, cwd=tmp_path)
    assert done.stdout == f"{process} {tmp_path} something [''] __main__\n"
    assert (done.stderr, done.returncode) == ("told\n", 7)
    done = run(directory, "raise ValueError('a reason')")
    assert done.stderr.endswith("ValueError: a reason\n")
    assert done.returncode == 1
    assert "ansible" not in run(directory, "import sys; print(*sys.modules)").stdout.split()


def test_who_differs_runs_its_program_itself(server: tuple[int, Path]) -> None:
    process, directory = server
    for more in ({"umask": 0o077}, {"env": os.environ | {"USDX_COMPILED": str(directory), "SAID": "", "LC_ALL": "C"}}):
        done = run(directory, WHERE, **more)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[0]) == os.getpid() != process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_who_asked(server: tuple[int, Path], number: int, tmp_path: Path) -> None:
    _process, directory = server
    told = tmp_path / "told"
    program = f"""
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(told)!r}).write_text('ended'), sys.exit(3)))
print(os.getpid(), flush=True)
time.sleep(60)
"""
    asked = subprocess.Popen(
        [sys.executable], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"USDX_COMPILED": str(directory)},
    )  # fmt: skip
    assert asked.stdin
    assert asked.stdout
    asked.stdin.write(program)
    asked.stdin.close()
    runs = Path("/proc", asked.stdout.readline().strip())
    asked.send_signal(number)
    assert asked.wait(10) == (3 if number == signal.SIGTERM else -number)
    deadline = time.monotonic() + 10
    while runs.exists():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.02)
    assert told.exists() == (number == signal.SIGTERM)
    asked.stdout.close()


def test_templates_conditions_and_plugins_that_are_kept_are_what_they_were(server: tuple[int, Path]) -> None:
    """Each is compiled by the first Python and taken as it is by the second."""
    directory = server[1]
    program = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
templar = Templar(DataLoader(), {"one": 1, "deep": trust_as_template("{{ one + 1 }}"), "path": r"C:\\new"})
def said(text):
    try:
        return templar.template(trust_as_template(text))
    except Exception as error:
        return str(error)
texts = ["{{ deep + 1 }}", "{{ path ~ '\\\\n' }}", "{{ [one, 'x' | upper] | to_json }}",
         "{{ {} | usdx.rollback.given }}", "{{ one", "{{ one | no_such_filter }}", "{{ missing }}"]
conditions = [bool(templar.evaluate_conditional(trust_as_template(text))) for text in ("deep == 2", "one > 1")]
print(json.dumps([[said(text) for text in texts], conditions]))
"""
    argv = [sys.executable, "-c", program, REPOSITORY / ".ansible/collections"]
    environment = {name: value for name, value in os.environ.items() if name != "USDX_COMPILED"}
    plain = subprocess.check_output(argv, env=environment, text=True)
    kept = directory / "bytecode"
    before = set(kept.iterdir())
    for _again in (1, 2):
        assert subprocess.check_output(argv, env=environment | {"USDX_COMPILED": str(directory)}, text=True) == plain
        before, made = set(kept.iterdir()), set(kept.iterdir()) - before
        assert bool(made) == (_again == 1)
    assert "[true, false]" in plain
