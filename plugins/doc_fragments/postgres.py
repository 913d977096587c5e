# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that reaches a Postgres server."""

from __future__ import annotations


class ModuleDocFragment:
    """How the server is reached."""

    DOCUMENTATION = r"""
options:
  db:
    description: The live database.
    type: str
    required: true
  project:
    description:
      - The Compose project of the database server, with O(service). The address of its running container is used, so
        that no port need be published. Not together with O(login_host).
    type: str
  service:
    description: The Compose service of the database server.
    type: str
  docker_host:
    description: URL of the Docker daemon; without it the environment of the managed host decides.
    type: str
  login_host:
    description: Host of the server, or the directory of its Unix socket.
    type: str
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: The role that logs in; best a superuser, else the owner of the database with C(CREATEDB).
    type: str
    default: postgres
  login_password:
    description: Its password. Without one, the password file of the user applies.
    type: str
  ssl_mode:
    description: The C(sslmode) of libpq.
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File with the certificates of trusted authorities.
    type: path
  maintenance_db:
    description:
      - A database that always exists and is not O(db); from it databases are made and renamed. All runs must use the
        same one, because the lock against a second run counts per database.
    type: str
    default: postgres
"""
