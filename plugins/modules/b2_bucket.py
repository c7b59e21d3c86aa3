#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: b2_bucket
short_description: Manage a bucket in Backblaze B2
version_added: 0.1.0
description:
  - Creates, configures and deletes a bucket through B2's native API.
  - An update applies only to the revision that was read. If somebody else has changed the bucket in the meantime, the module
    reads it again and compares again.
  - Settings that you omit stay as they are.
author:
  - The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_b2
  - pantheros.nixci._b2
  - pantheros.nixci._http
notes:
  - The key needs C(listBuckets); C(writeBuckets) to create or change a bucket; C(deleteBuckets) for O(state=absent);
    C(readBucketEncryption) and C(writeBucketEncryption) for O(default_encryption); C(readBucketRetentions) and
    C(writeBucketRetentions) for O(file_lock) and O(default_retention). It must not be restricted to buckets.
    A missing capability is an error in check mode too.
  - If the key may not read a setting, the module cannot compare it; the task warns and does not change the setting.
  - A run without changes sends two requests.
  - The module never changes replication, and no file except the one object of O(verify_with).
requirements:
  - boto3 >= 1.36 (for O(verify_with))
options:
  name:
    description:
      - Name of the bucket. Names are unique over all accounts of Backblaze, and B2 compares them without case.
      - A new name has 6 to 63 lower-case letters, digits and hyphens and does not begin with C(b2-).
    type: str
    required: true
  state:
    description:
      - Whether the bucket should exist.
      - Only an empty bucket can be deleted. Old versions, hide markers and unfinished multipart uploads count as content,
        although most tools do not show them. This module deletes no files, so a wrong name cannot destroy a cache.
    type: str
    choices: [present, absent]
    default: present
  type:
    description:
      - Who may read the files without a key. V(allPrivate) means nobody, V(allPublic) everybody.
      - A bucket of another type, such as C(snapshot), is an error and is not changed.
    type: str
    choices: [allPrivate, allPublic]
    default: allPrivate
  lifecycle_rules:
    description:
      - All lifecycle rules of the bucket. They replace the existing ones; an empty list removes them.
      - Every bucket keeps old versions. Without a rule that deletes hidden versions, deleting a file frees no space.
      - Two rules must not apply to the same file, so no prefix may begin with another.
    type: list
    elements: dict
    suboptions:
      file_name_prefix:
        description: The rule applies to files whose names begin with this. The empty string means all files.
        type: str
        required: true
      days_from_hiding_to_deleting:
        description: Delete a version this many days after it was hidden, deleted by name or replaced.
        type: int
      days_from_uploading_to_hiding:
        description:
          - Hide a file this many days after its upload, even if it is in use.
          - For all files of a bucket this needs O(accept_age_based_hiding=true).
        type: int
      days_from_starting_to_canceling_unfinished_large_files:
        description: Cancel a multipart upload that is unfinished this many days after its start.
        type: int
  accept_age_based_hiding:
    description:
      - Confirm O(lifecycle_rules[].days_from_uploading_to_hiding) for all files of the bucket.
      - This destroys a binary cache. Attic uploads a chunk once and uses it for years; it would continue to offer paths
        whose chunks are hidden.
    type: bool
    default: false
  default_encryption:
    description:
      - The default encryption of new files.
      - New buckets have V(SSE-B2) even if you omit this option, and since 2026 B2 refuses to switch it off
        (U(https://github.com/Backblaze/b2-sdk-python/releases), 2.13.0).
    type: str
    choices: [SSE-B2]
  bucket_info:
    description:
      - Up to ten values to store with the bucket. They replace the existing ones and are stored as strings.
      - A name has 1 to 50 letters, digits, C(_) and C(-). B2 sends C(Cache-Control) as a header of downloads.
    type: dict
  cors_rules:
    description:
      - All CORS rules of the bucket. They replace the existing ones; an empty list removes them.
      - See U(https://www.backblaze.com/docs/cloud-storage-cross-origin-resource-sharing-rules).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the rule, unique in the bucket; 6 to 50 letters, digits and hyphens, not beginning with C(b2-).
        type: str
        required: true
      allowed_origins:
        description: Origins of the web pages, such as V(https://example.org), or V(*).
        type: list
        elements: str
        required: true
      allowed_operations:
        description:
          - Allowed operations, of C(b2_download_file_by_name), C(b2_download_file_by_id), C(b2_upload_file),
            C(b2_upload_part), C(s3_get), C(s3_head), C(s3_put), C(s3_post) and C(s3_delete). Other names are passed to B2,
            which accepts or refuses them.
        type: list
        elements: str
        required: true
      allowed_headers:
        description: Headers that a request may contain.
        type: list
        elements: str
      expose_headers:
        description: Response headers that the page may read.
        type: list
        elements: str
      max_age_seconds:
        description: How many seconds a browser may cache the permission, at most 86400.
        type: int
        default: 3600
  file_lock:
    description:
      - Whether files can be locked against deletion for a time (Object Lock). Once on, it can never be switched off.
      - Switching it on for an existing bucket needs O(accept_irreversible=true).
    type: bool
  default_retention:
    description:
      - The default lock of new files. Needs O(file_lock).
      - Locked files cannot be deleted, so garbage collection of a binary cache frees no space until their locks end.
    type: dict
    suboptions:
      mode:
        description:
          - With V(governance), a key with C(bypassGovernance) may still delete a locked file. With V(compliance) nobody may,
            so it needs O(accept_irreversible=true).
        type: str
        choices: [none, governance, compliance]
        required: true
      duration:
        description: How long a file is locked, in O(default_retention.unit).
        type: int
      unit:
        description: Unit of the duration.
        type: str
        choices: [days, years]
        default: days
  accept_irreversible:
    description: Confirm a change that cannot be undone; see O(file_lock) and O(default_retention.mode).
    type: bool
    default: false
  verify_with:
    description:
      - Verify that this key can use the bucket through the S3 endpoint. The module writes, reads, compares and deletes one
        small object named C(nixci-verify/UUID), except in check mode.
      - The key needs C(writeFiles) and C(readFiles). With C(listFiles) and C(deleteFiles) the module removes every version
        of the object permanently; otherwise the object stays hidden and the task warns.
    type: dict
    suboptions:
      key_id:
        description: The id of the application key to verify.
        type: str
        required: true
      key:
        description: Its secret.
        type: str
        required: true
      prefix:
        description: A prefix for the name of the object, for a key that is restricted to a prefix.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Create the bucket of the cache
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-nix-cache
    default_encryption: SSE-B2
    lifecycle_rules:
      - file_name_prefix: ""
        days_from_hiding_to_deleting: 30
        days_from_starting_to_canceling_unfinished_large_files: 3

- name: Serve a public bucket to web pages
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-downloads
    type: allPublic
    bucket_info:
      Cache-Control: max-age=3600
    cors_rules:
      - name: everybody-reads
        allowed_origins: ["*"]
        allowed_operations: [b2_download_file_by_name, s3_get, s3_head]

- name: Protect backups from deletion for a month
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-backups
    file_lock: true
    default_retention:
      mode: governance
      duration: 30

- name: Delete an empty bucket
  pantheros.nixci.b2_bucket:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: pantheros-downloads
    state: absent

- name: Verify that the restricted key works
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
  description: The bucket as it is now, in check mode as it would be; null when it is absent.
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
    cors_rules: []
    default_encryption: SSE-B2
    file_lock: false
    default_retention:
      mode: none
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
      sample: pantheros-nix-cache
    id:
      description: Its id; null for a bucket that check mode would create.
      returned: always
      type: str
      sample: 4a48fe8875c6214145260818
    type:
      description: Whether it is private or public.
      returned: always
      type: str
      sample: allPrivate
    lifecycle_rules:
      description: Its lifecycle rules, sorted by prefix, without members that are not set.
      returned: always
      type: list
      elements: dict
      sample: [{file_name_prefix: "", days_from_hiding_to_deleting: 30}]
    cors_rules:
      description: Its CORS rules, with sorted members, without members that are not set.
      returned: always
      type: list
      elements: dict
      sample: []
    default_encryption:
      description: V(SSE-B2) or V(none); null if the key may not read it.
      returned: always
      type: str
      sample: SSE-B2
    file_lock:
      description: Whether files can be locked; null if the key may not read it.
      returned: always
      type: bool
      sample: false
    default_retention:
      description: The default lock of new files, as in O(default_retention); null if the key may not read it.
      returned: always
      type: dict
      sample: {mode: governance, duration: 30, unit: days}
    bucket_info:
      description: Values stored with it.
      returned: always
      type: dict
      sample: {}
    revision:
      description: A number that grows with every change; null if check mode predicts a change.
      returned: always
      type: int
      sample: 2
    account_id:
      description: The account that owns it.
      returned: always
      type: str
      sample: 1a2b3c4d5e6f
    s3_endpoint:
      description: The URL of its S3 API.
      returned: always
      type: str
      sample: https://s3.eu-central-003.backblazeb2.com
    region:
      description: The region of the account, which S3 clients need; null if it is unknown, see O(region).
      returned: always
      type: str
      sample: eu-central-003
verified:
  description: Whether O(verify_with) was verified. If that fails, the task fails.
  returned: success
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._b2.bucket import RULE_MEMBERS, Buckets, Json
from ..module_utils._b2.bucket_plan import BucketPlan, check_settings, differing, plan_bucket
from ..module_utils._b2.client import B2Client, b2_argument_spec
from ..module_utils._core.resource import converge, finish


class Bucket:
    def __init__(self, module: AnsibleModule) -> None:
        check_settings(module.params)
        self.buckets = Buckets(B2Client(module.params))
        self.warn = module.warn

    def read(self, params: Json) -> Json | None:
        return self.buckets.find(params["name"])

    def plan(self, params: Json, found: Json | None) -> BucketPlan:
        return plan_bucket(params, found, self.buckets.client.capabilities)

    def predict(self, plan: BucketPlan) -> Json:
        self._warn(plan)
        if plan.change.after is None or not plan.change:
            return {"bucket": plan.found if plan.change.after else None}
        known = plan.found or {"id": None, **self.buckets.location}
        return {"bucket": {**known, **plan.change.after, "revision": None}}

    def apply(self, plan: BucketPlan) -> Json:
        self._warn(plan)
        if plan.change.after is None:
            self.buckets.delete(plan.found or {})
            return {"bucket": None}
        if plan.found:
            return {"bucket": self.buckets.update(plan.found, plan.change.fields)}
        bucket = self.buckets.create(plan.change.after["name"], plan.desired)
        rest = differing(bucket, plan.desired)
        return {"bucket": self.buckets.update(bucket, rest) if rest else bucket}

    def _warn(self, plan: BucketPlan) -> None:
        for warning in plan.warnings:
            self.warn(warning)


def manage(module: AnsibleModule) -> Json:
    params = module.params
    result = converge(Bucket(module), params, module.check_mode)
    verify = params["verify_with"] if result["bucket"] and not module.check_mode else None
    if verify:
        # Not at the top: boto3 is slow to import, and most runs do not need it.
        from ..module_utils._b2.s3 import round_trip

        bounds = {"timeout": params["timeout"], "retries": params["retries"]}
        leftover = round_trip(result["bucket"], verify["key_id"], verify["key"], verify["prefix"], **bounds)
        if leftover:
            module.warn(leftover)
    return {**result, "verified": bool(verify)}


def main() -> None:
    rule: dict[str, t.Any] = {member: {"type": "int"} for member in RULE_MEMBERS}
    strings: dict[str, t.Any] = {"type": "list", "elements": "str"}
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
            "cors_rules": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "allowed_origins": {**strings, "required": True},
                    "allowed_operations": {**strings, "required": True},
                    "allowed_headers": strings,
                    "expose_headers": strings,
                    "max_age_seconds": {"type": "int", "default": 3600},
                },
            },
            "file_lock": {"type": "bool"},
            "default_retention": {
                "type": "dict",
                "options": {
                    "mode": {"type": "str", "choices": ["none", "governance", "compliance"], "required": True},
                    "duration": {"type": "int"},
                    "unit": {"type": "str", "choices": ["days", "years"], "default": "days"},
                },
            },
            "accept_irreversible": {"type": "bool", "default": False},
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
    finish(module, lambda: manage(module))


if __name__ == "__main__":
    main()
