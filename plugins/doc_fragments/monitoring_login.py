# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that speaks with Prometheus, Alertmanager or Grafana."""

from __future__ import annotations


class ModuleDocFragment:
    """How one logs in there."""

    DOCUMENTATION = r"""
options:
  bearer_token:
    description: Token for the servers, sent as C(Authorization). Not with O(username).
    type: str
  username:
    description: User name for the servers.
    type: str
  password:
    description: Password of O(username).
    type: str
  ca_path:
    description: File with the certificates that vouch for the servers, on the managed host.
    type: path
  validate_certs:
    description: Whether the certificates of the servers must be valid.
    type: bool
    default: true
"""
