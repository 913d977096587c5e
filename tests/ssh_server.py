# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server of a test's own: on 127.0.0.1, with keys of its own, whose connections can be cut."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import command, free_port
from system_packages import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
AuthorizedKeysFile {directory}/client.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""
SECONDS = 20


@dataclass
class SshServer:
    """A server that runs or does not, and how Ansible reaches it."""

    program: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The connection variables of a host that is reached through this server."""
        known = f"-o UserKnownHostsFile={self.directory}/known_hosts -o StrictHostKeyChecking=yes"
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": f"{self.directory}/client",
            "ansible_ssh_common_args": f"-F /dev/null -o IdentitiesOnly=yes {known}",
            "ansible_control_path_dir": f"{self.directory}/cp",
        }

    def start(self) -> None:
        """Let it listen."""
        settings, log = self.directory / "sshd_config", self.directory / "log"
        self.process = subprocess.Popen([self.program, "-D", "-f", str(settings), "-E", str(log)])
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError("sshd does not listen: " + log.read_text(encoding="utf-8")[-1000:])

    def cut(self) -> int:
        """Kill the server and what serves each connection; return how many there were.

        Nothing that was started through a connection is killed, and none can be made until it is started again.
        """
        if self.process is None:
            return 0
        serving = descendants(self.process.pid)
        for pid in [self.process.pid, *serving]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        return len(serving)


def descendants(parent: int) -> list[int]:
    """Return the processes below one that are sshd themselves."""
    table: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _bracket, rest = path.read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            if name.startswith("sshd"):
                table.setdefault(int(rest.split()[1]), []).append(int(path.parent.name))
    found, below = [], [parent]
    while below:
        below = [child for one in below for child in table.get(one, [])]
        found += below
    return found


@contextmanager
def running_ssh_server(directory: Path) -> Iterator[SshServer]:
    """Give a server; it is ended, with its connections, afterwards. The path must be short: sockets lie in it."""
    (sshd,), port = programs(["sshd"], ["openssh-server", "openssh-client"]), free_port()
    for key in ("host", "client"):
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{directory}/{key}")
    host_key = (directory / "host.pub").read_text(encoding="utf-8")
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}", encoding="utf-8")
    settings = directory / "sshd_config"
    settings.write_text(SETTINGS.format(port=port, directory=directory), encoding="utf-8")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it does not start as root without this folder
    server = SshServer(sshd, port, directory)
    try:
        server.start()
        yield server
    finally:
        server.cut()
