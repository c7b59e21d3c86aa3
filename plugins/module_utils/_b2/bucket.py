# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets of Backblaze B2, with the module's option names. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .._core.errors import ConflictError, NotFoundError
from .client import B2Client, Capabilities

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
# B2 shows these settings only to a key with this capability.
GUARDED = {
    "default_encryption": "readBucketEncryption",
    "file_lock": "readBucketRetentions",
    "default_retention": "readBucketRetentions",
}
NO_RETENTION = {"mode": "none"}


def new_bucket(capabilities: Capabilities) -> Json:
    """The settings of a new bucket, as a key with these capabilities sees them."""
    # Since 2026 B2 encrypts every new bucket: b2sdk 2.13.0, https://github.com/Backblaze/b2-sdk-python/releases
    fresh = {"default_encryption": "SSE-B2", "file_lock": False, "default_retention": NO_RETENTION}
    guarded = {name: fresh[name] if capability in capabilities else None for name, capability in GUARDED.items()}
    return {"type": "allPrivate", "lifecycle_rules": [], "cors_rules": [], "bucket_info": {}, **guarded}


class Buckets:
    """The requests for buckets. In a result, None for a guarded setting means that the key may not read it."""

    def __init__(self, client: B2Client) -> None:
        self.client = client

    @property
    def location(self) -> Json:
        """The part of every result that is the same for all buckets of the account."""
        client = self.client
        return {"account_id": client.account_id, "s3_endpoint": client.s3_endpoint, "region": client.region}

    def find(self, name: str) -> Json | None:
        client, action = self.client, f"look for the bucket '{name}'"
        client.capabilities.require("listBuckets", action)
        with client.typed(action):
            answer = client.session.list_buckets(client.account_id, bucket_name=name)
            # B2 compares names without case.
            found = [each for each in answer["buckets"] if each["bucketName"].lower() == name.lower()]
            return self._bucket(found[0]) if found else None

    def create(self, name: str, settings: Json) -> Json:
        """Create a bucket without default_retention, which B2 accepts only in an update."""
        client = self.client
        arguments = _arguments({key: value for key, value in settings.items() if key != "default_retention"})
        try:
            with client.typed(f"create the bucket '{name}'"):
                return self._bucket(
                    client.session.create_bucket(client.account_id, name, settings["type"], **arguments)
                )
        except ConflictError as exc:
            if exc.details.get("code") == "duplicate_bucket_name" and self.find(name) is None:
                raise _final(
                    f"B2: the bucket name '{name}' is taken by another account; "
                    "names are unique over all of Backblaze, so choose another one.",
                    exc,
                ) from None
            raise

    def update(self, bucket: Json, settings: Json) -> Json:
        """ConflictError if the bucket has a newer revision than the one that was read."""
        client = self.client
        try:
            with client.typed(f"update the bucket '{bucket['name']}'"):
                return self._bucket(
                    client.session.update_bucket(
                        client.account_id,
                        bucket["id"],
                        bucket_type=settings.get("type"),
                        if_revision_is=bucket["revision"],
                        **_arguments(settings),
                    )
                )
        except ConflictError as exc:
            raise ConflictError(
                f"B2: somebody else changed the bucket '{bucket['name']}' while it was being updated; "
                "find out who else manages it, then run again.",
                **exc.details,
            ) from None

    def delete(self, bucket: Json) -> None:
        client, name = self.client, bucket["name"]
        try:
            with client.typed(f"delete the bucket '{name}'"):
                client.session.delete_bucket(client.account_id, bucket["id"])
        except NotFoundError as exc:
            # If it is gone already, that is the desired state.
            if exc.details["code"] != "bad_bucket_id":
                raise
        except ConflictError as exc:
            if exc.details["code"] != "cannot_delete_non_empty_bucket":
                raise
            raise _final(
                f"B2: the bucket '{name}' is not empty and cannot be deleted; old versions, hide markers and unfinished "
                f"uploads count. Empty it first, for instance with 'b2 rm --versions --recursive b2://{name}' and "
                f"'b2 file large unfinished cancel b2://{name}'.",
                exc,
            ) from None

    def _bucket(self, raw: Json) -> Json:
        encryption, lock = _readable(raw, "defaultServerSideEncryption"), _readable(raw, "fileLockConfiguration")
        return {
            "name": raw["bucketName"],
            "id": raw["bucketId"],
            "type": raw["bucketType"],
            "lifecycle_rules": sorted_rules(_from_b2(each, RULE_MEMBERS) for each in raw["lifecycleRules"]),
            "cors_rules": plain_cors(_from_b2(each, CORS_MEMBERS) for each in raw["corsRules"]),
            "default_encryption": None if encryption is None else encryption.get("mode") or "none",
            "file_lock": None if lock is None else bool(lock["isFileLockEnabled"]),
            "default_retention": None if lock is None else _retention(lock["defaultRetention"]),
            "bucket_info": raw["bucketInfo"],
            "revision": raw["revision"],
            **self.location,
        }


def sorted_rules(rules: t.Iterable[Json]) -> list[Json]:
    """Lifecycle rules in comparable form: without nulls, sorted by prefix."""
    return sorted((_without_nulls(rule) for rule in rules), key=lambda rule: str(rule["file_name_prefix"]))


def plain_cors(rules: t.Iterable[Json]) -> list[Json]:
    """CORS rules in comparable form: the order of the rules matters, that of their members does not."""
    plain = []
    for rule in rules:
        lists = {key: sorted(set(value)) for key, value in rule.items() if isinstance(value, list)}
        plain.append({key: value for key, value in _without_nulls({**rule, **lists}).items() if value != []})
    return plain


def _final(message: str, exc: ConflictError) -> ConflictError:
    """A conflict that reading and planning again cannot settle."""
    error = ConflictError(message, **exc.details)
    error.plan_again = False
    return error


def _without_nulls(rule: Json) -> Json:
    return {member: value for member, value in rule.items() if value is not None}


def _from_b2(raw: Json, members: dict[str, str]) -> Json:
    # A member that B2 adds later keeps its name and so shows up as a difference.
    names = {theirs: ours for ours, theirs in members.items()}
    return {names.get(member, member): value for member, value in raw.items()}


def _to_b2(rule: Json, members: dict[str, str]) -> Json:
    return {members[member]: value for member, value in rule.items()}


def _readable(raw: Json, member: str) -> Json | None:
    """The content of a guarded setting, None if the key may not read it."""
    guarded = raw.get(member) or {}
    return (guarded.get("value") or {}) if guarded.get("isClientAuthorizedToRead") else None


def _retention(raw: Json) -> Json:
    return {"mode": raw["mode"], **raw["period"]} if raw.get("mode") else NO_RETENTION


def _arguments(settings: Json) -> Json:
    """The arguments that b2sdk's create and update share. What is absent stays as it is; replication always does."""
    # Not at the top: the library may be missing, which the client reports.
    from b2sdk.v3 import SSE_B2_AES, BucketRetentionSetting, RetentionMode, RetentionPeriod

    arguments: Json = {}
    if "lifecycle_rules" in settings:
        arguments["lifecycle_rules"] = [_to_b2(rule, RULE_MEMBERS) for rule in settings["lifecycle_rules"]]
    if "cors_rules" in settings:
        arguments["cors_rules"] = [_to_b2(rule, CORS_MEMBERS) for rule in settings["cors_rules"]]
    if "bucket_info" in settings:
        arguments["bucket_info"] = settings["bucket_info"]
    if "default_encryption" in settings:
        arguments["default_server_side_encryption"] = SSE_B2_AES
    if settings.get("file_lock"):
        arguments["is_file_lock_enabled"] = True
    if "default_retention" in settings:
        desired = settings["default_retention"]
        mode = RetentionMode(None if desired["mode"] == "none" else desired["mode"])
        period = RetentionPeriod(**{desired["unit"]: desired["duration"]}) if mode is not RetentionMode.NONE else None
        arguments["default_retention"] = BucketRetentionSetting(mode, period)
    return arguments
