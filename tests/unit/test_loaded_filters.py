# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is loaded for all tasks of a run."""

from __future__ import annotations

from ansible.plugins.loader import filter_loader
from ansible_collections.usdx.rollback.plugins.plugin_utils.loaded_filters import load_filters


def test_it_is_loaded_once_and_harmless_where_no_collection_is_known() -> None:
    load_filters()
    assert filter_loader.get("ansible.builtin.combine") is not None
    assert load_filters.cache_info().misses == 1
    load_filters()
    assert load_filters.cache_info().misses == 1
