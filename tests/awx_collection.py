# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the collection awx.awx where tests and ansible-lint find it, out of the Python package ansible, which holds it.

Galaxy is not reached from every machine; the package index is, and the version is the one that the package was made of.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "ansible==12.3.0"  # with awx.awx 24.6.1
COLLECTIONS = REPOSITORY / ".ansible" / "collections"
PREFIX = "ansible_collections/awx/"


def main() -> None:
    """Download the package once, and unpack what is needed."""
    if (COLLECTIONS / PREFIX / PACKAGE).exists():
        return
    downloads = REPOSITORY / ".cache" / "awx"
    argv = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    argv += ["--dest", str(downloads), PACKAGE]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"The package {PACKAGE} could not be downloaded, so awx.awx is missing.\n{done.stderr}")
    (wheel,) = downloads.glob("ansible-12.3.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(COLLECTIONS, [name for name in archive.namelist() if name.startswith(PREFIX)])
    wheel.unlink()
    (COLLECTIONS / PREFIX / PACKAGE).touch()


if __name__ == "__main__":
    main()
