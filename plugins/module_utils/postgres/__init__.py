# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a Postgres database: read, loaded beside the live one, proved, swapped, undone."""
