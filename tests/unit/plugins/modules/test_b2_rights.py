# SPDX-License-Identifier: GPL-3.0-or-later
"""Which capability each operation takes: exactly these suffice, and without any one of them a sentence names it."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable

import pytest

from tests.support.b2 import ATTIC, BucketLab, KeyLab, Lab

RULES = [{"file_name_prefix": "", "days_from_hiding_to_deleting": 30}]
LOCKED = {"file_lock": True, "default_retention": {"mode": "governance", "duration": 1}}
READ = ["listBuckets", "readBucketEncryption", "readBucketRetentions"]

# operation: what was there before, the wish, the capabilities
BUCKET: dict[str, tuple[dict[str, t.Any] | None, dict[str, t.Any], list[str]]] = {
    "read": ({}, {}, ["listBuckets"]),
    "absent already": (None, {"state": "absent"}, ["listBuckets"]),
    "create": (None, {"lifecycle_rules": RULES, "bucket_info": {"a": "b"}}, ["listBuckets", "writeBuckets"]),
    "change": ({}, {"type": "allPublic", "lifecycle_rules": RULES}, ["listBuckets", "writeBuckets"]),
    "encrypt a new one": (
        None,
        {"default_encryption": "SSE-B2"},
        ["listBuckets", "writeBuckets", "writeBucketEncryption"],
    ),
    "lock a new one": (None, {"file_lock": True}, ["listBuckets", "writeBuckets", "writeBucketRetentions"]),
    "lock an old one": (
        {},
        {"file_lock": True, "accept_irreversible": True},
        ["listBuckets", "writeBuckets", "writeBucketRetentions", "readBucketRetentions"],
    ),
    "retention of a new one": (
        None,
        LOCKED,
        ["listBuckets", "writeBuckets", "writeBucketRetentions", "readBucketRetentions"],
    ),
    "delete": ({}, {"state": "absent"}, ["listBuckets", "deleteBuckets"]),
}
# Without this the setting is not known: a warning, not an error, and nothing is done.
SILENT = {"lock an old one": "readBucketRetentions"}

KEY: dict[str, tuple[bool, dict[str, t.Any], list[str]]] = {
    "keep": (True, {}, ["listKeys", "listBuckets"]),
    "keep, by bucket id": (True, {"by_id": True}, ["listKeys"]),
    "create and return": (False, {}, ["listKeys", "writeKeys", "listBuckets"]),
    "create and store": (False, {"stored": True}, ["listKeys", "writeKeys", "deleteKeys", "listBuckets"]),
    "rotate and store": (
        True,
        {"stored": True, "rotate": True},
        ["listKeys", "writeKeys", "deleteKeys", "listBuckets"],
    ),
    "delete": (True, {"state": "absent"}, ["listKeys", "deleteKeys"]),
    "absent already": (False, {"state": "absent"}, ["listKeys"]),
}

VERIFY = ["writeFiles", "readFiles", "listFiles", "deleteFiles"]


def prove(
    lab: Lab, wish: dict[str, t.Any], suffice: list[str], state: Callable[[], t.Any], silent: str | None = None
) -> None:
    """`silent` is a right without which nothing fails and nothing is done."""
    before = state()
    for missing in suffice:
        for check in (True, False):
            poor = lab.run(check, **lab.as_key(*(set(suffice) - {missing})), **wish)
            assert state() == before
            if missing == silent:
                assert (poor["failed"], poor["changed"]) == (False, False)
                continue
            assert poor["failed"], f"{missing} is not needed"
            assert f"lacks the capability {missing}; use a key that has it." in poor["msg"]
            assert poor["missing_capability"] == missing
    result = lab.run(**lab.as_key(*suffice), **wish)
    assert not result["failed"], result


@pytest.mark.parametrize("name", BUCKET)
def test_bucket(name: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    lab = BucketLab(serve, module)
    before, wish, suffice = BUCKET[name]
    if before is not None:
        lab.run(**before)
    buckets = lab.b2.buckets
    prove(lab, wish, suffice, lambda: {key: dict(bucket) for key, bucket in buckets.items()}, SILENT.get(name))


@pytest.mark.parametrize("name", KEY)
def test_key(name: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any], tmp_path: pathlib.Path) -> None:
    lab = KeyLab(serve, module)
    exists, wish, suffice = KEY[name]
    wish = dict(wish)
    if wish.pop("by_id", False):
        wish |= {"bucket": None, "bucket_id": lab.bucket_id}
    if wish.get("state") == "absent":
        wish |= {"bucket": None, "capabilities": None}
    old = lab.seed() if exists else None
    if wish.pop("stored", False):
        path = tmp_path / "b2.env"
        wish["file"] = str(path)
        if old:
            path.write_text(f"AWS_ACCESS_KEY_ID={old.id}\nAWS_SECRET_ACCESS_KEY={old.secret}\n")
    elif old and "state" not in wish:
        wish["stored_key_id"] = old.id
    prove(lab, wish, suffice, lab.ids)


def test_working_key_may_not_be_restricted_to_a_bucket(
    serve: Callable[[t.Any], str], module: Callable[..., t.Any]
) -> None:
    """Its own bucket it may see, but B2 gives such a key no right to write buckets or keys."""
    lab = BucketLab(serve, module)
    own = lab.run()["bucket"]["id"]
    low = lab.as_key(*READ, bucket_ids=[own])
    assert not lab.run(**low)["failed"]
    assert "lacks the capability writeBuckets" in lab.run(**low, type="allPublic")["msg"]
    assert "restricted to buckets" in lab.run(**low, name="another-one")["msg"]


@pytest.mark.parametrize("missing", [None, *VERIFY])
def test_verification(missing: str | None, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    lab = BucketLab(serve, module)
    own = lab.run()["bucket"]["id"]
    key = lab.b2.add_key("attic", set(VERIFY) - {missing}, bucket_ids=[own])
    result = lab.run(**lab.as_key("listBuckets"), verify_with={"key_id": key.id, "key": key.secret})
    warnings = str(result.warnings)
    empty = lab.b2.storage.is_empty("nix-cache")
    if missing in ("writeFiles", "readFiles"):
        assert f"lacks the capability {missing}" in result["msg"] and empty
    elif missing == "deleteFiles":
        assert result["verified"] and not empty
        assert "lacks the capability deleteFiles" in warnings and "stays hidden" in warnings
    else:
        assert result["verified"] and empty and "hidden" not in warnings


def test_attic_needs_no_more_than_its_five(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    lab = BucketLab(serve, module)
    key = lab.b2.add_key("attic", ATTIC, bucket_ids=[lab.run()["bucket"]["id"]])
    assert lab.run(verify_with={"key_id": key.id, "key": key.secret})["verified"]
