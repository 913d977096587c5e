# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the database step refuses: before anything changes, with the option, the value and what is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stack import Stack

# The words that the screen must hold, by the number of the command in converge.yml.
MESSAGES = {
    0: ["cut.sql.gz", "Choose another backup"],
    1: ["no table in common with the live database"],
    2: ["missing.sql.gz", "cannot be read"],
    3: ["accept_data_loss is 1", "public.events"],
    4: ["Nobody accepted a loss of data", "public.events", "To accept it, add -e accept_data_loss=true"],
    5: ["accept_data_loss is 'perhaps'", "a number of rows"],
    6: ["database=undo was asked, and the live database replaced no other one"],
    7: ["There is no database nowhere on this server", "usdx_wexel"],
    8: ["database=auto needs a whole backup from before the deployment", "-e backup=PATH", "database=skip"],
    9: ["application_bug does not touch the database", "Nothing was changed"],
    10: ["the inventory names no database", "rollback_database"],
    11: ["min_free_ratio"],
    12: ["Another run works on the database usdx_wexel", "pg_terminate_backend"],
}


@pytest.mark.parametrize("number", MESSAGES)
def test_the_message_is_clear(stack: Stack, number: int) -> None:
    code, screen = stack.screen(number)
    assert code == 2
    words = " ".join(screen.split())
    assert "Refused before anything changed" in words or "Nothing was changed" in words
    assert [message for message in MESSAGES[number] if message not in words] == []
    assert "Traceback" not in screen


def test_nothing_changed(stack: Stack) -> None:
    stack.assert_nothing_changed()
    names = "SELECT datname FROM pg_database WHERE datname LIKE 'usdx%'"
    assert stack.sql(names) == ["usdx_wexel"]
