#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: b2_application_key
short_description: An application key of Backblaze B2, stored in the same step
version_added: 0.1.0
description:
  - Creates, keeps, replaces and deletes an application key.
  - B2 shows the secret of a key once, in the answer to its creation, and cannot change a key. So the module stores the key
    in the same step, with O(file) or O(onepassword), or returns the secret this one time.
  - A key is replaced only on request (O(rotate), O(recreate), O(renew_before)), or when its secret is lost, which means that
    the stored id is unknown to B2 or that B2 refuses the stored secret. The new key is made and stored before an old one
    is deleted.
  - If nothing is stored although keys of the name exist, they may be stored elsewhere and in use. Then O(recreate) must be
    given, or with O(superseded=keep) they stay and are named in a warning.
  - Before a key is created, the module proves that it can be stored, as far as that can be known. If storing it fails all
    the same, the new key is deleted again. A crash in between leaves a key whose secret nobody has; the next run finds
    that another one is stored and deletes it with the O(superseded) ones, or, if it was the first, asks for O(recreate).
author:
  - The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_b2
  - pantheros.nixci._b2
  - pantheros.nixci._http
attributes:
  idempotent:
    support: partial
    details: With O(rotate=true) every run makes a new key. Without O(file) and O(onepassword) a run that returned a secret
      must be followed by one with the new O(stored_key_id), which then reports no change or the removal of the superseded keys.
notes:
  - All keys of the account with this name are taken for versions of one key, and superseded ones are deleted. Use a name of
    its own for every installation.
  - Use C(no_log) on a task that may return a secret. With O(file) or O(onepassword) none is returned.
  - The key that does the work needs C(listKeys), C(writeKeys) to create, C(deleteKeys) to delete, which includes
    taking a new key back if it cannot be stored, and C(listBuckets) for O(bucket).
  - A run that changes nothing sends two requests to B2, one more to look up O(bucket), and one more to try a stored secret.
  - What is stored is never removed, also not with O(state=absent).
options:
  name:
    description: Name of the key; 1 to 100 letters, digits and hyphens. B2 does not keep names unique.
    type: str
    required: true
  state:
    description: Whether the key shall exist. V(absent) deletes every key of this name.
    type: str
    choices: [present, absent]
    default: present
  capabilities:
    description:
      - What the key may do, in any order. Needed unless O(state=absent). Names unknown to this module are left to B2 to judge.
      - Attic needs C(listBuckets), C(listFiles), C(readFiles), C(writeFiles) and C(deleteFiles).
      - If B2 grants others than these, the new key is deleted again and the task fails.
    type: list
    elements: str
  bucket:
    description: Name of the one bucket that the key may use. Without it and O(bucket_id) the key is for all buckets.
    type: str
  bucket_id:
    description: Id of that bucket, which saves looking it up.
    type: str
  name_prefix:
    description: The key may only use files whose names begin with this. Needs a bucket.
    type: str
  valid_duration_seconds:
    description:
      - How long a new key lives, at most 86400000 (1000 days). Without it the key has no end.
      - A key that exists is compared by whether it has an end, not by when.
    type: int
  renew_before:
    description:
      - Replace the key when it has fewer seconds left than this. Needs O(valid_duration_seconds).
      - Without it the key is replaced only after its end.
    type: int
  stored_key_id:
    description: The id of the key whose secret you hold; empty if you hold none. Known from O(file) or O(onepassword) itself.
    type: str
  file:
    description:
      - Store the key in this file, as C(AWS_ACCESS_KEY_ID) and C(AWS_SECRET_ACCESS_KEY), one per line, as systemd, Docker
        and shells read an environment.
      - It is written whole or not at all, with mode 0600. A file with other content is refused.
    type: path
  onepassword:
    description: Store the key in two fields of an item in 1Password; its other fields stay. A missing item is made.
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
        description: The way to 1Password, as in M(pantheros.nixci.onepassword_item).
        type: str
        choices: [auto, connect, op, sdk]
        default: auto
      connect_host:
        description:
          - URL of a 1Password Connect server, without C(/v1). Connect wins when a service account is given too.
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
        description: A file with the certificates of your own authority, if the Connect server uses one.
        type: path
  superseded:
    description:
      - What happens to other keys of this name once the right one is stored. V(delete) ends them at once.
      - V(keep) leaves them to a later run, when all users of the key have the new one.
      - When a secret is returned, they always stay until a run with the new O(stored_key_id).
    type: str
    choices: [delete, keep]
    default: delete
  recreate:
    description:
      - Replace the key if its rights are not the wanted ones, or if the stored id belongs to a key of another name. Otherwise
        that is an error, since a new key has a new id and a new secret which all its users must learn.
    type: bool
    default: false
  rotate:
    description: Replace the key in any case.
    type: bool
    default: false
requirements:
  - what M(pantheros.nixci.onepassword_item) needs (for O(onepassword))
seealso:
  - module: pantheros.nixci.b2_bucket
  - module: pantheros.nixci.onepassword_item
"""

EXAMPLES = r"""
- name: A key for the cache, stored in 1Password
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: attic-pantheros-nix-cache
    bucket: pantheros-nix-cache
    capabilities: [listBuckets, listFiles, readFiles, writeFiles, deleteFiles]
    onepassword:
      vault: pantherOS
      title: Backblaze-B2

- name: A key for backups, in a file and renewed a week before its end
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

- name: A key whose secret you store yourself
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: by-hand
    bucket: pantheros-nix-cache
    capabilities: [listBuckets, listFiles, readFiles]
    stored_key_id: "{{ b2_reader_key_id | default('') }}"
  register: b2_reader_key
  no_log: true

- name: The key is no longer needed
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
      description: What it may do, sorted.
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
      description: What the names of its files must begin with.
      returned: always
      type: str
      sample: restic/
    expires:
      description: Whether it has an end.
      returned: always
      type: bool
      sample: true
    expires_at:
      description: When it ends, in UTC; null if never, and for a key that check mode would create.
      returned: always
      type: str
      sample: "2027-02-21T12:00:00Z"
created:
  description: Whether a new key was made, or would be.
  returned: success
  type: bool
  sample: false
secret:
  description: The secret of a new key, this one time; null otherwise, in check mode, and with O(file) or O(onepassword).
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
        new = {"id": None, "name": self.name, **plan.rights, "expires_at": None}
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
