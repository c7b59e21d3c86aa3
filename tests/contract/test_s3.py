# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 API of B2: what a client does with files, and which key may do what.

The tests of files run against the double, against plain moto, and against the real service when B2_TEST_KEY_ID and
B2_TEST_KEY name a key that may do everything with buckets and keys; what they create there they remove again. moto checks
no credentials and accepts every checksum, so the tests of credentials run only against the double.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re
import socket
import subprocess
import sys
import typing as t
import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.s3 import round_trip
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import AuthenticationError
from b2sdk.v3 import B2Api, B2HttpApiConfig, InMemoryAccountInfo
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from lab.clouds.b2 import B2Double, Key
from lab.clouds.s3 import S3Double
from tests.support.paths import ROOT

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
        token = requests.get(f"{self.native}/b2api/v4/b2_authorize_account", auth=auth, timeout=30).json()
        return requests.post(
            f"{self.native}/b2api/v4/{operation}",
            json={"accountId": self.b2.account_id, **body},
            headers={"Authorization": token["authorizationToken"]},
            timeout=30,
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
        requests.post(f"{url}/moto-api/reset", timeout=30)
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
    assert requests.get(url, timeout=30).content == b"chunk"
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="the-cache")["Contents"]] == [OBJECT["Key"]]
    assert env.client(key, url=by_host).get_object(**OBJECT)["Body"].read() == b"chunk"
    s3.delete_object(**OBJECT)
    assert refusal(s3.get_object, **OBJECT) == (404, "NoSuchKey")


def test_bucket_in_the_host_needs_the_same_capabilities(env: Environment, key: Key, by_host: str) -> None:
    env.create("the-other")
    s3 = env.client(key, url=by_host, style="virtual")
    assert refusal(s3.list_objects_v2, Bucket="the-other") == (403, "AccessDenied")
    # A path cannot lead out of the host's bucket.
    answer = requests.get(by_host.replace("s3.", "the-other.s3.") + "/the-cache/x", timeout=30)
    assert answer.status_code == 403
    poor = env.b2.add_key("poor", ["listBuckets"], bucket_ids=key.bucket_ids)
    assert refusal(env.client(poor, url=by_host, style="virtual").get_object, **OBJECT) == (403, "AccessDenied")


def test_changed_presigned_url_is_refused(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    s3.put_object(**OBJECT, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=OBJECT, ExpiresIn=600)
    assert requests.get(url, timeout=30).content == b"chunk"
    assert requests.get(url.replace("chunk?", "chunks?"), timeout=30).status_code == 403
    assert (
        "SignatureDoesNotMatch" in requests.get(url.replace("X-Amz-Expires=600", "X-Amz-Expires=999"), timeout=30).text
    )
    assert requests.put(url, data=b"other", timeout=30).status_code == 403
    assert requests.get(url.partition("?")[0], timeout=30).status_code == 403


def test_presigned_url_expires(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    s3.put_object(**OBJECT, Body=b"chunk")
    url = s3.generate_presigned_url("get_object", Params=OBJECT, ExpiresIn=0)
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


# What B2 refuses although AWS does not.


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("put_object", {**OBJECT, "Body": b"x"}),
        ("put_object", {**OBJECT, "Body": b"x", "ChecksumAlgorithm": "SHA256"}),
        ("get_object", OBJECT),
        ("head_object", {**OBJECT, "ChecksumMode": "ENABLED"}),
        ("delete_objects", {"Bucket": "the-cache", "Delete": {"Objects": [{"Key": "x"}]}}),
    ],
)
def test_checksum_headers_that_boto3_sends_by_default_are_refused(
    env: Environment, key: Key, method: str, arguments: dict[str, t.Any]
) -> None:
    env.client(key).put_object(**OBJECT, Body=b"x")
    by_default = boto3.client(
        "s3",
        endpoint_url=env.url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    status, code = refusal(getattr(by_default, method), **arguments)
    assert status == 400
    assert code == "InvalidArgument" or method == "head_object"


@pytest.mark.parametrize("setting", ["request_checksum_calculation", "response_checksum_validation"])
def test_each_checksum_setting_of_our_client_is_needed(env: Environment, key: Key, setting: str) -> None:
    ours = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    wrong = Config(**{**ours, setting: "when_supported"}, s3={"addressing_style": "path"})
    s3 = boto3.client(
        "s3",
        endpoint_url=env.url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=wrong,
    )
    env.client(key).put_object(**OBJECT, Body=b"x")
    if setting.startswith("request"):
        assert refusal(s3.put_object, **OBJECT, Body=b"x") == (400, "InvalidArgument")
    else:
        assert refusal(s3.get_object, **OBJECT) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"ACL": "public-read"}, 400, "InvalidArgument"),
        ({"ACL": "authenticated-read"}, 400, "InvalidArgument"),
        ({"GrantRead": "id=x"}, 400, "InvalidArgument"),
        ({"ServerSideEncryption": "aws:kms"}, 400, "InvalidArgument"),
        ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": "x"}, 400, "InvalidArgument"),
        ({"Tagging": "a=b"}, 400, "InvalidArgument"),
        ({"WebsiteRedirectLocation": "/y"}, 400, "InvalidArgument"),
        ({"StorageClass": "GLACIER"}, 400, "InvalidStorageClass"),
        ({"Key": "k" * 1025}, 400, "KeyTooLongError"),
        ({"Key": "ü" * 513}, 400, "KeyTooLongError"),
        ({"Key": "a\nb"}, 400, "InvalidArgument"),
        ({"IfNoneMatch": "*"}, 501, "NotImplemented"),
        ({"ContentMD5": "AAAA"}, 400, "InvalidDigest"),
        ({"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, 400, "BadDigest"),
    ],
    ids=str,
)
def test_what_b2_refuses_of_an_upload(
    env: Environment, key: Key, arguments: dict[str, t.Any], status: int, code: str
) -> None:
    assert refusal(env.client(key).put_object, **{**OBJECT, "Body": b"x", **arguments}) == (status, code)
    assert env.b2.is_empty("the-cache")


def test_what_b2_allows_of_an_upload(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    s3.put_object(**OBJECT, Body=b"x", ACL="private", ServerSideEncryption="AES256", StorageClass="STANDARD")
    s3.put_object(Bucket="the-cache", Key="k" * 1024, Body=b"x", CacheControl="no-cache", ContentType="text/plain")
    head = s3.head_object(Bucket="the-cache", Key="k" * 1024)
    assert (head["CacheControl"], head["ContentType"]) == ("no-cache", "text/plain")


def send(env: Environment, key: Key, method: str, path: str, body: str = "", **headers: str) -> requests.Response:
    """A signed request without what boto3 adds."""
    request = AWSRequest(method, f"{env.url}{path}", data=body.encode(), headers=headers)
    S3SigV4Auth(Credentials(key.id, key.secret), "s3", REGION).add_auth(request)
    return requests.request(method, request.url, data=body.encode(), headers=dict(request.headers), timeout=30)


def test_acl_is_that_of_the_bucket(env: Environment, key: Key) -> None:
    wide = env.b2.add_key("wide", [*ATTIC, "writeBuckets"])
    s3 = env.client(wide)
    s3.put_object(Bucket="the-cache", Key="x", Body=b"x")
    assert [each["Permission"] for each in s3.get_object_acl(Bucket="the-cache", Key="x")["Grants"]] == ["FULL_CONTROL"]

    def put_acl(path: str, acl: str) -> int:
        return send(env, wide, "PUT", f"{path}?acl", **{"x-amz-acl": acl}).status_code

    assert [put_acl("/the-cache/x", acl) for acl in ("private", "public-read")] == [200, 400]
    assert [put_acl("/the-cache", acl) for acl in ("authenticated-read", "public-read")] == [400, 200]
    assert len(s3.get_bucket_acl(Bucket="the-cache")["Grants"]) == 2
    assert [put_acl("/the-cache/x", acl) for acl in ("private", "public-read")] == [400, 200]


def test_region_of_a_bucket_is_that_of_the_account(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    assert s3.get_bucket_location(Bucket="the-cache")["LocationConstraint"] == REGION
    assert s3.head_bucket(Bucket="the-cache")["BucketRegion"] == REGION


def test_hash_of_the_body_must_be_signed(env: Environment, key: Key) -> None:
    """AWS accepts a signature that does not cover this header."""
    session = requests.Session()
    request = AWSRequest("GET", f"{env.url}/the-cache")
    signer = S3SigV4Auth(Credentials(key.id, key.secret), "s3", REGION)
    signer.headers_to_sign = lambda request: HTTPHeaders.from_dict(  # type: ignore[method-assign]
        {"host": env.url.partition("//")[2], "x-amz-date": request.headers["X-Amz-Date"]}
    )
    signer.add_auth(request)
    answer = session.get(request.url, headers=dict(request.headers), timeout=30)
    assert answer.status_code == 403
    assert "header 'x-amz-content-sha256' must be included in signature" in answer.text


# Large files and many files.


def test_smallest_part_has_5000000_bytes(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    for size, code in ((5_000_000, ""), (4_999_999, "EntityTooSmall")):
        upload = s3.create_multipart_upload(**OBJECT)["UploadId"]
        parts = []
        for number, body in enumerate((b"a" * size, b"b"), start=1):
            tag = s3.upload_part(**OBJECT, UploadId=upload, PartNumber=number, Body=body)["ETag"]
            parts.append({"PartNumber": number, "ETag": tag})
        assert [each["Size"] for each in s3.list_parts(**OBJECT, UploadId=upload)["Parts"]] == [size, 1]
        finish = {**OBJECT, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        if code:
            assert refusal(s3.complete_multipart_upload, **finish) == (400, code)
            backwards = {**finish, "MultipartUpload": {"Parts": parts[::-1]}}
            assert refusal(s3.complete_multipart_upload, **backwards) == (400, "InvalidPartOrder")
            s3.abort_multipart_upload(**OBJECT, UploadId=upload)
        else:
            assert s3.complete_multipart_upload(**finish)["ETag"].endswith('-2"')
            part = s3.get_object(**OBJECT, Range="bytes=4999998-5000000")
            assert (part["Body"].read(), part["ContentRange"]) == (b"aab", "bytes 4999998-5000000/5000001")
            assert s3.get_object(**OBJECT, Range="bytes=-1")["Body"].read() == b"b"
            assert refusal(s3.get_object, **OBJECT, Range="bytes=5000001-") == (416, "InvalidRange")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="the-cache")


def test_files_are_copied_with_or_without_their_metadata(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    source = s3.put_object(**OBJECT, Body=b"chunk", Metadata={"by": "test"})["VersionId"]
    place = {"Bucket": "the-cache", "CopySource": {**OBJECT, "VersionId": source}}
    s3.copy_object(**place, Key="same")
    s3.copy_object(**place, Key="other", MetadataDirective="REPLACE", Metadata={"by": "copy"})
    for name, by in (("same", "test"), ("other", "copy")):
        found = s3.get_object(Bucket="the-cache", Key=name)
        assert (found["Body"].read(), found["Metadata"]) == (b"chunk", {"by": by})
    s3.delete_object(**OBJECT, VersionId=source)
    assert s3.get_object(Bucket="the-cache", Key="same")["Body"].read() == b"chunk"
    assert refusal(s3.copy_object, **place, Key="late") == (404, "NoSuchVersion")


def delete_many(env: Environment, key: Key, xml: str) -> requests.Response:
    """As clients other than boto3 do it: with Content-MD5, which boto3 has given up."""
    md5 = base64.b64encode(hashlib.md5(xml.encode(), usedforsecurity=False).digest()).decode()
    return send(env, key, "POST", "/the-cache?delete", xml, **{"Content-MD5": md5})


def test_many_files_are_deleted_at_once(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    versions = {name: s3.put_object(Bucket="the-cache", Key=name, Body=b"x")["VersionId"] for name in ("a", "b&c")}
    answer = delete_many(
        env,
        key,
        "<Delete><Object><Key>a</Key></Object>"
        f"<Object><Key>b&amp;c</Key><VersionId>{versions['b&c']}</VersionId></Object></Delete>",
    )
    assert (answer.status_code, answer.text.count("<Deleted>")) == (200, 2)
    listed = s3.list_object_versions(Bucket="the-cache")
    assert [each["Key"] for each in listed["Versions"]] == [each["Key"] for each in listed["DeleteMarkers"]] == ["a"]
    poor = env.b2.add_key("poor", set(ATTIC) - {"deleteFiles"}, bucket_ids=key.bucket_ids)
    answer = delete_many(
        env, poor, f"<Delete><Object><Key>a</Key><VersionId>{versions['a']}</VersionId></Object></Delete>"
    )
    assert "<Error><Key>a</Key>" in answer.text and "AccessDenied" in answer.text
    for wrong in ("<Delete/>", "<Delete>", "", "<Other/>", "<Delete><Object/></Delete>"):
        assert "MalformedXML" in delete_many(env, key, wrong).text


def test_listings_have_pages_that_go_on_where_files_are_gone(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    names = [f"{folder}/{n}" for folder in "abc" for n in range(5)]
    for name in names * 2:
        s3.put_object(Bucket="the-cache", Key=name, Body=b"x")
    for operation, listed in (("list_objects_v2", "Contents"), ("list_objects", "Contents")):
        pages = s3.get_paginator(operation).paginate(Bucket="the-cache", PaginationConfig={"PageSize": 4})
        assert [each["Key"] for page in pages for each in page[listed]] == names
        pages = s3.get_paginator(operation).paginate(
            Bucket="the-cache", Delimiter="/", PaginationConfig={"PageSize": 1}
        )
        assert [each["Prefix"] for page in pages for each in page["CommonPrefixes"]] == ["a/", "b/", "c/"]
    pages = s3.get_paginator("list_object_versions").paginate(Bucket="the-cache", PaginationConfig={"PageSize": 3})
    seen = []
    for page in pages:
        for each in page["Versions"]:
            seen.append(each["Key"])
            s3.delete_object(Bucket="the-cache", Key=each["Key"], VersionId=each["VersionId"])
    assert seen == [name for name in names for _ in range(2)]
    assert env.b2.is_empty("the-cache")


def test_unfinished_uploads_have_pages_too(env: Environment, key: Key) -> None:
    s3 = env.client(key)
    for name in ("a", "a", "b"):
        s3.create_multipart_upload(Bucket="the-cache", Key=name)
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket="the-cache", PaginationConfig={"PageSize": 1})
    assert [each["Key"] for page in pages for each in page["Uploads"]] == ["a", "a", "b"]


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
    s3.create_bucket(Bucket="by-s3-alone", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert refusal(s3.create_bucket, Bucket="by-s3-alone") == (409, "BucketAlreadyOwnedByYou")
    assert env.b2.bucket("by-s3-alone")["bucketType"] == "allPrivate"
    s3.delete_bucket(Bucket="by-s3-alone")
    assert env.b2.bucket("by-s3-alone") is None
    elsewhere = {"LocationConstraint": "us-west-004"}
    refused = refusal(s3.create_bucket, Bucket="by-s3-alone", CreateBucketConfiguration=elsewhere)
    assert refused == (400, "InvalidLocationConstraint")
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
    assert requests.get(f"{env.url}/for-everybody/x", timeout=30).content == b"hello"
    assert requests.get(f"{env.url}/for-everybody", timeout=30).status_code == 403
    assert requests.put(f"{env.url}/for-everybody/y", data=b"", timeout=30).status_code == 403


@pytest.mark.parametrize("method", ["get_object_tagging", "get_object_torrent", "get_object_attributes"])
def test_what_b2_lacks_is_not_implemented(env: Environment, key: Key, method: str) -> None:
    more = {"ObjectAttributes": ["ETag"]} if method == "get_object_attributes" else {}
    assert refusal(getattr(env.client(key), method), **OBJECT, **more) == (501, "NotImplemented")


def test_unusable_authorization_is_refused(env: Environment, key: Key) -> None:
    basic = requests.get(f"{env.url}/the-cache/x", auth=(key.id, key.secret), timeout=30)
    assert (basic.status_code, "InvalidRequest" in basic.text) == (400, True)
    malformed = requests.get(f"{env.url}/the-cache/x", headers={"Authorization": "AWS4-HMAC-SHA256 x"}, timeout=30)
    assert (malformed.status_code, "AuthorizationHeaderMalformed" in malformed.text) == (400, True)


# Our own server.

STORE_AND_READ = """
import io, sys
from lab.attic.storage import S3Storage
storage = S3Storage({"type": "s3", "region": sys.argv[1], "bucket": "the-cache", "endpoint": sys.argv[2]})
reference, _ = storage.reference("a chunk")
storage.put("a chunk", io.BytesIO(b"chunk"), 5)
assert b"".join(storage.get(reference)) == b"chunk"
storage.delete(reference)
"""


def settings_of_atticd() -> dict[str, str]:
    """The checksum settings that the NixOS module gives to atticd."""
    source = (ROOT / "nix/modules/attic.nix").read_text()
    return dict(re.findall(r'^\s*(AWS_\w+_CHECKSUM_\w+) = "(\w+)";$', source, re.MULTILINE))


def store_and_read(env: Environment, key: Key, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    credentials = {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}
    command = [sys.executable, "-c", STORE_AND_READ, REGION, env.url]
    variables = {**kept, **credentials, **settings}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


def test_server_with_the_settings_of_our_module_can_use_b2(env: Environment, key: Key) -> None:
    done = store_and_read(env, key, settings_of_atticd())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", ["AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"])
def test_server_needs_each_checksum_setting(env: Environment, key: Key, missing: str) -> None:
    settings = {name: value for name, value in settings_of_atticd().items() if name != missing}
    assert "Unsupported header 'x-amz-" in store_and_read(env, key, settings).stderr
