# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the system that tests need: installed where they are missing, as root on Debian or Ubuntu."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness import REPOSITORY, command

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACES = ":/usr/sbin:/usr/local/sbin"


def programs(names: list[str], packages: list[str]) -> list[str]:
    """Return the paths of programs; install the packages that have them where one is missing and that is possible."""
    found = _paths(names)
    if not all(found) and os.geteuid() == 0 and shutil.which("apt-get"):
        with _alone():
            command("apt-get", "update", "-qq")
            with starting_nothing():
                install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
                command(*install, DEBIAN_FRONTEND="noninteractive")
        found = _paths(names)
    missing = [name for name, path in zip(names, found) if path is None]
    assert not missing, (
        f"{', '.join(missing)} is missing, and it is installed only as root with apt-get. "
        f"Install {' '.join(packages)}, then run again."
    )
    return [str(path) for path in found]


def _paths(names: list[str]) -> list[str | None]:
    return [shutil.which(name, path=os.environ["PATH"] + _PLACES) for name in names]


@contextmanager
def _alone() -> Iterator[None]:
    """Wait while another process of the tests installs something: two at once refuse each other."""
    path = REPOSITORY / ".cache" / "packages.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def starting_nothing() -> Iterator[None]:
    """Let packages be installed without that their services are started: nothing may listen but on loopback."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
