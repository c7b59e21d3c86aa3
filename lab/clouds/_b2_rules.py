# SPDX-License-Identifier: GPL-3.0-or-later
"""The values that B2 accepts for buckets and keys; everything else is refused with B2's own codes."""

from __future__ import annotations

import json
import re
import typing as t
from urllib.parse import parse_qsl

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
CORS_LISTS = {"allowedOrigins", "allowedOperations", "allowedHeaders", "exposeHeaders"}
CORS_MEMBERS = CORS_LISTS | {"corsRuleName", "maxAgeSeconds"}
CORS_OPERATIONS = {f"s3_{method}" for method in ("get", "head", "put", "post", "delete")} | {
    "b2_download_file_by_name",
    "b2_download_file_by_id",
    "b2_upload_file",
    "b2_upload_part",
}
# The types of the members of a request that have no rule of their own below.
TYPES: dict[str, type] = {
    "accountId": str,
    "applicationKeyId": str,
    "bucketId": str,
    "bucketIds": list,
    "bucketName": str,
    "bucketTypes": list,
    "bypassGovernance": bool,
    "delimiter": str,
    "fileId": str,
    "fileName": str,
    "ifRevisionIs": int,
    "maxFileCount": int,
    "maxKeyCount": int,
    "namePrefix": str,
    "prefix": str,
    "startApplicationKeyId": str,
    "startFileId": str,
    "startFileName": str,
}
MAX_BODY = 1_000_000


class Refused(Exception):
    """An error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"status": status, "code": code, "message": message}


def bad_request(message: str) -> Refused:
    return Refused(400, "bad_request", message)


def json_object(data: bytes) -> t.Any:
    if len(data) > MAX_BODY:
        raise bad_request("the request body is too large")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "bad_json", "the request body is not JSON") from None


def from_query(query: bytes) -> dict[str, t.Any]:
    """The parameters of a GET request, as a body would have them."""
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise bad_request("the query is not UTF-8") from None
    body: dict[str, t.Any] = {}
    for member, text in pairs:
        kind = TYPES.get(member)
        if kind is int and re.fullmatch("[0-9]{1,18}", text):
            body[member] = int(text)
        else:
            body[member] = text.split(",") if kind is list else text
    return body


def members(body: t.Any) -> dict[str, t.Any]:
    """The members of a request; null means that a member is absent."""
    if not isinstance(body, dict):
        raise Refused(400, "bad_json", "the request body is not a JSON object")
    body = {member: value for member, value in body.items() if value is not None}
    for member, value in body.items():
        if member in TYPES and type(value) is not TYPES[member]:
            raise Refused(400, "bad_json", f"{member} must be of the type {TYPES[member].__name__}")
        if isinstance(value, str) and not value.isascii() and value.encode(errors="replace").decode() != value:
            raise Refused(400, "bad_json", f"{member} is not Unicode")
    return body


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
        if (needed or value is not None) and not (_texts(value) and (value or not needed)):
            raise bad_request(f"illegal value in {member}")
    for operation in rule["allowedOperations"]:
        if operation not in CORS_OPERATIONS:
            raise bad_request(f"unknown operation in allowedOperations: {operation}")
    if type(seconds) is not int or not 0 <= seconds <= 86_400:
        raise Refused(400, "out_of_range", "maxAgeSeconds must be between 0 and 86400")
    return {member: rule.get(member) for member in sorted(CORS_MEMBERS)}


def _texts(value: t.Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


def flag(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(400, "bad_json", "a boolean is expected")
    return value


def retention(setting: t.Any) -> dict[str, t.Any]:
    if not isinstance(setting, dict) or setting.keys() - {"mode", "period"}:
        raise Refused(400, "bad_json", "defaultRetention must be an object of mode and period")
    if setting.get("mode") is None:
        return NO_RETENTION
    period = setting.get("period")
    duration, unit = (period.get("duration"), period.get("unit")) if isinstance(period, dict) else (None, None)
    if setting["mode"] not in ("governance", "compliance") or unit not in ("days", "years"):
        raise bad_request("Invalid defaultRetention")
    if type(duration) is not int or duration < 1:
        raise bad_request("the duration of defaultRetention must be a positive integer")
    return {"mode": setting["mode"], "period": {"duration": duration, "unit": unit}}


def replication(setting: t.Any) -> dict[str, t.Any] | None:
    """The replication of a bucket; None if it is neither a source nor a destination."""
    if not isinstance(setting, dict) or setting.keys() - {"asReplicationSource", "asReplicationDestination"}:
        raise Refused(400, "bad_json", "unknown member in replicationConfiguration")
    source, destination = setting.get("asReplicationSource"), setting.get("asReplicationDestination")
    if source is not None:
        _replication_source(source)
    if destination is not None:
        mapping = destination.get("sourceToDestinationKeyMapping") if isinstance(destination, dict) else None
        if not isinstance(mapping, dict) or not mapping or not _texts([*mapping, *mapping.values()]):
            raise bad_request("sourceToDestinationKeyMapping must map the ids of keys to the ids of keys")
    if source is None and destination is None:
        return None
    return {"asReplicationSource": source, "asReplicationDestination": destination}


RULE_TYPES = {
    "destinationBucketId": str,
    "fileNamePrefix": str,
    "includeExistingFiles": bool,
    "isEnabled": bool,
    "priority": int,
    "replicationRuleName": str,
}


def _replication_source(source: t.Any) -> None:
    if not isinstance(source, dict) or source.keys() != {"replicationRules", "sourceApplicationKeyId"}:
        raise Refused(400, "bad_json", "asReplicationSource must have replicationRules and sourceApplicationKeyId")
    rules = source["replicationRules"]
    if not isinstance(source["sourceApplicationKeyId"], str) or not isinstance(rules, list) or not rules:
        raise bad_request("asReplicationSource needs the id of a key and at least one rule")
    for rule in rules:
        if not isinstance(rule, dict) or rule.keys() - RULE_TYPES.keys():
            raise Refused(400, "bad_json", "unknown member in a replication rule")
        if any(type(value) is not RULE_TYPES[member] for member, value in rule.items()):
            raise bad_request("a member of a replication rule has the wrong type")
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", rule.get("replicationRuleName", "")):
            raise bad_request("replicationRuleName must have 1 to 64 letters, digits, '_' and '-'")
        if not 1 <= rule.get("priority", 0) < 2**31:
            raise bad_request("priority must be between 1 and 2147483647")
    for member in ("replicationRuleName", "priority", "destinationBucketId"):
        if len({rule.get(member) for rule in rules}) < len(rules):
            raise bad_request(f"{member} must be unique in the replication rules of a bucket")


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
    if not _texts(names) or not names:
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
