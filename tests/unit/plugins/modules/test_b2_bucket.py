# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import pathlib
import time
import typing as t
from collections.abc import Callable

import boto3
import pytest
from botocore.config import Config

from lab.clouds.b2 import B2Double
from tests.support.b2 import ATTIC, REGION, BucketEnvironment, lose, wrap
from tests.support.collection import hide_library

RULES = [
    {
        "file_name_prefix": "",
        "days_from_hiding_to_deleting": 30,
        "days_from_starting_to_canceling_unfinished_large_files": 3,
    }
]


@pytest.fixture
def env(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> BucketEnvironment:
    return BucketEnvironment(serve, module)


def test_check_then_run_then_again(env: BucketEnvironment) -> None:
    desired = {"lifecycle_rules": RULES, "default_encryption": "SSE-B2", "bucket_info": {"by": "nixci"}}
    checked = env.run(check=True, **desired)
    assert env.journal() == ["b2_authorize_account", "b2_list_buckets"]
    made = env.run(**desired)
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"]) == (True, made["diff"])
    assert checked["bucket"] == {**made["bucket"], "id": None, "revision": None}
    env.journal()
    again = env.run(**desired)
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])
    assert env.journal() == ["b2_authorize_account", "b2_list_buckets"]


def test_result_describes_the_bucket(env: BucketEnvironment) -> None:
    bucket = env.run(lifecycle_rules=RULES)["bucket"]
    assert bucket == {
        "name": "nix-cache",
        "id": env.b2.bucket("nix-cache")["bucketId"],
        "type": "allPrivate",
        "lifecycle_rules": RULES,
        "cors_rules": [],
        "default_encryption": "SSE-B2",
        "file_lock": False,
        "default_retention": {"mode": "none"},
        "bucket_info": {},
        "revision": 2,
        "account_id": env.b2.account_id,
        "s3_endpoint": env.b2.s3_url,
        "region": REGION,
    }


STATES: list[dict[str, t.Any]] = [
    {"state": "absent"},
    {},
    {"type": "allPublic", "bucket_info": {"a": "1", "b": "2"}},
    {"lifecycle_rules": RULES, "default_encryption": "SSE-B2"},
    {"lifecycle_rules": [{"file_name_prefix": p, "days_from_hiding_to_deleting": 1} for p in ("nar/", "log/")]},
    {"lifecycle_rules": [], "bucket_info": {}},
]


@pytest.mark.parametrize(("start", "end"), list(itertools.permutations(STATES, 2)))
def test_every_transition_is_predicted_and_repeats_without_change(
    env: BucketEnvironment, start: dict, end: dict
) -> None:
    assert not env.run(**start)["failed"]
    checked, made, again = env.run(check=True, **end), env.run(**end), env.run(**end)
    assert not made["failed"]
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"])
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])


def test_omitted_settings_stay(env: BucketEnvironment) -> None:
    env.run(lifecycle_rules=RULES, bucket_info={"by": "hand"})
    assert not env.run()["changed"]
    assert env.run(type="allPublic")["bucket"]["lifecycle_rules"] == RULES
    assert env.b2.bucket("nix-cache")["bucketInfo"] == {"by": "hand"}


def test_numbers_in_bucket_info_are_compared_as_strings(env: BucketEnvironment) -> None:
    assert env.run(bucket_info={"year": 2026})["changed"]
    assert not env.run(bucket_info={"year": 2026})["changed"]


def test_existing_bucket_is_found_without_regard_to_case(env: BucketEnvironment) -> None:
    env.run()
    assert not env.run(name="Nix-Cache")["changed"]


def test_absent_deletes_and_does_nothing_without_a_bucket(env: BucketEnvironment) -> None:
    env.run()
    gone = env.run(state="absent")
    assert (gone["changed"], gone["bucket"], gone["diff"]["after"]) == (True, None, {})
    assert env.b2.buckets == {}
    assert not env.run(state="absent")["changed"]


@pytest.mark.parametrize("leave", ["a file", "an old version", "a hide marker", "an unfinished upload"])
def test_bucket_with_anything_in_it_is_not_deleted(env: BucketEnvironment, leave: str) -> None:
    env.run()
    key = env.b2.add_key("attic", ATTIC)
    s3 = boto3.client(
        "s3",
        endpoint_url=env.b2.s3_url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )
    place = {"Bucket": "nix-cache", "Key": "chunk"}
    if leave == "an unfinished upload":
        s3.create_multipart_upload(**place)
    else:
        version = s3.put_object(**place, Body=b"x")["VersionId"]
    if leave in ("an old version", "a hide marker"):
        s3.delete_object(**place)
    if leave == "a hide marker":
        s3.delete_object(**place, VersionId=version)
    failed = env.run(state="absent")
    assert failed["failed"] and "is not empty" in failed["msg"] and "b2 rm --versions" in failed["msg"]
    assert failed["code"] == "cannot_delete_non_empty_bucket"
    assert env.b2.bucket("nix-cache")


# Concurrent changes.


def test_name_taken_by_another_account_is_explained(env: BucketEnvironment) -> None:
    failed = env.run(name="somebody-elses")
    assert failed["msg"] == (
        "B2: the bucket name 'somebody-elses' is taken by another account; "
        "names are unique over all of Backblaze, so choose another one."
    )
    assert env.journal().count("b2_create_bucket") == 1


def test_concurrent_update_is_read_again_and_kept(env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    env.run()
    rivals = iter(["a rival"])

    def list_before_a_rival_writes(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        answer = real(b2, key, body)
        bucket = b2.bucket("nix-cache")
        for rival in rivals:
            bucket.update(bucketInfo={"by": rival}, revision=bucket["revision"] + 1)
        return answer

    wrap(monkeypatch, "b2_list_buckets", list_before_a_rival_writes)
    made = env.run(lifecycle_rules=RULES)
    assert (made["bucket"]["bucket_info"], made["bucket"]["lifecycle_rules"]) == ({"by": "a rival"}, RULES)


def test_bucket_that_somebody_else_creates_meanwhile_is_updated(
    env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = iter(["a rival"])

    def create_after_a_rival(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        for rival in rivals:
            real(b2, key, {**body, "bucketInfo": {"by": rival}, "lifecycleRules": []})
        return real(b2, key, body)

    wrap(monkeypatch, "b2_create_bucket", create_after_a_rival)
    created = env.run(lifecycle_rules=RULES)
    assert (created["bucket"]["bucket_info"], created["bucket"]["lifecycle_rules"]) == ({"by": "a rival"}, RULES)


def test_update_is_refused_on_a_newer_revision(env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    env.run()

    def list_before_a_rival_takes_over(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        answer = real(b2, key, body)
        bucket = b2.bucket("nix-cache")
        bucket.update(bucketType="restricted", revision=bucket["revision"] + 1)
        return answer

    wrap(monkeypatch, "b2_list_buckets", list_before_a_rival_takes_over)
    assert "is of the type restricted" in env.run(lifecycle_rules=RULES)["msg"]
    assert env.b2.bucket("nix-cache")["lifecycleRules"] == []


def test_conflict_is_retried_within_bounds(env: BucketEnvironment) -> None:
    env.run()
    conflict = {"status": 409, "path": "b2_update_bucket", "body": {"status": 409, "code": "conflict", "message": "no"}}
    env.fault(**conflict, times=2)
    assert env.run(lifecycle_rules=RULES)["bucket"]["lifecycle_rules"] == RULES
    env.fault(**conflict, times=3)
    failed = env.run(lifecycle_rules=[])
    assert "somebody else changed the bucket 'nix-cache' while it was being updated" in failed["msg"]


@pytest.mark.parametrize("operation", ["b2_create_bucket", "b2_update_bucket", "b2_delete_bucket"])
def test_lost_answer_is_recovered(env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    if operation != "b2_create_bucket":
        env.run()
    lose(monkeypatch, operation)
    desired: dict[str, t.Any] = {"state": "absent"} if operation == "b2_delete_bucket" else {"lifecycle_rules": RULES}
    result = env.run(retries=1, **desired)
    assert (result["failed"], result["changed"]) == (False, True)
    assert not env.run(**desired)["changed"]


# Encryption that cannot be read.


def test_unreadable_encryption_is_not_a_difference(env: BucketEnvironment) -> None:
    low = env.as_key("listBuckets", "writeBuckets", "writeBucketEncryption")
    env.run()
    result = env.run(**low, default_encryption="SSE-B2")
    assert (result["changed"], result["bucket"]["default_encryption"]) == (False, None)
    assert "lacks the capability readBucketEncryption" in str(result.warnings)


# Bad input.


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lifecycle_rules": [{"file_name_prefix": ""}]}, "at least one number of days"),
        ({"lifecycle_rules": [{"file_name_prefix": "x", "days_from_hiding_to_deleting": 0}]}, "each 1 or more"),
        (
            {"lifecycle_rules": [{"file_name_prefix": p, "days_from_hiding_to_deleting": 1} for p in ("a", "ab")]},
            "'a' and 'ab' apply to the same files",
        ),
        ({"lifecycle_rules": [{"file_name_prefix": "", "days_from_uploading_to_hiding": 30}]}, "breaks a binary cache"),
        ({"realm": "prod"}, "neither production nor a URL"),
        ({"key": ""}, "B2: key is empty or holds blanks"),
        ({"key": "K003 copied with a blank"}, "B2: key is empty or holds blanks"),
        ({"key_id": ""}, "B2: key_id is empty or holds blanks"),
    ],
)
def test_bad_input_is_refused_before_any_request(env: BucketEnvironment, params: dict, message: str) -> None:
    failed = env.run(**params)
    assert failed["failed"] and message in failed["msg"]
    assert env.journal() == []


def test_hiding_by_age_can_be_confirmed_and_is_free_below_a_prefix(env: BucketEnvironment) -> None:
    whole = [{"file_name_prefix": "", "days_from_uploading_to_hiding": 30}]
    assert env.run(lifecycle_rules=whole, accept_age_based_hiding=True)["changed"]
    part = [{"file_name_prefix": "log/", "days_from_uploading_to_hiding": 30}]
    assert env.run(lifecycle_rules=part)["changed"]


@pytest.mark.parametrize("name", ["short", "b2-cache", "Upper-Case", "under_score", "ends-with-", "x" * 64])
@pytest.mark.parametrize("check", [True, False])
def test_bad_name_is_refused(env: BucketEnvironment, name: str, check: bool) -> None:
    assert "cannot be the name of a bucket" in env.run(name=name, check=check)["msg"]


# Credentials and rights.


@pytest.mark.parametrize("wrong", [{"key": "K003wrong"}, {"key_id": "0030000000000000000000000"}])
def test_wrong_key(env: BucketEnvironment, wrong: dict[str, str]) -> None:
    failed = env.run(**wrong)
    assert "does not know this key id with this secret" in failed["msg"]
    assert (failed["status"], failed["code"]) == (401, "unauthorized")
    assert "K003wrong" not in str(failed)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("bad_auth_token", "does not know this key id with this secret"),
        ("", "does not know this key id with this secret"),
        ("email_not_verified", "verify the e-mail address of the account"),
    ],
)
def test_other_refusals_of_a_login(env: BucketEnvironment, code: str, message: str) -> None:
    env.fault(status=401, path="b2_authorize_account", body={"status": 401, "code": code, "message": ""})
    assert message in env.run()["msg"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("has", "params", "missing"),
    [
        (["writeBuckets"], {}, "listBuckets"),
        (["listBuckets"], {}, "writeBuckets"),
        (["listBuckets", "writeBuckets"], {"default_encryption": "SSE-B2"}, "writeBucketEncryption"),
        (["listBuckets", "writeBuckets"], {"name": "there-already", "state": "absent"}, "deleteBuckets"),
        (["listBuckets"], {"name": "there-already", "type": "allPublic"}, "writeBuckets"),
    ],
)
def test_missing_capability_is_named(
    env: BucketEnvironment, check: bool, has: list, params: dict, missing: str
) -> None:
    env.run(name="there-already")
    before = str(env.b2.buckets)
    failed = env.run(check=check, **env.as_key(*has), **params)
    assert f"lacks the capability {missing};" in failed["msg"]
    assert failed["missing_capability"] == missing
    assert str(env.b2.buckets) == before


def test_key_of_another_bucket_may_not_read(env: BucketEnvironment) -> None:
    bucket_id = env.run(name="other-bucket")["bucket"]["id"]
    key = env.b2.add_key("low", ["listBuckets"], bucket_ids=[bucket_id])
    failed = env.run(key_id=key.id, key=key.secret)
    assert "restricted to buckets ['other-bucket']" in failed["msg"]


# Region.


@pytest.mark.parametrize(
    ("endpoint", "expected", "region"),
    [
        ("https://s3.us-west-004.backblazeb2.com", None, "us-west-004"),
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004", "us-west-004"),
        ("http://172.17.0.1:8702", None, None),
        ("http://172.17.0.1:8702", REGION, REGION),
    ],
)
def test_region_comes_from_the_endpoint_or_the_option(
    env: BucketEnvironment, endpoint: str, expected: str | None, region: str | None
) -> None:
    env.b2.s3_url = endpoint
    assert env.run(region=expected)["bucket"]["region"] == region


def test_account_in_another_region_is_an_error(env: BucketEnvironment) -> None:
    env.b2.s3_url = "https://s3.us-west-004.backblazeb2.com"
    failed = env.run()
    assert "lives in the region us-west-004, not in eu-central-003" in failed["msg"]
    assert env.b2.buckets == {}


# The network.


def test_unreachable_realm(env: BucketEnvironment) -> None:
    failed = env.run(realm="http://127.0.0.1:9")
    assert failed["msg"] == "B2: http://127.0.0.1:9 cannot be reached; check the realm and the network."


def test_something_else_at_the_realm(env: BucketEnvironment) -> None:
    env.fault(status=200, body={"hello": "world"})
    assert "not one of B2's native API" in env.run()["msg"]
    env.fault(status=404, body="no such page")
    assert "the answer was 404 without a reason" in env.run()["msg"]


def test_overload_is_retried_within_bounds(env: BucketEnvironment) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "0"}, "body": {"status": 503, "code": "busy", "message": "later"}}
    env.fault(**busy, times=2)
    assert env.run(retries=2)["changed"]
    env.fault(**busy, times=3)
    assert "later (503 busy)" in env.run(retries=2)["msg"]


def test_long_retry_after_is_reported_instead_of_waited_for(env: BucketEnvironment) -> None:
    env.fault(status=429, headers={"Retry-After": "600"})
    start = time.monotonic()
    failed = env.run(retries=3)
    assert "asks to wait 600 s" in failed["msg"]
    assert time.monotonic() - start < 3


def test_expired_token_is_renewed(env: BucketEnvironment) -> None:
    env.fault(status=401, path="b2_list", body={"status": 401, "code": "expired_auth_token", "message": "old"})
    assert env.run()["changed"]


def test_spending_cap_is_explained(env: BucketEnvironment) -> None:
    env.fault(status=403, path="b2_create", body={"status": 403, "code": "cap_exceeded", "message": "Cap exceeded."})
    assert "raise the spending cap" in env.run()["msg"]


def test_missing_library(env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library(monkeypatch, "b2sdk")
    assert "pip install b2sdk" in env.run()["msg"]


# The round trip.


@pytest.fixture
def verify(env: BucketEnvironment) -> dict[str, str]:
    bucket = env.run()["bucket"]
    key = env.b2.add_key("attic", ATTIC, bucket_ids=[bucket["id"]])
    return {"key_id": key.id, "key": key.secret}


def test_round_trip_verifies_the_key_and_leaves_nothing(env: BucketEnvironment, verify: dict[str, str]) -> None:
    result = env.run(verify_with=verify)
    assert (result["failed"], result["changed"], result["verified"]) == (False, False, True)
    assert env.b2.is_empty("nix-cache")


def test_round_trip_is_skipped_in_check_mode(env: BucketEnvironment, verify: dict[str, str]) -> None:
    result = env.run(check=True, verify_with={**verify, "key": "wrong"})
    assert (result["failed"], result["verified"]) == (False, False)


def test_round_trip_without_deleteFiles_hides(env: BucketEnvironment, verify: dict[str, str]) -> None:
    env.b2.keys[verify["key_id"]].capabilities.remove("deleteFiles")
    assert env.run(verify_with=verify)["verified"]
    assert not env.b2.is_empty("nix-cache")


@pytest.mark.parametrize(("missing", "action"), [("writeFiles", "write"), ("readFiles", "read")])
def test_round_trip_names_the_missing_capability(
    env: BucketEnvironment, verify: dict[str, str], missing: str, action: str
) -> None:
    env.b2.keys[verify["key_id"]].capabilities.remove(missing)
    failed = env.run(verify_with=verify)
    assert f"cannot {action} an object" in failed["msg"] and f"lacks the capability {missing}" in failed["msg"]


def test_round_trip_with_a_wrong_secret(env: BucketEnvironment, verify: dict[str, str]) -> None:
    failed = env.run(verify_with={**verify, "key": "K003-canary"})
    assert "SignatureDoesNotMatch; check the id and the secret" in failed["msg"]
    assert "canary" not in str(failed)


def test_round_trip_needs_the_region(env: BucketEnvironment, verify: dict[str, str]) -> None:
    assert "set region" in env.run(region=None, verify_with=verify)["msg"]


def test_round_trip_to_a_dead_endpoint(env: BucketEnvironment, verify: dict[str, str]) -> None:
    env.b2.s3_url = "http://127.0.0.1:9"
    assert "Could not connect to the endpoint" in env.run(verify_with=verify)["msg"]


def test_a_netrc_file_does_not_replace_the_key(
    env: BucketEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert env.run()["changed"]
