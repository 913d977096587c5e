# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services cannot run twice, and which command a proxy gets."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.rolling import Reload, reload_from, why_not

ANONYMOUS = "0123456789abcdef" * 4
NO_VOLUME = "it has an anonymous volume, which would not go over"


@pytest.mark.parametrize(
    ("definition", "others", "volumes", "reason"),
    [
        ({}, {}, [], ""),
        ({"container_name": "one"}, {}, [], "it has the container_name one"),
        ({"ports": [{"target": 80, "published": "8080"}]}, {}, [], "it publishes the fixed port 8080"),
        ({"ports": [{"target": 80, "published": "8080-8090"}]}, {}, [], "it publishes the fixed port 8080-8090"),
        ({"ports": [{"target": 80}, {"target": 81, "published": "0"}]}, {}, [], ""),
        ({"network_mode": "host"}, {}, [], "its network_mode is host"),
        ({"network_mode": "service:db"}, {}, [], "its network_mode is service:db"),
        ({"network_mode": "bridge"}, {}, [], ""),
        ({"networks": {"default": None}}, {}, [], ""),
        ({"networks": {"default": {"ipv4_address": "10.0.0.9"}}}, {}, [], "it has a fixed address in a network"),
        ({"mac_address": "02:42:ac:11:00:09"}, {}, [], "it has a fixed address in a network"),
        ({}, {"side": {"network_mode": "service:web"}}, [], "side shares its network, processes or volumes"),
        ({}, {"side": {"pid": "service:web"}}, [], "side shares its network, processes or volumes"),
        ({}, {"side": {"volumes_from": ["web:ro"]}}, [], "side shares its network, processes or volumes"),
        ({}, {"side": {"volumes_from": ["webapp"]}}, [], ""),
        ({"volumes": [{"type": "volume", "source": "uploads"}]}, {}, ["p_uploads"], ""),
        ({"volumes": [{"type": "volume", "target": "/x"}]}, {}, [], NO_VOLUME),
        ({}, {}, [ANONYMOUS], NO_VOLUME),
    ],
)  # fmt: skip
def test_who_cannot_run_twice(
    definition: dict[str, Any], others: dict[str, Any], volumes: list[str], reason: str
) -> None:
    assert why_not("web", {"web": definition, **others}, volumes) == reason


def test_the_command_of_a_proxy() -> None:
    assert reload_from(None) == Reload("", [])
    given = {"service": "nginx", "command": ["nginx", "-s", "reload"]}
    assert reload_from(given) == Reload("nginx", ["nginx", "-s", "reload"])


@pytest.mark.parametrize("given", [{"service": "", "command": ["x"]}, {"service": "nginx", "command": []}])
def test_half_a_command_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RollbackError, match="names no service or no command"):
        reload_from(given)
