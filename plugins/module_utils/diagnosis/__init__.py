# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application depends on, looked at without changing it.

``wire`` asks over the network, on the host or in the network of a container (``places``). ``containers`` and ``host``
read what Docker and the kernel tell. ``dependencies``, ``postgres_probes``, ``container_probes`` and ``host_probes``
judge what was read, each into probes. ``verdict`` finds the root cause among them. ``diagnose`` puts it together.
"""
