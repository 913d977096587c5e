# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk is looked at often enough however fast a load is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.disk import Disk, Room

if TYPE_CHECKING:
    from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError

MEGABYTE = 1 << 20


class Filling(Disk):
    """A disk that takes ``growth`` bytes for each one sent, and that takes its time to answer."""

    def __init__(self, free: int, growth: float) -> None:
        """``free`` is in bytes."""
        super().__init__("", ["/data"], local=True)
        self.free, self.growth, self.looks = free, growth, 0

    def room(self, _directory: str) -> Room | None:
        """Return what was free when the look began: it is old when the answer comes."""
        self.looks += 1
        free = self.free
        time.sleep(0.05)
        return Room(free, 400 * MEGABYTE)

    def take(self, size: int) -> None:
        """Fill the disk as a server does that was sent so many bytes."""
        self.free -= int(size * self.growth)


@pytest.mark.parametrize("growth", [1.0, 2.0, 30.0])
def test_a_load_of_any_speed_is_given_up_before_the_disk_is_full(growth: float) -> None:
    disk = Filling(350 * MEGABYTE, growth)
    reasons: list[RollbackError] = []
    with disk.watched(reasons.append) as before_sending:
        sent = 0
        while not reasons and disk.free > 0:
            before_sending(MEGABYTE)
            disk.take(MEGABYTE)
            sent += 1
    assert disk.free > 0
    assert "The load was given up" in reasons[0].msg
    assert sent > 1, "a disk with room takes rows"


def test_a_disk_with_room_does_not_slow_a_load() -> None:
    disk = Filling(1 << 40, 2.0)
    reasons: list[RollbackError] = []
    began = time.monotonic()
    with disk.watched(reasons.append) as before_sending:
        for _piece in range(1000):
            before_sending(MEGABYTE)
            disk.take(MEGABYTE)
    assert (reasons, disk.looks < 5, time.monotonic() - began < 1) == ([], True, True)


def test_a_disk_that_cannot_be_seen_does_not_hold_a_load() -> None:
    disk = Disk("", ["/nowhere at all"], local=True)
    reasons: list[RollbackError] = []
    with disk.watched(reasons.append) as before_sending:
        for _piece in range(1000):
            before_sending(MEGABYTE)
    assert reasons == []


def test_who_waits_goes_on_when_the_load_ends() -> None:
    """The failure of the loader itself may come while it waits."""
    disk = Filling(350 * MEGABYTE, 2.0)
    with disk.watched(lambda _reason: None) as before_sending:
        pass
    before_sending(1 << 40)
