# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 side of the B2 double: it admits a request and hands it to an operation (_s3_operations.py).

A request needs a Signature V4 of an application key that exists in the B2 double, for an operation and a bucket that this
key may use, and no header that B2 refuses. The bucket is named in the path (http://address:port/bucket/key) or, as B2
allows too, before the host of the S3 address (http://bucket.s3.region.example:port/key).

What B2 offers and refuses: https://www.backblaze.com/docs/cloud-storage-s3-compatible-api
"""

from __future__ import annotations

import re
import secrets
import typing as t
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from werkzeug.wrappers import Response

from lab.clouds import _s3_xml as xml
from lab.clouds._control import Control
from lab.clouds._s3_operations import OPERATIONS, SUBRESOURCES, Request
from lab.clouds._sigv4 import Claim, Denied, check, read_claim
from lab.clouds.b2 import B2Double, Key

# Headers of S3 that B2 does not have. Clients of AWS send the first ones by default.
UNSUPPORTED = re.compile(
    r"x-amz-checksum-.*|x-amz-sdk-checksum-algorithm|x-amz-trailer|x-amz-grant-.*|x-amz-tagging|x-amz-request-payer|"
    r"x-amz-website-redirect-location|x-amz-server-side-encryption-(aws-kms-key-id|context|bucket-key-enabled)"
)
# What the double lacks, though B2 may have it, and what B2 lacks.
NOT_IMPLEMENTED = re.compile(
    r"x-amz-server-side-encryption-customer-.*|x-amz-copy-source-server-side-encryption-.*|x-amz-object-lock-.*|"
    r"x-amz-bypass-governance-retention|x-amz-copy-source-if-.*"
)


class S3Double:
    def __init__(self, b2: B2Double) -> None:
        self.b2 = b2
        self.app = Control(self._serve)

    def _serve(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> Iterable[bytes]:
        try:
            response = self._answer(environ)
        except Denied as exc:
            response = Response(xml.error(exc.code, str(exc)), exc.status, content_type="application/xml")
            # The rest of an unread body would be taken for the next request.
            response.headers["Connection"] = "close"
        response.headers["x-amz-request-id"] = secrets.token_hex(8)
        return response(environ, start_response)

    def _answer(self, environ: dict[str, t.Any]) -> Response:
        request = self._read(environ)
        claim = read_claim(request.headers, request.raw_query)
        if claim is None:
            self._admit_anonymous(request)
        else:
            key = self._key(claim)
            check(
                claim,
                key.secret,
                self.b2.region,
                request.method,
                request.raw_path,
                request.raw_query,
                dict(request.headers),
            )
            request.presigned = claim.presigned_seconds is not None
            request.key = key
        _check_headers(request)
        operation = OPERATIONS.get((request.method, request.kind, request.subresource))
        if operation is None:
            if request.kind == "service":
                raise Denied(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
            wanted = f"{request.method} {request.subresource or request.kind}"
            raise Denied(501, "NotImplemented", f"{wanted} is not implemented here")
        if request.key is not None:
            self._authorise(request, operation.capabilities)
        if request.method not in ("PUT", "POST"):
            request.drain()
        return operation.handle(request)

    def _read(self, environ: dict[str, t.Any]) -> Request:
        target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"]
        raw = target.decode("latin-1") if isinstance(target, bytes) else target
        path, query = raw.partition("?")[0], environ.get("QUERY_STRING", "")
        headers = _headers(environ)
        own = self._bucket_of_host(headers.get("host", ""))
        try:
            inside = unquote_to_bytes(f"/{own}{path}" if own else path).decode()
            members = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
        except ValueError:  # not UTF-8, or far too many members
            raise Denied(400, "InvalidURI", "Couldn't parse the specified URI") from None
        bucket, _, name = inside.removeprefix("/").partition("/")
        return Request(
            self.b2, environ, environ["REQUEST_METHOD"], path, query, bucket, name, members, headers, _first(members)
        )

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

    def _admit_anonymous(self, request: Request) -> None:
        found = self.b2.bucket(request.bucket)
        public = found is not None and found["bucketType"] == "allPublic"
        if not (public and request.name and request.method in ("GET", "HEAD") and not request.subresource):
            raise Denied(403, "AccessDenied", "Unauthenticated requests are not allowed for this api")

    def _authorise(self, request: Request, capabilities: set[str]) -> None:
        if request.kind == "service" and request.key.bucket_ids is not None:
            # A restricted key with the capability to list all names gets all of them.
            capabilities = {"listAllBucketNames"}
        request.need(capabilities)
        if request.kind == "service" or (request.kind, request.method, request.subresource) == ("bucket", "PUT", ""):
            return
        prefix = request.query.get("prefix", "") if capabilities == {"listFiles"} else None
        request.reach(request.bucket, request.name if request.kind == "object" and not prefix else prefix)


def _first(members: t.Mapping[str, str]) -> str:
    return next((name for name in members if SUBRESOURCES.fullmatch(name)), "")


def _headers(environ: t.Mapping[str, t.Any]) -> dict[str, str]:
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return headers


def _check_headers(request: Request) -> None:
    headers = request.headers
    hash_of_body = headers.get("x-amz-content-sha256", "")
    if hash_of_body.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", ""):
        raise Denied(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    conditional = request.method in ("PUT", "POST") and headers.keys() & {"if-match", "if-none-match"}
    if conditional or any(NOT_IMPLEMENTED.fullmatch(name) for name in headers):
        raise Denied(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    for name in headers:
        if UNSUPPORTED.fullmatch(name):
            raise Denied(400, "InvalidArgument", f"Unsupported header '{name}' received for this API call.")
    encryption = headers.get("x-amz-server-side-encryption", "AES256")
    if encryption != "AES256":
        raise Denied(400, "InvalidArgument", f"Unsupported value for server-side encryption '{encryption}'")
    if headers.get("x-amz-storage-class", "STANDARD") != "STANDARD":
        raise Denied(400, "InvalidStorageClass", "The storage class you specified is not valid")
    if request.name and len(request.name.encode()) > 1024:
        raise Denied(400, "KeyTooLongError", "Your key is too long")
    if any(each < " " or each == "\x7f" for each in request.name):
        raise Denied(400, "InvalidArgument", "File names must not contain control characters")
