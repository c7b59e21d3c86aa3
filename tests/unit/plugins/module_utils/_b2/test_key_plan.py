# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning sends no request and reads no clock: the same facts lead to the same plan."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.client import Capabilities
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.key_plan import NEW, Found, plan_key
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.store import Pair, Stored
from ansible_collections.pantheros.nixci.plugins.module_utils._core.change import Change
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import ConflictError, NixciError

ALL = Capabilities("admin", frozenset({"listKeys", "writeKeys", "deleteKeys"}))
PARAMS: dict[str, t.Any] = {
    "key_id": "admin",
    "name": "attic",
    "state": "present",
    "capabilities": ["readFiles"],
    "bucket": None,
    "bucket_id": None,
    "name_prefix": None,
    "valid_duration_seconds": None,
    "renew_before": None,
    "stored_key_id": None,
    "superseded": "delete",
    "recreate": False,
    "rotate": False,
}
EXPIRING = {"valid_duration_seconds": 1000, "renew_before": 600}


def key(key_id: str, **members: t.Any) -> dict[str, t.Any]:
    rights = {"capabilities": ["readFiles"], "bucket_ids": [], "name_prefix": None, "expires": False}
    return {"id": key_id, "name": "attic", **rights, "expires_at": None, "multi_bucket": False, **members}


def facts(*keys: dict[str, t.Any], stored: Stored | None = None, **members: t.Any) -> Found:
    return Found(**{"keys": [*keys], "bucket_id": None, "stored": stored, "accepted": True, "now": 0.0, **members})


def test_plan_depends_on_the_given_time() -> None:
    # 1000 seconds after the epoch
    found = {
        now: facts(
            key("1", expires=True, expires_at="1970-01-01T00:16:40Z"), stored=Stored("x", Pair("1", "s")), now=now
        )
        for now in (399.0, 401.0)
    }
    plans = [plan_key({**PARAMS, **EXPIRING}, found[now], ALL) for now in (399.0, 401.0)]
    assert [plan.create for plan in plans] == [False, True]
    assert plans[1].delete == ("1",)


def test_obstacle_of_the_store_matters_only_for_a_new_key() -> None:
    obstacle = NixciError("no room")
    assert not plan_key(PARAMS, facts(key("1"), stored=Stored("x", Pair("1", "s"), obstacle)), ALL).change
    with pytest.raises(NixciError, match="no room"):
        plan_key(PARAMS, facts(stored=Stored("x", None, obstacle)), ALL)


def test_file_options_alone_are_a_change_without_a_new_key() -> None:
    attributes = Change({"mode": "0644"}, {"mode": "0600"})
    plan = plan_key(PARAMS, facts(key("1"), stored=Stored("x", Pair("1", "s"), None, attributes)), ALL)
    assert plan.change and (plan.create, plan.delete) == (False, ())


def test_missing_bucket_is_left_to_apply() -> None:
    plan = plan_key({**PARAMS, "bucket": "nix-cache"}, facts(), ALL)
    assert (plan.create, plan.missing_bucket) == (True, "nix-cache")
    assert (plan.change.after or {})["keys"][NEW]["bucket_ids"] == ["(nix-cache, not created yet)"]


def test_key_of_a_bucket_that_is_gone_is_not_replaced_unasked() -> None:
    found = facts(key("1", bucket_ids=["4a48"]), stored=Stored("x", Pair("1", "s")))
    with pytest.raises(ConflictError, match=r"bucket_ids \['4a48'\] instead of \['\(nix-cache, not created yet\)'\]"):
        plan_key({**PARAMS, "bucket": "nix-cache"}, found, ALL)


def test_refused_secret_is_a_lost_one() -> None:
    plan = plan_key(PARAMS, facts(key("1"), stored=Stored("the file", Pair("1", "s")), accepted=False), ALL)
    assert plan.create and plan.delete == ("1",)
    assert plan.warnings == ("B2 refuses the secret of the key 1 that the file holds, so a new key is needed.",)


def test_returned_secret_keeps_every_key() -> None:
    plan = plan_key({**PARAMS, "stored_key_id": ""}, facts(key("1"), key("2")), ALL)
    assert (plan.create, plan.delete, plan.superseded) == (True, (), ("1", "2"))
