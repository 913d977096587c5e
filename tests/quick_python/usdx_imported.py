# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that runs the programs of other Pythons in processes that have imported what Ansible modules import.

Most of the time of a short module goes into imports. Here the standard library and the packages of ``PACKAGES`` are
imported once; Ansible and this collection are not, so that each module still runs from the archive that was sent.

Whoever asks gets a process with its own standard streams, folder and environment, as long as it lives: the process is
killed with it, and gets its signals. Who differs from this server otherwise (user, rights, limits, namespaces, settings
of Python) is refused, and runs its program itself.
"""

from __future__ import annotations

import io
import json
import marshal
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import types
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("psycopg2", "psycopg2.errors", "psycopg2.extras", "jmespath", "yaml", "docker")
# What Python looks at only when it starts; but Molecule sets what it wants to be warned of.
_OF_THE_START = ("PYTHON", "LC_", "LANG", "USDX_COMPILED")
_WHATEVER = ("PYTHONWARNINGS", "PYTHONUNBUFFERED")
_SAME_STATUS = ("Umask", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Seccomp")
_SAME_NAMESPACES = ("mnt", "net", "pid", "ipc", "uts", "user")


@dataclass
class _Asked:
    """A program that runs: who asked for it, and its process."""

    client: socket.socket
    process: int
    handle: int


def _world(process: int | str) -> list[str]:
    """Return what two processes must have in common for one to stand for the other."""
    place = Path("/proc", str(process))
    status = [line for line in (place / "status").read_text().splitlines() if line.startswith(_SAME_STATUS)]
    links = [str((place / "ns" / name).readlink()) for name in _SAME_NAMESPACES] + [str((place / "root").readlink())]
    return [*status, *links, (place / "limits").read_text()]


def _start_settings(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(_OF_THE_START) and name not in _WHATEVER
    }


def _import_what_modules_import() -> None:
    """Import it, but nothing of Ansible."""
    code = "import json, sys, ansible.module_utils.basic; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for name in [*json.loads(found.stdout), "zipfile", "runpy", "base64", "shlex", "urllib.request", *PACKAGES]:
        if not name.startswith(("ansible", "__")):
            with suppress(ImportError):
                __import__(name)


class Server:
    """Listens on a socket in a private directory, until it is ended by SIGTERM."""

    def __init__(self, path: Path) -> None:
        """Begin to listen."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(64)
        self._own = _world("self")
        self._settings = _start_settings(dict(os.environ))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> str:
        """Answer for ever; in a process that has a program to run, return that program."""
        while True:
            for key, _events in self._selector.select():
                if key.fileobj is self._listener:
                    program = self._accept()
                    if program is not None:
                        return program
                elif isinstance(key.data, _Asked):
                    self._hear(key.data, ended=key.fileobj == key.data.handle)

    def _accept(self) -> str | None:
        client, _address = self._listener.accept()
        client.settimeout(10)  # one that was stopped while it asks does not hold up the others
        try:
            asked = self._read(client)
        except (OSError, ValueError, EOFError, TypeError):
            asked = None
        if asked is None:
            with suppress(OSError):
                client.sendall(b"-")
            client.close()
            return None
        environment, descriptors = asked
        process = os.fork()
        if process == 0:
            for key in list(self._selector.get_map().values()):
                os.close(key.fd) if isinstance(key.fileobj, int) else key.fileobj.close()
            self._selector.close()
            client.close()
            _become(environment, descriptors)
            return sys.stdin.read()
        for descriptor in descriptors:
            os.close(descriptor)
        one = _Asked(client, process, os.pidfd_open(process))
        with suppress(OSError):  # it has gone; that is heard as the end of its signals
            client.sendall(b"+")
        self._selector.register(client, selectors.EVENT_READ, one)
        self._selector.register(one.handle, selectors.EVENT_READ, one)
        return None

    def _read(self, client: socket.socket) -> tuple[dict[str, str], list[int]] | None:
        """Return the environment and the descriptors of who asks; none if it has to run its program itself."""
        _byte, descriptors, _flags, _address = socket.recv_fds(client, 1, 4)
        try:
            with client.makefile("rb") as stream:
                environment = marshal.loads(stream.read(int.from_bytes(stream.read(4), "big")))  # noqa: S302
            peer = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
            if _world(peer) == self._own and _start_settings(environment) == self._settings:
                return environment, descriptors
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _hear(self, one: _Asked, *, ended: bool) -> None:
        """Tell a client how its process has ended; or hand it the signals of its client."""
        if not ended:
            if one.client.fileno() < 0:  # its process ended at the same time
                return
            received = b""
            with suppress(OSError):
                received = one.client.recv(1)
            number = received[0] if received else signal.SIGKILL
            try:
                os.killpg(one.process, number)
            except ProcessLookupError:  # it has no session of its own yet
                with suppress(ProcessLookupError):
                    os.kill(one.process, number)
            if received:
                return
            self._selector.unregister(one.client)
            one.client.close()
            return
        status = os.waitstatus_to_exitcode(os.waitpid(one.process, 0)[1])
        self._selector.unregister(one.handle)
        os.close(one.handle)
        if one.client.fileno() >= 0:
            self._selector.unregister(one.client)
            with suppress(OSError):
                one.client.sendall(bytes([status if status >= 0 else 128 - status]))
            one.client.close()


def _become(environment: dict[str, str], descriptors: list[int]) -> None:
    """Take the streams, the folder and the environment of who asked, in a session of its own."""
    os.setsid()
    *streams, directory = descriptors
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.fchdir(directory)
    os.close(directory)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored by what runs in the background
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0), encoding=sys.stdin.encoding)
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.FileIO(1, "w"), encoding=sys.stdout.encoding)
    sys.stderr = sys.__stderr__ = io.TextIOWrapper(
        io.FileIO(2, "w"), encoding=sys.stderr.encoding, errors="backslashreplace", line_buffering=True
    )
    sys.argv, sys.orig_argv = [""], sys.orig_argv[:1]


if __name__ == "__main__":
    _import_what_modules_import()
    source = Server(Path(os.environ["USDX_COMPILED"], "server")).serve()
    main = types.ModuleType("__main__")
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    sys.path[0] = ""
    exec(compile(source, "<stdin>", "exec"), main.__dict__)  # noqa: S102 - as Python does with its standard input
