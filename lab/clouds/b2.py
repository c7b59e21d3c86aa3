# SPDX-License-Identifier: GPL-3.0-or-later
"""Backblaze B2's native API, versions 1 to 4: authorisation, buckets and application keys.

The files (_b2_files.py) are those of the S3 API (s3.py) too. The versions differ in what they say about a key:
https://www.backblaze.com/docs/cloud-storage-native-api-versions
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import secrets
import threading
import time
import typing as t
from collections.abc import Iterable

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from lab.clouds import _b2_native as native
from lab.clouds import _b2_rules as rules
from lab.clouds._b2_files import Files
from lab.clouds._b2_rules import Refused, bad_request
from lab.clouds._control import Control

BUCKET_LIMIT = 100
TOKEN_LIFE = 24 * 3600
TOKENS = 10_000  # so many are remembered

Body = dict[str, t.Any]


@dataclasses.dataclass
class Key:
    id: str
    secret: str
    name: str
    capabilities: list[str]
    bucket_ids: list[str] | None = None
    name_prefix: str | None = None
    expires: float | None = None
    master: bool = False
    multi_bucket: bool = False
    """Created with bucketIds, through API version 4; unknown to older versions, even if it is one bucket."""

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires <= time.time()


@dataclasses.dataclass
class Token:
    key: Key
    expires: float


class B2Double:
    """One account. The master key's id is the account id, as in the real service."""

    def __init__(
        self,
        *,
        account_id: str = "1a2b3c4d5e6f",
        master_key: str = "00312ab34cd56ef78ab90cd12ef34ab56cd78ef90a",
        region: str = "eu-central-003",
        s3_url: str | None = None,
        foreign_buckets: Iterable[str] = (),
    ) -> None:
        self.account_id = account_id
        self.region = region
        self.s3_url = s3_url or f"https://s3.{region}.backblazeb2.com"
        self.foreign_buckets = {name.lower() for name in foreign_buckets}
        self.files = Files()
        self.buckets: dict[str, Body] = {}
        self.tokens: dict[str, Token] = {}
        self.upload_tokens: dict[str, tuple[str, Key]] = {}
        self.keys: dict[str, Key] = {}
        self.lock = threading.RLock()
        self._serial = 0
        master = Key(account_id, master_key, "Master Application Key", sorted(rules.CAPABILITIES), master=True)
        self.keys[master.id] = master
        self.app = Control(self._flask())

    # To set up and inspect the account, for the lab and the tests.

    def add_key(self, name: str, capabilities: Iterable[str], **members: t.Any) -> Key:
        """Add a key; id and secret may be given."""
        with self.lock:
            self._serial += 1
            made = Key(
                id=members.pop("id", None) or f"003{self.account_id}{self._serial:010d}",
                secret=members.pop("secret", None) or "K003" + secrets.token_urlsafe(20)[:27],
                name=name,
                capabilities=sorted(set(capabilities)),
                **members,
            )
            self.keys[made.id] = made
            return made

    def is_empty(self, name: str) -> bool:
        """Whether a bucket has no files, old versions and unfinished files included."""
        found = self.bucket(name)
        return found is None or self.files.is_empty(found["bucketId"])

    def bucket(self, name: str) -> Body | None:
        return next((each for each in self.buckets.values() if each["bucketName"].lower() == name.lower()), None)

    def expire_tokens(self) -> None:
        for token in self.tokens.values():
            token.expires = 0

    # HTTP.

    def _flask(self) -> Flask:
        app = Flask(__name__)
        app.json.sort_keys = False  # type: ignore[attr-defined]
        versions = "/b2api/v<any('1', '2', '3', '4'):version>"
        app.add_url_rule(f"{versions}/b2_authorize_account", view_func=self._authorize, methods=["GET", "POST"])
        app.add_url_rule(f"{versions}/b2_upload_file/<bucket_id>/<pod>", view_func=self._upload, methods=["POST"])
        app.add_url_rule(f"{versions}/b2_download_file_by_id", view_func=self._download_by_id, methods=["GET"])
        app.add_url_rule("/file/<bucket>/<path:name>", view_func=self._download, methods=["GET"])
        app.add_url_rule(f"{versions}/<operation>", view_func=self._operate, methods=["GET", "POST"])

        @app.url_value_preprocessor
        def take_version(endpoint: str | None, values: dict[str, t.Any] | None) -> None:
            if values is not None and "version" in values:
                g.version = int(values.pop("version"))

        @app.errorhandler(Refused)
        def refused(exc: Refused) -> tuple[Response, int]:
            return jsonify(exc.body), exc.body["status"]

        @app.errorhandler(HTTPException)
        def wrong_place(exc: HTTPException) -> tuple[Response, int]:
            code = {404: "not_found", 405: "method_not_allowed"}.get(exc.code or 500, "bad_request")
            return jsonify(status=exc.code, code=code, message=exc.name), exc.code or 500

        return app

    def _authorize(self) -> Response:
        with self.lock:
            key = self._basic_auth(request.headers.get("Authorization", ""))
            if key.multi_bucket and g.version < 4:
                raise bad_request(f"This request is not currently supported on API version number {g.version}")
            if len(self.tokens) >= TOKENS:
                del self.tokens[next(iter(self.tokens))]
            token = secrets.token_urlsafe(48)
            self.tokens[token] = Token(key, time.time() + TOKEN_LIFE)
            url = request.host_url.rstrip("/")
            places = {
                "absoluteMinimumPartSize": 5_000_000,
                "recommendedPartSize": 100_000_000,
                "apiUrl": url,
                "downloadUrl": url,
                "s3ApiUrl": self.s3_url,
            }
            account = {
                "accountId": self.account_id,
                "authorizationToken": token,
                "applicationKeyExpirationTimestamp": key.expires and int(key.expires * 1000),
            }
            return jsonify(_by_version(g.version, account, places, self._allowed(key)))

    def _basic_auth(self, header: str) -> Key:
        try:
            key_id, _, secret = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            key_id, secret = "", ""
        key = self.keys.get(key_id)
        if key is None or key.expired or not secrets.compare_digest(key.secret.encode(), secret.encode()):
            raise Refused(401, "unauthorized", "")
        return key

    def _allowed(self, key: Key) -> Body:
        """What the key may do, in the terms of version 4."""
        buckets = [{"id": each, "name": self.buckets.get(each, {}).get("bucketName")} for each in key.bucket_ids or ()]
        return {
            "buckets": None if key.bucket_ids is None else buckets,
            "capabilities": key.capabilities,
            "namePrefix": key.name_prefix,
        }

    def _operate(self, operation: str) -> Response:
        if operation not in OPERATIONS:
            raise Refused(501, "not_implemented", f"{operation} is not implemented here")
        capability, required, optional, handler = OPERATIONS[operation]
        body = rules.members(self._body(operation))
        for member in body.keys() - required - optional:
            raise Refused(400, "bad_json", f"unknown field in {operation}: {member}")
        for member in sorted(required - body.keys()):
            raise Refused(400, "bad_json", f"required field {member} is missing")
        with self.lock:
            key = self._key_of_token(request.headers.get("Authorization", ""))
            _need(key, capability)
            if body.get("accountId", self.account_id) != self.account_id:
                raise bad_request(f"invalid accountId: {body['accountId']}")
            return jsonify(handler(self, key, body))

    def _body(self, operation: str) -> t.Any:
        """The parameters: JSON, or the query of a GET request for what only reads."""
        if request.method == "POST":
            return rules.json_object(request.get_data())
        if not operation.startswith(("b2_list_", "b2_get_")):
            raise Refused(405, "method_not_allowed", "this operation takes POST")
        return rules.from_query(request.query_string)

    def _key_of_token(self, text: str) -> Key:
        token = self.tokens.get(text)
        if token is None or token.key.id not in self.keys:
            raise Refused(401, "bad_auth_token", "Invalid authorization token")
        if token.expires <= time.time() or token.key.expired:
            raise Refused(401, "expired_auth_token", "Authorization token has expired")
        return token.key

    # Files, whose operations are in _b2_native.py.

    def _upload(self, bucket_id: str, pod: str) -> Response:
        return jsonify(native.upload(self, bucket_id))

    def _download(self, bucket: str, name: str) -> Response:
        with self.lock:
            found = self.bucket(bucket)
            self._may_read(found, name)
            return native.download(self, self.files.current(found["bucketId"], name) if found else None)

    def _download_by_id(self) -> Response:
        with self.lock:
            version = self.files.find(rules.members(rules.from_query(request.query_string)).get("fileId", ""))
            self._may_read(self.buckets.get(version.bucket) if version else None, version.name if version else "")
            return native.download(self, version)

    def _may_read(self, bucket: Body | None, name: str) -> None:
        if bucket and bucket["bucketType"] == "allPublic":
            return
        key = self._key_of_token(request.headers.get("Authorization", ""))
        _need(key, "readFiles")
        if bucket:
            self.bucket_of(key, bucket)
        self.check_name(key, name)

    def bucket_of(self, key: Key, body: Body) -> Body:
        """The bucket of a request, if the key may use it."""
        if key.bucket_ids is not None and body["bucketId"] not in key.bucket_ids:
            raise Refused(401, "unauthorized", "unauthorized")
        return self._bucket_by_id(body)

    def check_name(self, key: Key, name: str) -> None:
        if not name.startswith(key.name_prefix or ""):
            raise Refused(401, "unauthorized", "unauthorized")

    def count(self, body: Body, member: str, default: int, most: int) -> int:
        """How many members a page may have."""
        count = body.get(member, default)
        if not 1 <= count <= most:
            raise Refused(400, "out_of_range", f"{member} must be between 1 and {most}")
        return count

    # Buckets.

    def _list_buckets(self, key: Key, body: Body) -> Body:
        kinds = body.get("bucketTypes", ["allPrivate", "allPublic", "snapshot"])
        if not all(isinstance(kind, str) for kind in kinds) or ("all" in kinds and len(kinds) > 1):
            raise bad_request("'all' must be the only bucket type")
        found = [
            each
            for each in self.buckets.values()
            if body.get("bucketId", each["bucketId"]) == each["bucketId"]
            and body.get("bucketName", each["bucketName"]).lower() == each["bucketName"].lower()
            and ("all" in kinds or each["bucketType"] in kinds)
        ]
        if key.bucket_ids is not None and not (body.keys() & {"bucketId", "bucketName"} and self._only_own(key, body)):
            raise Refused(401, "unauthorized", "unauthorized")
        return {"buckets": [self._shown(each, key) for each in sorted(found, key=lambda each: each["bucketName"])]}

    def _only_own(self, key: Key, body: Body) -> bool:
        """Whether the request names a bucket that the key is restricted to."""
        names = [self.buckets[each]["bucketName"].lower() for each in key.bucket_ids or () if each in self.buckets]
        wanted_id, wanted_name = body.get("bucketId"), body.get("bucketName")
        return (wanted_id is None or wanted_id in (key.bucket_ids or ())) and (
            wanted_name is None or wanted_name.lower() in names
        )

    def create_bucket(self, key: Key, body: Body) -> Body:
        name = rules.bucket_name(body["bucketName"])
        members = self._members(key, body)
        self._check_replication(None, members)
        if self.bucket(name) or name.lower() in self.foreign_buckets:
            raise Refused(400, "duplicate_bucket_name", "Bucket name is already in use.")
        if len(self.buckets) >= BUCKET_LIMIT:
            raise Refused(400, "too_many_buckets", f"The account already has {BUCKET_LIMIT} buckets")
        bucket = {
            "accountId": self.account_id,
            "bucketId": secrets.token_hex(12),
            "bucketName": name,
            "bucketInfo": {},
            "corsRules": [],
            "lifecycleRules": [],
            "defaultServerSideEncryption": rules.SSE_B2,
            "fileLockEnabled": False,
            "defaultRetention": rules.NO_RETENTION,
            "replicationConfiguration": None,
            "options": ["s3"],
            "revision": 2,
            **members,
        }
        self.buckets[bucket["bucketId"]] = bucket
        return self._shown(bucket, key)

    def update_bucket(self, key: Key, body: Body) -> Body:
        bucket = self._bucket_by_id(body)
        members = self._members(key, body)
        if body.get("ifRevisionIs", bucket["revision"]) != bucket["revision"]:
            raise Refused(409, "conflict", f"bucket {bucket['bucketId']} is at revision {bucket['revision']}")
        if bucket["fileLockEnabled"] and not members.get("fileLockEnabled", True):
            raise Refused(400, "file_lock_conflict", "File lock cannot be disabled")
        locked = members.get("fileLockEnabled", bucket["fileLockEnabled"])
        if members.get("defaultRetention", rules.NO_RETENTION) != rules.NO_RETENTION and not locked:
            raise Refused(400, "bucket_missing_file_lock", f"Bucket {bucket['bucketId']} is missing file lock")
        self._check_replication(bucket, members)
        bucket.update(members, revision=bucket["revision"] + 1)
        return self._shown(bucket, key)

    def _check_replication(self, bucket: Body | None, members: Body) -> None:
        after = {"replicationConfiguration": None, "fileLockEnabled": False, **(bucket or {}), **members}
        source = (after["replicationConfiguration"] or {}).get("asReplicationSource")
        if source and bucket and members.get("fileLockEnabled") and not bucket["fileLockEnabled"]:
            raise Refused(400, "source_replication_conflict", LOCK_OF_A_SOURCE)
        if not source or "replicationConfiguration" not in members:
            return
        if source["sourceApplicationKeyId"] not in self.keys:
            raise bad_request(f"application key id not found: {source['sourceApplicationKeyId']}")
        for rule in source["replicationRules"]:
            target = rule.get("destinationBucketId")
            if target not in self.buckets or (bucket and target == bucket["bucketId"]):
                raise bad_request(f"destinationBucketId is not another bucket: {target}")

    def _members(self, key: Key, body: Body) -> Body:
        """The checked settings of a request to create or update."""
        checks: dict[str, t.Callable[[t.Any], t.Any]] = {
            "bucketType": rules.bucket_type,
            "bucketInfo": rules.bucket_info,
            "lifecycleRules": rules.lifecycle_rules,
            "corsRules": rules.cors_rules,
            "defaultServerSideEncryption": rules.encryption,
            "fileLockEnabled": rules.flag,
            "defaultRetention": rules.retention,
            "replicationConfiguration": rules.replication,
        }
        for member, capability in OF_THEIR_OWN.items():
            if member in body:
                _need(key, capability)
        return {member: check(body[member]) for member, check in checks.items() if member in body}

    def delete_bucket(self, key: Key, body: Body) -> Body:
        bucket = self._bucket_by_id(body)
        if not self.files.is_empty(bucket["bucketId"]):
            raise Refused(400, "cannot_delete_non_empty_bucket", "Cannot delete non-empty bucket")
        return self._shown(self.buckets.pop(bucket["bucketId"]), key)

    def _bucket_by_id(self, body: Body) -> Body:
        bucket = self.buckets.get(body["bucketId"])
        if bucket is None:
            raise Refused(400, "bad_bucket_id", f"Bucket {body['bucketId']} does not exist")
        return bucket

    def _shown(self, bucket: Body, key: Key) -> Body:
        shown = {member: value for member, value in bucket.items() if member not in HIDDEN}
        lock = {"defaultRetention": bucket["defaultRetention"], "isFileLockEnabled": bucket["fileLockEnabled"]}
        guarded = {
            "defaultServerSideEncryption": (bucket["defaultServerSideEncryption"], "readBucketEncryption"),
            "fileLockConfiguration": (lock, "readBucketRetentions"),
            "replicationConfiguration": (bucket["replicationConfiguration"], "readBucketReplications"),
        }
        return {
            **shown,
            **{name: _guarded(value, right in key.capabilities) for name, (value, right) in guarded.items()},
        }

    # Application keys.

    def _create_key(self, key: Key, body: Body) -> Body:
        bucket_ids = self._bucket_ids(body)
        name = rules.key_name(body["keyName"])
        capabilities = rules.capabilities(body["capabilities"], restricted=bucket_ids is not None)
        seconds = rules.duration(body.get("validDurationInSeconds"))
        if "namePrefix" in body and bucket_ids is None:
            raise bad_request("bucketId must be set when namePrefix is set")
        made = self.add_key(
            name,
            capabilities,
            bucket_ids=bucket_ids,
            name_prefix=body.get("namePrefix"),
            expires=seconds and time.time() + seconds,
            multi_bucket=bucket_ids is not None and g.version == 4,
        )
        return {**self._shown_key(made), "applicationKey": made.secret}

    def _bucket_ids(self, body: Body) -> list[str] | None:
        """The buckets of a new key: a list in version 4, one in the versions before it."""
        known, unknown = ("bucketIds", "bucketId") if g.version == 4 else ("bucketId", "bucketIds")
        if unknown in body:
            raise Refused(400, "bad_json", f"unknown field in b2_create_key: {unknown}")
        if known not in body:
            return None
        bucket_ids = body[known] if known == "bucketIds" else [body[known]]
        if not bucket_ids or not all(isinstance(each, str) for each in bucket_ids):
            raise bad_request("bucketIds must be a list of ids that is not empty")
        for each in bucket_ids:
            self._bucket_by_id({"bucketId": each})
        return list(bucket_ids)

    def _list_keys(self, key: Key, body: Body) -> Body:
        """Version 4 lists multi-bucket keys alone, the others list all other keys alone."""
        count = self.count(body, "maxKeyCount", 100, 10_000)
        start = body.get("startApplicationKeyId", "")
        listed = [each for each in self.keys.values() if not each.master and each.multi_bucket == (g.version == 4)]
        ids = sorted(each.id for each in listed if each.id >= start)
        return {
            "keys": [self._shown_key(self.keys[each]) for each in ids[:count]],
            "nextApplicationKeyId": ids[count] if len(ids) > count else None,
        }

    def _delete_key(self, key: Key, body: Body) -> Body:
        doomed = self.keys.get(body["applicationKeyId"])
        if doomed is None or doomed.master:
            raise bad_request(f"application key id not found: {body['applicationKeyId']}")
        return self._shown_key(self.keys.pop(doomed.id))

    def _shown_key(self, key: Key) -> Body:
        """Without the secret."""
        buckets = {"bucketIds": key.bucket_ids} if g.version == 4 else {"bucketId": (key.bucket_ids or [None])[0]}
        return {
            "accountId": self.account_id,
            "applicationKeyId": key.id,
            "keyName": key.name,
            "capabilities": key.capabilities,
            **buckets,
            "namePrefix": key.name_prefix,
            "expirationTimestamp": key.expires and int(key.expires * 1000),
            "options": ["s3"],
        }


def _by_version(version: int, account: Body, places: Body, allowed: Body) -> Body:
    """An answer to b2_authorize_account."""
    if version == 4:
        return {**account, "apiInfo": {"storageApi": {**places, "infoType": "storageApi", "allowed": allowed}}}
    bucket = (allowed.pop("buckets") or [{"id": None, "name": None}])[0]
    allowed = {"bucketId": bucket["id"], "bucketName": bucket["name"], **allowed}
    if version == 3:
        return {**account, "apiInfo": {"storageApi": {**places, "infoType": "storageApi", **allowed}}}
    flat = {**account, **places, "allowed": allowed}
    return {**flat, "minimumPartSize": places["recommendedPartSize"]} if version == 1 else flat


def _guarded(value: Body | None, readable: bool) -> Body:
    return {"isClientAuthorizedToRead": readable, "value": value if readable else None}


def _need(key: Key, capability: str) -> None:
    if capability not in key.capabilities:
        raise Refused(401, "unauthorized", "unauthorized")


SETTINGS = {
    "bucketInfo",
    "lifecycleRules",
    "corsRules",
    "defaultServerSideEncryption",
    "fileLockEnabled",
    "replicationConfiguration",
}
LOCK_OF_A_SOURCE = "Turning on file lock for an existing bucket having source replication configuration is not allowed."
# Members of a request that need a capability besides writeBuckets.
OF_THEIR_OWN = {
    "defaultServerSideEncryption": "writeBucketEncryption",
    "fileLockEnabled": "writeBucketRetentions",
    "defaultRetention": "writeBucketRetentions",
    "replicationConfiguration": "writeBucketReplications",
}
# Members of an answer that are shown together, as fileLockConfiguration.
HIDDEN = {"fileLockEnabled", "defaultRetention"}
LISTING = {"startFileName", "maxFileCount", "prefix", "delimiter"}
Handler = t.Callable[[B2Double, Key, Body], Body]
# operation: capability, required members, optional members, handler
OPERATIONS: dict[str, tuple[str, set[str], set[str], Handler]] = {
    "b2_list_buckets": (
        "listBuckets",
        {"accountId"},
        {"bucketId", "bucketName", "bucketTypes"},
        B2Double._list_buckets,
    ),
    "b2_create_bucket": (
        "writeBuckets",
        {"accountId", "bucketName", "bucketType"},
        SETTINGS,
        B2Double.create_bucket,
    ),
    "b2_update_bucket": (
        "writeBuckets",
        {"accountId", "bucketId"},
        {"bucketType", "ifRevisionIs", "defaultRetention"} | SETTINGS,
        B2Double.update_bucket,
    ),
    "b2_delete_bucket": ("deleteBuckets", {"accountId", "bucketId"}, set(), B2Double.delete_bucket),
    "b2_create_key": (
        "writeKeys",
        {"accountId", "keyName", "capabilities"},
        {"bucketId", "bucketIds", "namePrefix", "validDurationInSeconds"},
        B2Double._create_key,
    ),
    "b2_list_keys": ("listKeys", {"accountId"}, {"maxKeyCount", "startApplicationKeyId"}, B2Double._list_keys),
    "b2_delete_key": ("deleteKeys", {"applicationKeyId"}, set(), B2Double._delete_key),
    "b2_get_upload_url": ("writeFiles", {"bucketId"}, set(), native.get_upload_url),
    "b2_list_file_names": ("listFiles", {"bucketId"}, LISTING, native.list_file_names),
    "b2_list_file_versions": ("listFiles", {"bucketId"}, LISTING | {"startFileId"}, native.list_file_versions),
    "b2_hide_file": ("writeFiles", {"bucketId", "fileName"}, set(), native.hide_file),
    "b2_delete_file_version": (
        "deleteFiles",
        {"fileId", "fileName"},
        {"bypassGovernance"},
        native.delete_file_version,
    ),
    "b2_get_file_info": ("readFiles", {"fileId"}, set(), native.get_file_info),
    "b2_list_unfinished_large_files": (
        "listFiles",
        {"bucketId"},
        {"namePrefix", "startFileId", "maxFileCount"},
        native.list_unfinished_large_files,
    ),
    "b2_cancel_large_file": ("writeFiles", {"fileId"}, set(), native.cancel_large_file),
}
