# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a managed host is imported there by this Python, with nothing of Ansible but its module_utils."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".ansible/collections"
IMPORT_ALL = """
import importlib, sys
import ansible
known = set(sys.modules)
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
allowed = "ansible.module_utils"
loaded = [name for name in sys.modules if name not in known and name.startswith("ansible.")]
print(*sorted(name for name in loaded if not name.startswith(allowed)))
"""


def sent_to_hosts() -> list[str]:
    """Return the name of each module and of each file that modules share."""
    folder = COLLECTIONS / "ansible_collections/usdx/rollback/plugins"
    paths = [path for kind in ("modules", "module_utils") for path in sorted((folder / kind).rglob("*.py"))]
    return [".".join(path.relative_to(COLLECTIONS).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def test_modules_and_what_they_share_are_imported_without_a_controller() -> None:
    names = sent_to_hosts()
    assert len(names) > 100
    argv = [sys.executable, "-c", IMPORT_ALL, str(COLLECTIONS), *names]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
