# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to change in a bucket, and what to refuse before anything is sent.

Private: may change without notice. The limits are those of https://www.backblaze.com/docs/cloud-storage-buckets,
.../cloud-storage-lifecycle-rules and .../cloud-storage-cross-origin-resource-sharing-rules.
"""

from __future__ import annotations

import dataclasses
import re

from .._core.change import Change
from .._core.errors import InvalidError
from .bucket import GUARDED, NO_RETENTION, RULE_MEMBERS, Json, new_bucket, plain_cors, sorted_rules
from .client import Capabilities

MAX_RULES = 100
SETTINGS = (
    "type",
    "lifecycle_rules",
    "cors_rules",
    "default_encryption",
    "file_lock",
    "default_retention",
    "bucket_info",
)


@dataclasses.dataclass(frozen=True)
class BucketPlan:
    change: Change
    found: Json | None
    """The bucket as it was read."""
    desired: Json
    """The settings that the task gives."""
    warnings: tuple[str, ...] = ()


def plan_bucket(params: Json, found: Json | None, capabilities: Capabilities) -> BucketPlan:
    """Raises what B2 would refuse, what B2 could never undo, and a missing capability."""
    name = found["name"] if found else params["name"]
    current = {setting: found[setting] for setting in ("name", *SETTINGS)} if found else None
    if params["state"] == "absent":
        if found:
            capabilities.require("deleteBuckets", f"delete the bucket '{name}'")
        return BucketPlan(Change(current, None), found, {})
    desired = desired_settings(params)
    if current:
        change = Change(current, {**current, **differing(current, desired)})
    else:
        check_name(name)
        change = Change(None, {"name": name, **new_bucket(capabilities), **desired})
    _check_transition(params, change)
    if change:
        _require(capabilities, change.fields if current else desired, name, new=not current)
    return BucketPlan(change, found, desired, _warnings(params, found))


def differing(bucket: Json, desired: Json) -> Json:
    """The desired settings that a bucket does not have; one that the key may not read counts as equal."""
    return {setting: value for setting, value in desired.items() if bucket[setting] not in (None, value)}


def desired_settings(params: Json) -> Json:
    """The settings that the task gives, in comparable form."""
    desired = {setting: params[setting] for setting in SETTINGS if params[setting] is not None}
    if "lifecycle_rules" in desired:
        desired["lifecycle_rules"] = sorted_rules(desired["lifecycle_rules"])
    if "cors_rules" in desired:
        desired["cors_rules"] = plain_cors(desired["cors_rules"])
    if "bucket_info" in desired:
        desired["bucket_info"] = {key: str(value) for key, value in desired["bucket_info"].items()}
    if "default_retention" in desired and desired["default_retention"]["mode"] == "none":
        desired["default_retention"] = NO_RETENTION
    return desired


def _require(capabilities: Capabilities, fields: Json, name: str, *, new: bool) -> None:
    action = f"{'create' if new else 'update'} the bucket '{name}'"
    capabilities.require("writeBuckets", action)
    if "default_encryption" in fields:
        capabilities.require("writeBucketEncryption", action)
    if fields.get("file_lock") or "default_retention" in fields:
        capabilities.require("writeBucketRetentions", action)
    if new and "default_retention" in fields:
        # B2 takes it only in an update, and without this capability nobody could see whether one is needed.
        capabilities.require("readBucketRetentions", action)


def _warnings(params: Json, found: Json | None) -> tuple[str, ...]:
    return tuple(
        f"{setting} of the bucket '{params['name']}' is left as it is: "
        f"the key {params['key_id']} lacks the capability {capability}."
        for setting, capability in GUARDED.items()
        if params[setting] is not None and found and found[setting] is None
    )


def _check_transition(params: Json, change: Change) -> None:
    name, current, after = params["name"], change.before, change.after or {}
    if current and current["type"] not in ("allPrivate", "allPublic"):
        raise InvalidError(
            f"B2: the bucket '{name}' is of the type {current['type']}, which this module does not manage."
        )
    if current and current["file_lock"] and params["file_lock"] is False:
        raise InvalidError(
            f"B2: the file lock of the bucket '{name}' is on and can never be switched off; remove file_lock."
        )
    if after["default_retention"] not in (None, NO_RETENTION) and after["file_lock"] is False:
        raise InvalidError(f"B2: default_retention of the bucket '{name}' needs file_lock: true.")
    if params["accept_irreversible"]:
        return
    if current and current["file_lock"] is False and after["file_lock"]:
        raise InvalidError(
            f"B2: the file lock of the bucket '{name}' could never be switched off again; "
            "confirm with accept_irreversible: true."
        )
    retention = after["default_retention"] or NO_RETENTION
    if retention["mode"] == "compliance" and retention != (current or {}).get("default_retention"):
        raise InvalidError(
            f"B2: with the retention mode compliance nobody could delete a new file of the bucket '{name}' before its "
            "retention ends, while it costs; use governance, or confirm with accept_irreversible: true."
        )


def check_name(name: str) -> None:
    if not re.fullmatch(r"(?!b2-)[a-z0-9][a-z0-9-]{4,61}[a-z0-9]", name):
        raise InvalidError(
            f"'{name}' cannot be the name of a bucket: use 6 to 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit, and not beginning with b2-."
        )


def check_settings(params: Json) -> None:
    """Raises what B2 would refuse, and what would destroy a binary cache."""
    _check_lifecycle(params["lifecycle_rules"] or [], params["accept_age_based_hiding"])
    _check_cors(params["cors_rules"] or [])
    _check_info(params["bucket_info"] or {})
    retention = params["default_retention"]
    if retention and retention["mode"] != "none" and (retention["duration"] or 0) < 1:
        raise InvalidError("default_retention needs a duration of 1 or more.")


def _check_lifecycle(rules: list[Json], accept_age: bool) -> None:
    _check_count("lifecycle_rules", rules)
    for rule in rules:
        prefix = rule["file_name_prefix"]
        days = [rule.get(member) for member in RULE_MEMBERS if member != "file_name_prefix"]
        if all(each is None for each in days) or any(each is not None and each < 1 for each in days):
            raise InvalidError(
                f"The lifecycle rule for '{prefix}' must set at least one number of days, each 1 or more."
            )
        if rule.get("days_from_uploading_to_hiding") and not prefix and not accept_age:
            raise InvalidError(
                "days_from_uploading_to_hiding with an empty prefix hides every file by age, used or not, which breaks "
                "a binary cache; use days_from_hiding_to_deleting, or confirm with accept_age_based_hiding: true."
            )
    prefixes = sorted(rule["file_name_prefix"] for rule in rules)
    for first, second in zip(prefixes, prefixes[1:], strict=False):
        if second.startswith(first):
            raise InvalidError(
                f"The lifecycle rules for '{first}' and '{second}' apply to the same files; B2 allows one rule per file."
            )


def _check_cors(rules: list[Json]) -> None:
    _check_count("cors_rules", rules)
    names = [rule["name"] for rule in rules]
    for rule in rules:
        name = rule["name"]
        if not re.fullmatch(r"(?!b2-)[A-Za-z0-9-]{6,50}", name) or names.count(name) > 1:
            raise InvalidError(
                f"'{name}' cannot be the name of a CORS rule: use 6 to 50 letters, digits and hyphens, "
                "not beginning with b2-, and each name once."
            )
        if not all(rule["allowed_origins"]) or not rule["allowed_origins"] or not rule["allowed_operations"]:
            raise InvalidError(
                f"The CORS rule '{name}' needs at least one origin and one operation, none of them empty."
            )
        if not 0 <= rule["max_age_seconds"] <= 86400:
            raise InvalidError(f"max_age_seconds of the CORS rule '{name}' must be between 0 and 86400.")


def _check_info(info: Json) -> None:
    wrong = [key for key in info if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", str(key))]
    nested = [key for key, value in info.items() if isinstance(value, (dict, list)) or value is None]
    if wrong or nested or len(info) > 10:
        raise InvalidError(
            "bucket_info takes at most 10 names of 1 to 50 letters, digits, _ and -, each with one plain value"
            + (f"; check {', '.join(map(str, wrong + nested))}." if wrong or nested else ".")
        )


def _check_count(option: str, rules: list[Json]) -> None:
    if len(rules) > MAX_RULES:
        raise InvalidError(f"{option} has {len(rules)} rules; a bucket takes {MAX_RULES}.")
