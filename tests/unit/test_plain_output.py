# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands and servers say is shown, but it steers no terminal and tells no secret."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.border import plain
from ansible_collections.usdx.rollback.plugins.module_utils.project_command import OUTPUT_LIMIT, tail


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\x9b31mb\x00\r", "a31mb"),
        ("lines\n\tstay, umlauts too: ü", "lines\n\tstay, umlauts too: ü"),
    ],
)
def test_a_message_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES_PASSWORD=hunter2",
        "export API_TOKEN='hunter2 and more'",
        '{"secret": "hunter2"}',
        "db.password: hunter2",
        "connecting to postgresql://usdx:hunter2@db/usdx",
        "x" * (OUTPUT_LIMIT - 5) + " PASSWORD=hunter2",
    ],
)
def test_a_secret_that_a_script_prints_is_not_kept(text: str) -> None:
    kept = tail(text + "\ndone")
    assert "hunter2" not in kept
    assert kept.endswith("done")


def test_other_output_is_kept_as_it_is() -> None:
    text = "2 tests passed: 12:30:01 http://127.0.0.1:8000/health ok, tokenizer ready"
    assert tail(text) == text
