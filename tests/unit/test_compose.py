# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument lists, where files are looked for, hashes, and what differs between two configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import compose
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError

if TYPE_CHECKING:
    from pathlib import Path

WORKING = "com.docker.compose.project.working_dir"
FILES = "com.docker.compose.project.config_files"
ENVIRONMENT = "com.docker.compose.project.environment_file"


def make(root: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def locate(
    tmp_path: Path, labels: dict[str, str], files: list[str] | None = None, env_files: list[str] | None = None
) -> compose.Source:
    """Locate in the directories ``app`` and ``tree`` of the test."""
    return compose.locate(
        labels, project="p", directory=str(tmp_path / "app"), tree=str(tmp_path / "tree"), files=files or [],
        env_files=env_files or [], environment={},
    )  # fmt: skip


def test_argv_names_everything() -> None:
    """Project, directory, files, environment files and profile come before the command."""
    source = compose.Source("p", "/d", ["/d/a.yml", "/d/b.yml"], ["/d/.env"])
    assert source.argv("up", "--detach", "web", override="/tmp/o.yml", all_profiles=True) == [  # noqa: S108
        "docker", "compose", "--project-name", "p", "--project-directory", "/d", "--file", "/d/a.yml",
        "--file", "/d/b.yml", "--file", "/tmp/o.yml", "--env-file", "/d/.env", "--profile", "*",  # noqa: S108
        "up", "--detach", "web",
    ]  # fmt: skip


def test_files_of_the_container_are_mapped_into_the_tree(tmp_path: Path) -> None:
    """The relative position stays; a file that the release does not have is left out."""
    make(tmp_path / "app", "deploy/base.yml", "deploy/extra.yml")
    make(tmp_path / "tree", "deploy/base.yml")
    app = tmp_path / "app/deploy"
    source = locate(tmp_path, {WORKING: str(app), FILES: f"{app}/base.yml,{app}/extra.yml"})
    assert source.directory == str(tmp_path / "tree/deploy")
    assert source.files == [str(tmp_path / "tree/deploy/base.yml")]


def test_default_names_are_looked_for_anew(tmp_path: Path) -> None:
    """A release may call its file otherwise, and may have an override file that the newer one lacks."""
    make(tmp_path / "app", "compose.yml")
    make(tmp_path / "tree", "docker-compose.yml", "docker-compose.override.yml")
    source = locate(tmp_path, {WORKING: str(tmp_path / "app"), FILES: str(tmp_path / "app/compose.yml")})
    tree = tmp_path / "tree"
    assert source.files == [str(tree / "docker-compose.yml"), str(tree / "docker-compose.override.yml")]


def test_untracked_environment_file_is_taken_from_the_checkout(tmp_path: Path) -> None:
    """The tree wins where it has the file."""
    make(tmp_path / "app", "compose.yml", ".env", "production.env")
    make(tmp_path / "tree", "compose.yml")
    assert locate(tmp_path, {}).environment_files == [str(tmp_path / "app/.env")]
    labels = {ENVIRONMENT: str(tmp_path / "app/production.env")}
    assert locate(tmp_path, labels).environment_files == [str(tmp_path / "app/production.env")]
    assert locate(tmp_path, {}, env_files=["production.env"]).environment_files == [
        str(tmp_path / "app/production.env")
    ]
    make(tmp_path / "tree", ".env")
    assert locate(tmp_path, {}).environment_files == []


def test_given_files_decide(tmp_path: Path) -> None:
    """The option wins over the labels; the project directory is that of the first file."""
    make(tmp_path / "app", "compose.yml")
    make(tmp_path / "tree", "deploy/a.yml")
    source = locate(tmp_path, {}, files=["deploy/a.yml"])
    assert source.files == [str(tmp_path / "tree/deploy/a.yml")]
    assert source.directory == str(tmp_path / "tree/deploy")


def test_missing_files_are_named(tmp_path: Path) -> None:
    """No Compose file, or no directory: refused."""
    make(tmp_path / "app", "x")
    with pytest.raises(RollbackError, match="tree"):
        locate(tmp_path, {})
    make(tmp_path / "tree", "x")
    with pytest.raises(RollbackError, match="no Compose file"):
        locate(tmp_path, {})
    with pytest.raises(RollbackError, match=r"gone\.yml"):
        locate(tmp_path, {}, files=["gone.yml"])


def test_hash_of_a_definition_as_compose_5_6_1_writes_it() -> None:
    """Captured from the label of a network that Compose 5.6.1 made."""
    definition = {"name": "usdx-it-x_default", "ipam": {}, "labels": {"a": "4"}}
    expected = "23488c45b679a572428a08534a8a0066f5a66ca6ef089319259f97ee013772ed"
    assert compose.definition_hash(definition) == expected


def test_differences_are_paths_without_values() -> None:
    """Values may be secrets. The two trees count as one place."""
    current = {"services": {"db": {"environment": {"P": "s3cret"}, "volumes": [{"source": "/opt/app/x"}]}}}
    release = {"services": {"db": {"environment": {"P": "0ther"}, "volumes": [{"source": "/tree/x"}]}}}
    roots = ["/opt/app", "/tree"]
    found = compose.left_as_is(compose.normalise(current, roots), compose.normalise(release, roots), ["db"])
    assert found == {"db": ["environment.P"]}


def test_normalise_takes_whole_directories_only() -> None:
    """``/opt/app2`` is not below ``/opt/app``."""
    assert compose.normalise(["/opt/app2/x", "/opt/app/x", "/opt/app", "/opt/app:/y"], ["/opt/app"]) == [
        "/opt/app2/x", "<project>/x", "<project>", "<project>:/y",
    ]  # fmt: skip


def test_keep_service_of_one_side_and_networks_and_volumes() -> None:
    """What is only in one of the two is told; networks and volumes of both are compared."""
    current = {"services": {"db": {}}, "networks": {"n": {"driver": "a"}}, "volumes": {"v": {"name": "1"}}}
    release = {"services": {}, "networks": {"n": {"driver": "b"}}, "volumes": {"v": {"name": "1"}, "w": {}}}
    assert compose.left_as_is(current, release, ["db"]) == {
        "db": ["is in one of the two only"], "network n": ["driver"],
    }  # fmt: skip


def test_dependencies_within_the_group_stay() -> None:
    """The override that gives the hash of ``up --no-deps`` with older versions of Compose."""
    definitions = {"a": {"depends_on": {"db": {"condition": "x"}, "b": {"condition": "y"}}}, "b": {}}
    text = compose.without_dependencies(definitions, [["a", "b"]])
    assert text == 'services:\n  "a":\n    depends_on: !override {"b": {"condition": "y"}}\n'
    assert "!reset null" in compose.without_dependencies(definitions, [["a"], ["b"]])
    assert compose.without_dependencies({"b": {}}, [["b"]]) == ""
