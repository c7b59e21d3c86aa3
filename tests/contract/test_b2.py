# SPDX-License-Identifier: GPL-3.0-or-later
"""B2's native API as the modules use it: of the double, and of the real service when a key is given.

B2_TEST_KEY_ID and B2_TEST_KEY name a key that may do everything with buckets and keys; what the tests create they remove again.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import secrets
import time
import typing as t
from collections.abc import Callable, Iterator

import pytest
import requests
from b2sdk.v3 import SSE_B2_AES, B2Api, B2HttpApiConfig, InMemoryAccountInfo
from b2sdk.v3.exception import (
    BucketIdNotFound,
    Conflict,
    DuplicateBucketName,
    FileAlreadyHidden,
    FileNotPresent,
    Unauthorized,
)

from lab.clouds.b2 import B2Double

ALL_IN_ONE_RULE = {
    "fileNamePrefix": "",
    "daysFromHidingToDeleting": 30,
    "daysFromStartingToCancelingUnfinishedLargeFiles": 3,
}


class Service:
    """The service under test, and raw requests to it."""

    def __init__(self, realm: str, key_id: str, key: str) -> None:
        self.realm, self.key_id, self.key = realm, key_id, key
        self.token, self.url, self.account_id = "", "", ""

    def login(self, key_id: str | None = None, key: str | None = None) -> B2Api:
        api = B2Api(InMemoryAccountInfo(), api_config=B2HttpApiConfig())
        api.authorize_account(key_id or self.key_id, key or self.key, realm=self.realm)
        return api

    def authorize(self) -> dict[str, t.Any]:
        base = "https://api.backblazeb2.com" if self.realm == "production" else self.realm
        answer = requests.get(f"{base}/b2api/v4/b2_authorize_account", auth=(self.key_id, self.key), timeout=30).json()
        self.token, self.account_id = answer["authorizationToken"], answer["accountId"]
        self.url = answer["apiInfo"]["storageApi"]["apiUrl"]
        return answer

    def log_in(self, version: int, key_id: str, key: str) -> tuple[int, dict[str, t.Any]]:
        base = "https://api.backblazeb2.com" if self.realm == "production" else self.realm
        answer = requests.get(f"{base}/b2api/v{version}/b2_authorize_account", auth=(key_id, key), timeout=30)
        return answer.status_code, answer.json()

    def call(
        self, operation: str, token: str | None = None, version: int = 4, **body: t.Any
    ) -> tuple[int, dict[str, t.Any]]:
        if not self.token:
            self.authorize()
        response = requests.post(
            f"{self.url}/b2api/v{version}/{operation}",
            json=body,
            headers={"Authorization": self.token if token is None else token},
            timeout=30,
        )
        return response.status_code, response.json()


@pytest.fixture(params=["double", "real"])
def b2(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Service:
    if request.param == "double":
        double = B2Double()
        master = double.keys[double.account_id]
        return Service(serve(double.app), master.id, master.secret)
    if not (os.environ.get("B2_TEST_KEY_ID") and os.environ.get("B2_TEST_KEY")):
        pytest.skip("B2_TEST_KEY_ID and B2_TEST_KEY are not set: no real account to compare with")
    return Service("production", os.environ["B2_TEST_KEY_ID"], os.environ["B2_TEST_KEY"])


@pytest.fixture
def double(serve: Callable[[t.Any], str]) -> tuple[B2Double, Service]:
    """The double alone, for what the real service cannot be made to do."""
    made = B2Double(foreign_buckets=["somebody-elses"])
    return made, Service(serve(made.app), made.account_id, made.keys[made.account_id].secret)


@pytest.fixture
def api(b2: Service) -> B2Api:
    return b2.login()


@pytest.fixture
def name() -> str:
    return f"nixci-test-{secrets.token_hex(6)}"


@pytest.fixture
def bucket(api: B2Api, name: str) -> Iterator[t.Any]:
    made = api.create_bucket(name, "allPrivate", lifecycle_rules=[ALL_IN_ONE_RULE])
    yield made
    api.delete_bucket(made)


def test_authorize_names_account_addresses_and_rights(b2: Service) -> None:
    answer = b2.authorize()
    storage = answer["apiInfo"]["storageApi"]
    assert storage["s3ApiUrl"].startswith("https://s3.")
    assert {"writeKeys", "writeBuckets"} <= set(storage["allowed"]["capabilities"])
    assert storage["allowed"]["buckets"] is None
    assert len(answer["accountId"]) == 12


@pytest.mark.parametrize("key_id", [None, "000000000000"])
def test_wrong_key_is_unauthorized(b2: Service, key_id: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        b2.login(key_id, "K000wrong")
    assert caught.value.code == "unauthorized"


def test_wrong_token_is_bad_auth_token(b2: Service) -> None:
    b2.authorize()
    status, body = b2.call("b2_list_buckets", token="wrong", accountId=b2.account_id)
    assert (status, body["status"], body["code"]) == (401, 401, "bad_auth_token")
    assert set(body) == {"status", "code", "message"}


def test_new_bucket_is_private_and_encrypted(api: B2Api, bucket: t.Any, name: str) -> None:
    (found,) = api.list_buckets(bucket_name=name)
    assert found.type_ == "allPrivate"
    assert found.default_server_side_encryption == SSE_B2_AES
    assert found.lifecycle_rules == [{**ALL_IN_ONE_RULE, "daysFromUploadingToHiding": None}]
    assert found.revision >= 1


def test_missing_bucket_is_an_empty_list(api: B2Api, name: str) -> None:
    assert list(api.list_buckets(bucket_name=name)) == []


def test_second_bucket_of_a_name_is_refused_without_regard_to_case(api: B2Api, bucket: t.Any, name: str) -> None:
    with pytest.raises(DuplicateBucketName):
        api.create_bucket(name.upper(), "allPrivate")


@pytest.mark.parametrize("wrong", ["short", "b2-reserved", "under_score", "x" * 64])
def test_bad_bucket_name_is_refused(b2: Service, wrong: str) -> None:
    b2.authorize()
    status, body = b2.call("b2_create_bucket", accountId=b2.account_id, bucketName=wrong, bucketType="allPrivate")
    assert (status, body["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "rules",
    [
        [{"fileNamePrefix": ""}],
        [{"fileNamePrefix": "", "daysFromHidingToDeleting": 0}],
        [
            {"fileNamePrefix": "a", "daysFromHidingToDeleting": 1},
            {"fileNamePrefix": "ab", "daysFromHidingToDeleting": 1},
        ],
    ],
    ids=["no days", "zero days", "overlap"],
)
def test_bad_lifecycle_rules_are_refused(b2: Service, bucket: t.Any, rules: list[dict[str, t.Any]]) -> None:
    b2.authorize()
    status, body = b2.call("b2_update_bucket", accountId=b2.account_id, bucketId=bucket.id_, lifecycleRules=rules)
    assert (status, body["status"]) == (400, 400)


def test_update_on_an_old_revision_is_a_conflict(api: B2Api, bucket: t.Any) -> None:
    newer = bucket.update(bucket_type="allPrivate", bucket_info={"by": "first"})
    assert newer.revision > bucket.revision
    with pytest.raises(Conflict):
        bucket.update(bucket_info={"by": "late"}, if_revision_is=bucket.revision)


def test_update_keeps_omitted_settings(api: B2Api, bucket: t.Any, name: str) -> None:
    bucket.update(bucket_type="allPrivate", bucket_info={"by": "us"})
    (found,) = api.list_buckets(bucket_name=name)
    assert found.bucket_info == {"by": "us"}
    assert found.lifecycle_rules[0]["daysFromHidingToDeleting"] == 30


CORS = {
    "corsRuleName": "everybody-reads",
    "allowedOrigins": ["*"],
    "allowedOperations": ["s3_get", "b2_download_file_by_name"],
    "maxAgeSeconds": 3600,
}


def test_cors_rules_are_replaced_and_returned_with_every_member(b2: Service, bucket: t.Any) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "bucketId": bucket.id_, "corsRules": [CORS]}
    status, body = b2.call("b2_update_bucket", **desired)
    assert (status, body["corsRules"]) == (200, [{**CORS, "allowedHeaders": None, "exposeHeaders": None}])
    assert b2.call("b2_update_bucket", **{**desired, "corsRules": []})[1]["corsRules"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"corsRuleName": "short"},
        {"corsRuleName": "b2-reserved"},
        {"allowedOrigins": []},
        {"allowedOperations": []},
        {"allowedOperations": ["fly"]},
        {"maxAgeSeconds": 86_401},
    ],
    ids=str,
)
def test_bad_cors_rules_are_refused(b2: Service, bucket: t.Any, wrong: dict[str, t.Any]) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "bucketId": bucket.id_, "corsRules": [{**CORS, **wrong}]}
    assert b2.call("b2_update_bucket", **desired)[0] == 400


def test_file_lock_stays_on_and_retention_needs_it(b2: Service, bucket: t.Any) -> None:
    b2.authorize()
    which = {"accountId": b2.account_id, "bucketId": bucket.id_}
    month = {"mode": "governance", "period": {"duration": 30, "unit": "days"}}
    assert b2.call("b2_update_bucket", **which, defaultRetention=month)[0] == 400
    status, body = b2.call("b2_update_bucket", **which, fileLockEnabled=True)
    assert (status, body["fileLockConfiguration"]["value"]["isFileLockEnabled"]) == (200, True)
    lock = b2.call("b2_update_bucket", **which, defaultRetention=month)[1]["fileLockConfiguration"]
    assert lock == {
        "isClientAuthorizedToRead": True,
        "value": {"defaultRetention": month, "isFileLockEnabled": True},
    }
    off = b2.call("b2_update_bucket", **which, defaultRetention={"mode": None})[1]["fileLockConfiguration"]["value"]
    assert off["defaultRetention"]["mode"] is None
    status, body = b2.call("b2_update_bucket", **which, fileLockEnabled=False)
    assert (status, body["code"]) == (400, "file_lock_conflict")


def test_retention_cannot_be_set_at_creation(b2: Service, name: str) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "bucketName": name, "bucketType": "allPrivate", "fileLockEnabled": True}
    assert b2.call("b2_create_bucket", **desired, defaultRetention={"mode": None})[0] == 400


def test_unknown_bucket_id_is_bad_bucket_id(api: B2Api) -> None:
    with pytest.raises(BucketIdNotFound):
        api.session.delete_bucket(api.get_account_id(), "0" * 24)


def test_key_lives_with_its_rights_and_shows_its_secret_once(b2: Service, api: B2Api, bucket: t.Any, name: str) -> None:
    key = api.create_key(["listBuckets", "listFiles"], name, bucket_ids=[bucket.id_])
    try:
        (listed,) = [
            each for each in api.session.list_keys(api.get_account_id(), 1000)["keys"] if each["keyName"] == name
        ]
        assert "applicationKey" not in listed
        assert sorted(listed["capabilities"]) == ["listBuckets", "listFiles"]
        assert listed["bucketIds"] == [bucket.id_]
        low = b2.login(key.id_, key.application_key)
        assert low.account_info.get_allowed()["buckets"] == [{"id": bucket.id_, "name": name}]
        assert [each.name for each in low.list_buckets(bucket_name=name)] == [name]
    finally:
        api.delete_key(key)
    with pytest.raises(Unauthorized):
        b2.login(key.id_, key.application_key)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_key_of_version_4_cannot_log_in_through_an_older_one(
    b2: Service, api: B2Api, bucket: t.Any, name: str, version: int
) -> None:
    key = api.create_key(["listBuckets"], name, bucket_ids=[bucket.id_])
    try:
        status, body = b2.log_in(version, key.id_, key.application_key)
        assert (status, body["code"]) == (400, "bad_request")
        assert body["message"] == f"This request is not currently supported on API version number {version}"
        assert b2.log_in(4, key.id_, key.application_key)[0] == 200
    finally:
        api.delete_key(key)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_key_of_an_older_version_can_log_in_through_all(b2: Service, bucket: t.Any, name: str, version: int) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "keyName": name, "capabilities": ["listBuckets"], "bucketId": bucket.id_}
    status, key = b2.call("b2_create_key", version=version, **desired)
    assert (status, key["bucketId"]) == (200, bucket.id_)
    try:
        for each in (1, 2, 3, 4):
            status, body = b2.log_in(each, key["applicationKeyId"], key["applicationKey"])
            place = body if each < 3 else body["apiInfo"]["storageApi"]
            allowed = place if each == 3 else place["allowed"]
            assert (status, allowed["capabilities"]) == (200, ["listBuckets"])
            expected = [{"id": bucket.id_, "name": name}]
            assert (
                allowed["buckets"] if each == 4 else [{"id": allowed["bucketId"], "name": allowed["bucketName"]}]
            ) == expected
            assert place["apiUrl"] and place["downloadUrl"] and place["recommendedPartSize"]
    finally:
        b2.call("b2_delete_key", applicationKeyId=key["applicationKeyId"])


def test_each_version_lists_its_own_keys(b2: Service, api: B2Api, bucket: t.Any, name: str) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "keyName": name, "capabilities": ["listBuckets"]}
    old = b2.call("b2_create_key", version=3, **desired, bucketId=bucket.id_)[1]["applicationKeyId"]
    new = b2.call("b2_create_key", **desired, bucketIds=[bucket.id_])[1]["applicationKeyId"]
    try:
        for version, shown in ((3, old), (4, new)):
            status, page = b2.call("b2_list_keys", version=version, accountId=b2.account_id, maxKeyCount=1000)
            ids = [each["applicationKeyId"] for each in page["keys"] if each["keyName"] == name]
            assert (status, ids) == (200, [shown])
    finally:
        for each in (old, new):
            b2.call("b2_delete_key", applicationKeyId=each)


def test_restricted_key_may_do_nothing_else(b2: Service, api: B2Api, bucket: t.Any, name: str) -> None:
    key = api.create_key(["listBuckets", "readFiles"], name, bucket_ids=[bucket.id_])
    try:
        low = b2.login(key.id_, key.application_key)
        account = api.get_account_id()
        for forbidden in (
            lambda: low.session.list_buckets(account),
            lambda: low.session.list_keys(account),
            lambda: low.session.update_bucket(account, bucket.id_, bucket_type="allPublic"),
            lambda: low.session.create_bucket(account, f"{name}-two", "allPrivate"),
            lambda: low.session.delete_key(key.id_),
        ):
            with pytest.raises(Unauthorized) as caught:
                forbidden()
            assert caught.value.code == "unauthorized"
        (seen,) = low.session.list_buckets(account, bucket_name=name)["buckets"]
        for guarded in ("defaultServerSideEncryption", "fileLockConfiguration"):
            assert seen[guarded] == {"isClientAuthorizedToRead": False, "value": None}
    finally:
        api.delete_key(key)


def test_expiring_key_shows_its_expiry(b2: Service, api: B2Api, bucket: t.Any, name: str) -> None:
    key = api.session.create_key(api.get_account_id(), ["listFiles"], name, 1000, [bucket.id_], "nar/")
    try:
        (listed,) = [
            each for each in api.session.list_keys(api.get_account_id(), 1000)["keys"] if each["keyName"] == name
        ]
        assert listed["namePrefix"] == "nar/"
        assert 900 < listed["expirationTimestamp"] / 1000 - time.time() < 1100
    finally:
        api.session.delete_key(key["applicationKeyId"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"keyName": "under_score"},
        {"capabilities": ["flyToTheMoon"]},
        {"capabilities": []},
        {"validDurationInSeconds": 86_400_001},
        {"namePrefix": "only-with-a-bucket/"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_bad_key_is_refused(b2: Service, wrong: dict[str, t.Any]) -> None:
    b2.authorize()
    desired = {"accountId": b2.account_id, "keyName": "nixci-test", "capabilities": ["listFiles"], **wrong}
    assert b2.call("b2_create_key", **desired)[0] == 400


def test_unknown_key_is_bad_request(b2: Service) -> None:
    status, body = b2.call("b2_delete_key", applicationKeyId="0030000000000000000000000")
    assert (status, body["code"]) == (400, "bad_request")


def test_names_of_keys_are_not_unique_and_lists_have_pages(double: tuple[B2Double, Service]) -> None:
    b2, service = double
    for _ in range(3):
        b2.add_key("twin", ["listFiles"], bucket_ids=["0" * 24], multi_bucket=True)
    api = service.login()
    first = api.session.list_keys(b2.account_id, 2)
    rest = api.session.list_keys(b2.account_id, 2, first["nextApplicationKeyId"])
    assert [len(first["keys"]), len(rest["keys"]), rest["nextApplicationKeyId"]] == [2, 1, None]


def test_foreign_name_is_a_duplicate_that_is_not_listed(double: tuple[B2Double, Service]) -> None:
    api = double[1].login()
    assert list(api.list_buckets(bucket_name="somebody-elses")) == []
    with pytest.raises(DuplicateBucketName):
        api.create_bucket("Somebody-Elses", "allPrivate")


def test_expired_token_is_renewed_by_the_client(double: tuple[B2Double, Service]) -> None:
    b2, service = double
    api = service.login()
    b2.expire_tokens()
    assert service.call("b2_list_buckets", accountId=b2.account_id)[0] == 200
    b2.expire_tokens()
    assert service.call("b2_list_buckets", accountId=b2.account_id)[1]["code"] == "expired_auth_token"
    assert list(api.list_buckets()) == []


def test_encryption_needs_its_own_capability_and_cannot_be_switched_off(double: tuple[B2Double, Service]) -> None:
    b2, service = double
    key = b2.add_key("no-encryption", ["listBuckets", "writeBuckets"])
    low = service.login(key.id, key.secret)
    with pytest.raises(Unauthorized):
        low.session.create_bucket(b2.account_id, "encrypted", "allPrivate", default_server_side_encryption=SSE_B2_AES)
    made = low.session.create_bucket(b2.account_id, "encrypted", "allPrivate")
    service.authorize()
    off = {"accountId": b2.account_id, "bucketId": made["bucketId"], "defaultServerSideEncryption": {"mode": "none"}}
    assert service.call("b2_update_bucket", **off)[0] == 400


@pytest.mark.parametrize(
    ("member", "value", "capability"),
    [
        ("fileLockEnabled", True, "writeBucketRetentions"),
        ("replicationConfiguration", {"asReplicationSource": None}, "writeBucketReplications"),
    ],
)
def test_some_members_need_their_own_capability(
    double: tuple[B2Double, Service], member: str, value: t.Any, capability: str
) -> None:
    b2, service = double
    desired = {"accountId": b2.account_id, "bucketName": "the-bucket", "bucketType": "allPrivate", member: value}
    poor, rich = (b2.add_key("x", ["listBuckets", "writeBuckets", *more]) for more in ([], [capability]))
    service.key_id, service.key = poor.id, poor.secret
    assert service.call("b2_create_bucket", **desired)[1]["code"] == "unauthorized"
    service.key_id, service.key, service.token = rich.id, rich.secret, ""
    assert service.call("b2_create_bucket", **desired)[0] == 200


@pytest.mark.parametrize(
    ("operation", "body", "status", "code"),
    [
        ("b2_list_buckets", {}, 400, "bad_json"),
        ("b2_list_buckets", {"accountId": "1a2b3c4d5e6f", "colour": "red"}, 400, "bad_json"),
        ("b2_list_buckets", {"accountId": "000000000000"}, 400, "bad_request"),
        ("b2_list_buckets", {"accountId": ["1a2b3c4d5e6f"]}, 400, "bad_json"),
        ("b2_fly_to_the_moon", {}, 501, "not_implemented"),
    ],
)
def test_unknown_input_is_refused(
    double: tuple[B2Double, Service], operation: str, body: dict[str, t.Any], status: int, code: str
) -> None:
    assert (lambda answer: (answer[0], answer[1]["code"]))(double[1].call(operation, **body)) == (status, code)


def test_other_methods_and_versions_are_not_served(double: tuple[B2Double, Service]) -> None:
    url = double[1].realm
    assert requests.get(f"{url}/b2api/v4/b2_create_bucket", timeout=5).json()["code"] == "method_not_allowed"
    assert requests.post(f"{url}/b2api/v5/b2_list_buckets", json={}, timeout=5).json()["code"] == "not_found"


def test_what_only_reads_may_be_a_get_request(b2: Service, bucket: t.Any, name: str) -> None:
    b2.authorize()
    query = {"accountId": b2.account_id, "bucketName": name, "bucketTypes": "allPrivate,allPublic"}
    token = {"Authorization": b2.token}
    answer = requests.get(f"{b2.url}/b2api/v4/b2_list_buckets", params=query, headers=token, timeout=30).json()
    assert [each["bucketId"] for each in answer["buckets"]] == [bucket.id_]
    query = {"accountId": b2.account_id, "maxKeyCount": "1"}
    assert requests.get(f"{b2.url}/b2api/v3/b2_list_keys", params=query, headers=token, timeout=30).status_code == 200


# Replication.


@pytest.fixture
def source(double: tuple[B2Double, Service]) -> dict[str, t.Any]:
    """A valid replication of one bucket to another, and the key that it uses."""
    b2, service = double
    service.authorize()
    ids = [
        service.call("b2_create_bucket", accountId=b2.account_id, bucketName=name, bucketType="allPrivate")[1]
        for name in ("the-source", "the-target")
    ]
    rule = {
        "destinationBucketId": ids[1]["bucketId"],
        "fileNamePrefix": "",
        "includeExistingFiles": True,
        "isEnabled": True,
        "priority": 1,
        "replicationRuleName": "to-the-target",
    }
    key = b2.add_key("replication", ["readFiles"])
    return {"id": ids[0]["bucketId"], "rule": rule, "key": key.id}


def replicate(service: Service, source: dict[str, t.Any], **changed: t.Any) -> tuple[int, dict[str, t.Any]]:
    key = changed.pop("sourceApplicationKeyId", source["key"])
    rules = changed.pop("replicationRules", [{**source["rule"], **changed}])
    desired = {"asReplicationSource": {"replicationRules": rules, "sourceApplicationKeyId": key}}
    return service.call(
        "b2_update_bucket",
        accountId=service.account_id,
        bucketId=source["id"],
        replicationConfiguration=desired,
    )


def test_replication_is_kept_and_reads_null_when_cleared(
    double: tuple[B2Double, Service], source: dict[str, t.Any]
) -> None:
    _, service = double
    status, body = replicate(service, source)
    assert (status, body["replicationConfiguration"]["value"]["asReplicationDestination"]) == (200, None)
    bucket = {"accountId": service.account_id, "bucketId": source["id"]}
    status, body = service.call("b2_update_bucket", **bucket, replicationConfiguration={})
    assert (status, body["replicationConfiguration"]) == (200, {"isClientAuthorizedToRead": True, "value": None})


@pytest.mark.parametrize(
    "nonsense",
    [
        {"replicationRuleName": "not a name"},
        {"replicationRuleName": ""},
        {"priority": 0},
        {"priority": True},
        {"priority": 2**31},
        {"destinationBucketId": "0" * 24},
        {"destinationBucketId": None},
        {"color": "red"},
        {"replicationRules": []},
        {"replicationRules": "all"},
        {"replicationRules": [1]},
        {"sourceApplicationKeyId": "0030000000000000000000000"},
        {"sourceApplicationKeyId": ""},
    ],
    ids=str,
)
def test_replication_nonsense_is_refused(
    double: tuple[B2Double, Service], source: dict[str, t.Any], nonsense: dict[str, t.Any]
) -> None:
    assert replicate(double[1], source, **nonsense)[0] == 400


def test_two_replication_rules_must_differ(double: tuple[B2Double, Service], source: dict[str, t.Any]) -> None:
    assert replicate(double[1], source, replicationRules=[source["rule"]] * 2)[0] == 400
    own = {**source["rule"], "destinationBucketId": source["id"]}
    assert replicate(double[1], source, replicationRules=[own])[0] == 400


def test_source_of_a_replication_cannot_get_a_file_lock(
    double: tuple[B2Double, Service], source: dict[str, t.Any]
) -> None:
    _, service = double
    replicate(service, source)
    bucket = {"accountId": service.account_id, "bucketId": source["id"]}
    status, body = service.call("b2_update_bucket", **bucket, fileLockEnabled=True)
    assert (status, body["code"]) == (400, "source_replication_conflict")


# Files, through the SDK's own objects.


@pytest.fixture(params=["b2sdk.v2", "b2sdk.v3"])
def sdk(request: pytest.FixtureRequest, b2: Service, bucket: t.Any) -> Iterator[t.Any]:
    """The bucket as this version of the SDK sees it, with a key that our module would make: v2 speaks version 3."""
    library = importlib.import_module(request.param)
    b2.authorize()
    capabilities = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]
    desired = {"accountId": b2.account_id, "keyName": "nixci-test", "capabilities": capabilities}
    key = b2.call("b2_create_key", version=3, **desired, bucketId=bucket.id_)[1]
    api = library.B2Api(library.InMemoryAccountInfo())
    login = {"application_key_id": key["applicationKeyId"], "application_key": key["applicationKey"]}
    api.authorize_account(realm=b2.realm, **login)
    yield api.get_bucket_by_name(bucket.name)
    b2.call("b2_delete_key", applicationKeyId=key["applicationKeyId"])


def test_files_are_uploaded_listed_read_hidden_and_deleted(sdk: t.Any) -> None:
    names = ["a folder/\u00fcmlaut+1", "a folder/two", "b"]
    for content in (b"old", b"new"):
        for name in names:
            sdk.upload_bytes(content, name, content_type="text/plain", file_info={"by": "t\u00ebst"})
    out = io.BytesIO()
    downloaded = sdk.download_file_by_name(names[0])
    downloaded.save(out)
    assert (out.getvalue(), downloaded.download_version.file_info) == (b"new", {"by": "t\u00ebst"})
    assert [folder or file.file_name for file, folder in sdk.ls(fetch_count=1)] == ["a folder/", "b"]
    found = [file for file, _ in sdk.ls(recursive=True, latest_only=False, fetch_count=2)]
    assert [file.file_name for file in found] == [name for name in sorted(names) for _ in range(2)]
    assert [file.size for file in found] == [3] * 6
    sdk.hide_file("b")
    assert "b" not in [file.file_name for file, _ in sdk.ls(recursive=True)]
    with pytest.raises(FileAlreadyHidden):
        sdk.hide_file("b")
    with pytest.raises(FileNotPresent):
        sdk.download_file_by_name("b").save(io.BytesIO())
    for file, _ in sdk.ls(recursive=True, latest_only=False):
        sdk.delete_file_version(file.id_, file.file_name)
    assert list(sdk.ls(recursive=True, latest_only=False)) == []


@pytest.mark.parametrize("sha1", ["0" * 40, "x", ""])
def test_upload_with_a_wrong_checksum_is_refused(b2: Service, bucket: t.Any, sha1: str) -> None:
    b2.authorize()
    place = b2.call("b2_get_upload_url", bucketId=bucket.id_)[1]
    headers = {
        "Authorization": place["authorizationToken"],
        "X-Bz-File-Name": "a",
        "Content-Type": "b2/x-auto",
        "X-Bz-Content-Sha1": sha1,
    }
    assert requests.post(place["uploadUrl"], data=b"abc", headers=headers, timeout=30).status_code == 400
    headers["X-Bz-Content-Sha1"] = hashlib.sha1(b"abc", usedforsecurity=False).hexdigest()
    made = requests.post(place["uploadUrl"], data=b"abc", headers=headers, timeout=30).json()
    assert made["contentLength"] == 3
    deleted = b2.call("b2_delete_file_version", fileId=made["fileId"], fileName="a")
    assert deleted == (200, {"fileId": made["fileId"], "fileName": "a"})


def test_native_files_are_those_of_s3(double: tuple[B2Double, Service]) -> None:
    b2, service = double
    service.authorize()
    bucket = service.call("b2_create_bucket", accountId=b2.account_id, bucketName="the-cache", bucketType="allPrivate")[
        1
    ]
    where = bucket["bucketId"]
    b2.files.put(where, "by-s3", b2.files.store([b"x"]), {"content-type": "text/plain", "x-amz-meta-by": "s3"})
    upload = b2.files.start(where, "large", {})
    (file,) = service.call("b2_list_file_names", bucketId=where)[1]["files"]
    assert (file["fileName"], file["contentType"], file["fileInfo"]) == ("by-s3", "text/plain", {"by": "s3"})
    (unfinished,) = service.call("b2_list_unfinished_large_files", bucketId=where)[1]["files"]
    assert unfinished["fileId"] == upload.id
    assert service.call("b2_cancel_large_file", fileId=upload.id)[0] == 200
    assert service.call("b2_start_large_file", bucketId=where)[0] == 501
    assert service.call("b2_delete_bucket", accountId=b2.account_id, bucketId=where)[1]["code"] == (
        "cannot_delete_non_empty_bucket"
    )
