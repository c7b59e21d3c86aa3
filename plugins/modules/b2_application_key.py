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

import re

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._b2.bucket import Buckets
from ..module_utils._b2.client import B2Client, b2_argument_spec
from ..module_utils._b2.key import Json, Keys, create_and_store, difference, rights_of, seconds_left
from ..module_utils._b2.store import FileStore, Store, onepassword_store_spec, open_store
from ..module_utils._core.change import Change
from ..module_utils._core.errors import ConflictError, InvalidError, NixciError, NotFoundError

NEW = "(new key)"
MAX_SECONDS = 86_400_000


def check(params: Json) -> None:
    """What B2 would refuse, and what an undefined variable would turn into a key for the whole account."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", params["name"]):
        raise InvalidError(f"'{params['name']}' cannot be the name of a key: use 1 to 100 letters, digits and hyphens.")
    if params["state"] == "absent":
        return
    for option in ("capabilities", "bucket", "bucket_id", "name_prefix", "file"):
        if params[option] is not None and not params[option]:
            raise InvalidError(f"{option} is empty; leave it out or give it a value.")
    if params["name_prefix"] and not (params["bucket"] or params["bucket_id"]):
        raise InvalidError("name_prefix needs bucket or bucket_id.")
    seconds, renew = params["valid_duration_seconds"], params["renew_before"]
    if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
        raise InvalidError(f"valid_duration_seconds must be between 1 and {MAX_SECONDS} (1000 days).")
    if renew is not None and not 0 <= renew < seconds:
        raise InvalidError("renew_before must be less than valid_duration_seconds, or every run would make a new key.")


def wanted_rights(params: Json, client: B2Client) -> Json:
    bucket_ids = []
    if params["bucket_id"]:
        bucket_ids = [params["bucket_id"]]
    elif params["bucket"]:
        bucket = Buckets(client).find(params["bucket"])
        if bucket is None and not client.check_mode:
            raise NotFoundError(f"B2: there is no bucket '{params['bucket']}' in this account; create it first.")
        # In check mode the task before this one may be about to create it.
        bucket_ids = [bucket["id"] if bucket else f"(id of {params['bucket']})"]
    return {
        "capabilities": sorted(set(params["capabilities"])),
        "bucket_ids": bucket_ids,
        "name_prefix": params["name_prefix"] or None,
        "expires": params["valid_duration_seconds"] is not None,
    }


def held_key(module: AnsibleModule, client: B2Client, store: Store | None, keys: list[Json]) -> Json | None:
    """The key whose secret is known; None if the secret is lost, which B2 itself must say."""
    params = module.params
    pair = store.read() if store else None
    if store and not pair:
        beware(module, store, [key["id"] for key in keys if key["name"] == params["name"]])
    held = pair.id if pair else params["stored_key_id"]
    key = next((key for key in keys if key["id"] == held), None)
    if key is None or (key["name"] != params["name"] and params["recreate"]):
        return None
    if key["name"] != params["name"]:
        raise ConflictError(
            f"B2: the stored key {held} is named '{key['name']}', not '{params['name']}', and may be in use; "
            "correct the name or the place, or set recreate: true to put a new key in its place."
        )
    if store and pair and not client.accepts(*pair):
        module.warn(f"B2 refuses the secret of the key {held} that {store.where} holds, so a new key is needed.")
        return None
    return key


def beware(module: AnsibleModule, store: Store, ids: list[str]) -> None:
    """Nothing is stored, and yet there are keys: an interrupted run left one, or they are stored elsewhere and in use."""
    params = module.params
    if not ids or params["recreate"] or params["rotate"]:
        return
    found = f"B2: {store.where} holds no complete key, but keys named '{params['name']}' exist and may be in use: {', '.join(ids)}"
    if params["superseded"] == "delete":
        raise ConflictError(
            f"{found}. Correct the place or the name, or set recreate: true to replace and delete them."
        )
    module.warn(f"{found}. They are kept.")


def choose(params: Json, wanted: Json, key: Json | None) -> str:
    """The id of the key to use from now on: that whose secret is known, or a new one."""
    if key is None or params["rotate"]:
        return NEW
    if rights_of(key) == wanted:
        return NEW if seconds_left(key) < (params["renew_before"] or 0) else key["id"]
    if params["recreate"]:
        return NEW
    raise ConflictError(
        f"B2: the key '{key['name']}' ({key['id']}) has other rights than wanted: {difference(key, wanted)}. B2 cannot change a key; "
        "set recreate: true to replace it by a new one with a new secret."
    )


def plan(params: Json, wanted: Json, live: list[Json], current: str | None) -> Change:
    """The keys of the name before and after; `current` is the one to use, None if there shall be none."""
    name = params["name"]
    before = {key["id"]: rights_of(key) for key in live}
    found = {"name": name, "keys": before} if live else None
    if current is None:
        return Change(found, None)
    # A secret that is returned may be lost on its way, so whatever works stays until the next run proves that it was not.
    returned = current == NEW and not (params["file"] or params["onepassword"])
    others = before if params["superseded"] == "keep" or returned else {}
    return Change(found, {"name": name, "keys": {**others, current: wanted}})


def run(module: AnsibleModule, client: B2Client) -> Json:
    params, keys, name = module.params, Keys(client), module.params["name"]
    store, wanted, current = None, {}, None
    if params["state"] == "present":
        store, wanted = open_store(params, module.warn), wanted_rights(params, client)
    everything = keys.list()
    live = [key for key in everything if key["name"] == name]
    if params["state"] == "present":
        current = choose(params, wanted, held_key(module, client, store, everything))
    change = plan(params, wanted, live, current)
    after: Json = (change.after or {}).get("keys", {})
    doomed = [key["id"] for key in live if key["id"] not in after]
    if params["key_id"] in doomed:
        raise InvalidError(
            f"B2: the key {params['key_id']}, which does the work, is itself named '{name}' and would be deleted; "
            "use another key or another name."
        )
    key, secret = next((each for each in live if each["id"] == current), None), None
    if current == NEW:
        key, secret = create_and_store(keys, name, wanted, params["valid_duration_seconds"], store)
    for key_id in doomed:
        keys.delete(name, key_id)
    if isinstance(store, FileStore) and store.is_open_to_others():
        module.warn(f"Others may read {store.where}; take the right away with chmod 600.")
    superseded = [key_id for key_id in after if key_id not in (current, NEW)]
    return change.result(application_key=key, created=current == NEW, secret=secret, superseded=superseded)


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
        mutually_exclusive=[("bucket", "bucket_id"), ("file", "onepassword", "stored_key_id")],
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
