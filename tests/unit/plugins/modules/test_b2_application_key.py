# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
import typing as t
from collections.abc import Callable

import pytest

from lab.clouds.b2 import OPERATIONS, B2Double
from tests.support.b2 import ATTIC, KeyLab


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> KeyLab:
    return KeyLab(serve, module)


# The life of a key.


def test_check_then_run_then_again_with_the_stored_id(lab: KeyLab) -> None:
    checked = lab.run(check=True)
    assert (checked["changed"], checked["secret"], checked["application_key"]["id"]) == (True, None, None)
    assert lab.ids() == []
    made = lab.run()
    key = made["application_key"]
    assert (checked["changed"], checked["diff"]) == (made["changed"], made["diff"])
    assert checked["application_key"] == {**key, "id": None}
    assert key["id"] in lab.b2.keys and made["secret"] == lab.b2.keys[key["id"]].secret
    lab.journal()
    again = lab.run(stored_key_id=key["id"])
    assert (again["changed"], again["secret"], again["application_key"]) == (False, None, key)
    assert lab.journal() == ["b2_authorize_account", "b2_list_buckets", "b2_list_keys"]


def test_key_has_the_rights_that_were_asked_for(lab: KeyLab) -> None:
    key = lab.run(capabilities=[*ATTIC, "listFiles"], name_prefix="nar/")["application_key"]
    assert key == {
        "id": lab.ids()[0],
        "name": "attic",
        "capabilities": sorted(ATTIC),
        "bucket_ids": [lab.bucket_id],
        "name_prefix": "nar/",
        "expires": False,
        "expires_at": None,
    }


def test_bucket_id_saves_a_request(lab: KeyLab) -> None:
    stored = lab.run(bucket=None, bucket_id=lab.bucket_id)["application_key"]["id"]
    lab.journal()
    assert not lab.run(bucket=None, bucket_id=lab.bucket_id, stored_key_id=stored)["changed"]
    assert lab.journal() == ["b2_authorize_account", "b2_list_keys"]


def test_key_for_all_buckets(lab: KeyLab) -> None:
    made = lab.run(bucket=None)
    assert made["application_key"]["bucket_ids"] == []
    assert not lab.run(bucket=None, stored_key_id=made["application_key"]["id"])["changed"]


def test_absent_deletes_all_of_the_name_and_no_other(lab: KeyLab) -> None:
    lab.seed()
    lab.seed()
    lab.seed("attic-two")
    checked, gone = lab.absent(check=True), lab.absent()
    assert (checked["changed"], checked["diff"]) == (gone["changed"], gone["diff"])
    assert (gone["changed"], gone["application_key"], lab.ids()) == (True, None, [])
    assert len(lab.ids("attic-two")) == 1
    assert not lab.absent()["changed"]


# A secret that is lost, and replacement in two steps.


@pytest.mark.parametrize("stored", ["", "0030000000000000000000000"])
def test_lost_secret_makes_a_new_key_and_keeps_the_old_until_it_is_stored(lab: KeyLab, stored: str) -> None:
    old = lab.seed().id
    checked, made = lab.run(check=True, stored_key_id=stored), lab.run(stored_key_id=stored)
    assert (checked["changed"], checked["diff"], checked["superseded"]) == (True, made["diff"], [old])
    new = made["application_key"]["id"]
    assert (made["superseded"], lab.ids()) == ([old], sorted([old, new]))
    assert made["secret"]

    checked, settled = lab.run(check=True, stored_key_id=new), lab.run(stored_key_id=new)
    assert (checked["changed"], checked["diff"]) == (settled["changed"], settled["diff"])
    assert (settled["changed"], settled["secret"], settled["superseded"]) == (True, None, [])
    assert old in settled["diff"]["before"]["keys"] and old not in settled["diff"]["after"]["keys"]
    assert lab.ids() == [new]
    assert not lab.run(stored_key_id=new)["changed"]


def test_crash_before_storing_never_costs_the_key_in_use(lab: KeyLab) -> None:
    in_use = lab.seed().id
    for _ in range(3):
        lab.run()
    assert in_use in lab.ids()
    new = lab.run()["application_key"]["id"]
    lab.run(stored_key_id=new)
    assert lab.ids() == [new]


def test_twins_are_settled_in_favour_of_the_stored_one(lab: KeyLab) -> None:
    lab.seed()
    stored = lab.seed().id
    lab.seed()
    assert lab.run(stored_key_id=stored)["changed"]
    assert lab.ids() == [stored]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"capabilities": ["readFiles"]}, "instead of ['readFiles']"),
        ({"name_prefix": "nar/"}, "name_prefix None instead of nar/"),
        ({"bucket": None}, "instead of []"),
    ],
)
def test_other_rights_fail_unless_recreate(lab: KeyLab, wish: dict[str, t.Any], words: str) -> None:
    old = lab.seed().id
    for check in (True, False):
        failed = lab.run(check, stored_key_id=old, **wish)
        assert failed["failed"] and words in failed["msg"] and "recreate: true" in failed["msg"]
    assert lab.ids() == [old]
    made = lab.run(stored_key_id=old, recreate=True, **wish)
    new = made["application_key"]["id"]
    assert (made["superseded"], bool(made["secret"]), lab.ids()) == ([old], True, sorted([old, new]))
    assert lab.run(stored_key_id=new, recreate=True, **wish)["changed"]
    assert lab.ids() == [new]


def test_expired_keys_do_not_count(lab: KeyLab) -> None:
    old = lab.seed(expires=time.time() - 1).id
    made = lab.run(stored_key_id=old)
    assert (bool(made["secret"]), made["superseded"]) == (True, [])


def test_key_that_will_expire_is_not_the_wanted_one(lab: KeyLab) -> None:
    old = lab.seed(expires=time.time() + 60).id
    assert "expires True instead of False" in lab.run(stored_key_id=old)["msg"]


def test_keys_beyond_the_first_page_are_found(lab: KeyLab) -> None:
    for number in range(1001):
        lab.seed(f"other-{number}")
    stored = lab.seed().id
    assert not lab.run(stored_key_id=stored)["changed"]


# Failures.


def test_creation_is_not_repeated_when_the_answer_is_lost(lab: KeyLab) -> None:
    lost = {"status": 503, "code": "service_unavailable", "message": "lost"}
    fault = {"status": 503, "path": "b2_create_key", "body": lost, "times": 5}
    lab.fault(**fault)
    failed = lab.run(retries=3)
    assert "whose secret nobody has" in failed["msg"] and failed["status"] == 503
    assert lab.journal().count("b2_create_key") == 1


def test_lost_answer_heals_with_the_next_runs(lab: KeyLab, monkeypatch: pytest.MonkeyPatch) -> None:
    *rules, create = OPERATIONS["b2_create_key"]

    def create_and_hang_up(*arguments: t.Any) -> t.Any:
        create(*arguments)
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setitem(OPERATIONS, "b2_create_key", (*rules, create_and_hang_up))
        assert lab.run(retries=3)["failed"]
    (orphan,) = lab.ids()
    made = lab.run()
    assert made["superseded"] == [orphan]
    lab.run(stored_key_id=made["application_key"]["id"])
    assert lab.ids() == [made["application_key"]["id"]]


def test_too_many_requests_is_safe_to_repeat(lab: KeyLab) -> None:
    fault = {"status": 429, "path": "b2_create_key", "headers": {"Retry-After": "0"}, "times": 2}
    lab.fault(**fault)
    assert lab.run(retries=2)["secret"]


def test_superseded_key_that_is_gone_already_is_fine(lab: KeyLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.seed()
    stored = lab.seed().id
    *rules, delete = OPERATIONS["b2_delete_key"]

    def delete_twice(b2: B2Double, *arguments: t.Any) -> t.Any:
        delete(b2, *arguments)
        return delete(b2, *arguments)

    monkeypatch.setitem(OPERATIONS, "b2_delete_key", (*rules, delete_twice))
    assert lab.run(stored_key_id=stored)["changed"]
    assert lab.ids() == [stored]


def test_working_key_does_not_delete_itself(lab: KeyLab) -> None:
    working = lab.b2.add_key("attic", ["listKeys", "writeKeys", "deleteKeys", "listBuckets"])
    stored = lab.seed().id
    failed = lab.run(key_id=working.id, key=working.secret, stored_key_id=stored)
    assert "would be deleted" in failed["msg"]
    assert lab.ids() == sorted([working.id, stored])


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("missing", "doing"),
    [("listBuckets", "look for the bucket"), ("listKeys", "list the keys"), ("writeKeys", "create the key")],
)
def test_missing_capability_is_named(lab: KeyLab, check: bool, missing: str, doing: str) -> None:
    low = lab.b2.add_key("low", {"listBuckets", "listKeys", "writeKeys"} - {missing})
    failed = lab.run(check, key_id=low.id, key=low.secret)
    assert f"cannot {doing}" in failed["msg"] and f"lacks the capability {missing};" in failed["msg"]
    assert lab.ids() == []


@pytest.mark.parametrize("check", [True, False])
def test_missing_deleteKeys_is_named(lab: KeyLab, check: bool) -> None:
    low = lab.b2.add_key("low", ["listBuckets", "listKeys", "writeKeys"])
    lab.seed()
    failed = lab.run(check, key_id=low.id, key=low.secret, stored_key_id=lab.seed().id)
    assert "lacks the capability deleteKeys;" in failed["msg"]


def test_wrong_key(lab: KeyLab) -> None:
    failed = lab.run(key="K003-canary")
    assert "does not know this key id with this secret" in failed["msg"]
    assert "canary" not in str(failed)


def test_missing_bucket_is_an_error_that_check_mode_forgives(lab: KeyLab) -> None:
    assert "there is no bucket 'nix-cache-two'" in lab.run(bucket="nix-cache-two")["msg"]
    assert lab.run(check=True, bucket="nix-cache-two")["changed"]


def test_capability_that_b2_does_not_know_is_left_to_b2(lab: KeyLab) -> None:
    assert "not a valid capability: flyToTheMoon (400 bad_request)" in lab.run(capabilities=["flyToTheMoon"])["msg"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "under_score"}, "cannot be the name of a key"),
        ({"bucket": ""}, "bucket is empty"),
        ({"capabilities": []}, "capabilities is empty"),
        ({"bucket": None, "name_prefix": "x/"}, "name_prefix needs bucket"),
        ({"capabilities": None}, "capabilities"),
        ({"bucket_id": "x"}, "mutually exclusive"),
    ],
)
def test_bad_input_is_refused_before_any_request(lab: KeyLab, params: dict[str, t.Any], words: str) -> None:
    failed = lab.run(**params)
    assert failed["failed"] and words in failed["msg"]
    assert lab.journal() == []
