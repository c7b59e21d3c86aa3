# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning sends no request: a plan follows from the options, what was read, and the capabilities of the key."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.bucket_plan import plan_bucket
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.client import Capabilities
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import ForbiddenError

SETTINGS = dict.fromkeys(
    ["lifecycle_rules", "cors_rules", "default_encryption", "file_lock", "default_retention", "bucket_info"]
)
PARAMS = {
    "key_id": "003",
    "name": "nix-cache",
    "state": "present",
    "type": "allPrivate",
    "accept_irreversible": False,
    **SETTINGS,
}
FOUND = {
    "name": "Nix-Cache",
    "id": "4a48",
    "type": "allPrivate",
    "lifecycle_rules": [],
    "cors_rules": [],
    "default_encryption": None,
    "file_lock": None,
    "default_retention": None,
    "bucket_info": {"by": "hand"},
    "revision": 2,
}


def capabilities(*names: str) -> Capabilities:
    return Capabilities("003", frozenset(names))


def test_unreadable_settings_are_kept_with_a_warning() -> None:
    params = {**PARAMS, "default_encryption": "SSE-B2", "bucket_info": {"year": 2026}}
    plan = plan_bucket(params, FOUND, capabilities("writeBuckets"))
    assert plan.change.fields == {"bucket_info": {"year": "2026"}}
    (warning,) = plan.warnings
    assert warning.startswith("default_encryption of the bucket 'nix-cache' is left as it is")


def test_existing_bucket_keeps_its_spelling() -> None:
    plan = plan_bucket({**PARAMS, "type": "allPublic"}, FOUND, capabilities("writeBuckets"))
    assert (plan.change.after or {})["name"] == "Nix-Cache"


@pytest.mark.parametrize(
    ("found", "params", "capability", "action"),
    [
        (None, {}, "writeBuckets", "create the bucket 'nix-cache'"),
        (FOUND, {"type": "allPublic"}, "writeBuckets", "update the bucket 'Nix-Cache'"),
        (FOUND, {"state": "absent"}, "deleteBuckets", "delete the bucket 'Nix-Cache'"),
    ],
)
def test_missing_capability_is_an_error_of_the_plan(
    found: dict[str, t.Any] | None, params: dict[str, t.Any], capability: str, action: str
) -> None:
    with pytest.raises(ForbiddenError, match=f"cannot {action}: the key 003 lacks the capability {capability};"):
        plan_bucket({**PARAMS, **params}, found, capabilities("listBuckets"))


def test_nothing_to_do_needs_no_capability() -> None:
    assert not plan_bucket(PARAMS, FOUND, capabilities()).change
    assert not plan_bucket({**PARAMS, "state": "absent"}, None, capabilities()).change
