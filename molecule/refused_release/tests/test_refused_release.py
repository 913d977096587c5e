# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: refused with one clear message, nothing changed, exit code non-zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stack import Stack

# The words that the screen must hold, by the number of the command in converge.yml.
MESSAGES = {
    0: ["v9.9.9", "v1.0.3", "v1.0.2", "Nothing was changed"],
    1: ["No version was given", "v1.0.2", "v1.0.1", "images to build or pull", "-e version=v1.0.2"],
    2: ["--force", "is not the name of a release"],
    3: ["../v1.0.2", "is not the name of a release"],
    4: ["/usr/share", "is not a git checkout"],
    5: ["nobody", "usdx-refused-release"],
    6: ["No host of the inventory matches 'nowhere'"],
    7: ["prepare_database_decision", "maybe", "auto, skip, revert, restore, undo"],
    8: ["does not answer", "Nothing was changed on any host"],
    9: ["The Docker daemon does not answer"],
    10: ["The tag v1.0.1 was moved", "Nothing was changed"],
    11: ["ghost", "Refused before anything changed"],
    12: ["indexer", "Refused before anything changed"],
}


@pytest.mark.parametrize("number", MESSAGES)
def test_the_message_is_clear(stack: Stack, number: int) -> None:
    code, screen = stack.screen(number)
    assert code not in (0, None)
    words = " ".join(screen.split())
    assert [message for message in MESSAGES[number] if message not in words] == []
    assert "Traceback" not in screen


def test_of_a_tag_that_was_moved_both_commits_are_named(stack: Stack) -> None:
    _code, screen = stack.screen(10)
    tags = stack.facts["tags"]
    assert tags["v1.0.1"] in screen
    assert tags["v1.0.3"] in screen


def test_nothing_changed(stack: Stack) -> None:
    stack.assert_nothing_changed()
