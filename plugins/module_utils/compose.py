# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of Docker Compose: where a project's files are, argument lists, and what ``config`` says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .docker_client import CONFIG_FILES_LABEL, ENVIRONMENT_FILES_LABEL, WORKING_DIRECTORY_LABEL
from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Run = Callable[..., tuple[int, str, str]]

# In the order in which Compose looks for them:
# https://github.com/compose-spec/compose-go/blob/main/cli/options.go
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
DEFAULT_OVERRIDES = (
    "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml",
)  # fmt: skip
TIMED_OUT = 124
_NO_PLUGIN = re.compile(
    r"is not a docker command|unknown shorthand flag: 'p'|unknown flag: --project|unknown command: docker compose"
)
_UNSET = re.compile(r'The \\?"(\w+)\\?" variable is not set')


@dataclass(frozen=True)
class Source:
    """The files from which Compose makes a project: those of one release in one tree."""

    project: str
    directory: str
    files: list[str]
    environment_files: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def argv(self, *arguments: str, override: str | None = None, all_profiles: bool = False) -> list[str]:
        """Return the argument list of one call of Compose."""
        argv = ["docker", "compose", "--project-name", self.project, "--project-directory", self.directory]
        for name in [*self.files, *([override] if override else [])]:
            argv += ["--file", name]
        for name in self.environment_files:
            argv += ["--env-file", name]
        return argv + (["--profile", "*"] if all_profiles else []) + list(arguments)

    def call(
        self,
        run: Run,
        *arguments: str,
        override: str | None = None,
        all_profiles: bool = False,
        timeout: float | None = None,
    ) -> tuple[int, str, str]:
        """Run Compose in the project's directory; refuse when Compose v2 is missing."""
        if shutil.which("docker") is None:
            raise _no_compose("there is no command 'docker'")
        argv = self.argv(*arguments, override=override, all_profiles=all_profiles)
        rc, out, err = run(argv, cwd=self.directory, environment=self.environment, timeout=timeout)
        if rc != 0 and _NO_PLUGIN.search(err):
            raise _no_compose(last_lines(err, 1))
        return rc, out, err


def _no_compose(reason: str) -> RollbackError:
    return RollbackError(
        f"Docker Compose v2 ('docker compose') does not work on this host: {reason}. Nothing was changed by this call.",
        "Install the Compose plugin: apt-get install docker-compose-plugin (Docker's repository), docker-compose-v2 "
        "(Ubuntu) or docker-compose (Debian 13). The old docker-compose 1.x is not enough.",
    )


def locate(  # noqa: PLR0913 - each is an option of the module
    labels: Mapping[str, str],
    *,
    project: str,
    directory: str,
    tree: str,
    files: list[str],
    env_files: list[str],
    environment: dict[str, str],
) -> Source:
    """Return the source of the project in ``tree``, which holds the files of ``directory`` at some release.

    Without ``files`` those are used from which the newest container was made, as its ``labels`` say.
    """
    top, there = Path(directory).resolve(), Path(tree).resolve()
    for option, path in (("directory", top), ("tree", there)):
        if not path.is_dir():
            raise RollbackError(
                f"{option}={path} is no directory on this host. Nothing was changed.",
                f"Set {option} to the project's checkout, the directory that holds its Compose file or its .git.",
            )
    place = _below(labels.get(WORKING_DIRECTORY_LABEL, ""), top)
    if files:
        found = [str(there / name) for name in files]
        if place is None:
            place = Path(files[0]).parent
    else:
        place = place or Path()
        found = _files_of(labels, top, there, place)
    _require_files(found)
    given = [str(there / name) if (there / name).exists() else str(top / name) for name in env_files]
    given = given or _environment_files(labels, top, there, place)
    _require_files(given)
    return Source(project, str(there / place), found, given, environment)


def _below(path: str, top: Path) -> Path | None:
    """Return ``path`` relative to ``top``, or None when it is not below it."""
    if not path:
        return None
    resolved = Path(path).resolve()
    return resolved.relative_to(top) if resolved == top or top in resolved.parents else None


def _split(label: str) -> list[str]:
    return [one for one in label.split(",") if one and one != "-"]


def _files_of(labels: Mapping[str, str], top: Path, tree: Path, place: Path) -> list[str]:
    """Return the Compose files as the labels name them, or as Compose finds them by itself."""
    named = [Path(one) for one in _split(labels.get(CONFIG_FILES_LABEL, ""))]
    if not all(one.name in DEFAULT_FILES + DEFAULT_OVERRIDES for one in named):
        mapped = [_in_tree(one, top, tree) for one in named]
        if mapped and Path(mapped[0]).exists():
            return [one for one in mapped if Path(one).exists()]
    home = tree / place
    found = [str(home / name) for name in DEFAULT_FILES if (home / name).exists()][:1]
    if not found:
        raise RollbackError(
            f"There is no Compose file in {home}. Nothing was changed.",
            f"Name the release's Compose files with the option files, relative to {top}.",
        )
    return found + [str(home / name) for name in DEFAULT_OVERRIDES if (home / name).exists()][:1]


def _in_tree(path: Path, top: Path, tree: Path) -> str:
    """Return where a file of the checkout is in the tree; a file from elsewhere stays where it is."""
    relative = _below(str(path), top)
    return str(path if relative is None else tree / relative)


def _environment_files(labels: Mapping[str, str], top: Path, tree: Path, place: Path) -> list[str]:
    """Return the environment files as the labels name them. Untracked ones are in the checkout, not in the tree."""
    named = _split(labels.get(ENVIRONMENT_FILES_LABEL, ""))
    if named:
        mapped = [(Path(one), Path(_in_tree(Path(one), top, tree))) for one in named]
        return [str(there if there.exists() else here) for here, there in mapped if there.exists() or here.exists()]
    here, there = top / place / ".env", tree / place / ".env"
    return [str(here)] if here.exists() and not there.exists() else []


def _require_files(names: Iterable[str]) -> None:
    for name in names:
        if not os.access(name, os.R_OK):
            raise RollbackError(
                f"The file {name} cannot be read. Nothing was changed.",
                "Name files that the release has with the options files and env_files, or check their owner and mode.",
            )


def config(run: Run, source: Source) -> tuple[dict[str, Any], list[str]]:
    """Return what the source describes, all profiles included, and warnings."""
    rc, out, err = source.call(run, "config", "--format", "json", all_profiles=True)
    if rc != 0:
        raise RollbackError(
            f"Docker Compose cannot read {', '.join(source.files)}: {last_lines(err, 3)}. Nothing was changed.",
            f"Try 'docker compose config --quiet' in {source.directory}. Variables can be given with the option "
            "environment, files that Git does not track must be there as well.",
        )
    try:
        parsed = json.loads(out)
    except ValueError as error:
        raise RollbackError(
            f"'docker compose config' did not print JSON: {error}. Nothing was changed.",
            "Check the version with 'docker compose version'; 2.4 or later is needed.",
        ) from error
    unset = dict.fromkeys(_UNSET.findall(err))
    where = ", ".join(source.files)
    return parsed, [f"The variable {name} is not set; {where} gets an empty text for it." for name in unset]


def hashes(run: Run, source: Source, override: str | None = None) -> dict[str, str]:
    """Return the hash of each service's definition, as Compose writes it on containers. Empty when it cannot say."""
    rc, out, _err = source.call(run, "config", "--hash", "*", all_profiles=True, override=override)
    pairs = [line.split() for line in out.splitlines()] if rc == 0 else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - name and hash


def without_dependencies(definitions: Mapping[str, Any], groups: list[list[str]]) -> str:
    """Return an override file that leaves each service only the dependencies within its group.

    Compose before 2.27 hashes ``depends_on`` as well, and ``up --no-deps`` drops what was not named in the call: the
    hash on a container that ``up --no-deps`` made is that of the shortened definition.
    """
    lines = ["services:"]
    for group in groups:
        for name in group:
            depends = definitions.get(name, {}).get("depends_on") or {}
            kept = {one: how for one, how in depends.items() if one in group}
            if depends:
                tag = f"!override {json.dumps(kept)}" if kept else "!reset null"
                lines += [f"  {json.dumps(name)}:", f"    depends_on: {tag}"]
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def definition_hash(definition: Mapping[str, Any]) -> str:
    """Return the hash that Compose 2.31 and later writes on a network or a volume.

    https://github.com/docker/compose/blob/main/pkg/compose/hash.go : SHA-256 of Go's JSON, which is what ``config``
    prints, without blanks and with three characters escaped.
    """
    text = json.dumps(definition, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def version(run: Run, source: Source) -> tuple[int, int]:
    """Return major and minor version of Compose."""
    _rc, out, _err = source.call(run, "version", "--short")
    match = re.match(r"v?(\d+)\.(\d+)", out.strip())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def normalise(value: Any, roots: Iterable[str]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a definition in which the given root directories are written as one word, so that trees compare."""
    if isinstance(value, dict):
        return {key: normalise(one, roots) for key, one in value.items()}
    if isinstance(value, list):
        return [normalise(one, roots) for one in value]
    if isinstance(value, str):
        for root in sorted(roots, key=len, reverse=True):
            value = re.sub(re.escape(root) + r"(?=/|$|:)", "<project>", value)
    return value


def differences(before: Any, after: Any, path: str = "") -> list[str]:  # noqa: ANN401 - JSON of any shape
    """Return the key paths at which two definitions differ. Values are not returned: they may be secrets."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[str] = []
        for key in sorted(before.keys() | after.keys()):
            below = f"{path}.{key}" if path else str(key)
            if key not in before or key not in after:
                found.append(below)
            else:
                found += differences(before[key], after[key], below)
        return found
    return [] if before == after else [path]


def left_as_is(current: Mapping[str, Any], release: Mapping[str, Any], keep: list[str]) -> dict[str, list[str]]:
    """Return what differs between two configurations and is not put back: keep services, networks, volumes."""
    found = {}
    for kind, word in (("services", ""), ("networks", "network "), ("volumes", "volume ")):
        here, there = current.get(kind) or {}, release.get(kind) or {}
        for name in keep if kind == "services" else sorted(here.keys() & there.keys()):
            if (name in here) != (name in there):
                found[word + name] = ["is in one of the two only"]
            elif differences(here.get(name), there.get(name)):
                found[word + name] = differences(here[name], there[name])
    return found


def last_lines(text: str, count: int) -> str:
    """Return the last lines of an output that are not empty."""
    return "\n".join([line.strip() for line in text.splitlines() if line.strip()][-count:])
