# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Pythons and which ansible-core the collection is tried on here, and a virtual environment for each pair.

A Python is there when pyenv or PATH has it. One that is there and does not start is an error, never left out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("versions.txt")
# Of a managed host; the last of each line of ansible-core, and the Pythons that it allows on a controller.
HOST_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
CORES = {
    "2.17.14": ("3.10", "3.11", "3.12"),
    "2.18.19": ("3.11", "3.12", "3.13"),
    "2.19.14": ("3.11", "3.12", "3.13"),
    "2.20.10": ("3.12", "3.13", "3.14"),
    "2.21.5": ("3.12", "3.13", "3.14"),
}
Pairs = list[tuple[str, str]]


def pyenv_root() -> Path | None:
    """Return where pyenv keeps its Pythons."""
    if not (pyenv := shutil.which("pyenv")):
        return None
    done = subprocess.run([pyenv, "root"], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def search_path(root: Path | None) -> list[str]:
    """Return PATH without the shims of pyenv, each of which may name a Python that is not chosen, and without .venv."""
    ours = {str(REPOSITORY / ".venv" / "bin"), str(root / "shims") if root else ""}
    return [folder for folder in os.environ["PATH"].split(os.pathsep) if folder not in ours]


def found() -> dict[str, Path]:
    """Return the Pythons of this machine, oldest first; each of them starts."""
    root = pyenv_root()
    path = os.pathsep.join(search_path(root))
    pythons = {}
    for version in HOST_PYTHONS:
        kept = sorted((root / "versions").glob(f"{version}.*/bin/python{version}")) if root else []
        if (python := kept[-1] if kept else shutil.which(f"python{version}", path=path)) is not None:
            pythons[version] = Path(python)
    own = "{}.{}".format(*sys.version_info[:2])
    pythons.setdefault(own, Path(sys._base_executable))  # type: ignore[attr-defined]
    for version, python in pythons.items():
        argv = [str(python), "-c", "import ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.stdout.strip() != version:
            sys.exit(f"{python} is there and cannot be tried as Python {version}: {done.stderr.strip()}")
    return {version: pythons[version] for version in HOST_PYTHONS if version in pythons}


def ends(versions: list[str]) -> list[str]:
    """Return the first and the last, once if they are the same."""
    return list(dict.fromkeys([versions[0], versions[-1]]))


def hosts(pythons: list[str]) -> Pairs:
    """Return each Python of a managed host, in turn with the oldest and the newest core; the ends of both together."""
    oldest, newest = ends(list(CORES))
    half = len(pythons) // 2
    return [(python, oldest if place < half else newest) for place, python in enumerate(pythons)]


def controllers(pythons: list[str]) -> Pairs:
    """Return each core with the oldest and the newest Python that it allows and that is there."""
    pairs = []
    for core, allowed in CORES.items():
        if usable := [python for python in pythons if python in allowed]:
            pairs += [(python, core) for python in ends(usable)]
    return pairs


def plan(what: str, pythons: list[str]) -> Pairs:
    """Return the pairs for one kind of test."""
    if what == "hosts":
        return hosts(pythons)
    if what == "host_ends":
        pairs = hosts(pythons)
        return [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs
    pairs = controllers(pythons)
    if what == "sanity":  # a newer Python warns of more
        return [(python, core) for core, python in {core: python for python, core in pairs}.items()]
    if what == "rollback":
        return [pairs[0], pairs[-1]]
    return pairs


def missing(pythons: list[str]) -> list[str]:
    """Return what cannot be tried on this machine, in words."""
    words = [f"Python {version}" for version in HOST_PYTHONS if version not in pythons]
    return words + [f"ansible-core {core}" for core, allowed in CORES.items() if not set(allowed) & set(pythons)]


def environment(python: str, core: str, *, host: bool) -> Path:
    """Return a virtual environment, made when it is missing.

    That of a managed host has ansible-core without what it needs on a controller, as its module_utils reach a host; so
    its Python may be older than a controller's.
    """
    lines = ["ansible-core==" + core, REQUIREMENTS.read_text(encoding="utf-8"), str(found()[python])]
    key = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    place = REPOSITORY / ".cache" / "versions" / f"{'host' if host else 'controller'}-{python}-{core}-{key}"
    if (place / "complete").exists():
        return place
    subprocess.run([found()[python], "-m", "venv", "--clear", place], check=True)
    pip: list[str | Path] = [place / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    alone = ["--no-deps", "--ignore-requires-python"] if host else []
    for wanted in ([*alone, lines[0]], ["--requirement", REQUIREMENTS]):
        subprocess.run([*pip, *wanted], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    (place / "complete").touch()
    return place


def main() -> None:
    """Answer one question of tests/versions.sh."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("missing", help="what is not there, in one line")
    kinds.add_parser("path", help="PATH without shims")
    one = kinds.add_parser("plan", help="print the pairs of Python and ansible-core, one a line")
    one.add_argument("what", choices=("hosts", "host_ends", "units", "sanity", "rollback"))
    one = kinds.add_parser("environment", help="make a virtual environment and print its folder")
    one.add_argument("python")
    one.add_argument("core")
    one.add_argument("--host", action="store_true", help="of a managed host")
    asked = parser.parse_args()
    if asked.kind == "missing":
        print(", ".join(missing(list(found()))))
    elif asked.kind == "path":
        print(os.pathsep.join(search_path(pyenv_root())))
    elif asked.kind == "plan":
        print("\n".join(" ".join(pair) for pair in plan(asked.what, list(found()))))
    else:
        print(environment(asked.python, asked.core, host=asked.host))


if __name__ == "__main__":
    main()
