# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
import typing as t
from collections.abc import Callable

import pytest
import requests

from lab.clouds.b2 import OPERATIONS, B2Double
from tests.support.b2 import ATTIC, KeyEnvironment, wrap


@pytest.fixture
def env(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> KeyEnvironment:
    return KeyEnvironment(serve, module)


# The life of a key.


def test_check_then_run_then_again_with_the_stored_id(env: KeyEnvironment) -> None:
    checked = env.run(check=True)
    assert (checked["changed"], checked["secret"], checked["application_key"]["id"]) == (True, None, None)
    assert env.ids() == []
    made = env.run()
    key = made["application_key"]
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"])
    assert checked["application_key"] == {**key, "id": None}
    assert key["id"] in env.b2.keys and made["secret"] == env.b2.keys[key["id"]].secret
    env.journal()
    again = env.run(stored_key_id=key["id"])
    assert (again["changed"], again["secret"], again["application_key"]) == (False, None, key)
    assert env.journal() == ["b2_authorize_account", "b2_list_buckets", "b2_list_keys", "b2_list_keys"]


def test_key_has_the_desired_rights(env: KeyEnvironment) -> None:
    key = env.run(capabilities=[*ATTIC, "listFiles"], name_prefix="nar/")["application_key"]
    assert key == {
        "id": env.ids()[0],
        "name": "attic",
        "capabilities": sorted(ATTIC),
        "bucket_ids": [env.bucket_id],
        "name_prefix": "nar/",
        "expires": False,
        "expires_at": None,
        "multi_bucket": False,
    }


def test_bucket_id_saves_a_request(env: KeyEnvironment) -> None:
    stored = env.run(bucket=None, bucket_id=env.bucket_id)["application_key"]["id"]
    env.journal()
    assert not env.run(bucket=None, bucket_id=env.bucket_id, stored_key_id=stored)["changed"]
    assert env.journal() == ["b2_authorize_account", "b2_list_keys", "b2_list_keys"]


def test_key_for_all_buckets(env: KeyEnvironment) -> None:
    made = env.run(bucket=None)
    assert made["application_key"]["bucket_ids"] == []
    assert not env.run(bucket=None, stored_key_id=made["application_key"]["id"])["changed"]


def test_absent_deletes_all_keys_of_the_name_and_no_other(env: KeyEnvironment) -> None:
    env.seed()
    env.seed()
    env.seed("attic-two")
    checked, gone = env.absent(check=True), env.absent()
    assert (checked["changed"], checked["diff"]) == (gone["changed"], gone["diff"])
    assert (gone["changed"], gone["application_key"], env.ids()) == (True, None, [])
    assert len(env.ids("attic-two")) == 1
    assert not env.absent()["changed"]


# Keys that programs with older versions of the API can use.


@pytest.mark.parametrize("bucket", ["nix-cache", None])
def test_new_key_can_log_in_through_every_version(env: KeyEnvironment, bucket: str | None) -> None:
    made = env.run(bucket=bucket)
    auth = (made["application_key"]["id"], made["secret"])
    for version in (1, 2, 3, 4):
        answer = requests.get(f"{env.url}/b2api/v{version}/b2_authorize_account", auth=auth, timeout=5)
        assert answer.status_code == 200, answer.text


def test_key_of_version_4_is_kept_with_a_warning_and_replaced_on_request(env: KeyEnvironment) -> None:
    old = env.seed(multi_bucket=True)
    kept = env.run(stored_key_id=old.id)
    assert (kept["changed"], kept["application_key"]["id"], kept["application_key"]["multi_bucket"]) == (
        False,
        old.id,
        True,
    )
    assert "restic, rclone, s3ql and Backblaze's web page cannot use it; set recreate: true once" in str(kept.warnings)

    checked, made = (env.run(check, stored_key_id=old.id, recreate=True) for check in (True, False))
    new = made["application_key"]
    assert (checked["diff"], made["superseded"], new["multi_bucket"]) == (made["diff"], [old.id], False)
    settled, again = (env.run(stored_key_id=new["id"], recreate=True) for _ in range(2))
    assert (settled["changed"], again["changed"], env.ids()) == (True, False, [new["id"]])
    assert "restic" not in str(again.warnings)


def test_keys_of_all_versions_of_a_name_are_superseded(env: KeyEnvironment) -> None:
    stored = env.seed().id
    env.seed(multi_bucket=True)
    env.seed()
    env.run(stored_key_id=stored)
    assert env.ids() == [stored]
    env.seed(multi_bucket=True)
    env.absent()
    assert env.ids() == []


def test_key_that_both_versions_list_counts_once(env: KeyEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = env.seed()

    def lists_all(real: t.Any, b2: B2Double, key: t.Any, body: t.Any) -> t.Any:
        return {**real(b2, key, body), "keys": [b2._shown_key(stored)]}

    wrap(monkeypatch, "b2_list_keys", lists_all)
    again = env.run(stored_key_id=stored.id)
    assert (again["changed"], again["application_key"]["multi_bucket"]) == (False, False)


# A secret that is lost, and replacement in two steps.


@pytest.mark.parametrize("stored", ["", "0030000000000000000000000"])
def test_lost_secret_leads_to_a_new_key_and_the_old_one_stays_until_it_is_stored(
    env: KeyEnvironment, stored: str
) -> None:
    old = env.seed().id
    checked, made = env.run(check=True, stored_key_id=stored), env.run(stored_key_id=stored)
    assert (checked["changed"], checked["diff"], checked["superseded"]) == (True, made["diff"], [old])
    new = made["application_key"]["id"]
    assert (made["superseded"], env.ids()) == ([old], sorted([old, new]))
    assert made["secret"]

    checked, settled = env.run(check=True, stored_key_id=new), env.run(stored_key_id=new)
    assert (checked["changed"], checked["diff"]) == (settled["changed"], settled["diff"])
    assert (settled["changed"], settled["secret"], settled["superseded"]) == (True, None, [])
    assert old in settled["diff"]["before"]["keys"] and old not in settled["diff"]["after"]["keys"]
    assert env.ids() == [new]
    assert not env.run(stored_key_id=new)["changed"]


def test_crash_before_storing_never_costs_the_key_in_use(env: KeyEnvironment) -> None:
    in_use = env.seed().id
    for _ in range(3):
        env.run()
    assert in_use in env.ids()
    new = env.run()["application_key"]["id"]
    env.run(stored_key_id=new)
    assert env.ids() == [new]


def test_of_several_keys_of_a_name_the_stored_one_stays(env: KeyEnvironment) -> None:
    env.seed()
    stored = env.seed().id
    env.seed()
    assert env.run(stored_key_id=stored)["changed"]
    assert env.ids() == [stored]


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        ({"capabilities": ["readFiles"]}, "instead of ['readFiles']"),
        ({"name_prefix": "nar/"}, "name_prefix None instead of nar/"),
        ({"bucket": None}, "instead of []"),
    ],
)
def test_other_rights_fail_unless_recreate(env: KeyEnvironment, desired: dict[str, t.Any], message: str) -> None:
    old = env.seed().id
    for check in (True, False):
        failed = env.run(check, stored_key_id=old, **desired)
        assert failed["failed"] and message in failed["msg"] and "recreate: true" in failed["msg"]
    assert env.ids() == [old]
    made = env.run(stored_key_id=old, recreate=True, **desired)
    new = made["application_key"]["id"]
    assert (made["superseded"], bool(made["secret"]), env.ids()) == ([old], True, sorted([old, new]))
    assert env.run(stored_key_id=new, recreate=True, **desired)["changed"]
    assert env.ids() == [new]


def test_expired_keys_do_not_count(env: KeyEnvironment) -> None:
    old = env.seed(expires=time.time() - 1).id
    made = env.run(stored_key_id=old)
    assert (bool(made["secret"]), made["superseded"]) == (True, [])


def test_key_that_will_expire_is_not_the_desired_one(env: KeyEnvironment) -> None:
    old = env.seed(expires=time.time() + 60).id
    assert "expires True instead of False" in env.run(stored_key_id=old)["msg"]


def test_keys_beyond_the_first_page_are_found(env: KeyEnvironment) -> None:
    for number in range(1001):
        env.seed(f"other-{number}")
    stored = env.seed().id
    assert not env.run(stored_key_id=stored)["changed"]


# Failures.


def test_creation_is_not_repeated_when_the_answer_is_lost(env: KeyEnvironment) -> None:
    lost = {"status": 503, "code": "service_unavailable", "message": "lost"}
    fault = {"status": 503, "path": "b2_create_key", "body": lost, "times": 5}
    env.fault(**fault)
    failed = env.run(retries=3)
    assert "whose secret nobody has" in failed["msg"] and failed["status"] == 503
    assert env.journal().count("b2_create_key") == 1


def test_lost_answer_is_settled_by_the_next_runs(env: KeyEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    *rules, create = OPERATIONS["b2_create_key"]

    def create_and_hang_up(*arguments: t.Any) -> t.Any:
        create(*arguments)
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setitem(OPERATIONS, "b2_create_key", (*rules, create_and_hang_up))
        assert env.run(retries=3)["failed"]
    (orphan,) = env.ids()
    made = env.run()
    assert made["superseded"] == [orphan]
    env.run(stored_key_id=made["application_key"]["id"])
    assert env.ids() == [made["application_key"]["id"]]


def test_creation_is_repeated_after_too_many_requests(env: KeyEnvironment) -> None:
    fault = {"status": 429, "path": "b2_create_key", "headers": {"Retry-After": "0"}, "times": 2}
    env.fault(**fault)
    assert env.run(retries=2)["secret"]


def test_superseded_key_may_be_gone_already(env: KeyEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    env.seed()
    stored = env.seed().id
    *rules, delete = OPERATIONS["b2_delete_key"]

    def delete_twice(b2: B2Double, *arguments: t.Any) -> t.Any:
        delete(b2, *arguments)
        return delete(b2, *arguments)

    monkeypatch.setitem(OPERATIONS, "b2_delete_key", (*rules, delete_twice))
    assert env.run(stored_key_id=stored)["changed"]
    assert env.ids() == [stored]


def test_working_key_does_not_delete_itself(env: KeyEnvironment) -> None:
    working = env.b2.add_key("attic", ["listKeys", "writeKeys", "deleteKeys", "listBuckets"])
    stored = env.seed().id
    failed = env.run(key_id=working.id, key=working.secret, stored_key_id=stored)
    assert "would be deleted" in failed["msg"]
    assert env.ids() == sorted([working.id, stored])


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("missing", "action"),
    [("listBuckets", "look for the bucket"), ("listKeys", "list the keys"), ("writeKeys", "create the key")],
)
def test_missing_capability_is_named(env: KeyEnvironment, check: bool, missing: str, action: str) -> None:
    low = env.b2.add_key("low", {"listBuckets", "listKeys", "writeKeys"} - {missing})
    failed = env.run(check, key_id=low.id, key=low.secret)
    assert f"cannot {action}" in failed["msg"] and f"lacks the capability {missing};" in failed["msg"]
    assert env.ids() == []


@pytest.mark.parametrize("check", [True, False])
def test_missing_deleteKeys_is_named(env: KeyEnvironment, check: bool) -> None:
    low = env.b2.add_key("low", ["listBuckets", "listKeys", "writeKeys"])
    env.seed()
    failed = env.run(check, key_id=low.id, key=low.secret, stored_key_id=env.seed().id)
    assert "lacks the capability deleteKeys;" in failed["msg"]


def test_wrong_key(env: KeyEnvironment) -> None:
    failed = env.run(key="K003-canary")
    assert "does not know this key id with this secret" in failed["msg"]
    assert "canary" not in str(failed)


def test_missing_bucket_is_an_error_except_in_check_mode(env: KeyEnvironment) -> None:
    assert "there is no bucket 'nix-cache-two'" in env.run(bucket="nix-cache-two")["msg"]
    assert env.run(check=True, bucket="nix-cache-two")["changed"]


def test_capability_that_b2_does_not_know_is_refused_by_b2(env: KeyEnvironment) -> None:
    assert "not a valid capability: flyToTheMoon (400 bad_request)" in env.run(capabilities=["flyToTheMoon"])["msg"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "under_score"}, "cannot be the name of a key"),
        ({"bucket": ""}, "bucket is empty"),
        ({"capabilities": []}, "capabilities is empty"),
        ({"bucket": None, "name_prefix": "x/"}, "name_prefix needs bucket"),
        ({"capabilities": None}, "capabilities"),
        ({"bucket_id": "x"}, "mutually exclusive"),
    ],
)
def test_bad_input_is_refused_before_any_request(env: KeyEnvironment, params: dict[str, t.Any], message: str) -> None:
    failed = env.run(**params)
    assert failed["failed"] and message in failed["msg"]
    assert env.journal() == []
