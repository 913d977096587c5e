# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker daemon of a test's own, which may be stopped: with a network, a disk and a socket that nobody else uses.

As root only: the network is a namespace of the kernel that this process enters, with all that it starts.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import BASE_IMAGE, command

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
SET_FLAGS, UP_AND_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
SECONDS = 60
DEMO_IMAGES = [f"usdx-demo/{name}" for name in ("python", "postgres", "redis", "nginx")]


@contextmanager
def own_network() -> Iterator[None]:
    """Give this thread, and what it starts, a network with nothing but a loopback."""
    kernel = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as former:
        assert kernel.unshare(NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", UP_AND_RUNNING))
            yield
        finally:
            assert kernel.setns(former.fileno(), NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())


@dataclass
class Daemon:
    """The daemon; ``DOCKER_HOST`` names it while it is used."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """What ``DOCKER_HOST`` must be."""
        return f"unix://{self.directory}/docker.sock"

    def start(self) -> None:
        """Start it and wait until it answers."""
        places = {"--data-root": "data", "--exec-root": "run", "--pidfile": "docker.pid"}
        words = [word for option, name in places.items() for word in (option, f"{self.directory}/{name}")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(["dockerd", "--host", self.host, *words], stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS
        while "Server Version" not in command("docker", "--host", self.host, "info", check=False):
            alive = self.process.poll() is None and time.monotonic() < deadline
            assert alive, (self.directory / "log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as a service manager does, with all that it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(SECONDS)
            self.process = None

    def copy(self, images: list[str]) -> None:
        """Take images over from the daemon of the machine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "--host", self.host, "load", "--quiet"], stdin=saved.stdout, check=True)
        assert saved.returncode == 0


@contextmanager
def running_daemon(directory: Path) -> Iterator[Daemon]:
    """Give a daemon that has the images of the demo; this process and what it starts uses it, and no other."""
    directory.mkdir(parents=True)
    daemon = Daemon(directory)
    with own_network():
        try:
            daemon.start()
            daemon.copy([*DEMO_IMAGES, BASE_IMAGE])
            former = os.environ.get("DOCKER_HOST")
            os.environ["DOCKER_HOST"] = daemon.host
            try:
                yield daemon
            finally:
                del os.environ["DOCKER_HOST"]
                os.environ.update({} if former is None else {"DOCKER_HOST": former})
        finally:
            daemon.stop()
            shutil.rmtree(directory)
