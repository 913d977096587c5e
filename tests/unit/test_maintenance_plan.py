# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page is made from, and what is left when the daemon refuses in the middle: with a daemon of our own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import maintenance_page as logic
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_page import maintenance_page
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_plan import PageRequest, make_plan
from docker.errors import APIError, NotFound

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
OURS = "usdx.rollback.maintenance"


class Stream:
    """What get_archive streams; only closed."""

    def close(self) -> None:
        """Close nothing."""


class Daemon:
    """Stands in for the Docker daemon and for the low level API of its client."""

    def __init__(self) -> None:
        """Begin without containers."""
        self.api = self
        self.containers_: dict[str, dict[str, Any]] = {}
        self.with_nginx: set[str] = set()
        self.fails_to_start: set[BaseException] = set()
        self.taken: list[dict[str, Any]] = []

    def add(self, service: str, state: str = "exited", **host: Any) -> str:
        """Add a container of the project."""
        labels = {PROJECT: "shop", SERVICE: service}
        return self._add(f"shop-{service}-1", labels, state, {"HostConfig": host, "Image": f"sha256:{service}"})

    def _add(self, name: str, labels: dict[str, str], state: str, more: dict[str, Any]) -> str:
        self.containers_[name] = {
            "Id": name, "Name": f"/{name}", "State": {"Status": state}, "Config": {"Labels": labels, "Image": name},
        } | more  # fmt: skip
        return name

    def pages(self) -> list[tuple[str, str]]:
        """Return words and state of the pages that are left."""
        pages = [one for one in self.containers_.values() if OURS in one["Config"]["Labels"]]
        return [(json.loads(one["Config"]["Labels"][f"{OURS}.page"])["text"], one["State"]["Status"]) for one in pages]

    # the API

    def containers(self, filters: dict[str, list[str]] | None = None, **_more: Any) -> list[dict[str, Any]]:
        """List the containers with a label, or, without one, those that hold ports."""
        if filters is None:
            return self.taken
        name, _equals, value = filters["label"][0].partition("=")
        found = [one for one in self.containers_.values() if name in one["Config"]["Labels"]]
        return [{"Id": one["Id"], "Labels": one["Config"]["Labels"]} for one in found
                if not value or one["Config"]["Labels"][name] == value]  # fmt: skip

    def inspect_container(self, name: str) -> dict[str, Any]:
        """Return a container."""
        if name not in self.containers_:
            raise NotFound(name)
        return self.containers_[name]

    def inspect_image(self, name: str) -> dict[str, Any]:
        """Return an image that Compose has built."""
        if not name.startswith("sha256:"):
            raise NotFound(name)
        return {"Id": name, "Config": {"Labels": {PROJECT: "shop"}}}

    def get_archive(self, name: str, path: str) -> tuple[Stream, dict[str, Any]]:
        """Return a file of a container that has it."""
        if name in self.with_nginx and path == "/usr/sbin/nginx":
            return Stream(), {}
        raise NotFound(path)

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        """Return the options."""
        return options

    def create_container(self, _image: str, name: str, labels: dict[str, str], **_more: Any) -> dict[str, str]:
        """Make a container."""
        assert labels[PROJECT] == ""
        return {"Id": self._add(name, labels, "created", {})}

    def put_archive(self, _name: str, _path: str, _data: bytes) -> bool:
        """Take the files."""
        return True

    def start(self, name: str) -> None:
        """Start a container, unless it has been told to fail."""
        if self.fails_to_start and self.containers_[name]["State"]["Status"] == "created":
            raise self.fails_to_start.pop()
        self.containers_[name]["State"]["Status"] = "running"

    def stop(self, name: str, timeout: int) -> None:
        """Stop a container."""
        assert timeout <= 2
        self.containers_[name]["State"]["Status"] = "exited"

    def remove_container(self, name: str, **_options: Any) -> None:
        """Remove a container."""
        self.containers_.pop(name)

    def logs(self, _name: str, tail: int) -> bytes:
        """Return what it said."""
        assert tail > 0
        return b"first\nlast \x1b[31mwords\n"


def request(**options: Any) -> PageRequest:
    defaults: dict[str, Any] = {
        "project": "shop", "state": "served", "services": ["nginx"], "ports": [], "tls_ports": [],
        "tls_certificate": "", "tls_key": "", "title": "t", "text": "first", "contact": "", "language": "en",
        "retry_after": 60, "image": "", "command": [], "pull": False, "memory": 64, "assume_stopped": False,
        "timeout": 0.5,
    }  # fmt: skip
    return PageRequest(**defaults | options)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """Give a daemon with a stopped nginx and a stopped worker; every port answers right, and no process listens."""
    made = Daemon()
    made.with_nginx = {made.add("nginx", PortBindings={"80/tcp": [{"HostIp": "", "HostPort": "80"}]})}
    made.add("worker", PortBindings={"90/tcp": [{"HostIp": "", "HostPort": "90"}]})
    monkeypatch.setattr(logic, "wrong_at", lambda *_arguments: "")
    monkeypatch.setattr(logic, "process_holders", lambda *_arguments: {})
    return made


def serve(daemon: Daemon, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    return maintenance_page(daemon, request(**options), check_mode=check_mode)  # type: ignore[arg-type]


def plan(daemon: Daemon, *, check_mode: bool = False, **options: Any) -> Any:
    return make_plan(daemon, request(**options), check_mode=check_mode)  # type: ignore[arg-type]


def test_the_image_is_that_of_the_service_that_has_nginx(daemon: Daemon) -> None:
    made = plan(daemon, services=["worker", "nginx"])
    assert made.page.image_id == "sha256:nginx"
    assert [str(port) for port in made.page.ports] == ["*:80", "*:90"]
    daemon.with_nginx.clear()
    with pytest.raises(RollbackError, match="No container with nginx") as refused:
        plan(daemon)
    assert "shop-nginx-1" in refused.value.msg


def test_a_service_that_runs_is_taken_as_stopped_in_a_plan_only(daemon: Daemon) -> None:
    daemon.containers_["shop-nginx-1"]["State"]["Status"] = "running"
    made = plan(daemon, assume_stopped=True, check_mode=True)
    assert "to be stopped before" in made.warnings[0]
    for options in ({"assume_stopped": True}, {"check_mode": True}):
        with pytest.raises(RollbackError, match="Still running: nginx"):
            plan(daemon, **options)


def test_a_service_without_a_container_is_named(daemon: Daemon) -> None:
    made = plan(daemon, services=["nginx", "gone"])
    assert "gone has no container" in made.warnings[0]
    with pytest.raises(RollbackError, match="no container of gone"):
        plan(daemon, services=["gone"])


def test_ports_that_are_typed_need_no_container(daemon: Daemon) -> None:
    daemon.containers_.clear()
    made = plan(daemon, ports=[{"port": 8080}], image="sha256:1", services=["nginx"])
    assert [str(port) for port in made.page.ports] == ["*:8080"]
    assert made.warnings == ()


def test_a_port_that_somebody_took_is_named(daemon: Daemon) -> None:
    daemon.taken = [{"Id": "x", "Names": ["/other"], "Ports": [{"IP": "", "PublicPort": 80, "Type": "tcp"}]}]
    with pytest.raises(RollbackError, match=r"the container other holds \*:80") as refused:
        serve(daemon)
    assert refused.value.facts["holders"]
    assert daemon.pages() == []


@pytest.mark.parametrize("error", [APIError("port is already allocated"), KeyboardInterrupt()], ids=["refused", "cut"])
def test_the_earlier_page_comes_back_when_the_new_one_does_not_start(daemon: Daemon, error: BaseException) -> None:
    serve(daemon)
    daemon.fails_to_start = {error}
    with pytest.raises((RollbackError, KeyboardInterrupt)) as failed:
        serve(daemon, text="second")
    assert daemon.pages() == [("first", "running")]
    if isinstance(failed.value, RollbackError):
        assert "already allocated" in failed.value.msg
        assert "The earlier page is served again" in failed.value.msg


def test_a_page_that_does_not_answer_is_removed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logic, "wrong_at", lambda *_arguments: "status 200 instead of 503")
    with pytest.raises(RollbackError, match="does not answer as it must") as failed:
        serve(daemon)
    assert daemon.pages() == []
    assert "first | last" in failed.value.msg
    assert "\x1b" not in failed.value.msg
    assert "Nothing of it is left" in failed.value.msg


def test_what_a_call_that_was_killed_left_is_replaced(daemon: Daemon) -> None:
    serve(daemon)
    for one in daemon.containers_.values():
        if OURS in one["Config"]["Labels"]:
            one["State"]["Status"] = "created"  # created, and not filled or not started
    assert not serve(daemon, state="status")["served"]
    assert serve(daemon)["changed"]
    assert daemon.pages() == [("first", "running")]
    assert not serve(daemon)["changed"]


def test_ports_that_are_not_free_after_the_removal(daemon: Daemon) -> None:
    serve(daemon)
    daemon.taken = [{"Id": "x", "Names": ["/other"], "Ports": [{"IP": "", "PublicPort": 80, "Type": "tcp"}]}]
    with pytest.raises(RollbackError, match="is removed, but its ports are not free: the container other"):
        serve(daemon, state="removed")
    assert daemon.pages() == []


def test_check_mode_changes_nothing(daemon: Daemon) -> None:
    assert serve(daemon, check_mode=True)["changed"]
    assert daemon.pages() == []
    serve(daemon)
    assert serve(daemon, check_mode=True, text="second")["changed"]
    assert serve(daemon, check_mode=True, state="removed")["changed"]
    assert daemon.pages() == [("first", "running")]


def test_an_image_that_is_not_there(daemon: Daemon) -> None:
    with pytest.raises(RollbackError, match="not on this host"):
        serve(daemon, image="nginx:1", check_mode=True)
    assert serve(daemon, image="nginx:1", pull=True, check_mode=True)["changed"]
