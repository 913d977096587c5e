# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that the modules for Postgres share, and the login that they mean."""

from __future__ import annotations

from typing import Any

from ..errors import RollbackError
from .connection import Login, container_address

LOGIN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "db": {"type": "str", "required": True},
    "project": {"type": "str"},
    "service": {"type": "str"},
    "docker_host": {"type": "str"},
    "login_host": {"type": "str"},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
    "login_password": {"type": "str", "no_log": True},
    "ssl_mode": {
        "type": "str",
        "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        "default": "prefer",
    },
    "ca_cert": {"type": "path"},
    "maintenance_db": {"type": "str", "default": "postgres"},
}
# How these options go together, as keywords of AnsibleModule.
LOGIN_RULES: dict[str, list[tuple[str, str]]] = {
    "required_together": [("project", "service")],
    "mutually_exclusive": [("project", "login_host")],
    "required_one_of": [("project", "login_host")],
}


def login_of(options: dict[str, Any]) -> tuple[Login, str]:
    """Return the login that the options of a module mean, and the name of the server's container (or nothing)."""
    host, container = options["login_host"], ""
    if options["project"]:
        host, container = container_address(options["project"], options["service"], options["docker_host"])
    if not options["db"].strip():
        raise RollbackError("db is empty. Nothing was changed.", "Give the name of the live database in db.")
    ssl = {"sslmode": options["ssl_mode"], **({"sslrootcert": options["ca_cert"]} if options["ca_cert"] else {})}
    login = Login(
        host=host,
        port=options["login_port"],
        user=options["login_user"],
        password=options["login_password"] or "",
        maintenance_database=options["maintenance_db"],
        ssl=ssl,
    )
    return login, container
