# SPDX-License-Identifier: GPL-3.0-or-later
"""Which capabilities each operation needs: exactly these suffice, and the error names a missing one."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable

import pytest

from tests.support.b2 import ATTIC, BucketEnvironment, Environment, KeyEnvironment

RULES = [{"file_name_prefix": "", "days_from_hiding_to_deleting": 30}]
LOCKED = {"file_lock": True, "default_retention": {"mode": "governance", "duration": 1}}
READ = ["listBuckets", "readBucketEncryption", "readBucketRetentions"]

# operation: the existing bucket, the options, the capabilities
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
# Without this capability the setting is unknown: the task warns and does nothing.
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


def assert_sufficient(
    env: Environment,
    desired: dict[str, t.Any],
    suffice: list[str],
    state: Callable[[], t.Any],
    silent: str | None = None,
) -> None:
    """`silent` is a capability without which nothing fails and nothing is done."""
    before = state()
    for missing in suffice:
        for check in (True, False):
            poor = env.run(check, **env.as_key(*(set(suffice) - {missing})), **desired)
            assert state() == before
            if missing == silent:
                assert (poor["failed"], poor["changed"]) == (False, False)
                continue
            assert poor["failed"], f"{missing} is not needed"
            assert f"lacks the capability {missing}; use a key that has it." in poor["msg"]
            assert poor["missing_capability"] == missing
    result = env.run(**env.as_key(*suffice), **desired)
    assert not result["failed"], result


@pytest.mark.parametrize("name", BUCKET)
def test_bucket(name: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    env = BucketEnvironment(serve, module)
    before, desired, suffice = BUCKET[name]
    if before is not None:
        env.run(**before)
    buckets = env.b2.buckets
    assert_sufficient(
        env, desired, suffice, lambda: {key: dict(bucket) for key, bucket in buckets.items()}, SILENT.get(name)
    )


@pytest.mark.parametrize("name", KEY)
def test_key(name: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any], tmp_path: pathlib.Path) -> None:
    env = KeyEnvironment(serve, module)
    exists, desired, suffice = KEY[name]
    desired = dict(desired)
    if desired.pop("by_id", False):
        desired |= {"bucket": None, "bucket_id": env.bucket_id}
    if desired.get("state") == "absent":
        desired |= {"bucket": None, "capabilities": None}
    old = env.seed() if exists else None
    if desired.pop("stored", False):
        path = tmp_path / "b2.env"
        desired["file"] = str(path)
        if old:
            path.write_text(f"AWS_ACCESS_KEY_ID={old.id}\nAWS_SECRET_ACCESS_KEY={old.secret}\n")
    elif old and "state" not in desired:
        desired["stored_key_id"] = old.id
    assert_sufficient(env, desired, suffice, env.ids)


def test_working_key_may_not_be_restricted_to_a_bucket(
    serve: Callable[[t.Any], str], module: Callable[..., t.Any]
) -> None:
    """It may see its own bucket, but B2 gives such a key no capability to write buckets or keys."""
    env = BucketEnvironment(serve, module)
    own = env.run()["bucket"]["id"]
    low = env.as_key(*READ, bucket_ids=[own])
    assert not env.run(**low)["failed"]
    assert "lacks the capability writeBuckets" in env.run(**low, type="allPublic")["msg"]
    assert "restricted to buckets" in env.run(**low, name="another-one")["msg"]


@pytest.mark.parametrize("missing", [None, *VERIFY])
def test_verification(missing: str | None, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    env = BucketEnvironment(serve, module)
    own = env.run()["bucket"]["id"]
    key = env.b2.add_key("attic", set(VERIFY) - {missing}, bucket_ids=[own])
    result = env.run(**env.as_key("listBuckets"), verify_with={"key_id": key.id, "key": key.secret})
    warnings = str(result.warnings)
    empty = env.b2.is_empty("nix-cache")
    if missing in ("writeFiles", "readFiles"):
        assert f"lacks the capability {missing}" in result["msg"] and empty
    elif missing == "deleteFiles":
        assert result["verified"] and not empty
        assert "lacks the capability deleteFiles" in warnings and "stays hidden" in warnings
    else:
        assert result["verified"] and empty and "hidden" not in warnings


def test_attic_needs_no_more_than_its_five(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    env = BucketEnvironment(serve, module)
    key = env.b2.add_key("attic", ATTIC, bucket_ids=[env.run()["bucket"]["id"]])
    assert env.run(verify_with={"key_id": key.id, "key": key.secret})["verified"]
