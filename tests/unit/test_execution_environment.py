# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-builder makes of the collection and of the shipped definition; without a network, without Docker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEFINITION = ROOT / "docs" / "execution_environment" / "execution-environment.yml"
BUILDER = str(Path(sys.executable).parent / "ansible-builder")


def test_ansible_builder_finds_what_the_collection_needs() -> None:
    done = subprocess.run(
        [BUILDER, "introspect", str(ROOT / ".ansible/collections")], check=True, capture_output=True, text=True
    )
    found = yaml.safe_load(done.stdout)
    ours = "  # from collection usdx.rollback"
    needed = [line.removesuffix(ours) for line in found["python"] if line.endswith(ours)]
    wanted = [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert needed == wanted
    packages = " ".join(line for line in found["system"] if line.endswith(ours))
    for package in ("git", "openssh-client", "bind9-dnsutils"):
        assert f"{package} [platform:dpkg]" in packages


def test_the_definition_is_accepted_and_installs_the_collection(tmp_path: Path) -> None:
    shutil.copy(DEFINITION, tmp_path)
    (tmp_path / "usdx-rollback.tar.gz").write_bytes(b"")
    argv = [BUILDER, "create", "-f", DEFINITION.name, "-c", "context"]
    subprocess.run(argv, check=True, capture_output=True, text=True, cwd=tmp_path)
    (steps,) = (path for path in (tmp_path / "context").iterdir() if path.is_file())
    text = steps.read_text(encoding="utf-8")
    assert 'EE_BASE_IMAGE="debian:bookworm-slim"' in text
    assert text.rindex("USER 1000") > text.rindex("USER root")
    wanted = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text(encoding="utf-8"))
    (collection,) = wanted["collections"]
    assert (tmp_path / "context" / "_build" / collection["name"]).is_file()
