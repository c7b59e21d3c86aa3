# SPDX-License-Identifier: GPL-3.0-or-later
"""Backblaze B2's native API, version 4: authorisation, buckets and application keys.

The S3 API (s3.py) handles the files; it registers itself as `storage`.
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

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from lab.clouds import _b2_rules as rules
from lab.clouds._b2_rules import Refused, bad_request
from lab.clouds._control import Control

BUCKET_LIMIT = 100
TOKEN_LIFE = 24 * 3600

Body = dict[str, t.Any]


class Storage(t.Protocol):
    """The storage of the files."""

    def create(self, bucket: str) -> None: ...

    def delete(self, bucket: str) -> None: ...

    def is_empty(self, bucket: str) -> bool: ...


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
        self.storage: Storage | None = None
        self.buckets: dict[str, Body] = {}
        self.tokens: dict[str, Token] = {}
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

    def bucket(self, name: str) -> Body | None:
        return next((each for each in self.buckets.values() if each["bucketName"].lower() == name.lower()), None)

    def expire_tokens(self) -> None:
        for token in self.tokens.values():
            token.expires = 0

    # HTTP.

    def _flask(self) -> Flask:
        app = Flask(__name__)
        app.json.sort_keys = False  # type: ignore[attr-defined]
        app.add_url_rule("/b2api/v4/b2_authorize_account", view_func=self._authorize, methods=["GET", "POST"])
        app.add_url_rule("/b2api/v4/<operation>", view_func=self._operate, methods=["POST"])

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
            token = secrets.token_urlsafe(48)
            self.tokens[token] = Token(key, time.time() + TOKEN_LIFE)
            url = request.host_url.rstrip("/")
            storage = {
                "absoluteMinimumPartSize": 5_000_000,
                "recommendedPartSize": 100_000_000,
                "apiUrl": url,
                "downloadUrl": url,
                "s3ApiUrl": self.s3_url,
                "infoType": "storageApi",
                "allowed": {
                    "buckets": self._allowed_buckets(key),
                    "capabilities": key.capabilities,
                    "namePrefix": key.name_prefix,
                },
            }
            return jsonify(
                accountId=self.account_id,
                authorizationToken=token,
                applicationKeyExpirationTimestamp=key.expires and int(key.expires * 1000),
                apiInfo={"storageApi": storage},
            )

    def _basic_auth(self, header: str) -> Key:
        try:
            key_id, _, secret = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            key_id, secret = "", ""
        key = self.keys.get(key_id)
        if key is None or key.expired or not secrets.compare_digest(key.secret.encode(), secret.encode()):
            raise Refused(401, "bad_auth_token", "Invalid authorization token")
        return key

    def _allowed_buckets(self, key: Key) -> list[Body] | None:
        if key.bucket_ids is None:
            return None
        return [{"id": each, "name": self.buckets.get(each, {}).get("bucketName")} for each in key.bucket_ids]

    def _operate(self, operation: str) -> Response:
        if operation not in OPERATIONS:
            raise Refused(404, "not_found", f"unknown API operation: {operation}")
        capability, required, optional, handler = OPERATIONS[operation]
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            raise Refused(400, "bad_json", "the request body is not a JSON object")
        body = {member: value for member, value in body.items() if value is not None}
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

    def _key_of_token(self, text: str) -> Key:
        token = self.tokens.get(text)
        if token is None or token.key.id not in self.keys:
            raise Refused(401, "bad_auth_token", "Invalid authorization token")
        if token.expires <= time.time() or token.key.expired:
            raise Refused(401, "expired_auth_token", "Authorization token has expired")
        return token.key

    # Buckets.

    def _list_buckets(self, key: Key, body: Body) -> Body:
        kinds = body.get("bucketTypes", ["allPrivate", "allPublic", "snapshot"])
        if "all" in kinds and len(kinds) > 1:
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

    def _create_bucket(self, key: Key, body: Body) -> Body:
        name = rules.bucket_name(body["bucketName"])
        members = self._members(key, body)
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
            "replicationConfiguration": rules.NO_REPLICATION,
            "options": ["s3"],
            "revision": 2,
            **members,
        }
        if self.storage:
            self.storage.create(name)
        self.buckets[bucket["bucketId"]] = bucket
        return self._shown(bucket, key)

    def _update_bucket(self, key: Key, body: Body) -> Body:
        bucket = self._bucket_by_id(body)
        members = self._members(key, body)
        if body.get("ifRevisionIs", bucket["revision"]) != bucket["revision"]:
            raise Refused(409, "conflict", f"bucket {bucket['bucketId']} is at revision {bucket['revision']}")
        if bucket["fileLockEnabled"] and not members.get("fileLockEnabled", True):
            raise Refused(400, "file_lock_conflict", "File lock cannot be disabled")
        locked = members.get("fileLockEnabled", bucket["fileLockEnabled"])
        if members.get("defaultRetention", rules.NO_RETENTION) != rules.NO_RETENTION and not locked:
            raise Refused(400, "bucket_missing_file_lock", f"Bucket {bucket['bucketId']} is missing file lock")
        bucket.update(members, revision=bucket["revision"] + 1)
        return self._shown(bucket, key)

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

    def _delete_bucket(self, key: Key, body: Body) -> Body:
        bucket = self._bucket_by_id(body)
        if self.storage and not self.storage.is_empty(bucket["bucketName"]):
            raise Refused(400, "cannot_delete_non_empty_bucket", "Cannot delete non-empty bucket")
        if self.storage:
            self.storage.delete(bucket["bucketName"])
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
        bucket_ids = body.get("bucketIds")
        name = rules.key_name(body["keyName"])
        capabilities = rules.capabilities(body["capabilities"], restricted=bucket_ids is not None)
        seconds = rules.duration(body.get("validDurationInSeconds"))
        if bucket_ids is not None and (not isinstance(bucket_ids, list) or not bucket_ids):
            raise bad_request("bucketIds must be a list that is not empty")
        for each in bucket_ids or ():
            self._bucket_by_id({"bucketId": each})
        if "namePrefix" in body and bucket_ids is None:
            raise bad_request("bucketIds must be set when namePrefix is set")
        made = self.add_key(
            name,
            capabilities,
            bucket_ids=bucket_ids,
            name_prefix=body.get("namePrefix"),
            expires=seconds and time.time() + seconds,
        )
        return {**self._shown_key(made), "applicationKey": made.secret}

    def _list_keys(self, key: Key, body: Body) -> Body:
        count = body.get("maxKeyCount", 100)
        if type(count) is not int or not 1 <= count <= 10_000:
            raise Refused(400, "out_of_range", "maxKeyCount must be between 1 and 10000")
        start = body.get("startApplicationKeyId", "")
        ids = sorted(each.id for each in self.keys.values() if not each.master and each.id >= start)
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
        return {
            "accountId": self.account_id,
            "applicationKeyId": key.id,
            "keyName": key.name,
            "capabilities": key.capabilities,
            "bucketIds": key.bucket_ids,
            "namePrefix": key.name_prefix,
            "expirationTimestamp": key.expires and int(key.expires * 1000),
            "options": ["s3"],
        }


def _guarded(value: Body, readable: bool) -> Body:
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
# Members of a request that need a capability besides writeBuckets.
OF_THEIR_OWN = {
    "defaultServerSideEncryption": "writeBucketEncryption",
    "fileLockEnabled": "writeBucketRetentions",
    "defaultRetention": "writeBucketRetentions",
    "replicationConfiguration": "writeBucketReplications",
}
# Members of an answer that are shown together, as fileLockConfiguration.
HIDDEN = {"fileLockEnabled", "defaultRetention"}
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
        B2Double._create_bucket,
    ),
    "b2_update_bucket": (
        "writeBuckets",
        {"accountId", "bucketId"},
        {"bucketType", "ifRevisionIs", "defaultRetention"} | SETTINGS,
        B2Double._update_bucket,
    ),
    "b2_delete_bucket": ("deleteBuckets", {"accountId", "bucketId"}, set(), B2Double._delete_bucket),
    "b2_create_key": (
        "writeKeys",
        {"accountId", "keyName", "capabilities"},
        {"bucketIds", "namePrefix", "validDurationInSeconds"},
        B2Double._create_key,
    ),
    "b2_list_keys": ("listKeys", {"accountId"}, {"maxKeyCount", "startApplicationKeyId"}, B2Double._list_keys),
    "b2_delete_key": ("deleteKeys", {"applicationKeyId"}, set(), B2Double._delete_key),
}
