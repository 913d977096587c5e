# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers a restart is for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.project import Container, container_from
from ansible_collections.usdx.rollback.plugins.module_utils.restart import RestartRequest, chosen_containers


def container(service: str, number: int = 1, one_off: str = "False") -> Container:
    """Return a container as docker inspect would describe it."""
    inspected: dict[str, Any] = {
        "Id": f"{service}-{number}", "Name": f"/p-{service}-{number}",
        "State": {"Status": "running"},
        "Config": {"Labels": {
            "com.docker.compose.service": service, "com.docker.compose.container-number": str(number),
            "com.docker.compose.oneoff": one_off,
        }},
    }  # fmt: skip
    return container_from(inspected)


CONTAINERS = [container("db"), container("web"), container("web", 2), container("web", 3, one_off="True")]


def test_all_containers_of_the_named_services_in_the_order_given_without_one_off_ones() -> None:
    chosen = chosen_containers(RestartRequest("p", ["web", "db", "web"]), CONTAINERS)
    assert {name: [one.id for one in found] for name, found in chosen.items()} == {
        "web": ["web-1", "web-2"], "db": ["db-1"],
    }  # fmt: skip
    assert list(chosen) == ["web", "db"]


@pytest.mark.parametrize(
    ("services", "told"), [([], "it is empty"), (["wep"], "wep has no container in the project p")]
)
def test_a_name_without_a_container_is_refused(services: list[str], told: str) -> None:
    with pytest.raises(RollbackError, match="Nothing was restarted") as caught:
        chosen_containers(RestartRequest("p", services), CONTAINERS)
    assert told in caught.value.msg
    assert caught.value.next_step == "Name one or more of: db, web."
