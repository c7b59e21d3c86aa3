# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that B2 accepts for buckets and keys; everything else is refused with B2's own codes."""

from __future__ import annotations

import re
import typing as t

# fmt: off
CAPABILITIES = frozenset(
    [
        "listKeys", "writeKeys", "deleteKeys", "listBuckets", "listAllBucketNames", "readBuckets", "writeBuckets",
        "deleteBuckets", "readBucketEncryption", "writeBucketEncryption", "readBucketRetentions",
        "writeBucketRetentions", "readFileRetentions", "writeFileRetentions", "readFileLegalHolds",
        "writeFileLegalHolds", "readBucketReplications", "writeBucketReplications", "bypassGovernance", "listFiles",
        "readFiles", "shareFiles", "writeFiles", "deleteFiles", "readBucketNotifications", "writeBucketNotifications",
        "readBucketLogging", "writeBucketLogging",
    ]
)
# fmt: on
# A key that is restricted to buckets cannot hold these.
ACCOUNT_WIDE = frozenset({"listKeys", "writeKeys", "deleteKeys", "writeBuckets", "deleteBuckets"})
DAYS = ("daysFromUploadingToHiding", "daysFromHidingToDeleting", "daysFromStartingToCancelingUnfinishedLargeFiles")
SSE_B2 = {"mode": "SSE-B2", "algorithm": "AES256"}
NO_RETENTION: dict[str, t.Any] = {"mode": None, "period": None}
NO_REPLICATION: dict[str, t.Any] = {"asReplicationSource": None, "asReplicationDestination": None}
CORS_LISTS = {"allowedOrigins", "allowedOperations", "allowedHeaders", "exposeHeaders"}
CORS_MEMBERS = CORS_LISTS | {"corsRuleName", "maxAgeSeconds"}
CORS_OPERATIONS = {f"s3_{method}" for method in ("get", "head", "put", "post", "delete")} | {
    "b2_download_file_by_name",
    "b2_download_file_by_id",
    "b2_upload_file",
    "b2_upload_part",
}


class Refused(Exception):
    """An error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"status": status, "code": code, "message": message}


def bad_request(message: str) -> Refused:
    return Refused(400, "bad_request", message)


def bucket_name(name: t.Any) -> str:
    if not isinstance(name, str) or not 6 <= len(name) <= 63:
        raise bad_request("Bucket name must be between 6 and 63 characters long")
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise bad_request("Invalid characters in bucketName: must be alphanumeric or '-'")
    if name.lower().startswith("b2-"):
        raise bad_request("Bucket names that start with b2- are reserved")
    return name


def bucket_type(kind: t.Any) -> str:
    if kind not in ("allPrivate", "allPublic"):
        raise bad_request(f"Invalid bucketType: {kind}")
    return kind


def bucket_info(info: t.Any) -> dict[str, str]:
    if not isinstance(info, dict) or len(info) > 10:
        raise bad_request("bucketInfo must be an object of at most 10 members")
    for key, value in info.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", key) or not isinstance(value, str):
            raise bad_request(f"Invalid bucketInfo member: {key}")
    return info


def lifecycle_rules(rules: t.Any) -> list[dict[str, t.Any]]:
    """The rules as the server answers them: every member present, nulls included."""
    if not isinstance(rules, list) or len(rules) > 100:
        raise bad_request("lifecycleRules must be a list of at most 100 rules")
    full = [_lifecycle_rule(rule) for rule in rules]
    prefixes = [rule["fileNamePrefix"] for rule in full]
    for at, prefix in enumerate(prefixes):
        for other in prefixes[at + 1 :]:
            if prefix.startswith(other) or other.startswith(prefix):
                raise bad_request(f"Lifecycle rules overlap: '{prefix}' and '{other}' both apply to some files")
    return full


def _lifecycle_rule(rule: t.Any) -> dict[str, t.Any]:
    if not isinstance(rule, dict) or rule.keys() - {"fileNamePrefix", *DAYS}:
        raise Refused(400, "bad_json", "unknown member in a lifecycle rule")
    if not isinstance(rule.get("fileNamePrefix"), str):
        raise Refused(400, "bad_json", "required field fileNamePrefix is missing")
    for member in DAYS:
        days = rule.get(member)
        if days is not None and (type(days) is not int or days < 1):
            raise bad_request(f"{member} must be a positive number or null")
    if all(rule.get(member) is None for member in DAYS):
        raise bad_request("a lifecycle rule must set at least one number of days")
    return {"fileNamePrefix": rule["fileNamePrefix"], **{member: rule.get(member) for member in DAYS}}


def cors_rules(rules: t.Any) -> list[dict[str, t.Any]]:
    """The rules as the server answers them: every member present, nulls included."""
    if not isinstance(rules, list) or len(rules) > 100:
        raise bad_request("corsRules must be a list of at most 100 rules")
    full = [_cors_rule(rule) for rule in rules]
    if len({rule["corsRuleName"] for rule in full}) != len(full):
        raise bad_request("corsRuleName must be unique in a bucket")
    return full


def _cors_rule(rule: t.Any) -> dict[str, t.Any]:
    if not isinstance(rule, dict) or rule.keys() - CORS_MEMBERS:
        raise Refused(400, "bad_json", "unknown member in a CORS rule")
    name, seconds = rule.get("corsRuleName"), rule.get("maxAgeSeconds")
    if not isinstance(name, str) or not re.fullmatch(r"(?!b2-)[A-Za-z0-9-]{6,50}", name):
        raise bad_request(f"Invalid corsRuleName: {name}")
    for member in CORS_LISTS:
        needed = member in ("allowedOrigins", "allowedOperations")
        value = rule.get(member)
        if (needed or value is not None) and (not isinstance(value, list) or not all(value) or (needed and not value)):
            raise bad_request(f"illegal value in {member}")
    for operation in rule["allowedOperations"]:
        if operation not in CORS_OPERATIONS:
            raise bad_request(f"unknown operation in allowedOperations: {operation}")
    if type(seconds) is not int or not 0 <= seconds <= 86_400:
        raise Refused(400, "out_of_range", "maxAgeSeconds must be between 0 and 86400")
    return {member: rule.get(member) for member in sorted(CORS_MEMBERS)}


def flag(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(400, "bad_json", "a boolean is expected")
    return value


def retention(setting: t.Any) -> dict[str, t.Any]:
    if not isinstance(setting, dict) or setting.keys() - {"mode", "period"}:
        raise Refused(400, "bad_json", "defaultRetention must be an object of mode and period")
    if setting.get("mode") is None:
        return NO_RETENTION
    period = setting.get("period") or {}
    duration, unit = period.get("duration"), period.get("unit")
    if setting["mode"] not in ("governance", "compliance") or unit not in ("days", "years"):
        raise bad_request("Invalid defaultRetention")
    if type(duration) is not int or duration < 1:
        raise bad_request("the duration of defaultRetention must be a positive integer")
    return {"mode": setting["mode"], "period": {"duration": duration, "unit": unit}}


def replication(setting: t.Any) -> dict[str, t.Any]:
    if not isinstance(setting, dict) or setting.keys() - NO_REPLICATION.keys():
        raise Refused(400, "bad_json", "unknown member in replicationConfiguration")
    return {**NO_REPLICATION, **setting}


def encryption(setting: t.Any) -> dict[str, str]:
    """A null mode means the default, which is SSE-B2 as well."""
    if setting != SSE_B2 and setting != {"mode": None}:
        raise bad_request("defaultServerSideEncryption must be SSE-B2 with AES256")
    return SSE_B2


def key_name(name: t.Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name):
        raise bad_request("keyName must have 1 to 100 characters: letters, digits and '-'")
    return name


def capabilities(names: t.Any, restricted: bool) -> list[str]:
    if not isinstance(names, list) or not names:
        raise bad_request("capabilities must be a list that is not empty")
    for name in names:
        if name not in CAPABILITIES:
            raise bad_request(f"not a valid capability: {name}")
        if restricted and name in ACCOUNT_WIDE:
            raise bad_request(f"capability {name} is not allowed for a key that is restricted to buckets")
    return sorted(set(names))


def duration(seconds: t.Any) -> int | None:
    if seconds is not None and (type(seconds) is not int or not 1 <= seconds <= 86_400_000):
        raise Refused(400, "out_of_range", "validDurationInSeconds must be between 1 and 86400000")
    return seconds
