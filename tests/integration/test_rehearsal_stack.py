# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""rehearsal_stack against a real daemon: a copy that is kept apart, and gone afterwards, while production serves."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, command, free_port
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = "20261124T150405Z-3f9a"
COMPOSE = """
services:
  web:
    image: ${{NAME}}-web:{release}
    container_name: ${{NAME}}-the-web
    ports: ["127.0.0.1:${{PORT}}:80"]
    restart: always
    environment: {{SECRET: "${{SECRET}}"}}
    volumes: ["./web.conf:/web.conf:ro", "{uploads}:/uploads", "./local.conf:/local.conf"]
    depends_on: [ledger]
  ledger:
    image: {image}
    volumes: ["data:/data"]
  spy: {{image: {image}, network_mode: host, profiles: [spy]}}
volumes:
  data: {{name: "${{NAME}}-own-data"}}
"""


@dataclass(frozen=True)
class Production:
    """A project that runs from a checkout, and a tree of its former release."""

    stack: Stack
    uploads: Path
    tree: str
    before: dict[str, tuple[str, str]]

    def call(self, *, check: bool = False, **options: Any) -> Outcome:
        """Call the module for this project."""
        given = {
            "project": self.stack.project, "run_id": RUN, "directory": str(self.stack.directory),
            "release_tree": self.tree, "application_services": ["web"], "keep": ["ledger"],
        } | options  # fmt: skip
        return call_module("rehearsal_stack", given, check=check)

    @property
    def copy(self) -> str:
        """Return the name of the copy."""
        return f"{self.stack.project}-rehearsal-3f9a"

    def found(self, kind: str, *more: str) -> list[str]:
        """Return Docker's objects that are marked as those of a rehearsal of this project."""
        label = f"label=usdx.rollback.rehearsal.of={self.stack.project}"
        return command("docker", kind, "ls", *more, "--quiet", "--filter", label).split()

    def assert_untouched(self) -> None:
        """Containers, checkout and volume are those of before."""
        assert self.stack.identity(*self.before) == self.before
        assert command("git", "status", "--porcelain", cwd=self.stack.directory) == ""
        assert (self.uploads / "kept").read_text() == "by production"
        assert command("docker", "volume", "ls", "--quiet", "--filter", f"name={self.stack.project}-own-data").split()


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """Give a project whose release 2 runs; release 1 is a tag."""
    build_image()
    home = tmp_path_factory.mktemp("production")
    uploads = home / "uploads"
    uploads.mkdir()
    (uploads / "kept").write_text("by production")
    directory = home / "checkout"
    directory.mkdir()
    with stack(directory) as made:
        person = {f"GIT_{who}_{what}": "a@a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        command("git", "init", "--quiet", cwd=directory)
        for release in ("1", "2"):
            text = COMPOSE.format(release=release, image=IMAGE, uploads=uploads)
            made.write({"compose.yml": text, "web.conf": release, ".gitignore": ".env\nlocal.conf\n"})
            command("git", "add", ".", cwd=directory)
            command("git", "commit", "--quiet", "-m", release, cwd=directory, **person)
            command("git", "tag", f"v{release}", cwd=directory)
            command("docker", "tag", IMAGE, f"{made.project}-web:{release}")
        made.write({".env": f"NAME={made.project}\nPORT={free_port()}\nSECRET=hush$$hush\n", "local.conf": "local"})
        made.up()
        prepared = call_module(
            "release_checkout",
            {"state": "prepared", "path": str(directory), "version": "v1", "destination": str(home / "tree")},
        )
        names = [name.removeprefix(f"{made.project}-") for name in made.containers()]
        yield Production(made, uploads, prepared["tree"], made.identity(*names))


@pytest.fixture(scope="module")
def copied(production: Production) -> Iterator[Outcome]:
    """Make the copy, once."""
    place = command("docker", "port", f"{production.stack.project}-the-web").split()[-1]
    beside = f"http://192.0.2.1:{place.rpartition(':')[2]}"  # the same port of a host that nobody has
    made = production.call(places=[f"http://{place}", "http://elsewhere.example.com:9999", beside])
    assert not made.failed, made.result
    started = production.call(state="started")
    assert not started.failed, started.result
    yield made
    production.call(state="absent")


def test_check_mode_and_refusals_make_nothing(production: Production) -> None:
    foreseen = production.call(check=True)
    assert (foreseen.failed, foreseen["changed"]) == (False, True)
    refused = production.call(keep=["ledger", "spy"])
    assert refused.failed
    assert "spy (network_mode host)" in refused["msg"]
    assert "rollback_rehearsal_leave_out" in refused["next_step"]
    assert production.call(application_services=["nobody"]).failed
    assert (production.found("container", "--all"), production.found("network")) == ([], [])
    assert not Path(foreseen["stack"]["root"]).exists()


def test_the_copy_is_kept_apart_from_production(production: Production, copied: Outcome) -> None:
    made = {one["Config"]["Labels"]["com.docker.compose.service"]: one
            for one in json.loads(command("docker", "inspect", *production.found("container", "--all")))}  # fmt: skip
    assert set(made) == {"web", "ledger"}
    web = made["web"]
    assert web["HostConfig"]["PortBindings"] in ({}, None)
    assert web["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert (web["HostConfig"]["CpuShares"], web["HostConfig"]["OomScoreAdj"]) == (512, 1000)
    assert web["Image"] == production.stack.containers()["the-web"]["Image"]
    assert "SECRET=hush$hush" in web["Config"]["Env"] or "SECRET=hush$$hush" in web["Config"]["Env"]
    mounts = {one["Destination"]: one for one in web["Mounts"]}
    assert mounts["/web.conf"]["Source"] == f"{copied['stack']['directory']}/web.conf"
    assert mounts["/local.conf"]["Source"] == f"{copied['stack']['directory']}/local.conf"
    assert mounts["/uploads"]["Type"] == "volume"
    assert made["ledger"]["Mounts"][0]["Name"].startswith(production.copy)
    assert set(web["NetworkSettings"]["Networks"]) == {f"{production.copy}_default"}
    elsewhere, beside = copied["not_rehearsed"]
    assert (elsewhere, beside.rpartition(":")[0]) == ("http://elsewhere.example.com:9999", "http://192.0.2.1")
    assert any("/uploads is empty" in note for note in copied["notes"])
    production.assert_untouched()


def test_it_reaches_neither_production_nor_another_host(production: Production, copied: Outcome) -> None:  # noqa: ARG001
    target = json.loads(command("docker", "inspect", f"{production.stack.project}-ledger-1"))[0]
    address = next(iter(target["NetworkSettings"]["Networks"].values()))["IPAddress"]

    def knock(container: str) -> str:
        """Knock at a port that nobody listens on: who gets there is refused at once."""
        argv = ["docker", "exec", container, "timeout", "2", "bash", "-c", f"echo > /dev/tcp/{address}/9"]
        return subprocess.run(argv, check=False, capture_output=True, text=True).stderr

    assert "refused" in knock(f"{production.stack.project}-the-web"), "the knock says nothing"
    assert "refused" not in knock(f"{production.copy}-web-1")
    (network,) = json.loads(command("docker", "network", "inspect", f"{production.copy}_default"))
    assert network["Internal"], "other hosts are not reached either"


def test_its_files_are_private_and_hold_what_the_release_needs(copied: Outcome) -> None:
    root = Path(copied["stack"]["root"])
    assert root.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in root.glob("*.json")} == {0o600}
    release = json.loads(Path(copied["stack"]["release_file"]).read_text(encoding="utf-8"))
    assert release["services"]["web"]["image"].startswith("usdx-rehearsal/")
    assert release["services"]["web"]["image"].endswith(":1")
    address = release["services"]["web"]["networks"]["default"]["ipv4_address"]
    assert next(iter(copied["stack"]["places"].values())) == f"{address}:80"
    assert "hush" not in json.dumps(copied.result)
    tags = command("git", "tag", cwd=copied["stack"]["directory"]).split()
    assert tags == ["v1", "v2"]


def test_a_copy_that_is_there_is_not_used_again(production: Production, copied: Outcome) -> None:
    again = production.call()
    assert again.failed
    assert copied["stack"]["root"] in again["msg"]


def test_all_of_it_is_removed_and_nothing_else(production: Production, copied: Outcome) -> None:
    here, built = (f"usdx-rollback/{production.copy}/web:{tag}" for tag in ("aaaaaaaaaaaa", "0123456789ab"))
    command("docker", "tag", IMAGE, here)
    command("docker", "commit", f"{production.copy}-web-1", built)
    # Of one that was killed; of a project whose name is longer.
    project = production.stack.project
    killed, stranger = (f"usdx-rehearsal/{project}{end}/web:1" for end in ("-rehearsal-beef", "-rehearsal-more"))
    command("docker", "tag", IMAGE, killed)
    command("docker", "tag", IMAGE, stranger)
    other = call_module("rehearsal_stack", {"state": "absent", "project": production.stack.project[:-1]})
    assert other.failed, "there is no such project"
    assert len(production.found("container", "--all")) == 2
    foreseen = production.call(state="absent", check=True)
    assert foreseen["changed"]
    # As the next rehearsal does it, which does not know the id of one that was killed.
    gone = production.call(state="absent", run_id="", keep_images=True)
    assert not gone.failed, gone.result
    assert gone["production"] == copied["production"]
    assert gone["kept_images"] == [f"usdx-rollback/{production.stack.project}/web:0123456789ab"]
    for kind, more in (("container", ["--all"]), ("network", []), ("volume", [])):
        assert production.found(kind, *more) == []
    names = command("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    command("docker", "rmi", stranger)
    assert not [name for name in names if production.copy in name or name == killed]
    assert stranger in names
    assert not Path(copied["stack"]["root"]).exists()
    production.assert_untouched()
    assert not production.call(state="absent")["changed"]
