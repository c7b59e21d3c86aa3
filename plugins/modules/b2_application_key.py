#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: b2_application_key
short_description: An application key of Backblaze B2, with its secret handed out once
version_added: 0.1.0
description:
  - Creates, keeps, replaces and deletes an application key.
  - B2 shows the secret of a key once, in the answer to its creation, and cannot change a key. So this module needs to know
    the id of the key whose secret you hold, O(stored_key_id); that key is kept as long as its rights are the wanted ones.
  - If you hold no secret, or that of a key which is gone, a new key is created and RV(secret) returned. Older keys of the
    name stay, because one of them may be in use, and are listed in RV(superseded). They are deleted by the next run whose
    O(stored_key_id) is the new id, so a crash between creating and storing never destroys the key in use.
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
    details: A run that returned a secret must be followed by one with the new O(stored_key_id), which then reports no change
      or the removal of the superseded keys.
notes:
  - All keys of the account with this name are taken for versions of one key, and superseded ones are deleted. Use a name of
    its own for every installation.
  - Use C(no_log) on a task that may return a secret.
  - The key that does the work needs C(listKeys) and C(writeKeys), C(deleteKeys) to remove superseded ones, and
    C(listBuckets) unless O(bucket_id) is given.
  - A run that changes nothing sends two requests, or three to look up O(bucket).
options:
  name:
    description: Name of the key; 1 to 100 letters, digits and hyphens.
    type: str
    required: true
  state:
    description: Whether the key shall exist. V(absent) deletes every key of this name.
    type: str
    choices: [present, absent]
    default: present
  capabilities:
    description:
      - What the key may do. Needed unless O(state=absent). Names unknown to this module are left to B2 to judge.
      - Attic needs C(listBuckets), C(listFiles), C(readFiles), C(writeFiles) and C(deleteFiles).
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
  stored_key_id:
    description: The id of the key whose secret you hold; empty if you hold none.
    type: str
    default: ""
  recreate:
    description:
      - Replace the key if its rights are not the wanted ones. Otherwise that is an error, since a new key has a new id and
        a new secret which all its users must learn.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A key for the cache
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: attic-pantheros-nix-cache
    bucket: pantheros-nix-cache
    capabilities: [listBuckets, listFiles, readFiles, writeFiles, deleteFiles]
    stored_key_id: "{{ b2_cache_key_id | default('') }}"
  register: b2_cache_key
  no_log: true

- name: The key is no longer needed
  pantheros.nixci.b2_application_key:
    key_id: "{{ b2_admin_key_id }}"
    key: "{{ b2_admin_key }}"
    name: attic-pantheros-nix-cache
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
  contains:
    id:
      description: Its id; null for a key that check mode would create.
      returned: always
      type: str
    name:
      description: Its name.
      returned: always
      type: str
    capabilities:
      description: What it may do, sorted.
      returned: always
      type: list
      elements: str
    bucket_ids:
      description: The buckets that it may use; empty for all.
      returned: always
      type: list
      elements: str
    name_prefix:
      description: What the names of its files must begin with.
      returned: always
      type: str
    expires:
      description: Whether it has an end.
      returned: always
      type: bool
secret:
  description: The secret of a key that was just created, this one time; null otherwise and in check mode.
  returned: success
  type: str
  sample: null
superseded:
  description: Ids of older keys that still exist; the next run with the new O(stored_key_id) deletes them.
  returned: success
  type: list
  elements: str
  sample: []
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._b2 import B2Client, b2_argument_spec
from ..module_utils._change import Change
from ..module_utils._errors import ConflictError, InvalidError, NixciError, NotFoundError

RIGHTS = ("capabilities", "bucket_ids", "name_prefix", "expires")
NEW = "(new key)"


def check(params: dict[str, t.Any]) -> None:
    """What B2 would refuse, and what an undefined variable would turn into a key for the whole account."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", params["name"]):
        raise InvalidError(f"'{params['name']}' cannot be the name of a key: use 1 to 100 letters, digits and hyphens.")
    if params["state"] == "absent":
        return
    for option in ("capabilities", "bucket", "bucket_id"):
        if params[option] is not None and not params[option]:
            raise InvalidError(f"{option} is empty; leave it out or give it a value.")
    if params["name_prefix"] and not (params["bucket"] or params["bucket_id"]):
        raise InvalidError("name_prefix needs bucket or bucket_id.")


def plan(params: dict[str, t.Any], wanted: dict[str, t.Any], live: list[dict[str, t.Any]]) -> Change:
    """The keys of the name before and after; which of them are kept depends on the secret that the user holds."""
    name, stored = params["name"], params["stored_key_id"]
    before = {key["id"]: {field: key[field] for field in RIGHTS} for key in live}
    if params["state"] == "absent":
        return Change({"name": name, "keys": before} if live else None, None)
    if before.get(stored) == wanted:
        after = {stored: wanted}
    elif stored in before and not params["recreate"]:
        have = before[stored]
        wrong = ", ".join(
            f"{field} {have[field]} instead of {wanted[field]}" for field in RIGHTS if have[field] != wanted[field]
        )
        raise ConflictError(
            f"B2: the key '{name}' ({stored}) has other rights than wanted: {wrong}. B2 cannot change a key; "
            "set recreate: true to replace it by a new one with a new secret."
        )
    else:
        after = {**before, NEW: wanted}
    return Change({"name": name, "keys": before} if live else None, {"name": name, "keys": after})


def wanted_rights(params: dict[str, t.Any], client: B2Client) -> dict[str, t.Any]:
    bucket_ids = []
    if params["bucket_id"]:
        bucket_ids = [params["bucket_id"]]
    elif params["bucket"]:
        bucket = client.find_bucket(params["bucket"])
        if bucket is None and not client.check_mode:
            raise NotFoundError(f"B2: there is no bucket '{params['bucket']}' in this account; create it first.")
        # In check mode the task before this one may be about to create it.
        bucket_ids = [bucket["id"] if bucket else f"(id of {params['bucket']})"]
    return {
        "capabilities": sorted(set(params["capabilities"])),
        "bucket_ids": bucket_ids,
        "name_prefix": params["name_prefix"] or None,
        "expires": False,
    }


def run(module: AnsibleModule, client: B2Client) -> dict[str, t.Any]:
    params, name = module.params, module.params["name"]
    wanted = wanted_rights(params, client) if params["state"] == "present" else {}
    live = client.list_keys(name)
    change = plan(params, wanted, live)
    kept: dict[str, t.Any] = (change.after or {}).get("keys", {})
    doomed = [key["id"] for key in live if key["id"] not in kept]
    if params["key_id"] in doomed:
        raise InvalidError(
            f"B2: the key {params['key_id']}, which does the work, is itself named '{name}' and would be deleted; "
            "use another key or another name."
        )
    secret = None
    superseded: list[str] = []
    if NEW in kept:
        key, secret = client.create_key(name, wanted)
        superseded = [each["id"] for each in live]
    else:
        key = next((each for each in live if each["id"] in kept), None)
    for key_id in doomed:
        client.delete_key(name, key_id)
    return change.result(application_key=key, secret=secret, superseded=superseded)


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
            "stored_key_id": {"type": "str", "default": "", "no_log": False},
            "recreate": {"type": "bool", "default": False},
        },
        required_if=[("state", "present", ["capabilities"])],
        mutually_exclusive=[("bucket", "bucket_id")],
        supports_check_mode=True,
    )
    try:
        check(module.params)
        result = run(module, B2Client(module.params, check_mode=module.check_mode))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
