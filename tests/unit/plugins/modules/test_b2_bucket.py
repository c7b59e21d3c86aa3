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

from lab.clouds._b2_rules import Refused
from lab.clouds.b2 import B2Double
from tests.support.b2 import ATTIC, REGION, BucketLab, wrap
from tests.support.collection import hide_library

RULES = [
    {
        "file_name_prefix": "",
        "days_from_hiding_to_deleting": 30,
        "days_from_starting_to_canceling_unfinished_large_files": 3,
    }
]


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> BucketLab:
    return BucketLab(serve, module)


def test_check_then_run_then_again(lab: BucketLab) -> None:
    wish = {"lifecycle_rules": RULES, "default_encryption": "SSE-B2", "bucket_info": {"by": "nixci"}}
    checked = lab.run(check=True, **wish)
    assert lab.journal() == ["b2_authorize_account", "b2_list_buckets"]
    made = lab.run(**wish)
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"]) == (True, made["diff"])
    assert checked["bucket"] == {**made["bucket"], "id": None, "revision": None}
    lab.journal()
    again = lab.run(**wish)
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])
    assert lab.journal() == ["b2_authorize_account", "b2_list_buckets"]


def test_result_says_where_the_bucket_is(lab: BucketLab) -> None:
    bucket = lab.run(lifecycle_rules=RULES)["bucket"]
    assert bucket == {
        "name": "nix-cache",
        "id": lab.b2.bucket("nix-cache")["bucketId"],
        "type": "allPrivate",
        "lifecycle_rules": RULES,
        "cors_rules": [],
        "default_encryption": "SSE-B2",
        "file_lock": False,
        "default_retention": {"mode": "none"},
        "bucket_info": {},
        "revision": 2,
        "account_id": lab.b2.account_id,
        "s3_endpoint": lab.b2.s3_url,
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
def test_every_way_from_state_to_state_is_predicted_and_settles(lab: BucketLab, start: dict, end: dict) -> None:
    assert not lab.run(**start)["failed"]
    checked, made, again = lab.run(check=True, **end), lab.run(**end), lab.run(**end)
    assert not made["failed"]
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"])
    assert (again["changed"], again["bucket"]) == (False, made["bucket"])


def test_settings_left_out_stay(lab: BucketLab) -> None:
    lab.run(lifecycle_rules=RULES, bucket_info={"by": "hand"})
    assert not lab.run()["changed"]
    assert lab.run(type="allPublic")["bucket"]["lifecycle_rules"] == RULES
    assert lab.b2.bucket("nix-cache")["bucketInfo"] == {"by": "hand"}


def test_numbers_in_bucket_info_settle(lab: BucketLab) -> None:
    assert lab.run(bucket_info={"year": 2026})["changed"]
    assert not lab.run(bucket_info={"year": 2026})["changed"]


def test_existing_bucket_is_found_whatever_the_case(lab: BucketLab) -> None:
    lab.run()
    assert not lab.run(name="Nix-Cache")["changed"]


def test_absent_deletes_and_is_content_when_there_is_none(lab: BucketLab) -> None:
    lab.run()
    gone = lab.run(state="absent")
    assert (gone["changed"], gone["bucket"], gone["diff"]["after"]) == (True, None, {})
    assert lab.b2.buckets == {}
    assert not lab.run(state="absent")["changed"]


@pytest.mark.parametrize("leave", ["a file", "an old version", "a hide marker", "an unfinished upload"])
def test_bucket_with_anything_in_it_is_not_deleted(lab: BucketLab, leave: str) -> None:
    lab.run()
    key = lab.b2.add_key("attic", ATTIC)
    s3 = boto3.client(
        "s3",
        endpoint_url=lab.b2.s3_url,
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
    failed = lab.run(state="absent")
    assert failed["failed"] and "is not empty" in failed["msg"] and "b2 rm --versions" in failed["msg"]
    assert failed["code"] == "cannot_delete_non_empty_bucket"
    assert lab.b2.bucket("nix-cache")


# Somebody else.


def test_name_of_another_account_is_one_clear_sentence(lab: BucketLab) -> None:
    failed = lab.run(name="somebody-elses")
    assert failed["msg"] == (
        "B2: the bucket name 'somebody-elses' is taken by another account; "
        "names are unique over all of Backblaze, so choose another one."
    )


def test_update_in_between_is_read_again_and_kept(lab: BucketLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run()
    rivals = iter(["a rival"])

    def list_before_a_rival_writes(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        answer = real(b2, key, body)
        bucket = b2.bucket("nix-cache")
        for rival in rivals:
            bucket.update(bucketInfo={"by": rival}, revision=bucket["revision"] + 1)
        return answer

    wrap(monkeypatch, "b2_list_buckets", list_before_a_rival_writes)
    made = lab.run(lifecycle_rules=RULES)
    assert (made["bucket"]["bucket_info"], made["bucket"]["lifecycle_rules"]) == ({"by": "a rival"}, RULES)


def test_what_is_written_rests_on_what_was_read(lab: BucketLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run()

    def list_before_a_rival_takes_over(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        answer = real(b2, key, body)
        bucket = b2.bucket("nix-cache")
        bucket.update(bucketType="restricted", revision=bucket["revision"] + 1)
        return answer

    wrap(monkeypatch, "b2_list_buckets", list_before_a_rival_takes_over)
    assert "is of the type restricted" in lab.run(lifecycle_rules=RULES)["msg"]
    assert lab.b2.bucket("nix-cache")["lifecycleRules"] == []


def test_conflict_is_tried_again_but_not_for_ever(lab: BucketLab) -> None:
    lab.run()
    conflict = {"status": 409, "path": "b2_update_bucket", "body": {"status": 409, "code": "conflict", "message": "no"}}
    lab.fault(**conflict, times=2)
    assert lab.run(lifecycle_rules=RULES)["bucket"]["lifecycle_rules"] == RULES
    lab.fault(**conflict, times=3)
    failed = lab.run(lifecycle_rules=[])
    assert "somebody else changed the bucket 'nix-cache' while it was being updated" in failed["msg"]


@pytest.mark.parametrize("operation", ["b2_create_bucket", "b2_update_bucket", "b2_delete_bucket"])
def test_lost_answer_is_made_good(lab: BucketLab, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    if operation != "b2_create_bucket":
        lab.run()
    losses = iter([Refused(503, "service_unavailable", "lost")])

    def act_and_lose(real: t.Any, *arguments: t.Any) -> t.Any:
        answer = real(*arguments)
        for loss in losses:
            raise loss
        return answer

    wrap(monkeypatch, operation, act_and_lose)
    wish: dict[str, t.Any] = {"state": "absent"} if operation == "b2_delete_bucket" else {"lifecycle_rules": RULES}
    result = lab.run(retries=1, **wish)
    assert (result["failed"], result["changed"]) == (False, True)
    assert not lab.run(**wish)["changed"]


# Encryption that cannot be read.


def test_unreadable_encryption_is_not_a_difference(lab: BucketLab) -> None:
    low = lab.as_key("listBuckets", "writeBuckets", "writeBucketEncryption")
    lab.run()
    result = lab.run(**low, default_encryption="SSE-B2")
    assert (result["changed"], result["bucket"]["default_encryption"]) == (False, None)
    assert "lacks the capability readBucketEncryption" in str(result.warnings)


# Bad input.


@pytest.mark.parametrize(
    ("params", "words"),
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
def test_bad_input_is_refused_before_any_request(lab: BucketLab, params: dict, words: str) -> None:
    failed = lab.run(**params)
    assert failed["failed"] and words in failed["msg"]
    assert lab.journal() == []


def test_hiding_by_age_can_be_confirmed_and_is_free_below_a_prefix(lab: BucketLab) -> None:
    whole = [{"file_name_prefix": "", "days_from_uploading_to_hiding": 30}]
    assert lab.run(lifecycle_rules=whole, accept_age_based_hiding=True)["changed"]
    part = [{"file_name_prefix": "log/", "days_from_uploading_to_hiding": 30}]
    assert lab.run(lifecycle_rules=part)["changed"]


@pytest.mark.parametrize("name", ["short", "b2-cache", "Upper-Case", "under_score", "ends-with-", "x" * 64])
@pytest.mark.parametrize("check", [True, False])
def test_bad_name_is_refused(lab: BucketLab, name: str, check: bool) -> None:
    assert "cannot be the name of a bucket" in lab.run(name=name, check=check)["msg"]


# Credentials and rights.


@pytest.mark.parametrize("wrong", [{"key": "K003wrong"}, {"key_id": "0030000000000000000000000"}])
def test_wrong_key(lab: BucketLab, wrong: dict[str, str]) -> None:
    failed = lab.run(**wrong)
    assert "does not know this key id with this secret" in failed["msg"]
    assert (failed["status"], failed["code"]) == (401, "bad_auth_token")
    assert "K003wrong" not in str(failed)


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
def test_missing_capability_is_named(lab: BucketLab, check: bool, has: list, params: dict, missing: str) -> None:
    lab.run(name="there-already")
    before = str(lab.b2.buckets)
    failed = lab.run(check=check, **lab.as_key(*has), **params)
    assert f"lacks the capability {missing};" in failed["msg"]
    assert failed["missing_capability"] == missing
    assert str(lab.b2.buckets) == before


def test_key_of_another_bucket_may_not_look(lab: BucketLab) -> None:
    bucket_id = lab.run(name="other-bucket")["bucket"]["id"]
    key = lab.b2.add_key("low", ["listBuckets"], bucket_ids=[bucket_id])
    failed = lab.run(key_id=key.id, key=key.secret)
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
    lab: BucketLab, endpoint: str, expected: str | None, region: str | None
) -> None:
    lab.b2.s3_url = endpoint
    assert lab.run(region=expected)["bucket"]["region"] == region


def test_account_in_another_region_is_an_error(lab: BucketLab) -> None:
    lab.b2.s3_url = "https://s3.us-west-004.backblazeb2.com"
    failed = lab.run()
    assert "lives in the region us-west-004, not in eu-central-003" in failed["msg"]
    assert lab.b2.buckets == {}


# The network.


def test_unreachable_realm(lab: BucketLab) -> None:
    failed = lab.run(realm="http://127.0.0.1:9")
    assert failed["msg"] == "B2: http://127.0.0.1:9 cannot be reached; check the realm and the network."


def test_something_else_at_the_realm(lab: BucketLab) -> None:
    lab.fault(status=200, body={"hello": "world"})
    assert "not one of B2's native API" in lab.run()["msg"]
    lab.fault(status=404, body="no such page")
    assert "the answer was 404 without a reason" in lab.run()["msg"]


def test_overload_is_waited_for_within_bounds(lab: BucketLab) -> None:
    busy = {"status": 503, "headers": {"Retry-After": "0"}, "body": {"status": 503, "code": "busy", "message": "later"}}
    lab.fault(**busy, times=2)
    assert lab.run(retries=2)["changed"]
    lab.fault(**busy, times=3)
    assert "later (503 busy)" in lab.run(retries=2)["msg"]


def test_long_retry_after_is_reported_instead_of_waited_for(lab: BucketLab) -> None:
    lab.fault(status=429, headers={"Retry-After": "600"})
    start = time.monotonic()
    failed = lab.run(retries=3)
    assert "asks to wait 600 s" in failed["msg"]
    assert time.monotonic() - start < 3


def test_expired_token_is_renewed(lab: BucketLab) -> None:
    lab.fault(status=401, path="b2_list", body={"status": 401, "code": "expired_auth_token", "message": "old"})
    assert lab.run()["changed"]


def test_spending_cap_is_explained(lab: BucketLab) -> None:
    lab.fault(status=403, path="b2_create", body={"status": 403, "code": "cap_exceeded", "message": "Cap exceeded."})
    assert "raise the spending cap" in lab.run()["msg"]


def test_missing_library(lab: BucketLab, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library(monkeypatch, "b2sdk")
    assert "pip install b2sdk" in lab.run()["msg"]


# The round trip.


@pytest.fixture
def verify(lab: BucketLab) -> dict[str, str]:
    bucket = lab.run()["bucket"]
    key = lab.b2.add_key("attic", ATTIC, bucket_ids=[bucket["id"]])
    return {"key_id": key.id, "key": key.secret}


def test_round_trip_proves_the_key_and_leaves_nothing(lab: BucketLab, verify: dict[str, str]) -> None:
    result = lab.run(verify_with=verify)
    assert (result["failed"], result["changed"], result["verified"]) == (False, False, True)
    assert lab.b2.storage.is_empty("nix-cache")


def test_round_trip_is_left_out_in_check_mode(lab: BucketLab, verify: dict[str, str]) -> None:
    result = lab.run(check=True, verify_with={**verify, "key": "wrong"})
    assert (result["failed"], result["verified"]) == (False, False)


def test_round_trip_without_deleteFiles_hides(lab: BucketLab, verify: dict[str, str]) -> None:
    lab.b2.keys[verify["key_id"]].capabilities.remove("deleteFiles")
    assert lab.run(verify_with=verify)["verified"]
    assert not lab.b2.storage.is_empty("nix-cache")


@pytest.mark.parametrize(("missing", "doing"), [("writeFiles", "write"), ("readFiles", "read")])
def test_round_trip_names_the_missing_capability(
    lab: BucketLab, verify: dict[str, str], missing: str, doing: str
) -> None:
    lab.b2.keys[verify["key_id"]].capabilities.remove(missing)
    failed = lab.run(verify_with=verify)
    assert f"cannot {doing} an object" in failed["msg"] and f"lacks the capability {missing}" in failed["msg"]


def test_round_trip_with_a_wrong_secret(lab: BucketLab, verify: dict[str, str]) -> None:
    failed = lab.run(verify_with={**verify, "key": "K003-canary"})
    assert "SignatureDoesNotMatch; check the id and the secret" in failed["msg"]
    assert "canary" not in str(failed)


def test_round_trip_needs_the_region(lab: BucketLab, verify: dict[str, str]) -> None:
    assert "set region" in lab.run(region=None, verify_with=verify)["msg"]


def test_round_trip_to_a_dead_endpoint(lab: BucketLab, verify: dict[str, str]) -> None:
    lab.b2.s3_url = "http://127.0.0.1:9"
    assert "Could not connect to the endpoint" in lab.run(verify_with=verify)["msg"]


def test_a_netrc_file_does_not_replace_the_key(
    lab: BucketLab, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert lab.run()["changed"]
