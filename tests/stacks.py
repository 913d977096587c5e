# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small Compose projects for integration tests: made in a directory, looked at through docker inspect, removed."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

from harness import BASE_IMAGE, REPOSITORY, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = "usdx-it-service:1"
_SCRIPT = r"""#!/bin/sh
# serve: ends at SIGTERM; deaf: ignores it; slow: takes 1.5 s for it; crash: fails; job: is done at once
case "$1" in
  serve) trap 'exit 0' TERM ;;
  deaf) trap '' TERM ;;
  slow) trap 'sleep 1.5; exit 0' TERM ;;
  crash) echo "cannot serve"; sleep 0.1; exit 3 ;;
  job) exit 0 ;;
esac
echo "mode $1"
while :; do sleep 3600 & wait $!; done
"""


def build_image() -> None:
    """Build the one image of these tests, once; it stays as a cache."""
    dockerfile = f'FROM {BASE_IMAGE}\nCOPY service /service\nENTRYPOINT ["/service"]\nCMD ["serve"]\n'
    tar = _tar({"Dockerfile": (dockerfile, 0o644), "service": (_SCRIPT, 0o755)})
    subprocess.run(["docker", "build", "--quiet", "--tag", IMAGE, "-"], input=tar, check=True, capture_output=True)


def demo_image(name: str) -> str:
    """Build an image of the demo if it is missing, and return its name; it stays as a cache."""
    image = f"usdx-demo/{name}"
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode:
        folder = REPOSITORY / "tests" / "demo" / "images" / name
        command("docker", "build", "--quiet", "--tag", image, str(folder))
    return image


def _tar(files: dict[str, tuple[str, int]]) -> bytes:
    import io  # noqa: PLC0415
    import tarfile  # noqa: PLC0415

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Stack:
    """One Compose project of a test."""

    def __init__(self, directory: Path, project: str) -> None:
        """Remember where the project lives."""
        self.directory = directory
        self.project = project

    def write(self, files: dict[str, str], tree: Path | None = None) -> None:
        """Write files below the project's directory, or below another tree."""
        for name, text in files.items():
            path = (tree or self.directory) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker compose for the project in its directory."""
        return command("docker", "compose", "-p", self.project, *arguments, cwd=self.directory, check=check)

    def up(self, *arguments: str) -> None:
        """Start the project from the files that are there now."""
        self.compose("up", "--detach", *arguments)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what docker inspect says of every container of the project, by name without the project."""
        ids = command("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        found = json.loads(command("docker", "inspect", *ids)) if ids else []
        return {one["Name"].removeprefix(f"/{self.project}-"): one for one in found}

    def states(self) -> dict[str, str]:
        """Return the state of every container."""
        return {name: one["State"]["Status"] for name, one in self.containers().items()}

    def identity(self, *names: str) -> dict[str, tuple[str, str]]:
        """Return id and start of containers: equal before and after means untouched."""
        found = self.containers()
        return {name: (found[name]["Id"], found[name]["State"]["StartedAt"]) for name in names}

    def image_id(self, name: str) -> str:
        """Return the id of the image that a container runs."""
        image: str = self.containers()[name]["Image"]
        return image

    def remove(self) -> None:
        """Remove containers, network, volumes and images that carry the project's name."""
        label = f"label=com.docker.compose.project={self.project}"
        for kind, listing, removal in (
            ("container", ["ls", "-aq"], ["rm", "--force", "--volumes"]),
            ("network", ["ls", "-q"], ["rm"]),
            ("volume", ["ls", "-q"], ["rm", "--force"]),
        ):
            ids = command("docker", kind, *listing, "--filter", label).split()
            if ids:
                command("docker", kind, *removal, *ids)
        for pattern in (f"{self.project}*", f"{self.project}/*", f"usdx-rollback/{self.project}/*"):
            tags = command("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", pattern).split()
            if tags:
                command("docker", "image", "rm", "--force", *tags)


@contextlib.contextmanager
def stack(directory: Path) -> Iterator[Stack]:
    """Give a project with a name of its own; remove all it made, also when the test fails."""
    made = Stack(directory, f"usdx-it-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.remove()
