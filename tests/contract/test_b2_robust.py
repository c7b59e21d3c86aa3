# SPDX-License-Identifier: GPL-3.0-or-later
"""The doubles of B2 and S3 answer every request in their own words: none is an internal error."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import typing as t

import hypothesis
import hypothesis.strategies as st
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.test import EnvironBuilder, run_wsgi_app

from lab.clouds._s3_operations import OPERATIONS as S3_OPERATIONS
from lab.clouds.b2 import OPERATIONS, B2Double
from lab.clouds.s3 import S3Double
from tests.support.paths import ROOT

ALL = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles", "writeBuckets", "deleteBuckets"]
PATIENT = hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
Answer = tuple[int, bytes]


def ask(app: t.Any, method: str, path: str, query: str, headers: dict[str, str], body: t.Any) -> Answer:
    """A request as the server hands it on. An exception of the double fails the test by itself."""
    path, query = _raw(path), _raw(query)
    environ = EnvironBuilder(path="/", method="GET", base_url="http://127.0.0.1:80/").get_environ()
    environ |= {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "RAW_URI": f"{path}?{query}" if query else path,
        "QUERY_STRING": query,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "CONTENT_LENGTH": str(len(body)) if isinstance(body, bytes) else "",
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = _raw(value)
    chunks, status, _ = run_wsgi_app(app, environ)
    return int(status.split()[0]), b"".join(chunks)


def _raw(text: str) -> str:
    """Bytes on the wire, as WSGI writes them."""
    return text if all(each <= "\xff" for each in text) else text.encode("utf-8", "replace").decode("latin-1")


# Values of every kind: of the right type and of each wrong one, small, huge, not Unicode.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "\ud800", "\x00", "all", "the-cache", "SSE-B2", "governance", "x" * 2000, "b2-x", "0" * 24]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=3)),
    max_leaves=6,
)
MEMBERS = sorted({member for _, required, optional, _ in OPERATIONS.values() for member in required | optional})
INNER = st.sampled_from(
    [
        "mode", "algorithm", "period", "duration", "unit", "fileNamePrefix", "daysFromHidingToDeleting", "corsRuleName",
        "allowedOrigins", "allowedOperations", "maxAgeSeconds", "asReplicationSource", "asReplicationDestination",
        "replicationRules", "sourceApplicationKeyId", "replicationRuleName", "priority", "destinationBucketId",
        "sourceToDestinationKeyMapping",
    ]
)  # fmt: skip
NESTED = st.recursive(
    st.one_of(SCALARS, st.sampled_from([1, "days", "years", "compliance", "s3_get", "*"])),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(INNER, inner, max_size=4)),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def b2() -> B2Double:
    made = B2Double()
    made.create_bucket(made.keys[made.account_id], {"bucketName": "the-cache", "bucketType": "allPrivate"})
    return made


def token_of(b2: B2Double) -> str:
    master = b2.keys[b2.account_id]
    basic = base64.b64encode(f"{master.id}:{master.secret}".encode()).decode()
    answer = ask(b2.app, "GET", "/b2api/v4/b2_authorize_account", "", {"Authorization": f"Basic {basic}"}, b"")
    return json.loads(answer[1])["authorizationToken"]


def assert_native(answer: Answer) -> None:
    status, body = answer
    assert status < 500 or status == 501, body
    if status >= 400:
        assert json.loads(body).keys() == {"status", "code", "message"}


def test_operations_of_b2_survive_odd_values(b2: B2Double) -> None:
    token, bucket_id = token_of(b2), b2.bucket("the-cache")["bucketId"]  # type: ignore[index]
    good = {"accountId": b2.account_id, "bucketId": bucket_id, "bucketName": "the-cache", "bucketType": "allPrivate"}
    good |= {"keyName": "x", "capabilities": ["listBuckets"], "applicationKeyId": "0" * 25}
    version = b2.files.put(bucket_id, "a", b2.files.store([b"x"]), {})
    good |= {"fileId": version.id, "fileName": "a"}

    @PATIENT
    @hypothesis.given(
        operation=st.sampled_from(sorted(OPERATIONS)),
        version=st.integers(1, 4),
        odd=st.dictionaries(st.sampled_from(MEMBERS), st.one_of(VALUES, NESTED), max_size=3),
    )
    def check(operation: str, version: int, odd: dict[str, t.Any]) -> None:
        _, required, _, _ = OPERATIONS[operation]
        body = {**{member: good[member] for member in required}, **odd}
        if operation == "b2_delete_bucket":
            body["bucketId"] = odd.get("bucketId", "0" * 24)
        data = json.dumps(body).encode()
        assert_native(ask(b2.app, "POST", f"/b2api/v{version}/{operation}", "", {"Authorization": token}, data))

    check()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"1" * 5000,
        b"[" * 100_000,
        b"NaN",
        b'{"accountId": 1e999}',
        b'"\\ud800"',
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain; charset=nonsense"}, {"Content-Encoding": "gzip"}]
)
def test_bodies_that_are_not_what_b2_expects(b2: B2Double, body: bytes, headers: dict[str, str]) -> None:
    headers = {**headers, "Authorization": token_of(b2)}
    for operation in ("b2_list_buckets", "b2_create_key"):
        assert_native(ask(b2.app, "POST", f"/b2api/v4/{operation}", "", headers, body))


@PATIENT
@hypothesis.given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]),
    path=st.one_of(
        st.text(max_size=20).map("/".__add__),
        st.sampled_from(["/b2api/v4/b2_list_buckets", "/b2api/v9/x", "/b2api/v4/", "/b2api/v2/b2_fly", "//", "/%00"]),
        st.sampled_from(["/file/the-cache/a", "/file/nowhere/a", "/file/the-cache/", "/b2api/v4/b2_upload_file/x/y"]),
        st.just("/b2api/v4/b2_download_file_by_id"),
    ),
    query=st.text(max_size=30),
    authorization=st.one_of(st.none(), st.text(max_size=30), st.sampled_from(["Basic", "Basic =", "Basic eA==", "B\xff"])),
    body=st.binary(max_size=30),
)  # fmt: skip
def test_paths_methods_and_credentials_of_b2(
    b2: B2Double, method: str, path: str, query: str, authorization: str | None, body: bytes
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, text = ask(b2.app, method, path, query, headers, body)
    assert status < 500 or status == 501, text


def test_odd_uploads_to_b2(b2: B2Double) -> None:
    token, bucket_id = token_of(b2), b2.bucket("the-cache")["bucketId"]  # type: ignore[index]

    @PATIENT
    @hypothesis.given(
        headers=st.dictionaries(
            st.sampled_from(
                ["X-Bz-File-Name", "X-Bz-Content-Sha1", "Content-Type", "Content-Length", "X-Bz-Info-x", "X-Bz-Info-%"]
            ),
            st.one_of(st.text(max_size=20), st.sampled_from(["%ff", "do_not_verify", "hex_digits_at_end", "-1", "9", "%00"])),
            max_size=4,
        ),
        body=st.binary(max_size=60),
    )  # fmt: skip
    def check(headers: dict[str, str], body: bytes) -> None:
        query = f"bucketId={bucket_id}"
        place = json.loads(ask(b2.app, "GET", "/b2api/v2/b2_get_upload_url", query, {"Authorization": token}, b"")[1])
        right = {
            "X-Bz-File-Name": "a",
            "X-Bz-Content-Sha1": "do_not_verify",
            "Authorization": place["authorizationToken"],
        }
        path = place["uploadUrl"].removeprefix("http://127.0.0.1")
        assert_native(ask(b2.app, "POST", path, "", {**right, **headers}, body))

    check()


# S3.


def assert_s3(answer: Answer, method: str) -> None:
    status, body = answer
    assert status < 500 or status == 501, body
    if status >= 400 and method != "HEAD":
        assert body.startswith(b"<?xml") and b"<Code>" in body


@pytest.fixture(scope="module")
def s3(b2: B2Double) -> S3Double:
    return S3Double(b2)


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Content-MD5", "Expect",
            "Content-Type", "Content-Encoding", "x-amz-acl", "x-amz-copy-source", "x-amz-copy-source-range",
            "x-amz-metadata-directive", "x-amz-meta-x", "x-amz-server-side-encryption", "x-amz-storage-class",
            "x-amz-bucket-object-lock-enabled", "x-amz-object-lock-mode", "x-amz-decoded-content-length", "Cookie",
        ]
    ),
    st.one_of(
        st.text(st.characters(max_codepoint=255, blacklist_categories=["Cc"]), max_size=20),
        st.sampled_from(
            [
                "bytes=0-", "bytes=-0", "bytes=9-1", "bytes=99999999999999999999-", "the-cache/a", "/the-cache/%ff",
                "the-cache/a?versionId=x", "nowhere/x", "*", "Thu, 01 Jan 1970 00:00:00 GMT",
                "Thu, 99 Jan 99999 00:00:00 GMT", "public-read", "aws:kms", "AAAA",
            ]
        ),
    ),
    max_size=4,
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "acl", "delete", "list-type", "location", "uploads", "uploadId", "partNumber", "versions", "versionId",
            "versioning", "prefix", "delimiter", "marker", "key-marker", "version-id-marker", "upload-id-marker",
            "max-keys", "max-parts", "max-uploads", "part-number-marker", "continuation-token", "start-after",
            "encoding-type", "fetch-owner", "tagging", "policy", "response-content-type", "x",
        ]
    ),
    st.one_of(st.sampled_from(["", "0", "1", "2", "-1", "9" * 30, "a/", "/", "url", "=", "%", "\xff", "YQ=="]), st.text(max_size=8)),
    max_size=3,
)  # fmt: skip
DOCUMENTS = [
    b"",
    b"<",
    b"\xff\xfe<a/>",
    b'<?xml version="1.0" encoding="nonsense"?><Delete/>',
    b"<Delete><Object><Key>a</Key></Object></Delete>",
    b"<Delete><Object><Key>a</Key><VersionId>x</VersionId></Object></Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber></Part></CompleteMultipartUpload>",
    b"<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>",
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>',
]


def test_signed_requests_of_s3(b2: B2Double, s3: S3Double) -> None:
    """Odd, but with a right signature, so that the operations themselves see it."""
    key = b2.add_key("wide", ALL)
    bucket = b2.bucket("the-cache")["bucketId"]  # type: ignore[index]
    b2.files.put(bucket, "a", b2.files.store([b"abc"]), {})
    b2.files.hide(bucket, "hidden")
    upload = b2.files.start(bucket, "a", {})
    seen = set()
    routes = [*S3_OPERATIONS, ("PATCH", "object", ""), ("POST", "service", ""), ("POST", "object", "select")]

    @hypothesis.settings(PATIENT, max_examples=600)
    @hypothesis.given(
        route=st.sampled_from(routes),
        bucket=st.sampled_from(["the-cache"] * 20 + ["nowhere", "UPPER", "a", "%20", "b2-x", ".."]),
        name=st.sampled_from(
            ["a"] * 9 + ["hidden", "missing", "%00", "%ff", "a%2Fb", "../x", "%C3%BC", "k" * 2000, "a//b"]
        ),
        query=QUERIES,
        headers=st.one_of(st.just({}), HEADERS),
        body=st.one_of(st.sampled_from(DOCUMENTS), st.binary(max_size=30)),
        upload_id=st.booleans(),
        sent=st.sampled_from([0] * 9 + [-1, 1]),
    )
    def check(
        route: tuple[str, str, str],
        bucket: str,
        name: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
        upload_id: bool,
        sent: int,
    ) -> None:
        method, kind, subresource = route
        query = {**({subresource: ""} if subresource else {}), **query}
        path = {"service": "/", "bucket": f"/{bucket}", "object": f"/{bucket}/{name}"}[kind]
        if upload_id and "uploadId" in query:
            query = {**query, "uploadId": upload.id}
        request = AWSRequest(method, f"http://127.0.0.1{path}", params=query, data=body, headers=headers)
        S3SigV4Auth(Credentials(key.id, key.secret), "s3", b2.region).add_auth(request)
        prepared = request.prepare()
        asked = prepared.url.partition("?")[2]
        given = {name: value if isinstance(value, str) else value.decode("latin-1") for name, value in prepared.headers.items()}  # fmt: skip
        given = {**given, "Host": "127.0.0.1", "Content-Length": str(max(len(body) + sent, 0))}
        answer = ask(s3.app, method, path, asked, given, body)
        assert_s3(answer, method)
        seen.add((route, answer[0] < 400))

    check()
    done = {route for route, success in seen if success}
    assert len(done) > len(S3_OPERATIONS) / 2, "too few requests get as far as their operation"


@PATIENT
@hypothesis.given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "BREW", "OPTIONS"]),
    path=st.one_of(st.text(max_size=12).map("/".__add__), st.sampled_from(["/the-cache/a", "/%", "/the-cache/%ff", "*"])),
    query=st.one_of(st.text(max_size=20), st.sampled_from(["X-Amz-Signature=x", "X-Amz-Signature=%ff&X-Amz-Expires=1"])),
    headers=st.dictionaries(
        st.sampled_from(["Authorization", "Host", "x-amz-date", "x-amz-content-sha256", "Content-Length"]),
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(
                [
                    "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request,SignedHeaders=host,Signature=x",
                    "AWS abc:def", "Bearer x", "20260101T000000Z", "-1", "1e3", "99999999999999999999", "STREAMING-X",
                ]
            ),
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_unsigned_and_wrongly_signed_requests_of_s3(
    s3: S3Double, method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    assert_s3(ask(s3.app, method, path, query, headers, b"x"), method)


@PATIENT
@hypothesis.given(
    changed=st.dictionaries(
        st.sampled_from(["X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]),
        st.one_of(st.text(max_size=20), st.sampled_from(["-1", "9" * 400, "20269999T000000Z", "a/b/c/d/e", ";;"])),
        max_size=3,
    )
)
def test_changed_presigned_requests(b2: B2Double, s3: S3Double, changed: dict[str, str]) -> None:
    key = b2.add_key("presigned", ALL)
    request = AWSRequest("GET", "http://127.0.0.1/the-cache/a")
    S3SigV4QueryAuth(Credentials(key.id, key.secret), "s3", b2.region, expires=60).add_auth(request)
    query = request.url.partition("?")[2]
    members = dict(pair.split("=", 1) for pair in query.split("&"))
    asked = "&".join(f"{name}={value}" for name, value in {**members, **changed}.items())
    del b2.keys[key.id]
    assert_s3(ask(s3.app, "GET", "/the-cache/a", asked, {"Host": "127.0.0.1"}, b""), "GET")
    b2.keys[key.id] = key
    assert_s3(ask(s3.app, "GET", "/the-cache/a", asked, {"Host": "127.0.0.1"}, b""), "GET")
    del b2.keys[key.id]


@pytest.mark.parametrize("path", ["/the-cache?website", "/the-cache?cors", "/the-cache/a?select", "/the-cache?policy"])
def test_operations_that_the_double_lacks_are_not_implemented(b2: B2Double, s3: S3Double, path: str) -> None:
    key = b2.add_key("wide", ALL)
    request = AWSRequest("GET", f"http://127.0.0.1{path}")
    S3SigV4Auth(Credentials(key.id, key.secret), "s3", b2.region).add_auth(request)
    headers = {**dict(request.headers), "Host": "127.0.0.1"}
    place, _, query = path.partition("?")
    status, body = ask(s3.app, "GET", place, query, headers, b"")
    assert (status, b"<Code>NotImplemented</Code>" in body) == (501, True)


# Memory.

BOUNDED = """
import io, resource, sys
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from lab.clouds.b2 import B2Double
from lab.clouds.s3 import S3Double
from tests.contract.test_b2_robust import ALL, ask

VERSIONS, SIZE, LARGE = 20_000, 5_000, 100_000_000
b2 = B2Double()
s3 = S3Double(b2)
key = b2.add_key("wide", ALL)
bucket = b2.create_bucket(key, {"bucketName": "the-cache", "bucketType": "allPrivate"})["bucketId"]


def send(method, path, query="", body=b"", stream=None, size=0):
    request = AWSRequest(method, f"http://127.0.0.1{path}?{query}" if query else f"http://127.0.0.1{path}", data=body)
    signer = S3SigV4QueryAuth if stream else S3SigV4Auth  # the hash of a stream is not known at its beginning
    signer(Credentials(key.id, key.secret), "s3", b2.region).add_auth(request)
    query = request.url.partition("?")[2] if stream else query
    headers = {**dict(request.headers), "Host": "127.0.0.1"}
    if stream:
        headers["Content-Length"] = str(size)
    status, text = ask(s3.app, method, path, query, headers, stream or body)
    assert status == 200, text
    return text


class Zeros(io.RawIOBase):
    def read(self, count=-1):
        return bytes(count)


send("GET", "/the-cache", "versions")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for n in range(VERSIONS):
    b2.files.put(bucket, f"chunk/{n % 100}", b2.files.store([bytes(SIZE)]), {})
send("PUT", "/the-cache/large", stream=Zeros(), size=LARGE)
assert sum(map(len, b2.files.read(b2.files.current(bucket, "large")))) == LARGE
seen, marker = 0, ""
while True:
    page = send("GET", "/the-cache", "versions" + marker).decode()
    seen += page.count("<Version>")
    if "<IsTruncated>false" in page:
        break
    name, version = (page.partition(f"<Next{what}>")[2].partition("<")[0] for what in ("KeyMarker", "VersionIdMarker"))
    marker = f"&key-marker={name.replace('/', '%2F')}&version-id-marker={version}"
assert seen == VERSIONS + 1, seen
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_is_bounded_however_much_is_stored() -> None:
    """20,000 versions, 100 MB of small files and one of 100 MB, written and listed; moto took 23 GB to list so many."""
    done = subprocess.run([sys.executable, "-c", BOUNDED], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100, f"the double grew by {done.stdout} MB"
