# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collections that most people would use instead, only for the benchmark: fetched once, used by peers.yml.

They come from PyPI, where the package ``ansible`` holds them in tested versions, so that Galaxy need not be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "ansible==12.3.0"
NAMES = ("docker", "library_inventory_filtering_v1", "postgresql")
PLAYBOOK = Path(__file__).with_name("peers.yml")
SECONDS_TO_FETCH = 600


def collections(place: Path) -> Path:
    """Return the folder of the collections, filled with this version."""
    mark = place / "installed"
    if not mark.exists() or mark.read_text(encoding="utf-8") != PACKAGE:
        print(f"fetching {', '.join(f'community.{name}' for name in NAMES)} out of {PACKAGE} (once)", flush=True)
        place.mkdir(parents=True, exist_ok=True)
        _fetch(place)
        mark.write_text(PACKAGE, encoding="utf-8")
    return place


def _fetch(place: Path) -> None:
    """Download the package, and take these collections out of it."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*argv, "--dest", folder, PACKAGE], check=True, capture_output=True, timeout=SECONDS_TO_FETCH)
        (wheel,) = Path(folder).glob("*.whl")
        wanted = tuple(f"ansible_collections/community/{name}/" for name in NAMES)
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place, [name for name in packed.namelist() if name.startswith(wanted)])


def versions(place: Path) -> str:
    """Return the versions of the collections."""
    manifests = {name: place / "ansible_collections" / "community" / name / "MANIFEST.json" for name in NAMES}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in manifests.items() if path.exists()}
    told = [f"community.{name} {one['collection_info']['version']}" for name, one in found.items()]
    return ", ".join(told) or "not installed"
