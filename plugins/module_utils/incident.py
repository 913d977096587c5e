# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An incident on a status page, and what is said of it next."""

from __future__ import annotations

from typing import NamedTuple

STATES = ("investigating", "identified", "monitoring", "resolved")


class Update(NamedTuple):
    """What the page shall say: in which state the incident is, its title with the key, a message, its components."""

    state: str
    title: str
    message: str
    components: tuple[str, ...]


class Incident(NamedTuple):
    """An open incident as the provider knows it."""

    identity: str
    state: str
    message: str
    url: str
