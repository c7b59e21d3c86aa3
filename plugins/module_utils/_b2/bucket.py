# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets of Backblaze B2, in the words of the module. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .._core.errors import NotFoundError
from .client import B2Client

Json = dict[str, t.Any]

RULE_MEMBERS = {
    "file_name_prefix": "fileNamePrefix",
    "days_from_hiding_to_deleting": "daysFromHidingToDeleting",
    "days_from_uploading_to_hiding": "daysFromUploadingToHiding",
    "days_from_starting_to_canceling_unfinished_large_files": "daysFromStartingToCancelingUnfinishedLargeFiles",
}
CORS_MEMBERS = {
    "name": "corsRuleName",
    "allowed_origins": "allowedOrigins",
    "allowed_operations": "allowedOperations",
    "allowed_headers": "allowedHeaders",
    "expose_headers": "exposeHeaders",
    "max_age_seconds": "maxAgeSeconds",
}
# Settings that B2 shows only to a key with the right to read them.
GUARDED = {
    "default_encryption": "readBucketEncryption",
    "file_lock": "readBucketRetentions",
    "default_retention": "readBucketRetentions",
}
NO_RETENTION = {"mode": "none"}


class Buckets:
    """What can be done with buckets. In a result, None for a guarded setting means: not known, which is not different."""

    def __init__(self, client: B2Client) -> None:
        self.client = client

    def new(self) -> Json:
        """A bucket straight after its creation, as this key will see it."""
        # Since 2026 B2 encrypts every new bucket: b2sdk 2.13.0, https://github.com/Backblaze/b2-sdk-python/releases
        fresh = {"default_encryption": "SSE-B2", "file_lock": False, "default_retention": NO_RETENTION}
        guarded = {name: fresh[name] if self.client.may(right) else None for name, right in GUARDED.items()}
        return {"type": "allPrivate", "lifecycle_rules": [], "cors_rules": [], "bucket_info": {}, **guarded}

    def find(self, name: str) -> Json | None:
        client, doing = self.client, f"look for the bucket '{name}'"
        client.require("listBuckets", doing)
        with client.typed(doing):
            answer = client.session.list_buckets(client.account_id, bucket_name=name)
            # Names are compared without case.
            found = [each for each in answer["buckets"] if each["bucketName"].lower() == name.lower()]
            return self._bucket(found[0]) if found else None

    def create(self, name: str, fields: Json) -> Json:
        """Retention cannot be set by the request that creates; an update must follow."""
        client, doing = self.client, f"create the bucket '{name}'"
        self._require_for(fields, doing)
        if "default_retention" in fields:
            # Without it the update that must follow would take the setting for unknown.
            client.require("readBucketRetentions", doing)
        if client.check_mode:
            return {**self.new(), **fields, "name": name, "id": None, "revision": None, **self._place()}
        arguments = _arguments({key: value for key, value in fields.items() if key != "default_retention"})
        with client.typed(doing):
            return self._bucket(client.session.create_bucket(client.account_id, name, fields["type"], **arguments))

    def update(self, bucket: Json, fields: Json) -> Json:
        """Writes only on top of the revision that was read; ConflictError if there is a newer one."""
        client, doing = self.client, f"update the bucket '{bucket['name']}'"
        self._require_for(fields, doing)
        if client.check_mode:
            return {**bucket, **fields, "revision": None}
        with client.typed(doing):
            return self._bucket(
                client.session.update_bucket(
                    client.account_id,
                    bucket["id"],
                    bucket_type=fields.get("type"),
                    if_revision_is=bucket["revision"],
                    **_arguments(fields),
                )
            )

    def delete(self, bucket: Json) -> None:
        client, doing = self.client, f"delete the bucket '{bucket['name']}'"
        client.require("deleteBuckets", doing)
        if client.check_mode:
            return
        try:
            with client.typed(doing):
                client.session.delete_bucket(client.account_id, bucket["id"])
        except NotFoundError as exc:
            # Gone already is what was asked for.
            if exc.details["code"] != "bad_bucket_id":
                raise

    def _require_for(self, fields: Json, doing: str) -> None:
        self.client.require("writeBuckets", doing)
        if "default_encryption" in fields:
            self.client.require("writeBucketEncryption", doing)
        if fields.get("file_lock") or "default_retention" in fields:
            self.client.require("writeBucketRetentions", doing)

    def _place(self) -> Json:
        client = self.client
        return {"account_id": client.account_id, "s3_endpoint": client.s3_endpoint, "region": client.region}

    def _bucket(self, raw: Json) -> Json:
        encryption, lock = _readable(raw, "defaultServerSideEncryption"), _readable(raw, "fileLockConfiguration")
        return {
            "name": raw["bucketName"],
            "id": raw["bucketId"],
            "type": raw["bucketType"],
            "lifecycle_rules": sorted_rules(_ours(each, RULE_MEMBERS) for each in raw["lifecycleRules"]),
            "cors_rules": plain_cors(_ours(each, CORS_MEMBERS) for each in raw["corsRules"]),
            "default_encryption": None if encryption is None else encryption.get("mode") or "none",
            "file_lock": None if lock is None else bool(lock["isFileLockEnabled"]),
            "default_retention": None if lock is None else _retention(lock["defaultRetention"]),
            "bucket_info": raw["bucketInfo"],
            "revision": raw["revision"],
            **self._place(),
        }


def sorted_rules(rules: t.Iterable[Json]) -> list[Json]:
    """Lifecycle rules as they are compared: without nulls, in the order of the prefixes."""
    return sorted((_without_nulls(rule) for rule in rules), key=lambda rule: rule["file_name_prefix"])


def plain_cors(rules: t.Iterable[Json]) -> list[Json]:
    """CORS rules as they are compared: their order is kept, that of members means nothing."""
    plain = []
    for rule in rules:
        lists = {key: sorted(set(value)) for key, value in rule.items() if isinstance(value, list)}
        plain.append({key: value for key, value in _without_nulls({**rule, **lists}).items() if value != []})
    return plain


def _without_nulls(rule: Json) -> Json:
    return {member: value for member, value in rule.items() if value is not None}


def _ours(raw: Json, members: dict[str, str]) -> Json:
    # A member that B2 invents later keeps its own name and so shows up as a difference.
    names = {theirs: ours for ours, theirs in members.items()}
    return {names.get(member, member): value for member, value in raw.items()}


def _theirs(rule: Json, members: dict[str, str]) -> Json:
    return {members[member]: value for member, value in rule.items()}


def _readable(raw: Json, member: str) -> Json | None:
    """The content of a guarded setting, None if the key may not read it."""
    guarded = raw.get(member) or {}
    return (guarded.get("value") or {}) if guarded.get("isClientAuthorizedToRead") else None


def _retention(raw: Json) -> Json:
    return {"mode": raw["mode"], **raw["period"]} if raw.get("mode") else NO_RETENTION


def _arguments(fields: Json) -> Json:
    """The arguments that b2sdk's create and update share; what is absent is left alone, replication always is."""
    # Not at the top: the library may be missing, which the client reports.
    from b2sdk.v3 import SSE_B2_AES, BucketRetentionSetting, RetentionMode, RetentionPeriod

    arguments: Json = {}
    if "lifecycle_rules" in fields:
        arguments["lifecycle_rules"] = [_theirs(rule, RULE_MEMBERS) for rule in fields["lifecycle_rules"]]
    if "cors_rules" in fields:
        arguments["cors_rules"] = [_theirs(rule, CORS_MEMBERS) for rule in fields["cors_rules"]]
    if "bucket_info" in fields:
        arguments["bucket_info"] = fields["bucket_info"]
    if "default_encryption" in fields:
        arguments["default_server_side_encryption"] = SSE_B2_AES
    if fields.get("file_lock"):
        arguments["is_file_lock_enabled"] = True
    if "default_retention" in fields:
        wish = fields["default_retention"]
        mode = RetentionMode(None if wish["mode"] == "none" else wish["mode"])
        period = RetentionPeriod(**{wish["unit"]: wish["duration"]}) if mode is not RetentionMode.NONE else None
        arguments["default_retention"] = BucketRetentionSetting(mode, period)
    return arguments
