# SPDX-License-Identifier: GPL-3.0-or-later
"""CORS rules, file lock and retention; what cannot be undone; what this module does not touch."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest

from lab.clouds._b2_rules import Refused
from tests.support.b2 import BucketLab, wrap

CORS = {
    "name": "everybody-reads",
    "allowed_origins": ["https://b.example", "https://a.example"],
    "allowed_operations": ["s3_head", "s3_get"],
}
MONTH = {"mode": "governance", "duration": 30}


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> BucketLab:
    return BucketLab(serve, module)


def same_again(lab: BucketLab, **wish: t.Any) -> t.Any:
    made = lab.run(**wish)
    assert (made["failed"], made["changed"]) == (False, True), made
    again = lab.run(**wish)
    assert (again["failed"], again["changed"]) == (False, False), again
    assert again["bucket"] == made["bucket"]
    return made["bucket"]


def test_cors_rules_are_set_compared_without_the_order_of_members_and_removed(lab: BucketLab) -> None:
    bucket = same_again(lab, cors_rules=[CORS])
    rule = {"allowed_origins": ["https://a.example", "https://b.example"], "allowed_operations": ["s3_get", "s3_head"]}
    assert bucket["cors_rules"] == [{"name": "everybody-reads", **rule, "max_age_seconds": 3600}]
    twisted = {**CORS, "allowed_origins": CORS["allowed_origins"][::-1], "allowed_headers": []}
    assert not lab.run(cors_rules=[twisted])["changed"]
    assert not lab.run()["changed"]
    assert same_again(lab, cors_rules=[])["cors_rules"] == []


def test_order_of_cors_rules_is_kept(lab: BucketLab) -> None:
    rules = [{**CORS, "name": name} for name in ("zebras", "apples")]
    assert [rule["name"] for rule in same_again(lab, cors_rules=rules)["cors_rules"]] == ["zebras", "apples"]
    assert lab.run(cors_rules=rules[::-1])["changed"]


@pytest.mark.parametrize(
    ("params", "words"),
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
def test_bad_settings_are_refused_before_any_request(lab: BucketLab, params: dict[str, t.Any], words: str) -> None:
    failed = lab.run(**params)
    assert failed["failed"] and words in failed["msg"]
    assert lab.journal() == []


def test_operation_that_b2_does_not_know_is_left_to_b2(lab: BucketLab) -> None:
    failed = lab.run(cors_rules=[{**CORS, "allowed_operations": ["fly"]}])
    assert "unknown operation in allowedOperations: fly (400 bad_request)" in failed["msg"]


# File lock and retention.


def test_new_bucket_with_lock_and_retention_takes_two_requests_and_settles(lab: BucketLab) -> None:
    wish = {"file_lock": True, "default_retention": MONTH}
    checked = lab.run(check=True, **wish)
    assert lab.journal() == ["b2_authorize_account", "b2_list_buckets"]
    made = lab.run(**wish)
    assert checked["diff"] == made["diff"]
    assert lab.journal() == ["b2_authorize_account", "b2_list_buckets", "b2_create_bucket", "b2_update_bucket"]
    assert made["bucket"]["default_retention"] == {**MONTH, "unit": "days"}
    assert not lab.run(**wish)["changed"]
    assert same_again(lab, default_retention={"mode": "none"})["default_retention"] == {"mode": "none"}


def test_crash_between_the_two_requests_heals(lab: BucketLab, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*_: t.Any) -> t.Any:
        raise Refused(500, "internal_error", "no")

    wish = {"file_lock": True, "default_retention": MONTH}
    with monkeypatch.context() as patch:
        wrap(patch, "b2_update_bucket", hang_up)
        assert lab.run(**wish)["failed"]
    assert same_again(lab, **wish)["default_retention"]["mode"] == "governance"


def test_lock_on_an_existing_bucket_must_be_confirmed(lab: BucketLab) -> None:
    lab.run()
    for check in (True, False):
        assert "could never be switched off again" in lab.run(check, file_lock=True)["msg"]
    assert lab.b2.bucket("nix-cache")["fileLockEnabled"] is False
    assert same_again(lab, file_lock=True, accept_irreversible=True)["file_lock"] is True


def test_lock_is_never_switched_off(lab: BucketLab) -> None:
    lab.run(file_lock=True)
    for check in (True, False):
        failed = lab.run(check, file_lock=False, accept_irreversible=True)
        assert "can never be switched off; remove file_lock" in failed["msg"]
    assert not lab.run()["changed"]


def test_retention_needs_the_lock(lab: BucketLab) -> None:
    for file_lock in (None, False):
        assert "needs file_lock: true" in lab.run(file_lock=file_lock, default_retention=MONTH)["msg"]
    assert lab.b2.buckets == {}


def test_compliance_must_be_confirmed_once(lab: BucketLab) -> None:
    wish = {"file_lock": True, "default_retention": {"mode": "compliance", "duration": 1, "unit": "years"}}
    assert "nobody could delete a new file" in lab.run(**wish)["msg"]
    assert lab.b2.buckets == {}
    assert lab.run(**wish, accept_irreversible=True)["changed"]
    assert not lab.run(**wish)["changed"]


# What the key may not read.


@pytest.mark.parametrize(
    ("wish", "right", "needed"),
    [
        ({"default_encryption": "SSE-B2"}, "readBucketEncryption", []),
        ({"file_lock": True}, "readBucketRetentions", ["writeBucketRetentions"]),
        ({"default_retention": {"mode": "none"}}, "readBucketRetentions", ["writeBucketRetentions"]),
    ],
)
def test_unknown_is_not_different(lab: BucketLab, wish: dict[str, t.Any], right: str, needed: list[str]) -> None:
    lab.run()
    low = lab.as_key("listBuckets", "writeBuckets", *needed)
    (setting,) = wish
    result = lab.run(**low, **wish)
    assert (result["failed"], result["changed"], result["bucket"][setting]) == (False, False, None)
    assert f"lacks the capability {right}" in str(result.warnings)


def test_key_that_may_not_read_makes_buckets_all_the_same(lab: BucketLab) -> None:
    low = lab.as_key("listBuckets", "writeBuckets")
    checked, made, again = lab.run(True, **low), lab.run(**low), lab.run(**low)
    assert (made["changed"], made["diff"], made["failed"]) == (True, checked["diff"], False)
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])
    assert made["bucket"]["default_encryption"] is None


# What is not ours.


def test_replication_is_not_touched(lab: BucketLab) -> None:
    lab.run()
    source = {"asReplicationSource": {"sourceApplicationKeyId": "003", "replicationRules": []}}
    lab.b2.bucket("nix-cache")["replicationConfiguration"] = {**source, "asReplicationDestination": None}
    assert lab.run(type="allPublic", bucket_info={"by": "us"}, cors_rules=[CORS])["changed"]
    assert lab.b2.bucket("nix-cache")["replicationConfiguration"] == {**source, "asReplicationDestination": None}


def test_bucket_of_another_type_is_left_alone(lab: BucketLab) -> None:
    lab.run()
    lab.b2.bucket("nix-cache")["bucketType"] = "snapshot"
    assert "is of the type snapshot, which this module does not manage" in lab.run()["msg"]
    assert lab.b2.bucket("nix-cache")["bucketType"] == "snapshot"


def test_member_that_b2_invents_is_a_difference_and_no_crash(lab: BucketLab) -> None:
    lab.run(lifecycle_rules=[{"file_name_prefix": "", "days_from_hiding_to_deleting": 1}])
    lab.b2.bucket("nix-cache")["lifecycleRules"][0]["daysUntilDoom"] = 3
    assert lab.run()["bucket"]["lifecycle_rules"][0]["daysUntilDoom"] == 3


# What B2 says.


@pytest.mark.parametrize(
    ("status", "code", "words"),
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
def test_every_refusal_is_one_sentence(lab: BucketLab, status: int, code: str, words: str) -> None:
    body = {"status": status, "code": code, "message": "because"}
    lab.fault(status=status, path="b2_create_bucket", body=body, times=3)
    failed = lab.run()
    assert failed["msg"].startswith("B2: cannot create the bucket 'nix-cache': because") and words in failed["msg"]
    assert (failed["status"], failed["code"]) == (status, code)
    assert "\n" not in failed["msg"] and failed["msg"].endswith(".")
