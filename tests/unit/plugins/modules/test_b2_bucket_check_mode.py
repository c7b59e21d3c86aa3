# SPDX-License-Identifier: GPL-3.0-or-later
"""For any existing bucket and any options, the module keeps the check-mode contract."""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as some
import pytest

from lab.clouds import _b2_rules as rules
from tests.support.b2 import BucketEnvironment
from tests.support.check_mode import assert_check_mode_contract


def maybe(*values: t.Any) -> t.Any:
    return some.sampled_from([None, *values])


def retention(mode: str | None, duration: int = 30) -> dict[str, t.Any]:
    return {"mode": mode, "period": mode and {"duration": duration, "unit": "days"}}


def hide(prefix: str, **days: int) -> dict[str, t.Any]:
    return {"file_name_prefix": prefix, **days}


def cors(name: str, *origins: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "allowed_origins": [*origins], "allowed_operations": ["s3_put", "s3_get"], **more}


LIFECYCLE = [
    [],
    [{"fileNamePrefix": "", "daysFromHidingToDeleting": 30}],
    [{"fileNamePrefix": "b/", "daysFromUploadingToHiding": 7}, {"fileNamePrefix": "a/", "daysFromHidingToDeleting": 1}],
]
CORS = [
    [],
    [{"corsRuleName": "readers", "allowedOrigins": ["*"], "allowedOperations": ["s3_get"], "maxAgeSeconds": 3600}],
]
BEFORE = some.none() | some.fixed_dictionaries(
    {
        "bucketType": some.sampled_from(["allPrivate", "allPublic"] * 3 + ["restricted"]),
        "lifecycleRules": some.sampled_from(LIFECYCLE).map(rules.lifecycle_rules),
        "corsRules": some.sampled_from(CORS).map(rules.cors_rules),
        "bucketInfo": some.sampled_from([{}, {"by": "hand"}]),
        "lock": some.sampled_from([(False, None), (True, None), (True, "governance"), (True, "compliance")]),
    }
)
DESIRED = some.fixed_dictionaries(
    {
        "name": some.sampled_from(["nix-cache"] * 5 + ["Nix-Cache", "bad", "somebody-elses"]),
        "type": maybe("allPrivate", "allPublic"),
        "lifecycle_rules": maybe(
            [],
            [hide("", days_from_hiding_to_deleting=30)],
            [hide("a/", days_from_hiding_to_deleting=1), hide("b/", days_from_uploading_to_hiding=7)],
            [hide("", days_from_uploading_to_hiding=30)],
            [hide("a/")],
        ),
        "accept_age_based_hiding": maybe(True),
        "cors_rules": maybe([], [cors("readers", "https://b.example", "*")], [cors("bad", "*")]),
        "default_encryption": maybe("SSE-B2"),
        "bucket_info": maybe({}, {"by": "nixci", "year": 2026}, {"no blanks": ""}),
        "file_lock": maybe(None, True, False),
        "default_retention": maybe(
            None, {"mode": "none"}, {"mode": "governance", "duration": 30}, {"mode": "compliance", "duration": 1}
        ),
        "accept_irreversible": maybe(True),
        "state": some.sampled_from(["present"] * 5 + ["absent"]),
    }
)


def test_check_run_again(serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    env = BucketEnvironment(serve, module)
    env.run()
    pattern = env.b2.bucket("nix-cache")

    def empty() -> None:
        env.b2.buckets.clear()

    def state() -> t.Any:
        return {name: copy.deepcopy(bucket) for name, bucket in env.b2.buckets.items()}

    @hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @hypothesis.given(before=BEFORE, desired=DESIRED)
    def check_all(before: dict[str, t.Any] | None, desired: dict[str, t.Any]) -> None:
        empty()
        if before:
            locked, mode = before["lock"]
            settings = {member: value for member, value in before.items() if member != "lock"}
            lock = {"fileLockEnabled": locked, "defaultRetention": retention(mode)}
            env.b2.buckets[pattern["bucketId"]] = {**pattern, **settings, **lock}

        def run(*, check: bool = False) -> t.Any:
            return env.run(check, **desired)

        if desired["name"] == "somebody-elses":  # check mode cannot know who owns a name that is not listed
            hypothesis.assume(desired["state"] == "absent" or env.run(True, **desired)["failed"])
        assert_check_mode_contract(run, state, unknown=["bucket.id", "bucket.revision"])

    check_all()


@pytest.mark.parametrize("check", [True, False])
def test_check_mode_cannot_know_that_another_account_has_the_name(
    check: bool, serve: Callable[[t.Any], str], module: Callable[..., t.Any]
) -> None:
    assert BucketEnvironment(serve, module).run(check, name="somebody-elses")["failed"] is not check
