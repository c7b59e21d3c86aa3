# SPDX-License-Identifier: GPL-3.0-or-later
"""CORS rules, file lock and retention; what cannot be undone; what this module does not change."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest

from lab.clouds._b2_rules import Refused
from tests.support.b2 import BucketEnvironment, wrap

CORS = {
    "name": "everybody-reads",
    "allowed_origins": ["https://b.example", "https://a.example"],
    "allowed_operations": ["s3_head", "s3_get"],
}
MONTH = {"mode": "governance", "duration": 30}


@pytest.fixture
def env(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> BucketEnvironment:
    return BucketEnvironment(serve, module)


def same_again(env: BucketEnvironment, **desired: t.Any) -> t.Any:
    made = env.run(**desired)
    assert (made["failed"], made["changed"]) == (False, True), made
    again = env.run(**desired)
    assert (again["failed"], again["changed"]) == (False, False), again
    assert again["bucket"] == made["bucket"]
    return made["bucket"]


def test_cors_rules_are_set_compared_without_the_order_of_members_and_removed(env: BucketEnvironment) -> None:
    bucket = same_again(env, cors_rules=[CORS])
    rule = {"allowed_origins": ["https://a.example", "https://b.example"], "allowed_operations": ["s3_get", "s3_head"]}
    assert bucket["cors_rules"] == [{"name": "everybody-reads", **rule, "max_age_seconds": 3600}]
    twisted = {**CORS, "allowed_origins": CORS["allowed_origins"][::-1], "allowed_headers": []}
    assert not env.run(cors_rules=[twisted])["changed"]
    assert not env.run()["changed"]
    assert same_again(env, cors_rules=[])["cors_rules"] == []


def test_order_of_cors_rules_is_kept(env: BucketEnvironment) -> None:
    rules = [{**CORS, "name": name} for name in ("zebras", "apples")]
    assert [rule["name"] for rule in same_again(env, cors_rules=rules)["cors_rules"]] == ["zebras", "apples"]
    assert env.run(cors_rules=rules[::-1])["changed"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cors_rules": [{**CORS, "name": "short"}]}, "'short' cannot be the name of a CORS rule"),
        ({"cors_rules": [{**CORS, "name": "b2-rule"}]}, "'b2-rule' cannot be the name"),
        ({"cors_rules": [CORS, CORS]}, "each name once"),
        ({"cors_rules": [{**CORS, "allowed_origins": []}]}, "at least one origin"),
        ({"cors_rules": [{**CORS, "allowed_origins": [""]}]}, "none of them empty"),
        ({"cors_rules": [{**CORS, "max_age_seconds": 86401}]}, "between 0 and 86400"),
        ({"cors_rules": [{**CORS, "name": f"rule-{number}"} for number in range(100, 201)]}, "has 101 rules"),
        ({"bucket_info": {"a b": "1"}}, "check a b"),
        ({"bucket_info": {"list": [1]}}, "check list"),
        ({"bucket_info": {f"n{number}": "" for number in range(11)}}, "at most 10 names"),
        ({"default_retention": {"mode": "governance"}}, "needs a duration of 1 or more"),
        ({"default_retention": {"mode": "governance", "duration": 0}}, "needs a duration of 1 or more"),
    ],
)
def test_bad_settings_are_refused_before_any_request(
    env: BucketEnvironment, params: dict[str, t.Any], message: str
) -> None:
    failed = env.run(**params)
    assert failed["failed"] and message in failed["msg"]
    assert env.journal() == []


def test_operation_that_b2_does_not_know_is_refused_by_b2(env: BucketEnvironment) -> None:
    failed = env.run(cors_rules=[{**CORS, "allowed_operations": ["fly"]}])
    assert "unknown operation in allowedOperations: fly (400 bad_request)" in failed["msg"]


# File lock and retention.


def test_new_bucket_with_lock_and_retention_takes_two_requests_and_settles(env: BucketEnvironment) -> None:
    desired = {"file_lock": True, "default_retention": MONTH}
    checked = env.run(check=True, **desired)
    assert env.journal() == ["b2_authorize_account", "b2_list_buckets"]
    made = env.run(**desired)
    assert checked["diff"] == made["diff"]
    assert env.journal() == ["b2_authorize_account", "b2_list_buckets", "b2_create_bucket", "b2_update_bucket"]
    assert made["bucket"]["default_retention"] == {**MONTH, "unit": "days"}
    assert not env.run(**desired)["changed"]
    assert same_again(env, default_retention={"mode": "none"})["default_retention"] == {"mode": "none"}


def test_next_run_recovers_from_a_crash_between_the_two_requests(
    env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang_up(*_: t.Any) -> t.Any:
        raise Refused(500, "internal_error", "no")

    desired = {"file_lock": True, "default_retention": MONTH}
    with monkeypatch.context() as patch:
        wrap(patch, "b2_update_bucket", hang_up)
        assert env.run(**desired)["failed"]
    assert same_again(env, **desired)["default_retention"]["mode"] == "governance"


def test_lock_on_an_existing_bucket_must_be_confirmed(env: BucketEnvironment) -> None:
    env.run()
    for check in (True, False):
        assert "could never be switched off again" in env.run(check, file_lock=True)["msg"]
    assert env.b2.bucket("nix-cache")["fileLockEnabled"] is False
    assert same_again(env, file_lock=True, accept_irreversible=True)["file_lock"] is True


def test_lock_is_never_switched_off(env: BucketEnvironment) -> None:
    env.run(file_lock=True)
    for check in (True, False):
        failed = env.run(check, file_lock=False, accept_irreversible=True)
        assert "can never be switched off; remove file_lock" in failed["msg"]
    assert not env.run()["changed"]


def test_retention_needs_the_lock(env: BucketEnvironment) -> None:
    for file_lock in (None, False):
        assert "needs file_lock: true" in env.run(file_lock=file_lock, default_retention=MONTH)["msg"]
    assert env.b2.buckets == {}


def test_compliance_must_be_confirmed_once(env: BucketEnvironment) -> None:
    desired = {"file_lock": True, "default_retention": {"mode": "compliance", "duration": 1, "unit": "years"}}
    assert "nobody could delete a new file" in env.run(**desired)["msg"]
    assert env.b2.buckets == {}
    assert env.run(**desired, accept_irreversible=True)["changed"]
    assert not env.run(**desired)["changed"]


# What the key may not read.


@pytest.mark.parametrize(
    ("desired", "right", "needed"),
    [
        ({"default_encryption": "SSE-B2"}, "readBucketEncryption", []),
        ({"file_lock": True}, "readBucketRetentions", ["writeBucketRetentions"]),
        ({"default_retention": {"mode": "none"}}, "readBucketRetentions", ["writeBucketRetentions"]),
    ],
)
def test_unreadable_setting_is_no_difference(
    env: BucketEnvironment, desired: dict[str, t.Any], right: str, needed: list[str]
) -> None:
    env.run()
    low = env.as_key("listBuckets", "writeBuckets", *needed)
    (setting,) = desired
    result = env.run(**low, **desired)
    assert (result["failed"], result["changed"], result["bucket"][setting]) == (False, False, None)
    assert f"lacks the capability {right}" in str(result.warnings)


def test_key_that_may_not_read_settings_can_create_buckets(env: BucketEnvironment) -> None:
    low = env.as_key("listBuckets", "writeBuckets")
    checked, made, again = env.run(True, **low), env.run(**low), env.run(**low)
    assert (made["changed"], made["diff"], made["failed"]) == (True, checked["diff"], False)
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])
    assert made["bucket"]["default_encryption"] is None


# What the module does not manage.


def test_replication_is_not_changed(env: BucketEnvironment) -> None:
    env.run()
    source = {"asReplicationSource": {"sourceApplicationKeyId": "003", "replicationRules": []}}
    env.b2.bucket("nix-cache")["replicationConfiguration"] = {**source, "asReplicationDestination": None}
    assert env.run(type="allPublic", bucket_info={"by": "us"}, cors_rules=[CORS])["changed"]
    assert env.b2.bucket("nix-cache")["replicationConfiguration"] == {**source, "asReplicationDestination": None}


def test_bucket_of_another_type_is_not_changed(env: BucketEnvironment) -> None:
    env.run()
    env.b2.bucket("nix-cache")["bucketType"] = "snapshot"
    assert "is of the type snapshot, which this module does not manage" in env.run()["msg"]
    assert env.b2.bucket("nix-cache")["bucketType"] == "snapshot"


def test_unknown_member_is_a_difference_and_no_crash(env: BucketEnvironment) -> None:
    env.run(lifecycle_rules=[{"file_name_prefix": "", "days_from_hiding_to_deleting": 1}])
    env.b2.bucket("nix-cache")["lifecycleRules"][0]["daysUntilDoom"] = 3
    assert env.run()["bucket"]["lifecycle_rules"][0]["daysUntilDoom"] == 3


# Errors of B2.


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "email_not_verified", "verify the e-mail address"),
        (401, "no_payment_history", "first payment"),
        (401, "unauthorized", "use a key that may do this"),
        (403, "storage_cap_exceeded", "raise the spending cap"),
        (403, "access_denied", "(403 access_denied)"),
        (400, "too_many_buckets", "delete a bucket"),
        (405, "method_not_allowed", "(405 method_not_allowed)"),
        (500, "internal_error", "(500 internal_error)"),
    ],
)
def test_every_refusal_is_one_sentence(env: BucketEnvironment, status: int, code: str, message: str) -> None:
    body = {"status": status, "code": code, "message": "because"}
    env.fault(status=status, path="b2_create_bucket", body=body, times=3)
    failed = env.run()
    assert failed["msg"].startswith("B2: cannot create the bucket 'nix-cache': because") and message in failed["msg"]
    assert (failed["status"], failed["code"]) == (status, code)
    assert "\n" not in failed["msg"] and failed["msg"].endswith(".")
