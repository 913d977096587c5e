# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is removed of a rehearsal: only what says that it is one of this project, whatever else the host holds."""

from __future__ import annotations

import json
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.project import Container
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_stack import (
    PREFIX,
    Request,
    identity_of,
    own_hosts,
    rehearsal_stack,
)

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261124T150405Z-3f9a"


class Daemon:
    """A daemon that has a copy of ``shop``, and production, and notes what is removed."""

    def __init__(self) -> None:
        """Begin with nothing removed."""
        self.removed: list[str] = []
        self.asked: list[dict[str, Any]] = []

    def containers(self, **options: Any) -> list[dict[str, Any]]:
        """List the copy's containers for its labels, production's for the label of Compose."""
        labels = options["filters"]["label"]
        self.asked.append(options["filters"])
        if "com.docker.compose.project=shop" in labels:
            return [{"Id": "production"}]
        mine = {"usdx.rollback.rehearsal": RUN, "usdx.rollback.rehearsal.of": "shop"}
        return [{"Id": "copy", "Labels": mine}] if self._left("copy") else []

    def _left(self, name: str) -> bool:
        return name not in self.removed

    def networks(self, **options: Any) -> list[dict[str, Any]]:
        """List nothing."""
        self.asked.append(options["filters"])
        return []

    def volumes(self, **options: Any) -> dict[str, Any]:
        """List the copy's volume."""
        self.asked.append(options["filters"])
        return {"Volumes": [{"Name": "data", "Labels": None}] if self._left("data") else None}

    def images(self, **_options: Any) -> list[dict[str, Any]]:
        """List names that begin alike."""
        names = ["usdx-rehearsal/shop-rehearsal-3f9a/web:1", "usdx-rollback/shop/web:abc", "usdx-rollback/shop2/web:1"]
        return [{"RepoTags": [name]} for name in names if self._left(name)]

    def inspect_container(self, name: str) -> dict[str, Any]:
        """Tell of production's container."""
        state = {"Status": "running", "StartedAt": "then"}
        labels = {"com.docker.compose.service": "web"}
        return {"Id": name, "Name": f"/{name}", "State": state, "Config": {"Labels": labels}}

    def __getattr__(self, name: str) -> Any:
        """Note a removal."""
        assert name.startswith("remove_"), name
        return lambda one, **_options: self.removed.append(one)


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the folders of copies be in a folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def call(daemon: Daemon, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Call it as the module does."""
    request = Request(**({"project": "shop", "state": "absent"} | options))
    client: Any = SimpleNamespace(api=daemon)
    return rehearsal_stack(lambda: client, lambda *_args, **_options: (1, "", ""), request, check_mode=check)


def folder(place: Path, name: str, marker: str | None) -> Path:
    """Make a folder that is called as a copy's."""
    made = place / f"{PREFIX}{name}"
    made.mkdir()
    if marker is not None:
        (made / "rehearsal.json").write_text(marker)
    return made


def test_only_what_is_marked_goes(daemon: Daemon, temporary: Path) -> None:
    ours = folder(temporary, RUN, json.dumps({"of": "shop", "run_id": RUN}))
    others = [
        folder(temporary, "a", json.dumps({"of": "other", "run_id": "a"})),
        folder(temporary, "b", "no json"),
        folder(temporary, "c", None),
    ]
    (temporary / f"{PREFIX}d").symlink_to(others[0])
    foreseen = call(daemon, check=True)
    assert (foreseen["changed"], daemon.removed, ours.exists()) == (True, [], True)
    done = call(daemon)
    assert daemon.removed == ["copy", "data", "usdx-rehearsal/shop-rehearsal-3f9a/web:1"]
    assert not ours.exists()
    assert all(path.exists() for path in others)
    assert done["production"] == {"production": "production running then"}
    marked = [filters for filters in daemon.asked if "com.docker.compose.project=shop" not in filters["label"]]
    assert all("usdx.rollback.rehearsal.of=shop" in filters["label"] for filters in marked)
    assert call(daemon)["changed"] is False


def test_what_could_not_be_removed_is_said(daemon: Daemon) -> None:
    daemon.remove_volume = lambda _name: None  # type: ignore[attr-defined]
    with pytest.raises(RollbackError) as caught:
        call(daemon, run_id=RUN)
    assert "1 volumes" in caught.value.msg
    assert "Production was not touched" in caught.value.msg


@pytest.mark.parametrize("options", [{"state": "present", "run_id": RUN}, {"state": "started", "run_id": ""}])
def test_half_a_request_is_refused(daemon: Daemon, options: dict[str, Any]) -> None:
    with pytest.raises(RollbackError) as caught:
        call(daemon, **options)
    assert "Nothing was made" in caught.value.msg
    assert (daemon.asked, daemon.removed) == ([], [])


def test_a_container_that_docker_starts_again_by_itself_was_not_touched() -> None:
    def seen(**facts: Any) -> dict[str, str]:
        facts = {"id": "1", "name": "web", "state": "running", "started_at": "then", "restarts": 0} | facts
        others = dict.fromkeys(Container.__dataclass_fields__)
        return identity_of([Container(**(others | facts))])  # type: ignore[arg-type]

    assert seen() != seen(started_at="now")
    assert seen() != seen(id="2")
    assert seen(restarts=3) == seen(restarts=4, started_at="now", state="restarting")


def test_a_host_is_this_one_when_its_addresses_are() -> None:
    """Addresses of 192.0.2.0/24 belong to nobody, and names of .invalid do not exist."""
    places = ["http://127.0.0.1:8080", "http://localhost", "http://192.0.2.1:8080", "http://nowhere.invalid", "http://"]
    assert own_hosts(places) == ["127.0.0.1", "localhost"]
