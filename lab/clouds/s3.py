# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 side of the B2 double: moto stores the files, this file refuses what B2 would refuse.

moto checks no credentials, accepts every checksum and lets anybody create buckets. Here a request reaches moto only with
a Signature V4 of an application key that exists in the B2 double, for an operation and a bucket that this key may use.
The bucket is named in the path (http://address:port/bucket/key) or, as B2 allows too, before the host of the S3
address (http://bucket.s3.region.example:port/key). moto's state is one per process, so is this double.
"""

from __future__ import annotations

import hashlib
import io
import re
import typing as t
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app

from lab.clouds._control import Control
from lab.clouds._sigv4 import Claim, Denied, check, read_claim
from lab.clouds.b2 import B2Double, Key

MOTO_ACCOUNT = "123456789012"

# (method, is it about an object, what the query asks for) → capabilities. What is not listed is not implemented.
RIGHTS: dict[tuple[str, bool, str], set[str]] = {
    ("GET", True, ""): {"readFiles"},
    ("HEAD", True, ""): {"readFiles"},
    ("PUT", True, ""): {"writeFiles"},
    ("PUT", True, "uploadId"): {"writeFiles"},
    ("POST", True, "uploads"): {"writeFiles"},
    ("POST", True, "uploadId"): {"writeFiles"},
    ("DELETE", True, "uploadId"): {"writeFiles"},
    ("GET", True, "uploadId"): {"writeFiles"},
    ("DELETE", True, ""): {"writeFiles"},  # adds a hide marker
    ("DELETE", True, "versionId"): {"deleteFiles"},  # removes for good
    ("GET", False, ""): {"listFiles"},
    ("GET", False, "versions"): {"listFiles"},
    ("GET", False, "uploads"): {"listFiles"},
    ("HEAD", False, ""): {"listBuckets"},
    ("GET", False, "location"): {"listBuckets"},
    ("GET", False, "versioning"): {"listBuckets"},
}
# Members of the query that select another operation; versionId does so only for DELETE.
SUBRESOURCES = re.compile(
    r"accelerate|acl|analytics|cors|delete|encryption|intelligent-tiering|inventory|legal-hold|lifecycle|location|"
    r"logging|metrics|notification|object-lock|ownershipControls|policy|policyStatus|publicAccessBlock|replication|"
    r"requestPayment|restore|retention|select|tagging|torrent|uploadId|uploads|versioning|versions|website|attributes"
)


class S3Double:
    def __init__(self, b2: B2Double) -> None:
        self.b2 = b2
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.files = s3_backends[MOTO_ACCOUNT]["aws"]
        self.files.reset()
        for bucket in b2.buckets.values():
            self.create(bucket["bucketName"])
        b2.storage = self
        self.app = Control(self._guarded)

    # The storage of the B2 double.

    def create(self, bucket: str) -> None:
        # moto knows the regions of AWS alone; nobody sees this one, B2's own comes from the B2 double.
        self.files.create_bucket(bucket, "us-east-1")
        self.files.put_bucket_versioning(bucket, "Enabled")

    def is_empty(self, bucket: str) -> bool:
        found = self.files.get_bucket(bucket)
        return not found.keys and not found.multiparts

    def delete(self, bucket: str) -> None:
        self.files.delete_bucket(bucket)

    # HTTP.

    def _guarded(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> Iterable[bytes]:
        try:
            self._admit(environ)
        except Denied as exc:
            return _error(environ, start_response, exc)
        return self.moto(environ, start_response)

    def _admit(self, environ: dict[str, t.Any]) -> None:
        method = environ["REQUEST_METHOD"]
        raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"]
        path, query = raw.partition("?")[0], environ.get("QUERY_STRING", "")
        headers = _headers(environ)
        own = self._bucket_of_host(headers.get("host", ""))
        inside = f"/{own}{path}" if own else path
        bucket, _, name = unquote(inside).lstrip("/").partition("/")
        claim = read_claim(headers, query)
        if claim is None:
            self._admit_anonymous(method, bucket, name, query)
        else:
            key = self._key(claim)
            check(claim, key.secret, self.b2.region, method, path, query, headers)
            _take_body(environ, headers)
            self._authorise(key, method, bucket, name, query, headers)
        # moto finds account and service in these; the sender's own are checked and no longer needed.
        environ["HTTP_AUTHORIZATION"] = "AWS4-HMAC-SHA256 Credential=lab/20260101/us-east-1/s3/aws4_request"
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = MOTO_ACCOUNT
        environ["HTTP_HOST"] = "127.0.0.1"
        if own:
            # moto is asked in the path style alone.
            environ["PATH_INFO"] = f"/{own}{environ['PATH_INFO']}"
            environ["RAW_URI"] = environ["REQUEST_URI"] = inside + (f"?{query}" if query else "")

    def _bucket_of_host(self, host: str) -> str:
        """The name before the host of the S3 address; empty in the path style."""
        base = urlsplit(self.b2.s3_url).hostname or ""
        name = host.partition(":")[0].lower()
        return name.removesuffix(f".{base}") if name.endswith(f".{base}") else ""

    def _key(self, claim: Claim) -> Key:
        with self.b2.lock:
            key = self.b2.keys.get(claim.key_id)
        if key is None or key.master or key.expired:
            raise Denied(403, "InvalidAccessKeyId", "The key is not valid")
        return key

    def _admit_anonymous(self, method: str, bucket: str, name: str, query: str) -> None:
        found = self.b2.bucket(bucket)
        public = found is not None and found["bucketType"] == "allPublic"
        if not (public and name and method in ("GET", "HEAD") and not _subresource(method, query)):
            raise Denied(403, "AccessDenied", "Unauthenticated requests are not allowed for this api")

    def _authorise(
        self, key: Key, method: str, bucket: str, name: str, query: str, headers: t.Mapping[str, str]
    ) -> None:
        if not bucket:
            if method != "GET":
                raise Denied(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
            # A restricted key with the capability to list all names gets all of them.
            _need(key, {"listAllBucketNames"} if key.bucket_ids is not None else {"listBuckets"})
            return
        subresource = _subresource(method, query)
        needed = RIGHTS.get((method, bool(name), subresource))
        if needed is None:
            raise Denied(501, "NotImplemented", f"{method} {subresource or 'bucket'} is not implemented here")
        needed = set(needed)
        source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("?")[0]
        if source:
            needed |= {"readFiles"}
        _need(key, needed)
        self._reach(key, bucket, name if name else dict(parse_qsl(query)).get("prefix", ""))
        if source:
            self._reach(key, source.partition("/")[0], source.partition("/")[2])

    def _reach(self, key: Key, bucket: str, name: str) -> None:
        """Raises Denied unless the bucket exists and the key may use this name in it."""
        with self.b2.lock:
            found = self.b2.bucket(bucket)
        if key.bucket_ids is not None and (found is None or found["bucketId"] not in key.bucket_ids):
            raise Denied(403, "AccessDenied", "not entitled")
        if not name.startswith(key.name_prefix or ""):
            raise Denied(403, "AccessDenied", "not entitled")
        if found is None:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist")


def _need(key: Key, capabilities: set[str]) -> None:
    if not capabilities <= set(key.capabilities):
        raise Denied(403, "AccessDenied", "not entitled")


def _subresource(method: str, query: str) -> str:
    members = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    for name in members:
        if SUBRESOURCES.fullmatch(name):
            return name
    return "versionId" if method == "DELETE" and "versionId" in members else ""


def _headers(environ: t.Mapping[str, t.Any]) -> dict[str, str]:
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return headers


def _take_body(environ: dict[str, t.Any], headers: t.Mapping[str, str]) -> None:
    """The body must be the signed one, and plain: B2 does not support chunks with checksum trailers."""
    declared = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    if declared.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", ""):
        raise Denied(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    if "content-length" not in headers:
        if environ["REQUEST_METHOD"] in ("PUT", "POST") and "transfer-encoding" in headers:
            raise Denied(411, "MissingContentLength", "The Content-Length header is required")
        return
    body = environ["wsgi.input"].read(int(headers["content-length"]))
    environ["wsgi.input"] = io.BytesIO(body)
    if declared != "UNSIGNED-PAYLOAD" and declared != hashlib.sha256(body).hexdigest():
        raise Denied(400, "XAmzContentSHA256Mismatch", "The body does not have the SHA-256 that was signed")


def _error(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any], exc: Denied) -> list[bytes]:
    xml = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f"<Error><Code>{exc.code}</Code><Message>{escape(str(exc))}</Message></Error>"
    )
    data = b"" if environ["REQUEST_METHOD"] == "HEAD" else xml.encode()
    # The rest of an unread body would be taken for the next request.
    start_response(
        f"{exc.status} .",
        [("Content-Type", "application/xml"), ("Content-Length", str(len(data))), ("Connection", "close")],
    )
    return [data]
