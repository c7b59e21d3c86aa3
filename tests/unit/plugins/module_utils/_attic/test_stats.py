# SPDX-License-Identifier: GPL-3.0-or-later
"""The gauges are complete and have one name each."""

from __future__ import annotations

import re

import yaml
from ansible_collections.pantheros.nixci.plugins.module_utils._attic import metrics as _attic_metrics
from ansible_collections.pantheros.nixci.plugins.module_utils._core.prometheus import exposition
from ansible_collections.pantheros.nixci.plugins.modules import attic_stats_info


def test_every_documented_figure_has_its_gauge() -> None:
    documented = yaml.safe_load(attic_stats_info.RETURN)
    not_numbers = {"name", "is_public", "deleted_at", "retention_period", "oldest_use", "sharing"}
    elsewhere = {"effective_retention_period", "last_push"}  # under names with their units
    cache = documented["caches"]["contains"]
    assert set(_attic_metrics.CACHE) == set(cache) - not_numbers - elsewhere
    assert set(_attic_metrics.SHARING) == set(cache["sharing"]["contains"])
    for section in ("total", "health", "garbage"):
        assert set(getattr(_attic_metrics, section.upper())) == set(documented[section]["contains"])


def test_no_name_of_a_gauge_is_used_twice() -> None:
    caches = [{"name": "a", "sharing": None, "effective_retention_period": 0, "last_push": "1970-01-02T00:00:00Z"}]
    gauges = _attic_metrics.gauges({"caches": caches, "total": None, "health": None, "garbage": None})
    names = [gauge.name for gauge in gauges]
    assert len(names) == len(set(names)) and all(re.fullmatch("[a-z_]+", name) for name in names)
    assert exposition(gauges).endswith('attic_cache_last_push_timestamp_seconds{cache="a"} 86400\n')
