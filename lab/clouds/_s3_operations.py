# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the S3 double, once a request is admitted."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re
import typing as t
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

from werkzeug.http import http_date, parse_date
from werkzeug.wrappers import Response

from lab.clouds import _s3_xml as xml
from lab.clouds._b2_files import LAST, Body, Page, Position, Upload, Version, position_of
from lab.clouds._b2_rules import Refused
from lab.clouds._sigv4 import Denied
from lab.clouds.b2 import B2Double, Key

MAX_BODY = 5_000_000_000
MAX_DOCUMENT = 4_000_000
SMALLEST_PART = 5_000_000
OWNER = [("ID", "owner"), ("DisplayName", "")]
KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")
# Members of the query that select another operation.
SUBRESOURCES = re.compile(
    r"accelerate|acl|analytics|attributes|cors|delete|encryption|intelligent-tiering|inventory|legal-hold|lifecycle|"
    r"location|logging|metrics|notification|object-lock|ownershipControls|policy|policyStatus|publicAccessBlock|"
    r"replication|requestPayment|restore|retention|select|tagging|torrent|uploadId|uploads|versioning|versions|website"
)


@dataclasses.dataclass
class Request:
    b2: B2Double
    environ: dict[str, t.Any]
    method: str
    raw_path: str
    raw_query: str
    bucket: str
    name: str
    query: dict[str, str]
    headers: dict[str, str]
    subresource: str
    key: t.Any = None
    """The Key that signed; None for an anonymous request."""
    presigned: bool = False
    body_is_read: bool = False

    @property
    def kind(self) -> str:
        return "object" if self.name else "bucket" if self.bucket else "service"

    @property
    def bucket_id(self) -> str:
        return self.found()["bucketId"]

    def found(self) -> dict[str, t.Any]:
        with self.b2.lock:
            found = self.b2.bucket(self.bucket)
        if found is None:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist")
        return found

    # Rights.

    def need(self, capabilities: set[str]) -> None:
        if not capabilities <= set(self.key.capabilities):
            raise Denied(403, "AccessDenied", "not entitled")

    def reach(self, bucket: str, name: str | None) -> None:
        """Raises Denied unless the bucket exists and the key may use it, and this name in it."""
        key: Key = self.key
        with self.b2.lock:
            found = self.b2.bucket(bucket)
        if key.bucket_ids is not None and (found is None or found["bucketId"] not in key.bucket_ids):
            raise Denied(403, "AccessDenied", "not entitled")
        if name is not None and not name.startswith(key.name_prefix or ""):
            raise Denied(403, "AccessDenied", "not entitled")
        if found is None:
            raise Denied(404, "NoSuchBucket", "The specified bucket does not exist")

    # The body.

    def _length(self) -> int:
        text = self.headers.get("content-length", "")
        if not text:
            if "transfer-encoding" in self.headers:
                raise Denied(411, "MissingContentLength", "The Content-Length header is required")
            return 0
        if not re.fullmatch("[0-9]{1,15}", text):
            raise Denied(400, "InvalidArgument", "The Content-Length header is malformed")
        return int(text)

    def _read(self, limit: int) -> Iterator[bytes]:
        left = self._length()
        if left > limit:
            raise Denied(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        self.body_is_read = True
        while left:
            chunk = self.environ["wsgi.input"].read(min(left, 1 << 20))
            if not chunk:
                raise Denied(400, "IncompleteBody", "The request body ended too early")
            left -= len(chunk)
            yield chunk

    def store_body(self) -> Body:
        """Store the body, which must be the signed one."""
        body = self.b2.files.store(self._read(MAX_BODY))
        try:
            self._check(body.sha256, body.etag)
        except Denied:
            self.b2.files.forget(body.id)
            raise
        return body

    def document(self) -> bytes:
        """A small body, in memory."""
        data = b"".join(self._read(MAX_DOCUMENT))
        self._check(hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest())
        return data

    def drain(self) -> None:
        if not self.body_is_read:
            self.document()

    def _check(self, sha256: str, md5: str) -> None:
        declared = self.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if declared != "UNSIGNED-PAYLOAD" and declared != sha256:
            raise Denied(400, "XAmzContentSHA256Mismatch", "The body does not have the SHA-256 that was signed")
        if "content-md5" in self.headers:
            try:
                given = base64.b64decode(self.headers["content-md5"], validate=True)
            except (binascii.Error, ValueError):
                given = b""
            if len(given) != 16:
                raise Denied(400, "InvalidDigest", "The Content-MD5 you specified is not valid")
            if given.hex() != md5:
                raise Denied(400, "BadDigest", "The Content-MD5 you specified did not match what we received")

    # The query.

    def number(self, name: str, default: int, least: int, most: int) -> int:
        text = self.query.get(name) or str(default)
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text):
            raise Denied(400, "InvalidArgument", f"{name} must be a number of at least {least}")
        return min(int(text), most)


@dataclasses.dataclass(frozen=True)
class Operation:
    capabilities: set[str]
    handle: t.Callable[[Request], Response]


# Objects.


def get_object(request: Request) -> Response:
    version = _version(request)
    if version.action == "hide":
        hidden = "versionId" in request.query
        raise Denied(*((405, "MethodNotAllowed", "Hide markers have no content") if hidden else _no_such_key()))
    _check_conditions(request, version)
    headers = {**_described(version), "Accept-Ranges": "bytes"}
    for name in KEPT:
        if f"response-{name}" in request.query and request.key is not None:
            headers[name] = _plain(request.query[f"response-{name}"])
    start, size, status = 0, version.size, 200
    wanted = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("range", ""))
    if wanted and (wanted[1] or wanted[2]):
        start, size = _range(wanted[1], wanted[2], version.size)
        status = 206
        headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{version.size}"
    headers["Content-Length"] = str(size)
    content = () if request.method == "HEAD" else request.b2.files.read(version, start, size)
    return Response(content, status, headers)


def put_object(request: Request) -> Response:
    _check_acl(request)
    if "x-amz-copy-source" in request.headers:
        return _copy(request)
    info = _info(request)
    body = request.store_body()
    version = request.b2.files.put(request.bucket_id, request.name, body, info)
    return Response(b"", 200, {"ETag": f'"{version.etag}"', "x-amz-version-id": version.id})


def _copy(request: Request) -> Response:
    request.drain()
    source = _source(request)
    replace = request.headers.get("x-amz-metadata-directive", "COPY") == "REPLACE"
    files = request.b2.files
    body = files.store(files.read(source))
    made = files.put(request.bucket_id, request.name, body, _info(request) if replace else source.info)
    content = [("LastModified", xml.moment(made.created)), ("ETag", f'"{made.etag}"')]
    headers = {"x-amz-version-id": made.id, "x-amz-copy-source-version-id": source.id}
    return _document("CopyObjectResult", content, headers)


def delete_object(request: Request) -> Response:
    if "versionId" in request.query:
        request.need({"deleteFiles"})
        deleted = _delete(request, request.name, request.query["versionId"])
    else:
        request.need({"writeFiles"})
        deleted = _delete(request, request.name, None)
    headers = {"x-amz-version-id": deleted.id} if deleted else {}
    if deleted and deleted.action == "hide":
        headers["x-amz-delete-marker"] = "true"
    return Response(b"", 204, headers)


def _delete(request: Request, name: str, version_id: str | None) -> Version | None:
    """The version that was removed, or the hide marker that was added."""
    files = request.b2.files
    if version_id is None:
        return files.hide(request.bucket_id, name)
    version = files.find(version_id)
    if version is None or (version.bucket, version.name) != (request.bucket_id, name):
        return None
    files.remove(version)
    return version


def delete_objects(request: Request) -> Response:
    if "content-md5" not in request.headers:
        raise Denied(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
    asked = xml.parse(request.document(), "Delete")
    objects = asked.findall("Object")
    if not 1 <= len(objects) <= 1000 or any(not each.findtext("Key") for each in objects):
        raise xml.malformed()
    quiet = asked.findtext("Quiet") == "true"
    content = []
    for each in objects:
        name, version_id = each.findtext("Key", ""), each.findtext("VersionId")
        shown = [("Key", name), *([("VersionId", version_id)] if version_id else [])]
        try:
            request.need({"deleteFiles" if version_id else "writeFiles"})
            request.reach(request.bucket, name)
            deleted = _delete(request, name, version_id)
        except Denied as exc:
            content.append(("Error", [*shown, ("Code", exc.code), ("Message", str(exc))]))
            continue
        if not version_id and deleted:
            shown += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", deleted.id)]
        if not quiet:
            content.append(("Deleted", shown))
    return _document("DeleteResult", content)


def get_acl(request: Request) -> Response:
    public = request.found()["bucketType"] == "allPublic"
    grants = [("FULL_CONTROL", OWNER)]
    if public:
        grants.append(("READ", [("URI", "http://acs.amazonaws.com/groups/global/AllUsers")]))
    listed = [("Grant", [("Grantee", who), ("Permission", right)]) for right, who in grants]
    return _document("AccessControlPolicy", [("Owner", OWNER), ("AccessControlList", listed)])


def put_object_acl(request: Request) -> Response:
    """Succeeds only if it changes nothing, since the ACL is the bucket's."""
    _check_acl(request)
    request.drain()
    return Response(b"", 200)


# Large files.


def create_upload(request: Request) -> Response:
    _check_acl(request)
    request.drain()
    upload = request.b2.files.start(request.bucket_id, request.name, _info(request))
    return _document(
        "InitiateMultipartUploadResult", [("Bucket", request.bucket), ("Key", request.name), ("UploadId", upload.id)]
    )


def upload_part(request: Request) -> Response:
    upload = _upload(request)
    number = request.number("partNumber", 0, 1, 10**9)
    if number > 10_000:
        raise Denied(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    files = request.b2.files
    if "x-amz-copy-source" in request.headers:
        request.drain()
        source = _source(request)
        wanted = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})", request.headers.get("x-amz-copy-source-range", ""))
        start, size = _range(wanted[1], wanted[2], source.size) if wanted else (0, source.size)
        part = files.put_part(upload, number, files.store(files.read(source, start, size)))
        content = [("LastModified", xml.moment(part.created)), ("ETag", f'"{part.etag}"')]
        return _document("CopyPartResult", content)
    part = files.put_part(upload, number, request.store_body())
    return Response(b"", 200, {"ETag": f'"{part.etag}"'})


def complete_upload(request: Request) -> Response:
    upload, files = _upload(request), request.b2.files
    asked = [(each.findtext("PartNumber", ""), each.findtext("ETag", "").strip('"'))
             for each in xml.parse(request.document(), "CompleteMultipartUpload").findall("Part")]  # fmt: skip
    if not asked or any(not re.fullmatch("[0-9]{1,5}", number) for number, _ in asked):
        raise xml.malformed()
    numbers = [int(number) for number, _ in asked]
    if numbers != sorted(set(numbers)):
        raise Denied(400, "InvalidPartOrder", "The list of parts was not in ascending order")
    there = {part.number: part for part in files.parts(upload)}
    if any(number not in there or there[number].etag != tag for number, (_, tag) in zip(numbers, asked, strict=True)):
        raise Denied(400, "InvalidPart", "One or more of the specified parts could not be found")
    parts = [there[number] for number in numbers]
    if any(part.size < SMALLEST_PART for part in parts[:-1]):
        raise Denied(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    version = files.finish(upload, parts, f"{digest.hexdigest()}-{len(parts)}")
    content = [
        ("Location", f"{request.b2.s3_url}/{request.bucket}/{quote(request.name)}"),
        ("Bucket", request.bucket),
        ("Key", request.name),
        ("ETag", f'"{version.etag}"'),
    ]
    return _document("CompleteMultipartUploadResult", content, {"x-amz-version-id": version.id})


def abort_upload(request: Request) -> Response:
    request.b2.files.cancel(_upload(request))
    return Response(b"", 204)


def list_parts(request: Request) -> Response:
    upload = _upload(request)
    limit, after = request.number("max-parts", 1000, 0, 1000), request.number("part-number-marker", 0, 0, 10_000)
    parts = request.b2.files.parts(upload, after, limit + 1)
    shown = parts[:limit]
    content = [
        ("Bucket", request.bucket),
        ("Key", request.name),
        ("UploadId", upload.id),
        ("PartNumberMarker", after),
        ("NextPartNumberMarker", shown[-1].number if shown else 0),
        ("MaxParts", limit),
        ("IsTruncated", _flag(len(parts) > limit)),
    ]
    for part in shown:
        members = [("PartNumber", part.number), ("LastModified", xml.moment(part.created)), ("ETag", f'"{part.etag}"')]
        content.append(("Part", [*members, ("Size", part.size)]))
    return _document("ListPartsResult", content)


# Buckets.


def list_buckets(request: Request) -> Response:
    with request.b2.lock:
        names = sorted(bucket["bucketName"] for bucket in request.b2.buckets.values())
    listed = [("Bucket", [("Name", name), ("CreationDate", xml.moment(0))]) for name in names]
    return _document("ListAllMyBucketsResult", [("Owner", OWNER), ("Buckets", listed)])


def create_bucket(request: Request) -> Response:
    data = request.document()
    place = xml.parse(data, "CreateBucketConfiguration").findtext("LocationConstraint") if data else None
    if place not in (None, request.b2.region):
        raise Denied(400, "InvalidLocationConstraint", "The specified location-constraint is not valid")
    kinds = {"private": "allPrivate", "public-read": "allPublic"}
    acl = request.headers.get("x-amz-acl", "private")
    if acl not in kinds:
        raise Denied(400, "InvalidArgument", f"Unsupported value for canned acl '{acl}'")
    body: dict[str, t.Any] = {"bucketName": request.bucket, "bucketType": kinds[acl]}
    if request.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
        body["fileLockEnabled"] = True
    own = request.b2.bucket(request.bucket)
    _native(request, lambda: request.b2.create_bucket(request.key, body), "ByYou" if own else "")
    return Response(b"", 200, {"Location": f"/{request.bucket}"})


def delete_bucket(request: Request) -> Response:
    _native(request, lambda: request.b2.delete_bucket(request.key, {"bucketId": request.bucket_id}))
    return Response(b"", 204)


def put_bucket_acl(request: Request) -> Response:
    request.drain()
    kinds = {"private": "allPrivate", "public-read": "allPublic"}
    acl = request.headers.get("x-amz-acl", "")
    if acl not in kinds:
        raise Denied(400, "InvalidArgument", f"Unsupported value for canned acl '{acl}'")
    body = {"bucketId": request.bucket_id, "bucketType": kinds[acl]}
    _native(request, lambda: request.b2.update_bucket(request.key, body))
    return Response(b"", 200)


def _native(request: Request, act: t.Callable[[], t.Any], owner: str = "") -> None:
    """Do what the native API does too, and refuse in S3's words."""
    codes = {
        "duplicate_bucket_name": (409, f"BucketAlready{'Owned' if owner else 'Exists'}{owner}"),
        "cannot_delete_non_empty_bucket": (409, "BucketNotEmpty"),
        "too_many_buckets": (400, "TooManyBuckets"),
        "unauthorized": (403, "AccessDenied"),
        "bad_request": (400, "InvalidBucketName"),
    }
    try:
        with request.b2.lock:
            act()
    except Refused as exc:
        status, code = codes.get(exc.body["code"], (400, "InvalidRequest"))
        raise Denied(status, code, str(exc) or "not entitled") from None


def head_bucket(request: Request) -> Response:
    return Response(b"", 200, {"x-amz-bucket-region": request.b2.region})


def get_location(request: Request) -> Response:
    return _document("LocationConstraint", request.b2.region)


def get_versioning(request: Request) -> Response:
    return _document("VersioningConfiguration", [("Status", "Enabled")])


# Listings.


def list_objects(request: Request) -> Response:
    newer = request.query.get("list-type") == "2"
    token = request.query.get("continuation-token", "")
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    limit = request.number("max-keys", 1000, 0, 1000)
    if newer:
        marker = _from_token(token) if token else (request.query.get("start-after", "").encode(), 0)
    else:
        marker = _after(request.query.get("marker", ""), delimiter)
    page: Page[Version] = request.b2.files.names(request.bucket_id, prefix, delimiter, marker, limit) if limit else NONE
    show = _encoder(request)
    content = [("Name", request.bucket), ("Prefix", show(prefix)), ("MaxKeys", limit)]
    if newer:
        content += [("KeyCount", len(page.items) + len(page.folders)), ("StartAfter", show(request.query.get("start-after", "")))]  # fmt: skip
        content += [("ContinuationToken", token)] if token else []
        content += [("NextContinuationToken", _to_token(page.next))] if page.next else []
    else:
        content.append(("Marker", show(request.query.get("marker", ""))))
        content += [("NextMarker", show(_last(page)))] if page.next else []
    content += _common(request, page, show)
    owner = not newer or request.query.get("fetch-owner") == "true"
    for each in page.items:
        content.append(("Contents", _listed(each, show) + ([("Owner", OWNER)] if owner else [])))
    return _document("ListBucketResult", content)


def list_versions(request: Request) -> Response:
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    limit = request.number("max-keys", 1000, 0, 1000)
    marker = _marker(request, "version-id-marker")
    page: Page[Version] = request.b2.files.versions(request.bucket_id, prefix, delimiter, marker, limit) if limit else NONE  # fmt: skip
    show = _encoder(request)
    content = [
        ("Name", request.bucket),
        ("Prefix", show(prefix)),
        ("KeyMarker", show(request.query.get("key-marker", ""))),
        ("VersionIdMarker", request.query.get("version-id-marker", "")),
        ("MaxKeys", limit),
        *_common(request, page, show),
    ]
    if page.next:
        content.append(("NextKeyMarker", show(_last(page))))
        if page.next[1]:
            content.append(("NextVersionIdMarker", page.items[-1].id))
    for each in page.items:
        known = [("VersionId", each.id), ("IsLatest", _flag(each.latest)), ("Owner", OWNER)]
        if each.action == "hide":
            moment = ("LastModified", xml.moment(each.created))
            content.append(("DeleteMarker", [("Key", show(each.name)), moment, *known]))
        else:
            content.append(("Version", [*_listed(each, show), *known]))
    return _document("ListVersionsResult", content)


def list_uploads(request: Request) -> Response:
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    limit = request.number("max-uploads", 1000, 0, 1000)
    marker = _marker(request, "upload-id-marker")
    page: Page[Upload] = request.b2.files.uploads(request.bucket_id, prefix, delimiter, marker, limit) if limit else NONE  # fmt: skip
    show = _encoder(request)
    content = [
        ("Bucket", request.bucket),
        ("Prefix", show(prefix)),
        ("KeyMarker", show(request.query.get("key-marker", ""))),
        ("UploadIdMarker", request.query.get("upload-id-marker", "")),
        ("MaxUploads", limit),
        *_common(request, page, show),
    ]
    if page.next:
        content.append(("NextKeyMarker", show(_last(page))))
        content.append(("NextUploadIdMarker", page.items[-1].id if page.next[1] else ""))
    for each in page.items:
        known = [("Key", show(each.name)), ("UploadId", each.id), ("Initiator", OWNER), ("Owner", OWNER)]
        content.append(("Upload", [*known, ("StorageClass", "STANDARD"), ("Initiated", xml.moment(each.created))]))
    return _document("ListMultipartUploadsResult", content)


NONE: Page[t.Any] = Page([], [], None)


def _common(request: Request, page: Page[t.Any], show: t.Callable[[str], str]) -> list[tuple[str, t.Any]]:
    delimiter = request.query.get("delimiter", "")
    content: list[tuple[str, t.Any]] = [("IsTruncated", _flag(page.next is not None))]
    content += [("Delimiter", show(delimiter))] if delimiter else []
    content += [("EncodingType", "url")] if request.query.get("encoding-type") == "url" else []
    return content + [("CommonPrefixes", [("Prefix", show(each))]) for each in page.folders]


def _listed(version: Version, show: t.Callable[[str], str]) -> list[tuple[str, t.Any]]:
    return [
        ("Key", show(version.name)),
        ("LastModified", xml.moment(version.created)),
        ("ETag", f'"{version.etag}"'),
        ("Size", version.size),
        ("StorageClass", "STANDARD"),
    ]


def _encoder(request: Request) -> t.Callable[[str], str]:
    kind = request.query.get("encoding-type", "")
    if kind not in ("", "url"):
        raise Denied(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
    return (lambda text: quote(text, safe="/")) if kind else lambda text: text


def _last(page: Page[t.Any]) -> str:
    """The last name of a page, or the last common prefix if that comes later."""
    return max([page.folders[-1:], [each.name for each in page.items[-1:]]])[0]


def _after(marker: str, delimiter: str) -> Position:
    """A common prefix as a marker stands for all names that begin so."""
    folder = delimiter and marker.endswith(delimiter)
    return marker.encode() + (LAST if folder else b""), 0


def _marker(request: Request, member: str) -> Position:
    name, file_id = request.query.get("key-marker", ""), request.query.get(member, "")
    if not file_id:
        return _after(name, request.query.get("delimiter", ""))
    position = position_of(name, file_id)
    if position is None or not name:
        raise Denied(400, "InvalidArgument", f"Invalid {member}")
    return position


def _to_token(position: Position) -> str:
    return base64.urlsafe_b64encode(position[0]).decode() or "="


def _from_token(token: str) -> Position:
    try:
        return base64.b64decode(token, b"-_", validate=True), 0
    except (binascii.Error, ValueError):
        raise Denied(400, "InvalidArgument", "The continuation token provided is incorrect") from None


# What several operations need.


def _document(root: str, content: t.Any, headers: t.Mapping[str, str] | None = None) -> Response:
    return Response(xml.document(root, content), 200, headers, content_type="application/xml")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _plain(text: str) -> str:
    """Text as a header can have it."""
    return re.sub("[^\x20-\x7e]", "?", text)


def _no_such_key() -> tuple[int, str, str]:
    return 404, "NoSuchKey", "Key not found"


def _version(request: Request) -> Version:
    return _find(request, request.bucket_id, request.name, request.query.get("versionId"))


def _find(request: Request, bucket_id: str, name: str, version_id: str | None) -> Version:
    if version_id is None:
        version = request.b2.files.current(bucket_id, name)
        if version is None:
            raise Denied(*_no_such_key())
        return version
    version = request.b2.files.find(version_id)
    if version is None or (version.bucket, version.name) != (bucket_id, name):
        raise Denied(404, "NoSuchVersion", "The specified version does not exist")
    return version


def _source(request: Request) -> Version:
    path, _, query = request.headers["x-amz-copy-source"].partition("?")
    try:
        bucket, _, name = unquote_to_bytes(path.encode("latin-1")).decode().removeprefix("/").partition("/")
    except ValueError:
        raise Denied(400, "InvalidArgument", "Copy Source must mention the source bucket and key") from None
    if not bucket or not name:
        raise Denied(400, "InvalidArgument", "Copy Source must mention the source bucket and key")
    request.need({"readFiles"})
    request.reach(bucket, name)
    found = request.b2.bucket(bucket)
    version_id = query.removeprefix("versionId=") if query.startswith("versionId=") else None
    version = _find(request, found["bucketId"] if found else "", name, version_id)
    if version.action == "hide":
        raise Denied(*_no_such_key())
    return version


def _upload(request: Request) -> Upload:
    upload = request.b2.files.upload(request.query.get("uploadId", ""))
    if upload is None or (upload.bucket, upload.name) != (request.bucket_id, request.name):
        raise Denied(404, "NoSuchUpload", "The specified multipart upload does not exist")
    return upload


def _info(request: Request) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name in KEPT or name.startswith("x-amz-meta-")}
    return {"content-type": "application/octet-stream", **kept}


def _described(version: Version) -> dict[str, str]:
    return {
        **version.info,
        "ETag": f'"{version.etag}"',
        "Last-Modified": http_date(version.created),
        "x-amz-version-id": version.id,
    }


def _check_acl(request: Request) -> None:
    """Only the bucket has an ACL; that of an object must be the same."""
    own = "public-read" if request.found()["bucketType"] == "allPublic" else "private"
    acl = request.headers.get("x-amz-acl", own)
    if acl != own:
        raise Denied(400, "InvalidArgument", f"Unsupported value for canned acl '{acl}'")


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """Start and length of what a Range header asks for."""
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise Denied(416, "InvalidRange", "The requested range is not satisfiable")
    return start, end - start


def _check_conditions(request: Request, version: Version) -> None:
    headers, tags = request.headers, (f'"{version.etag}"', version.etag, "*")
    changed = http_date(version.created)
    since, until = (parse_date(headers.get(name)) for name in ("if-modified-since", "if-unmodified-since"))
    if ("if-match" in headers and headers["if-match"] not in tags) or (
        "if-match" not in headers and until and (parse_date(changed) or until) > until
    ):
        raise Denied(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold")
    if headers.get("if-none-match") in tags or (
        "if-none-match" not in headers and since and (parse_date(changed) or since) <= since
    ):
        raise Denied(304, "NotModified", "Not Modified")


OPERATIONS: dict[tuple[str, str, str], Operation] = {
    ("GET", "object", ""): Operation({"readFiles"}, get_object),
    ("HEAD", "object", ""): Operation({"readFiles"}, get_object),
    ("PUT", "object", ""): Operation({"writeFiles"}, put_object),
    ("DELETE", "object", ""): Operation(set(), delete_object),
    ("GET", "object", "acl"): Operation({"readFiles"}, get_acl),
    ("PUT", "object", "acl"): Operation({"writeFiles"}, put_object_acl),
    ("POST", "object", "uploads"): Operation({"writeFiles"}, create_upload),
    ("PUT", "object", "uploadId"): Operation({"writeFiles"}, upload_part),
    ("POST", "object", "uploadId"): Operation({"writeFiles"}, complete_upload),
    ("DELETE", "object", "uploadId"): Operation({"writeFiles"}, abort_upload),
    ("GET", "object", "uploadId"): Operation({"writeFiles"}, list_parts),
    ("GET", "service", ""): Operation({"listBuckets"}, list_buckets),
    ("PUT", "bucket", ""): Operation({"writeBuckets"}, create_bucket),
    ("DELETE", "bucket", ""): Operation({"deleteBuckets"}, delete_bucket),
    ("HEAD", "bucket", ""): Operation({"listBuckets"}, head_bucket),
    ("GET", "bucket", "location"): Operation({"listBuckets"}, get_location),
    ("GET", "bucket", "versioning"): Operation({"listBuckets"}, get_versioning),
    ("GET", "bucket", "acl"): Operation({"listBuckets"}, get_acl),
    ("PUT", "bucket", "acl"): Operation({"writeBuckets"}, put_bucket_acl),
    ("GET", "bucket", ""): Operation({"listFiles"}, list_objects),
    ("GET", "bucket", "versions"): Operation({"listFiles"}, list_versions),
    ("GET", "bucket", "uploads"): Operation({"listFiles"}, list_uploads),
    ("POST", "bucket", "delete"): Operation({"writeFiles"}, delete_objects),
}
