# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of B2's native API that concern files. Large files are uploaded through S3 only."""

from __future__ import annotations

import re
import secrets
import typing as t
from urllib.parse import quote, unquote_to_bytes

from flask import Response, g, request

from lab.clouds._b2_files import PIECE, Body, Position, Upload, Version, position_of
from lab.clouds._b2_rules import Refused, bad_request

if t.TYPE_CHECKING:
    from lab.clouds.b2 import B2Double, Key

Json = dict[str, t.Any]
META = "x-amz-meta-"
MAX_FILE = 5_000_000_000


def file_name(name: str) -> str:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise bad_request("File names must be UTF-8") from None
    if not 1 <= size <= 1024:
        raise bad_request("File names must be between 1 and 1024 bytes")
    if any(each < " " or each == "\x7f" for each in name):
        raise bad_request("File names must not contain control characters")
    return name


# Uploads.


def get_upload_url(b2: B2Double, key: Key, body: Json) -> Json:
    bucket = b2.bucket_of(key, body)
    token = secrets.token_urlsafe(32)
    if len(b2.upload_tokens) >= 1000:
        del b2.upload_tokens[next(iter(b2.upload_tokens))]
    b2.upload_tokens[token] = (bucket["bucketId"], key)
    url = f"{request.host_url}b2api/v4/b2_upload_file/{bucket['bucketId']}/{secrets.token_hex(8)}"
    return {"bucketId": bucket["bucketId"], "uploadUrl": url, "authorizationToken": token}


def upload(b2: B2Double, bucket_id: str) -> Json:
    headers = request.headers
    allowed, key = b2.upload_tokens.get(headers.get("Authorization", ""), ("", None))
    if key is None or allowed != bucket_id or bucket_id not in b2.buckets:
        raise Refused(401, "bad_auth_token", "Invalid authorization token")
    name = file_name(_decoded(headers.get("X-Bz-File-Name", "")))
    b2.check_name(key, name)
    sha1 = headers.get("X-Bz-Content-Sha1", "")
    at_end = sha1 == "hex_digits_at_end"
    if not at_end and sha1 != "do_not_verify" and not re.fullmatch("(unverified:)?[0-9a-f]{40}", sha1):
        raise bad_request("Invalid X-Bz-Content-Sha1")
    info = {"content-type": headers.get("Content-Type", "application/octet-stream")}
    if info["content-type"] == "b2/x-auto":
        info["content-type"] = "application/octet-stream"
    for header, value in headers.items():
        if header.lower().startswith("x-bz-info-"):
            info[META + header[len("x-bz-info-") :].lower()] = quote(_decoded(value))
    stored, end = _store(b2, 40 if at_end else 0)
    expected = end.decode("latin-1") if at_end else sha1
    if re.fullmatch("[0-9a-f]{40}", expected or "x") and expected != stored.sha1 or (at_end and len(end) != 40):
        b2.files.forget(stored.id)
        raise bad_request("Sha1 did not match data received")
    return shown(b2, b2.files.put(bucket_id, name, stored, info))


def _store(b2: B2Double, tail: int) -> tuple[Body, bytes]:
    """Store the body of the request but its last bytes, and return those."""
    length = request.content_length
    if length is None or length < tail:
        raise Refused(411, "bad_request", "Content-Length is missing or too small")
    if length > MAX_FILE:
        raise bad_request("The file is too large")
    stream = request.environ["wsgi.input"]

    def chunks() -> t.Iterator[bytes]:
        left = length - tail
        while left:
            chunk = stream.read(min(left, PIECE))
            if not chunk:
                raise bad_request("The body ended too early")
            left -= len(chunk)
            yield chunk

    return b2.files.store(chunks()), stream.read(tail) if tail else b""


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode()
    except ValueError:
        raise bad_request("A header is not percent-encoded UTF-8") from None


# Downloads.


def download(b2: B2Double, version: Version | None) -> Response:
    if version is None or version.action == "hide":
        raise Refused(404, "not_found", "File not present")
    status, start, size = 200, 0, version.size
    headers = {
        "Content-Type": version.info.get("content-type", "application/octet-stream"),
        "X-Bz-File-Id": version.id,
        "X-Bz-File-Name": quote(version.name),
        "X-Bz-Content-Sha1": version.sha1,
        "X-Bz-Upload-Timestamp": str(int(version.created * 1000)),
        "Accept-Ranges": "bytes",
        **{f"X-Bz-Info-{name}": quote(value) for name, value in _info(version).items()},
    }
    wanted = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", request.headers.get("Range", ""))
    if wanted:
        start = int(wanted[1])
        size = (min(int(wanted[2]) + 1, version.size) if wanted[2] else version.size) - start
        if size <= 0:
            raise Refused(416, "range_not_satisfiable", "The Range in the request is outside the size of the file")
        status, headers["Content-Range"] = 206, f"bytes {start}-{start + size - 1}/{version.size}"
    headers["Content-Length"] = str(size)
    content = () if request.method == "HEAD" else b2.files.read(version, start, size)
    return Response(content, status, headers)


# Versions.


def list_file_names(b2: B2Double, key: Key, body: Json) -> Json:
    answer = _list(b2, key, body, b2.files.names, (_before(body.get("startFileName", "")), 0))
    del answer["nextFileId"]
    return answer


def list_file_versions(b2: B2Double, key: Key, body: Json) -> Json:
    start, file_id = body.get("startFileName", ""), body.get("startFileId", "")
    position = (_before(start), 0)
    if file_id:
        found = position_of(start, file_id)
        if found is None or not start:
            raise bad_request("startFileId needs a startFileName and must be the id of a file")
        position = (found[0], found[1] + 1)
    return _list(b2, key, body, b2.files.versions, position)


def _list(b2: B2Double, key: Key, body: Json, listing: t.Any, position: Position) -> Json:
    bucket = b2.bucket_of(key, body)["bucketId"]
    prefix, delimiter = body.get("prefix", ""), body.get("delimiter", "")
    b2.check_name(key, prefix)
    page = listing(bucket, prefix, delimiter, position, b2.count(body, "maxFileCount", 100, 10_000))
    files = [shown(b2, each) for each in page.items]
    files += [{**_common(b2, "folder", name), "fileId": None, "contentLength": 0} for name in page.folders]
    if g.version == 1:
        files = [{**file, "size": file["contentLength"]} for file in files]  # its name there
    answer = {
        "files": sorted(files, key=lambda file: file["fileName"].encode()),
        "nextFileName": None,
        "nextFileId": None,
    }
    if page.next is not None:
        # A page names the first file of the next one.
        after = listing(bucket, prefix, delimiter, page.next, 1)
        answer["nextFileName"] = after.items[0].name if after.items else after.folders[0]
        answer["nextFileId"] = after.items[0].id if after.items else None
    return answer


def hide_file(b2: B2Double, key: Key, body: Json) -> Json:
    bucket = b2.bucket_of(key, body)["bucketId"]
    name = file_name(body["fileName"])
    b2.check_name(key, name)
    found = b2.files.current(bucket, name)
    if found is None:
        raise Refused(400, "no_such_file", f"File not present: {name}")
    if found.action == "hide":
        raise Refused(400, "already_hidden", f"File already hidden: {name}")
    return shown(b2, b2.files.hide(bucket, name))


def delete_file_version(b2: B2Double, key: Key, body: Json) -> Json:
    version = _version(b2, key, body["fileId"])
    if version is None or version.name != body["fileName"]:
        raise Refused(400, "file_not_present", f"File not present: {body['fileName']} {body['fileId']}")
    b2.files.remove(version)
    return {"fileId": version.id, "fileName": version.name}


def get_file_info(b2: B2Double, key: Key, body: Json) -> Json:
    version = _version(b2, key, body["fileId"])
    if version is None:
        raise Refused(404, "not_found", f"File not present: {body['fileId']}")
    return shown(b2, version)


def list_unfinished_large_files(b2: B2Double, key: Key, body: Json) -> Json:
    bucket = b2.bucket_of(key, body)["bucketId"]
    prefix = body.get("namePrefix", "")
    page = b2.files.uploads(bucket, prefix, "", (b"", 0), b2.count(body, "maxFileCount", 100, 100))
    return {"files": [_unfinished(b2, each) for each in page.items], "nextFileId": None}


def cancel_large_file(b2: B2Double, key: Key, body: Json) -> Json:
    found = b2.files.upload(body["fileId"])
    if found is None:
        raise bad_request(f"No active upload for: {body['fileId']}")
    b2.bucket_of(key, {"bucketId": found.bucket})
    b2.check_name(key, found.name)
    b2.files.cancel(found)
    return {member: _unfinished(b2, found)[member] for member in ("accountId", "bucketId", "fileId", "fileName")}


def _before(name: str) -> bytes:
    """A position just before a name: a listing of B2 begins with the name itself."""
    if any(each < " " for each in name):
        raise bad_request("File names must not contain control characters")
    raw = name.encode()
    return raw[:-1] + bytes([raw[-1] - 1]) + b"\xff" if raw else b""


def _version(b2: B2Double, key: Key, file_id: str) -> Version | None:
    version = b2.files.find(file_id)
    if version:
        b2.bucket_of(key, {"bucketId": version.bucket})
        b2.check_name(key, version.name)
    return version


def shown(b2: B2Double, version: Version) -> Json:
    upload = version.action == "upload"
    return {
        **_common(b2, version.action, version.name),
        "bucketId": version.bucket,
        "contentLength": version.size,
        "contentMd5": version.etag if upload and "-" not in version.etag else None,
        "contentSha1": version.sha1 if upload else None,
        "contentType": version.info.get("content-type") if upload else "application/x-bz-hide-marker",
        "fileId": version.id,
        "fileInfo": _info(version),
        "uploadTimestamp": int(version.created * 1000),
    }


def _common(b2: B2Double, action: str, name: str) -> Json:
    return {
        "accountId": b2.account_id,
        "action": action,
        "bucketId": None,
        "contentMd5": None,
        "contentSha1": None,
        "contentType": None,
        "fileInfo": {},
        "fileName": name,
        "fileRetention": {"isClientAuthorizedToRead": False, "value": None},
        "legalHold": {"isClientAuthorizedToRead": False, "value": None},
        "serverSideEncryption": {"mode": "SSE-B2", "algorithm": "AES256"} if action == "upload" else {"mode": None},
        "uploadTimestamp": 0,
    }


def _info(version: Version | Upload) -> dict[str, str]:
    """The values that a client gave, which are percent-encoded where they are stored."""
    given = {name.removeprefix(META): value for name, value in version.info.items() if name.startswith(META)}
    return {name: unquote_to_bytes(value).decode("utf-8", "replace") for name, value in given.items()}


def _unfinished(b2: B2Double, upload: Upload) -> Json:
    return {
        **_common(b2, "start", upload.name),
        "bucketId": upload.bucket,
        "contentType": upload.info.get("content-type"),
        "fileId": upload.id,
        "fileInfo": _info(upload),
        "uploadTimestamp": int(upload.created * 1000),
    }
