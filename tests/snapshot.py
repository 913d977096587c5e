# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host looks like: Docker's objects, the project's tree and repository, files that a run might leave behind.

``snapshot.py DIRECTORY`` writes ``before.json`` into the folder of a demo; tests compare it with what they see later.
A second argument is another name for that file.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"


def lines(*argv: str, cwd: Path | None = None) -> list[str]:
    """Return what a command printed, line by line."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd).stdout.splitlines()


def containers() -> dict[str, dict[str, Any]]:
    """Return every container of the host by name."""
    ids = lines("docker", "ps", "--all", "--quiet", "--no-trunc")
    # One that is gone meanwhile, of another test, is left out; inspect then returns 1 and prints the others.
    told = subprocess.run(["docker", "inspect", *ids], check=False, capture_output=True, text=True)
    found = json.loads(told.stdout) if ids else []
    return {
        container["Name"].lstrip("/"): {
            "id": container["Id"],
            "image": container["Image"],
            "started": container["State"]["StartedAt"],
            "finished": container["State"]["FinishedAt"],
            "status": container["State"]["Status"],
            "health": (container["State"].get("Health") or {}).get("Status"),
            "project": container["Config"]["Labels"].get(PROJECT_LABEL),
            "service": container["Config"]["Labels"].get(SERVICE_LABEL),
        }
        for container in found
    }


def tree(directory: Path) -> dict[str, str]:
    """Return a digest of every file below a folder, with owner and mode, without Git's own files."""
    return {
        str(path.relative_to(directory)): digest(path)
        for path in sorted(directory.rglob("*"))
        if ".git" not in path.relative_to(directory).parts and (path.is_file() or path.is_symlink())
    }


def digest(path: Path) -> str:
    """Return owner, mode and content of a file in one word."""
    status = path.lstat()
    content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    return f"{status.st_uid}:{status.st_mode:o}:{hashlib.sha256(content).hexdigest()[:16]}"


def repository(directory: Path) -> dict[str, Any]:
    """Return commit, branch, refs and state of a Git checkout."""
    return {
        "head": lines("git", "rev-parse", "HEAD", cwd=directory),
        "refs": lines("git", "for-each-ref", "--format=%(refname) %(objectname)", cwd=directory),
        "status": lines("git", "status", "--porcelain", cwd=directory),
    }


def leavings() -> list[str]:
    """Return what runs have left in the folder for temporary files; each scenario has its own, by TMPDIR."""
    return sorted(path.name for path in Path(tempfile.gettempdir()).glob("usdx-rollback*"))


def sql(project: str, query: str) -> list[str]:
    """Return the rows that the demo's database answers, columns parted by bars."""
    psql = ["psql", "-X", "-A", "-t", "-U", "usdx", "-d", "usdx_wexel", "-c", query]
    return lines("docker", "exec", f"{project}-db-1", *psql)


def databases(project: str) -> list[str]:
    """Return every database with object id, owner, and whether it takes connections."""
    return sql(project, "SELECT datname, oid, pg_get_userbyid(datdba), datallowconn FROM pg_database ORDER BY 1")


def take(directory: Path) -> dict[str, Any]:
    """Return the snapshot of the host as seen by a demo."""
    project = directory / "project"
    name = json.loads((directory / "demo.json").read_text(encoding="utf-8"))["project"]
    template = "{{.Repository}}:{{.Tag}} {{.ID}}"
    return {
        "containers": containers(),
        "images": sorted(lines("docker", "image", "ls", "--no-trunc", "--format", template)),
        "networks": sorted(lines("docker", "network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}")),
        "volumes": sorted(lines("docker", "volume", "ls", "--format", "{{.Name}}")),
        "tree": tree(project),
        "repository": repository(project),
        "state": sorted(tree(directory / "state")) if (directory / "state").exists() else [],
        "leavings": leavings(),
        "databases": databases(name),
        "events": int(sql(name, "SELECT count(*) FROM events")[0]),
    }


if __name__ == "__main__":
    folder, moment = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "before"
    (folder / f"{moment}.json").write_text(json.dumps(take(folder), indent=1), encoding="utf-8")
