# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of a security incident: taken before anything is changed, summed, sealed, and checked again later."""
