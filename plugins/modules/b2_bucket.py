#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: b2_bucket
short_description: A bucket in Backblaze B2
version_added: 0.1.0
description:
  - Creates, configures and deletes a bucket through B2's native API.
  - An update is written only on top of the state that was read; if somebody else changed the bucket meanwhile, it is read
    and compared again.
  - Settings that you leave out stay as they are.
author:
  - The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_b2
  - pantheros.nixci._b2
  - pantheros.nixci._http
notes:
  - The key needs C(listBuckets) and C(writeBuckets), C(deleteBuckets) for O(state=absent), C(readBucketEncryption) and
    C(writeBucketEncryption) for O(default_encryption).
  - A run that changes nothing sends two requests.
requirements:
  - boto3 >= 1.36 (for O(verify_with))
options:
  name:
    description:
      - Name of the bucket. Names are unique over all accounts of Backblaze and compared without case.
      - A new one has 6 to 63 lower-case letters, digits and hyphens and does not begin with C(b2-).
    type: str
    required: true
  state:
    description: Whether the bucket shall exist. Only an empty bucket can be deleted; old and hidden versions count.
    type: str
    choices: [present, absent]
    default: present
  type:
    description: Who may read the files without a key, nobody or everybody.
    type: str
    choices: [allPrivate, allPublic]
    default: allPrivate
  lifecycle_rules:
    description:
      - All rules of the bucket; they replace those that exist. An empty list removes them.
      - Every bucket keeps old versions. Without a rule that deletes hidden ones, deleting a file frees nothing.
      - No file may fall under two rules, so no prefix may begin with another.
    type: list
    elements: dict
    suboptions:
      file_name_prefix:
        description: The rule is for files whose names begin with this; the empty string means all files.
        type: str
        required: true
      days_from_hiding_to_deleting:
        description: Delete a version this many days after it was hidden, deleted by name or replaced.
        type: int
      days_from_uploading_to_hiding:
        description:
          - Hide a file this many days after its upload, whether it is used or not.
          - On a whole bucket this needs O(accept_age_based_hiding=true).
        type: int
      days_from_starting_to_canceling_unfinished_large_files:
        description: Cancel an upload in parts that is not finished this many days after its start.
        type: int
  accept_age_based_hiding:
    description:
      - Accept O(lifecycle_rules[].days_from_uploading_to_hiding) for all files of the bucket.
      - This destroys a binary cache. Attic uploads a chunk once and uses it for years; it would go on offering paths whose
        chunks are hidden.
    type: bool
    default: false
  default_encryption:
    description:
      - How B2 encrypts new files by itself. If the key may not read the setting, it is left alone with a warning.
      - New buckets have V(SSE-B2) even if you leave this out.
    type: str
    choices: [SSE-B2]
  bucket_info:
    description: Up to ten values stored with the bucket; they replace those that exist.
    type: dict
  verify_with:
    description:
      - Prove that this key can use the bucket through the S3 endpoint, by writing, reading, comparing and deleting one
        small object named C(nixci-verify/UUID). Not done in check mode.
      - The object is removed for good if the key has C(deleteFiles), otherwise only hidden.
    type: dict
    suboptions:
      key_id:
        description: The id of the application key to try.
        type: str
        required: true
      key:
        description: Its secret.
        type: str
        required: true
      prefix:
        description: Begin the object's name with this, for a key that is restricted to a prefix.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: The bucket of the cache
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-nix-cache
    default_encryption: SSE-B2
    lifecycle_rules:
      - file_name_prefix: ""
        days_from_hiding_to_deleting: 30
        days_from_starting_to_canceling_unfinished_large_files: 3

- name: Prove that the restricted key works
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-nix-cache
    verify_with:
      key_id: "{{ b2_cache_key_id }}"
      key: "{{ b2_cache_key }}"
"""

RETURN = r"""
bucket:
  description: The bucket as it is now, or would be; null when it is absent.
  returned: success
  type: dict
  sample:
    name: pantheros-nix-cache
    id: 4a48fe8875c6214145260818
    type: allPrivate
    lifecycle_rules:
      - file_name_prefix: ""
        days_from_hiding_to_deleting: 30
        days_from_starting_to_canceling_unfinished_large_files: 3
    default_encryption: SSE-B2
    bucket_info: {}
    revision: 2
    account_id: 1a2b3c4d5e6f
    s3_endpoint: https://s3.eu-central-003.backblazeb2.com
    region: eu-central-003
  contains:
    name:
      description: Its name.
      returned: always
      type: str
    id:
      description: Its id; null for a bucket that check mode would create.
      returned: always
      type: str
    type:
      description: Who may read it.
      returned: always
      type: str
    lifecycle_rules:
      description: Its rules, sorted by prefix, without members that are not set.
      returned: always
      type: list
      elements: dict
    default_encryption:
      description: V(SSE-B2) or V(none); null if the key may not read it.
      returned: always
      type: str
    bucket_info:
      description: Values stored with it.
      returned: always
      type: dict
    revision:
      description: A number that grows with every change; null for a bucket that check mode would create.
      returned: always
      type: int
    account_id:
      description: The account that owns it.
      returned: always
      type: str
    s3_endpoint:
      description: The address of its S3 side.
      returned: always
      type: str
    region:
      description: The region of the account, as S3 clients need it; null if it is not known, see O(region).
      returned: always
      type: str
verified:
  description: Whether the round trip of O(verify_with) was made; a failing one fails the task.
  returned: success
  type: bool
  sample: true
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._b2 import RULE_MEMBERS, B2Client, b2_argument_spec, sorted_rules
from ..module_utils._b2_s3 import round_trip
from ..module_utils._change import Change
from ..module_utils._errors import ConflictError, InvalidError, NixciError

SETTINGS = ("name", "type", "lifecycle_rules", "default_encryption", "bucket_info")
# Somebody else may write between our reading and our writing; not for ever.
ROUNDS = 3


def check_rules(params: dict[str, t.Any]) -> None:
    """What B2 would refuse, and what would destroy a cache, before anything is sent."""
    rules = params["lifecycle_rules"] or []
    for rule in rules:
        prefix = rule["file_name_prefix"]
        days = [rule.get(member) for member in RULE_MEMBERS if member != "file_name_prefix"]
        if all(each is None for each in days) or any(each is not None and each < 1 for each in days):
            raise InvalidError(
                f"The lifecycle rule for '{prefix}' must set at least one number of days, each 1 or more."
            )
        if rule.get("days_from_uploading_to_hiding") and not prefix and not params["accept_age_based_hiding"]:
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


def plan(params: dict[str, t.Any], before: dict[str, t.Any] | None) -> Change:
    current = {field: before[field] for field in SETTINGS} if before else None
    if params["state"] == "absent":
        return Change(current, None)
    wanted = {field: params[field] for field in SETTINGS[1:] if params[field] is not None}
    if "lifecycle_rules" in wanted:
        wanted["lifecycle_rules"] = sorted_rules(wanted["lifecycle_rules"])
    if "bucket_info" in wanted:
        wanted["bucket_info"] = {key: str(value) for key, value in wanted["bucket_info"].items()}
    if current and current["default_encryption"] is None:
        # Unknown is not different, or every run would report a change.
        wanted.pop("default_encryption", None)
    new = {"name": params["name"], "lifecycle_rules": [], "default_encryption": None, "bucket_info": {}}
    return Change(current, {**(current or new), **wanted})


def converge(client: B2Client, params: dict[str, t.Any]) -> tuple[Change, dict[str, t.Any] | None]:
    """Read, compare, write; again when the bucket was changed or created in between."""
    name = params["name"]
    first: Change | None = None
    for attempt in range(ROUNDS):
        bucket = client.find_bucket(name)
        change = plan(params, bucket)
        if not change:
            # If an answer got lost, the second look finds what the first round wrote.
            return first or change, bucket
        first = first or change
        try:
            if change.after is None:
                client.delete_bucket(t.cast(dict, bucket))
                return change, None
            if bucket is None:
                check_name(name)
                return change, client.create_bucket(change.after)
            return change, client.update_bucket(bucket, change.fields)
        except ConflictError as exc:
            code = exc.details.get("code")
            if code == "cannot_delete_non_empty_bucket":
                raise ConflictError(
                    f"B2: the bucket '{name}' is not empty and cannot be deleted; old versions, hidden files and "
                    "unfinished uploads count, so empty it first.",
                    **exc.details,
                ) from None
            if code == "duplicate_bucket_name" and (attempt or client.find_bucket(name) is None):
                raise ConflictError(
                    f"B2: the bucket name '{name}' is taken by another account; "
                    "names are unique over all of Backblaze, so choose another one.",
                    **exc.details,
                ) from None
    raise ConflictError(
        f"B2: the bucket '{name}' was changed by somebody else {ROUNDS} times while it was being updated; "
        "find out who else manages it, then run again."
    )


def check_name(name: str) -> None:
    if not re.fullmatch(r"(?!b2-)[a-z0-9][a-z0-9-]{4,61}[a-z0-9]", name):
        raise InvalidError(
            f"'{name}' cannot be the name of a bucket: use 6 to 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit, and not beginning with b2-."
        )


def run(module: AnsibleModule, client: B2Client) -> dict[str, t.Any]:
    params = module.params
    change, bucket = converge(client, params)
    if params["default_encryption"] and change.before and change.before["default_encryption"] is None:
        module.warn(
            f"The encryption of the bucket '{params['name']}' is left as it is: "
            f"the key {params['key_id']} lacks the capability readBucketEncryption."
        )
    verify = params["verify_with"] if bucket and not module.check_mode else None
    if verify:
        bounds = {"timeout": params["timeout"], "retries": params["retries"]}
        round_trip(bucket, verify["key_id"], verify["key"], verify["prefix"], **bounds)
    return change.result(bucket=bucket, verified=bool(verify))


def main() -> None:
    rule: dict[str, t.Any] = {member: {"type": "int"} for member in RULE_MEMBERS}
    module = AnsibleModule(
        argument_spec={
            **b2_argument_spec(),
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "type": {"type": "str", "choices": ["allPrivate", "allPublic"], "default": "allPrivate"},
            "lifecycle_rules": {
                "type": "list",
                "elements": "dict",
                "options": {**rule, "file_name_prefix": {"type": "str", "required": True}},
            },
            "accept_age_based_hiding": {"type": "bool", "default": False},
            "default_encryption": {"type": "str", "choices": ["SSE-B2"]},
            "bucket_info": {"type": "dict"},
            "verify_with": {
                "type": "dict",
                "options": {
                    "key_id": {"type": "str", "required": True, "no_log": False},
                    "key": {"type": "str", "required": True, "no_log": True},
                    "prefix": {"type": "str", "default": ""},
                },
            },
        },
        supports_check_mode=True,
    )
    try:
        check_rules(module.params)
        result = run(module, B2Client(module.params, check_mode=module.check_mode))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
