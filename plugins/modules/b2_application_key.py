#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: b2_application_key
short_description: Manage an application key of Backblaze B2 and store its secret
version_added: 0.1.0
description:
  - Creates, keeps, replaces and deletes an application key.
  - B2 shows the secret of a key only once, in the answer to its creation, and cannot change a key. So the module stores the
    key in the same step, with O(file) or O(onepassword), or returns the secret this one time.
  - A key is replaced only on request (O(rotate), O(recreate), O(renew_before)) or if its secret is lost, which means that
    B2 does not know the stored id or refuses the stored secret. The module creates and stores the new key before it deletes
    an old one.
  - If nothing is stored but keys of this name exist, they may be stored elsewhere and in use. Then the task fails unless
    O(recreate=true) is set; with O(superseded=keep) it keeps them and warns.
  - Before the module creates a key, it checks that it can store it, as far as that shows without writing. If storing the key
    fails nevertheless, the module deletes the new key again. A crash or a lost answer in between leaves a key whose secret
    nobody has. If another key is stored, the next run deletes the lost one with the O(superseded) ones; otherwise the next
    run requires O(recreate=true).
author:
  - The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_b2
  - pantheros.nixci._b2
  - pantheros.nixci._http
  - ansible.builtin.files
attributes:
  idempotent:
    support: partial
    details: With O(rotate=true) every run creates a new key. Without O(file) and O(onepassword), a run that returned a secret
      must be followed by one with the new O(stored_key_id), which reports no change or the removal of superseded keys.
notes:
  - The module treats all keys of the account with this name as versions of one key and deletes superseded ones. Use a
    separate name for every installation.
  - Use C(no_log) on a task that may return a secret. With O(file) or O(onepassword) the module returns none.
  - The key in O(key_id) needs C(listKeys); C(writeKeys) to create a key; C(deleteKeys) to delete one, and to create one with
    O(file) or O(onepassword), because the module deletes a key that it cannot store; C(listBuckets) for O(bucket). A missing
    capability is an error in check mode too.
  - Keys are created through version 3 of B2's API, since restic, rclone, s3ql, Backblaze's web page and others cannot log
    in with a key that was created for given buckets through version 4
    (U(https://www.backblaze.com/docs/cloud-storage-native-api-versions)).
  - A run without changes sends three requests to B2, plus one to look up O(bucket) and one to verify a stored secret.
  - The module never removes what is stored, not even with O(state=absent).
options:
  name:
    description: Name of the key; 1 to 100 letters, digits and hyphens. B2 does not keep names unique.
    type: str
    required: true
  state:
    description: Whether the key should exist. V(absent) deletes every key of this name.
    type: str
    choices: [present, absent]
    default: present
  capabilities:
    description:
      - What the key may do, in any order. Required unless O(state=absent). B2 accepts or refuses unknown names.
      - Attic needs C(listBuckets), C(listFiles), C(readFiles), C(writeFiles) and C(deleteFiles).
      - If B2 grants other capabilities than these, the module deletes the new key again and the task fails.
    type: list
    elements: str
  bucket:
    description: Name of the only bucket that the key may use. Without O(bucket) and O(bucket_id) it may use all buckets.
    type: str
  bucket_id:
    description: Id of that bucket; saves the request that looks it up.
    type: str
  name_prefix:
    description: The key may only use files whose names begin with this. Needs a bucket.
    type: str
  valid_duration_seconds:
    description:
      - How long a new key is valid, at most 86400000 seconds (1000 days). Without it the key never expires.
      - Of an existing key the module compares whether it expires, not when.
    type: int
  renew_before:
    description:
      - Replace the key if it expires in fewer seconds than this. Needs O(valid_duration_seconds).
      - Without it the key is replaced only after it has expired.
    type: int
  stored_key_id:
    description: The id of the key whose secret you have stored yourself; empty if there is none.
    type: str
  file:
    description:
      - Store the key in this file, as C(AWS_ACCESS_KEY_ID) and C(AWS_SECRET_ACCESS_KEY), one per line, as systemd, Docker
        and shells read an environment.
      - The file is written completely or not at all. A file with other content is an error.
      - O(mode), O(owner), O(group) and the like apply to this file. Without O(mode) it has mode 0600.
    type: path
  onepassword:
    description: Store the key in two fields of an item in 1Password; its other fields stay. A missing item is created.
    type: dict
    suboptions:
      vault:
        description: Name or ID of the vault.
        type: str
        required: true
      title:
        description: Title or ID of the item.
        type: str
        required: true
      id_label:
        description: Label of the field with the id of the key.
        type: str
        default: application-key-id
      secret_label:
        description: Label of the field with its secret.
        type: str
        default: application-key
      backend:
        description: How to access 1Password, as in M(pantheros.nixci.onepassword_item).
        type: str
        choices: [auto, connect, op, sdk]
        default: auto
      connect_host:
        description:
          - URL of a 1Password Connect server, without C(/v1). It takes precedence over a service account.
          - Falls back to the environment variable E(OP_CONNECT_HOST).
        type: str
      connect_token:
        description: Token for the Connect server. Falls back to the environment variable E(OP_CONNECT_TOKEN).
        type: str
      service_account_token:
        description:
          - Token of a service account, used with the command C(op) or the SDK.
          - Falls back to the environment variable E(OP_SERVICE_ACCOUNT_TOKEN).
        type: str
      ca_path:
        description: File with the CA certificates that the Connect server's certificate must come from.
        type: path
  superseded:
    description:
      - What happens to other keys of this name once the desired one is stored. V(delete) deletes them at once.
      - V(keep) leaves them for a later run, when all users of the key have the new one.
      - If the module returns a secret, they always stay until a run with the new O(stored_key_id).
    type: str
    choices: [delete, keep]
    default: delete
  recreate:
    description:
      - Replace the key if its rights are not as desired, or if the stored id belongs to a key of another name. By default
        that is an error, because all users of the key need the id and secret of the new one.
      - Replace the key also if it was created for given buckets through version 4 of B2's API, see
        RV(application_key.multi_bucket). By default the module keeps such a key and warns.
    type: bool
    default: false
  rotate:
    description: Always replace the key.
    type: bool
    default: false
requirements:
  - what M(pantheros.nixci.onepassword_item) needs (for O(onepassword))
seealso:
  - module: pantheros.nixci.b2_bucket
  - module: pantheros.nixci.onepassword_item
"""

EXAMPLES = r"""
- name: Create a key for the cache and store it in 1Password
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: attic-pantheros-nix-cache
    bucket: pantheros-nix-cache
    capabilities: [listBuckets, listFiles, readFiles, writeFiles, deleteFiles]
    onepassword:
      vault: pantherOS
      title: Backblaze-B2

- name: Create a key for backups in a file and renew it a week before it expires
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: restic
    bucket: pantheros-nix-cache
    name_prefix: restic/
    capabilities: [listBuckets, listFiles, readFiles, writeFiles]
    valid_duration_seconds: 7776000
    renew_before: 604800
    file: "{{ b2_environment_file }}"

- name: Create a key and store its secret yourself
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: by-hand
    bucket: pantheros-nix-cache
    capabilities: [listBuckets, listFiles, readFiles]
    stored_key_id: "{{ b2_reader_key_id | default('') }}"
  register: b2_reader_key
  no_log: true

- name: Delete the key
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: by-hand
    state: absent
"""

RETURN = r"""
application_key:
  description: The key to use from now on; null when it is absent.
  returned: success
  type: dict
  sample:
    id: 0031a2b3c4d5e6f0000000001
    name: attic-pantheros-nix-cache
    capabilities: [deleteFiles, listBuckets, listFiles, readFiles, writeFiles]
    bucket_ids: [4a48fe8875c6214145260818]
    name_prefix: null
    expires: false
    expires_at: null
    multi_bucket: false
  contains:
    id:
      description: Its id; null for a key that check mode would create.
      returned: always
      type: str
      sample: 0031a2b3c4d5e6f0000000001
    name:
      description: Its name.
      returned: always
      type: str
      sample: attic-pantheros-nix-cache
    capabilities:
      description: Its capabilities, sorted.
      returned: always
      type: list
      elements: str
      sample: [listFiles, readFiles]
    bucket_ids:
      description: The buckets that it may use; empty for all.
      returned: always
      type: list
      elements: str
      sample: [4a48fe8875c6214145260818]
    name_prefix:
      description: The prefix to which the names of its files are restricted; null if there is none.
      returned: always
      type: str
      sample: restic/
    expires:
      description: Whether it expires.
      returned: always
      type: bool
      sample: true
    expires_at:
      description: When it expires, in UTC; null if never, and for a key that check mode would create.
      returned: always
      type: str
      sample: "2027-02-21T12:00:00Z"
    multi_bucket:
      description: Whether it was created for given buckets through version 4 of B2's API, so that programs which use an
        older version cannot log in with it. This module creates no such keys.
      returned: always
      type: bool
      sample: false
created:
  description: Whether the run created a new key, or in check mode would create one.
  returned: success
  type: bool
  sample: false
secret:
  description: The secret of a new key, only once; null otherwise, in check mode, and with O(file) or O(onepassword).
  returned: success
  type: str
  sample: null
superseded:
  description: Ids of other keys of the name that still exist, and which a later run with O(superseded=delete) deletes.
  returned: success
  type: list
  elements: str
  sample: []
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._b2.bucket import Buckets
from ..module_utils._b2.client import B2Client, b2_argument_spec
from ..module_utils._b2.key import Json, Keys, create_and_store
from ..module_utils._b2.key_plan import Found, KeyPlan, check_options, plan_key
from ..module_utils._b2.store import FileStore, onepassword_store_spec, open_store
from ..module_utils._core.errors import NixciError, NotFoundError
from ..module_utils._core.resource import run


class ApplicationKey:
    def __init__(self, module: AnsibleModule) -> None:
        params = module.params
        check_options(params)
        self.client = B2Client(params)
        self.keys = Keys(self.client)
        self.store = open_store(module) if params["state"] == "present" else None
        self.name, self.seconds, self.warn = params["name"], params["valid_duration_seconds"], module.warn

    def read(self, params: Json) -> Found:
        bucket_id = params["bucket_id"]
        if params["bucket"] and params["state"] == "present":
            bucket = Buckets(self.client).find(params["bucket"])
            bucket_id = bucket and bucket["id"]
        keys = self.keys.list()
        stored = self.store.read() if self.store else None
        pair = stored and stored.pair
        named = [key["id"] for key in keys if key["name"] == self.name]
        accepted = not pair or pair.id not in named or self.client.accepts(*pair)
        return Found(keys, bucket_id, stored, accepted, time.time())

    def plan(self, params: Json, found: Found) -> KeyPlan:
        return plan_key(params, found, self.client.capabilities)

    def predict(self, plan: KeyPlan) -> Json:
        self._warn(plan)
        new = {"id": None, "name": self.name, **plan.rights, "expires_at": None, "multi_bucket": False}
        return self._result(plan, new if plan.create else plan.key)

    def apply(self, plan: KeyPlan) -> Json:
        self._warn(plan)
        if plan.missing_bucket:
            raise NotFoundError(f"B2: there is no bucket '{plan.missing_bucket}' in this account; create it first.")
        key, secret = plan.key, None
        try:
            if plan.create:
                key, secret = create_and_store(self.keys, self.name, plan.rights, self.seconds, self.store)
            elif isinstance(self.store, FileStore):
                self.store.set_attributes()
            for key_id in plan.delete:
                self.keys.delete(self.name, key_id)
        except NixciError as exc:
            # Another plan would create another key, and nobody could say whether a lost one is in use.
            exc.plan_again = exc.plan_again and not plan.create
            raise
        return self._result(plan, key, secret)

    def _result(self, plan: KeyPlan, key: Json | None, secret: str | None = None) -> Json:
        return {
            "application_key": key,
            "created": plan.create,
            "secret": secret,
            "superseded": list(plan.superseded),
        }

    def _warn(self, plan: KeyPlan) -> None:
        for warning in plan.warnings:
            self.warn(warning)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **b2_argument_spec(),
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "capabilities": {"type": "list", "elements": "str"},
            "bucket": {"type": "str"},
            "bucket_id": {"type": "str"},
            "name_prefix": {"type": "str"},
            "valid_duration_seconds": {"type": "int"},
            "renew_before": {"type": "int"},
            "stored_key_id": {"type": "str", "no_log": False},
            "file": {"type": "path"},
            "onepassword": {"type": "dict", "no_log": False, "options": onepassword_store_spec()},
            "superseded": {"type": "str", "choices": ["delete", "keep"], "default": "delete"},
            "recreate": {"type": "bool", "default": False},
            "rotate": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ["capabilities"])],
        required_by={"renew_before": ["valid_duration_seconds"]},
        add_file_common_args=True,
        mutually_exclusive=[("bucket", "bucket_id"), ("file", "onepassword", "stored_key_id")],
        supports_check_mode=True,
    )
    run(module, lambda: ApplicationKey(module))


if __name__ == "__main__":
    main()
