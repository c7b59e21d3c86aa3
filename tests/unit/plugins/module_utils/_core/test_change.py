# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.pantheros.nixci.plugins.module_utils._core.change import Change


def test_equal_states_are_no_change() -> None:
    change = Change({"a": 1}, {"a": 1})
    assert not change
    assert change.result()["changed"] is False


def test_only_differing_fields_are_written() -> None:
    assert Change({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}).fields == {"b": 3, "c": None}


def test_a_new_object_is_written_whole_and_a_removed_one_not_at_all() -> None:
    assert Change(None, {"a": 1}).fields == {"a": 1}
    assert Change({"a": 1}, None).fields == {}
    assert Change({"a": 1}, None).result()["diff"] == {"before": {"a": 1}, "after": {}}
