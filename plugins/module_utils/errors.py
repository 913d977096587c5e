# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of the collection: what happened, what to type next, and the facts known so far.

Code below the module border raises it; the border turns it into ``fail_json``.
"""

from __future__ import annotations

from typing import Any


class RollbackError(Exception):
    """A failure that an operator can act on.

    ``msg`` says what happened, in one or two plain sentences, and what is untouched.
    ``next_step`` says what to type or to change next.
    ``facts`` are returned beside the message, so that a caller sees how far the work came.
    """

    def __init__(self, msg: str, next_step: str, **facts: Any) -> None:  # noqa: ANN401 - facts are JSON values of any shape
        """Keep message, way out and facts."""
        super().__init__(msg)
        self.msg = msg
        self.next_step = next_step
        self.facts = facts
