# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 API of B2: what a client does with files, and which key may do what.

The tests of files run against the double, against plain moto, and against the real service when B2_TEST_KEY_ID and
B2_TEST_KEY name a key that may do everything with buckets and keys; what they create there they remove again. moto checks
no credentials and accepts every checksum, so the tests of credentials run only against the double.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import typing as t
import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.s3 import round_trip
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import AuthenticationError
from b2sdk.v3 import B2Api, B2HttpApiConfig, InMemoryAccountInfo
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from lab.clouds.b2 import B2Double, Key
from lab.clouds.s3 import S3Double

REGION = "eu-central-003"
ATTIC = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]
PART = 5 * 1024 * 1024


@dataclasses.dataclass
class Environment:
    b2: B2Double
    url: str
    native: str

    def native_call(self, operation: str, **body: t.Any) -> requests.Response:
        auth = (self.b2.account_id, self.b2.keys[self.b2.account_id].secret)
        token = requests.get(f"{self.native}/b2api/v4/b2_authorize_account", auth=auth, timeout=5).json()
        return requests.post(
            f"{self.native}/b2api/v4/{operation}",
            json={"accountId": self.b2.account_id, **body},
            headers={"Authorization": token["authorizationToken"]},
            timeout=5,
        )

    def create(self, name: str, kind: str = "allPrivate") -> str:
        return self.native_call("b2_create_bucket", bucketName=name, bucketType=kind).json()["bucketId"]

    def client(self, key: Key, *, region: str = REGION, url: str | None = None, **config: t.Any) -> t.Any:
        return s3_client(url or self.url, region, key.id, key.secret, **config)


def s3_client(url: str, region: str, key_id: str, secret: str, style: str = "path") -> t.Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version="s3v4",
            retries={"total_max_attempts": 1},
            s3={"addressing_style": style},
        ),
    )


@pytest.fixture
def env(serve: Callable[[t.Any], str]) -> Environment:
    b2 = B2Double(region=REGION)
    made = Environment(b2, serve(S3Double(b2).app), serve(b2.app))
    b2.s3_url = made.url
    return made


@pytest.fixture
def key(env: Environment) -> Key:
    return env.b2.add_key("attic", ATTIC, bucket_ids=[env.create("the-cache")])


def refusal(call: Callable[..., t.Any], **arguments: t.Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.fixture
def by_host(env: Environment, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the double under a host name that has one subdomain for every bucket, without DNS."""
    real = socket.getaddrinfo

    def look_up(host: t.Any, *rest: t.Any, **more: t.Any) -> t.Any:
        return real("127.0.0.1" if str(host).endswith(".example") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    env.b2.s3_url = env.url.replace("127.0.0.1", f"s3.{REGION}.example")
    return env.b2.s3_url


OBJECT = {"Bucket": "the-cache", "Key": "a folder/ümlaut+1.chunk"}


# Files, against every service.


@dataclasses.dataclass
class Place:
    """A bucket, a key that may use it, and their endpoint."""

    client: Callable[..., t.Any]
    bucket: str
    endpoint: str
    region: str
    key_id: str
    secret: str
    checks_keys: bool = True


@pytest.fixture(params=["double", "moto", "real"])
def place(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Iterator[Place]:
    if request.param == "double":
        b2 = B2Double(region=REGION)
        made = Environment(b2, serve(S3Double(b2).app), serve(b2.app))
        b2.s3_url = made.url
        key = b2.add_key("attic", ATTIC, bucket_ids=[made.create("the-cache")])
        yield Place(lambda: made.client(key), "the-cache", made.url, REGION, key.id, key.secret)
    elif request.param == "moto":
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # The double's files are moto's too, in this process.
        requests.post(f"{url}/moto-api/reset", timeout=5)
        s3 = s3_client(url, REGION, "any", "thing")
        s3.create_bucket(Bucket="the-cache", CreateBucketConfiguration={"LocationConstraint": REGION})
        # B2 always keeps versions, moto only if they are enabled.
        s3.put_bucket_versioning(Bucket="the-cache", VersioningConfiguration={"Status": "Enabled"})
        yield Place(lambda: s3, "the-cache", url, REGION, "any", "thing", checks_keys=False)
        server.stop()
    else:
        yield from _real()


def _real() -> Iterator[Place]:
    if not (os.environ.get("B2_TEST_KEY_ID") and os.environ.get("B2_TEST_KEY")):
        pytest.skip("B2_TEST_KEY_ID and B2_TEST_KEY are not set: no real account to compare with")
    api = B2Api(InMemoryAccountInfo(), api_config=B2HttpApiConfig())
    api.authorize_account(os.environ["B2_TEST_KEY_ID"], os.environ["B2_TEST_KEY"], realm="production")
    name = f"nixci-test-{uuid.uuid4().hex[:12]}"
    bucket = api.create_bucket(name, "allPrivate")
    key = api.create_key(ATTIC, name, bucket_ids=[bucket.id_], valid_duration_seconds=3600)
    url = api.account_info.get_s3_api_url()
    region = url.split(".")[1]
    try:
        yield Place(
            lambda: s3_client(url, region, key.id_, key.application_key),
            name,
            url,
            region,
            key.id_,
            key.application_key,
        )
    finally:
        for version, _ in bucket.ls(latest_only=False, recursive=True):
            api.delete_file_version(version.id_, version.file_name)
        for unfinished in bucket.list_unfinished_large_files():
            api.cancel_large_file(unfinished.file_id)
        api.delete_bucket(bucket)
        api.delete_key(key)


def test_files_are_written_read_listed_and_deleted(place: Place) -> None:
    s3, file = place.client(), {"Bucket": place.bucket, "Key": "a folder/ümlaut+1.chunk"}
    s3.put_object(**file, Body=b"chunk", Metadata={"by": "test"})
    assert s3.get_object(**file)["Body"].read() == b"chunk"
    head = s3.head_object(**file)
    assert (head["ContentLength"], head["Metadata"]) == (5, {"by": "test"})
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=place.bucket)["Contents"]] == [file["Key"]]
    s3.delete_object(**file)
    assert refusal(s3.get_object, **file) == (404, "NoSuchKey")


def test_deleting_by_name_only_hides(place: Place) -> None:
    s3, file = place.client(), {"Bucket": place.bucket, "Key": "chunk"}
    version = s3.put_object(**file, Body=b"chunk")["VersionId"]
    assert s3.delete_object(**file)["DeleteMarker"]
    assert s3.get_object(**file, VersionId=version)["Body"].read() == b"chunk"
    assert len(s3.list_object_versions(Bucket=place.bucket)["DeleteMarkers"]) == 1


def test_big_files_come_in_parts(place: Place) -> None:
    s3, file = place.client(), {"Bucket": place.bucket, "Key": "big"}
    upload = s3.create_multipart_upload(**file)["UploadId"]
    parts = []
    for number, body in enumerate((b"a" * PART, b"the end"), start=1):
        tag = s3.upload_part(**file, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    s3.complete_multipart_upload(**file, UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.head_object(**file)["ContentLength"] == PART + 7


def test_presigned_url_is_enough_to_read(place: Place) -> None:
    s3, file = place.client(), {"Bucket": place.bucket, "Key": "chunk"}
    s3.put_object(**file, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=file, ExpiresIn=600)
    assert requests.get(url, timeout=30).content == b"chunk"


def test_round_trip_leaves_nothing_behind(place: Place) -> None:
    bucket = {"name": place.bucket, "s3_endpoint": place.endpoint, "region": place.region}
    for prefix in ("", "nar/"):
        assert round_trip(bucket, place.key_id, place.secret, prefix, timeout=30, retries=1) is None
    listed = place.client().list_object_versions(Bucket=place.bucket)
    assert (listed.get("Versions", []), listed.get("DeleteMarkers", [])) == ([], [])
    if place.checks_keys:
        with pytest.raises(AuthenticationError, match="check the id and the secret"):
            round_trip(bucket, place.key_id, "K003wrong", "", timeout=30, retries=0)


# Credentials and capabilities.


def test_wrong_secret_is_refused(env: Environment, key: Key) -> None:
    s3 = env.client(dataclasses.replace(key, secret="K003wrong"))
    assert refusal(s3.put_object, **OBJECT, Body=b"x") == (403, "SignatureDoesNotMatch")
    assert refusal(s3.list_objects_v2, Bucket="the-cache") == (403, "SignatureDoesNotMatch")


def test_unknown_deleted_expired_and_master_keys_are_refused(env: Environment, key: Key) -> None:
    unknown = dataclasses.replace(key, id="0030000000000000000000000")
    master = env.b2.keys[env.b2.account_id]
    expired = env.b2.add_key("old", ATTIC, expires=1.0)
    deleted = env.b2.add_key("gone", ATTIC)
    env.native_call("b2_delete_key", applicationKeyId=deleted.id, accountId=None)
    for wrong in (unknown, master, expired, deleted):
        assert refusal(env.client(wrong).list_objects_v2, Bucket="the-cache") == (403, "InvalidAccessKeyId")


def test_another_region_is_refused(env: Environment, key: Key) -> None:
    s3 = env.client(key, region="us-west-004")
    assert refusal(s3.list_objects_v2, Bucket="the-cache") == (403, "SignatureDoesNotMatch")


def test_restricted_key_reaches_no_other_bucket(env: Environment, key: Key) -> None:
    env.create("the-other")
    s3 = env.client(key)
    assert refusal(s3.list_objects_v2, Bucket="the-other") == (403, "AccessDenied")
    assert refusal(s3.put_object, Bucket="the-other", Key="x", Body=b"") == (403, "AccessDenied")
    assert refusal(s3.get_object, Bucket="does-not-exist", Key="x") == (403, "AccessDenied")
    assert refusal(s3.copy_object, **OBJECT, CopySource="the-other/x") == (403, "AccessDenied")
    assert refusal(s3.list_buckets) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("missing", "method", "arguments"),
    [
        ("readFiles", "get_object", OBJECT),
        ("writeFiles", "put_object", {**OBJECT, "Body": b"x"}),
        ("writeFiles", "create_multipart_upload", OBJECT),
        ("writeFiles", "delete_object", OBJECT),
        ("deleteFiles", "delete_object", {**OBJECT, "VersionId": str(uuid.UUID(int=0))}),
        ("listFiles", "list_objects_v2", {"Bucket": "the-cache"}),
        ("listFiles", "list_object_versions", {"Bucket": "the-cache"}),
    ],
)
def test_each_operation_needs_its_capability(
    env: Environment, key: Key, missing: str, method: str, arguments: dict[str, t.Any]
) -> None:
    poor = env.b2.add_key("poor", set(ATTIC) - {missing}, bucket_ids=key.bucket_ids)
    assert refusal(getattr(env.client(poor), method), **arguments) == (403, "AccessDenied")


def test_key_is_restricted_to_its_prefix(env: Environment, key: Key) -> None:
    low = env.client(env.b2.add_key("low", ATTIC, bucket_ids=key.bucket_ids, name_prefix="mine/"))
    low.put_object(Bucket="the-cache", Key="mine/x", Body=b"")
    assert low.list_objects_v2(Bucket="the-cache", Prefix="mine/")["KeyCount"] == 1
    assert refusal(low.put_object, Bucket="the-cache", Key="yours/x", Body=b"") == (403, "AccessDenied")
    assert refusal(low.list_objects_v2, Bucket="the-cache") == (403, "AccessDenied")


def test_bucket_may_be_named_in_the_host(env: Environment, key: Key, by_host: str) -> None:
    s3 = env.client(key, url=by_host, style="virtual")
    s3.put_object(**OBJECT, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=OBJECT, ExpiresIn=600)
    assert url.startswith(f"http://the-cache.s3.{REGION}.example:")
    assert requests.get(url, timeout=5).content == b"chunk"
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="the-cache")["Contents"]] == [OBJECT["Key"]]
    assert env.client(key, url=by_host).get_object(**OBJECT)["Body"].read() == b"chunk"
    s3.delete_object(**OBJECT)
    assert refusal(s3.get_object, **OBJECT) == (404, "NoSuchKey")


def test_bucket_in_the_host_needs_the_same_capabilities(env: Environment, key: Key, by_host: str) -> None:
    env.create("the-other")
    s3 = env.client(key, url=by_host, style="virtual")
    assert refusal(s3.list_objects_v2, Bucket="the-other") == (403, "AccessDenied")
    # A path cannot lead out of the host's bucket.
    answer = requests.get(by_host.replace("s3.", "the-other.s3.") + "/the-cache/x", timeout=5)
    assert answer.status_code == 403
    poor = env.b2.add_key("poor", ["listBuckets"], bucket_ids=key.bucket_ids)
    assert refusal(env.client(poor, url=by_host, style="virtual").get_object, **OBJECT) == (403, "AccessDenied")


def test_changed_presigned_url_is_refused(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    s3.put_object(**OBJECT, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=OBJECT, ExpiresIn=600)
    assert requests.get(url, timeout=5).content == b"chunk"
    assert requests.get(url.replace("chunk?", "chunks?"), timeout=5).status_code == 403
    assert (
        "SignatureDoesNotMatch" in requests.get(url.replace("X-Amz-Expires=600", "X-Amz-Expires=999"), timeout=5).text
    )
    assert requests.put(url, data=b"other", timeout=5).status_code == 403
    assert requests.get(url.partition("?")[0], timeout=5).status_code == 403


def test_presigned_url_expires(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    s3.put_object(**OBJECT, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=OBJECT, ExpiresIn=0)
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


def test_checksum_trailer_is_not_implemented(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    trailer = {
        "Content-Encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }

    def stream(request: t.Any, **_: t.Any) -> None:
        for name, value in trailer.items():
            request.headers[name] = value

    # botocore would hash the body and overwrite the header, so the signature is made over ours.
    s3.meta.events.register("before-sign.s3.PutObject", stream)
    s3.meta.events.register("before-sign.s3.PutObject", _sign_the_given_hash)
    assert refusal(s3.put_object, **OBJECT, Body=b"5;\r\nchunk\r\n0\r\n\r\n") == (501, "NotImplemented")


def _sign_the_given_hash(request: t.Any, **_: t.Any) -> None:
    request.context["checksum"] = {"request_algorithm": {"in": "trailer"}}


def test_body_must_be_the_signed_one(env: Environment, key: Key) -> None:
    s3 = env.client(key)

    def change(request: t.Any, **_: t.Any) -> None:
        request.body = b"other"

    s3.meta.events.register("before-send.s3.PutObject", change)
    assert refusal(s3.put_object, **OBJECT, Body=b"chunk") == (400, "XAmzContentSHA256Mismatch")


def test_buckets_are_those_of_the_native_api(env: Environment) -> None:
    s3 = env.client(env.b2.add_key("wide", [*ATTIC, "writeBuckets", "deleteBuckets"]))
    assert refusal(s3.list_objects_v2, Bucket="the-cache") == (404, "NoSuchBucket")
    assert refusal(s3.create_bucket, Bucket="by-s3-alone")[0] == 501
    bucket_id = env.create("the-cache")
    assert s3.get_bucket_versioning(Bucket="the-cache")["Status"] == "Enabled"
    version = s3.put_object(**OBJECT, Body=b"x")["VersionId"]
    marker = s3.delete_object(**OBJECT)["VersionId"]
    refused = env.native_call("b2_delete_bucket", bucketId=bucket_id).json()
    assert refused["code"] == "cannot_delete_non_empty_bucket"
    for each in (version, marker):
        s3.delete_object(**OBJECT, VersionId=each)
    assert env.native_call("b2_delete_bucket", bucketId=bucket_id).status_code == 200
    assert refusal(s3.list_objects_v2, Bucket="the-cache") == (404, "NoSuchBucket")


def test_anybody_may_only_read_a_public_bucket(env: Environment) -> None:
    s3 = env.client(env.b2.add_key("wide", ATTIC))
    env.create("for-everybody", "allPublic")
    s3.put_object(Bucket="for-everybody", Key="x", Body=b"hello")
    assert requests.get(f"{env.url}/for-everybody/x", timeout=5).content == b"hello"
    assert requests.get(f"{env.url}/for-everybody", timeout=5).status_code == 403
    assert requests.put(f"{env.url}/for-everybody/y", data=b"", timeout=5).status_code == 403


@pytest.mark.parametrize("method", ["get_object_tagging", "get_object_acl"])
def test_what_b2_lacks_is_not_implemented(env: Environment, key: Key, method: str) -> None:
    assert refusal(getattr(env.client(key), method), **OBJECT)[0] == 501


def test_unusable_authorization_is_refused(env: Environment, key: Key) -> None:
    basic = requests.get(f"{env.url}/the-cache/x", auth=(key.id, key.secret), timeout=5)
    assert (basic.status_code, "InvalidRequest" in basic.text) == (400, True)
    malformed = requests.get(f"{env.url}/the-cache/x", headers={"Authorization": "AWS4-HMAC-SHA256 x"}, timeout=5)
    assert (malformed.status_code, "AuthorizationHeaderMalformed" in malformed.text) == (400, True)
