# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pg_database_info refuses before it asks a server. What servers answer is in tests/integration."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.database_info import database_info_as_asked


def options(**given: Any) -> dict[str, Any]:
    """Return options of the module with its defaults; nobody listens at this address."""
    return {
        "db": "shop", "project": None, "service": None, "docker_host": None, "login_host": "127.0.0.1",
        "login_port": 1, "login_user": "shop", "login_password": "s3cret-word", "ssl_mode": "prefer", "ca_cert": None,
        "maintenance_db": "postgres", "owner": "", "schema": False, "backup": None, "timeout": 5, **given,
    }  # fmt: skip


@pytest.mark.parametrize(("given", "words"), [({"db": " "}, "db is empty"), ({}, "127.0.0.1")])
def test_what_cannot_be_asked_is_refused_without_the_password(given: dict[str, Any], words: str) -> None:
    with pytest.raises(RollbackError, match=words) as caught:
        database_info_as_asked(options(**given))
    assert "s3cret-word" not in f"{caught.value.msg} {caught.value.next_step}"
