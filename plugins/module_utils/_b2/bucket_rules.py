# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What B2 would refuse of a bucket, and what would destroy a cache, said before anything is sent.

Private: may change without notice. The limits are those of https://www.backblaze.com/docs/cloud-storage-buckets,
.../cloud-storage-lifecycle-rules and .../cloud-storage-cross-origin-resource-sharing-rules.
"""

from __future__ import annotations

import re
import typing as t

from .._core.errors import InvalidError
from .bucket import RULE_MEMBERS

Json = dict[str, t.Any]

MAX_RULES = 100


def check_name(name: str) -> None:
    if not re.fullmatch(r"(?!b2-)[a-z0-9][a-z0-9-]{4,61}[a-z0-9]", name):
        raise InvalidError(
            f"'{name}' cannot be the name of a bucket: use 6 to 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit, and not beginning with b2-."
        )


def check_wish(params: Json) -> None:
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
            + (f"; look at {', '.join(map(str, wrong + nested))}." if wrong or nested else ".")
        )


def _check_count(option: str, rules: list[Json]) -> None:
    if len(rules) > MAX_RULES:
        raise InvalidError(f"{option} has {len(rules)} rules; a bucket takes {MAX_RULES}.")
