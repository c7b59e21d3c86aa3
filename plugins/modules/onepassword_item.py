#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: onepassword_item
short_description: Manage an item in a 1Password vault
description:
  - Creates, changes or deletes one item, through a Connect server or with the command C(op) and a service account.
  - Reads the item, merges, compares, writes only a difference, and reads the result back.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_onepassword
  - pantheros.nixci._onepassword
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  vault:
    description: Name or ID of the vault. The ID saves a request to a Connect server.
    type: str
    required: true
  title:
    description: Title of the item, compared without regard to case if no item has it exactly; or the item's ID.
    type: str
    required: true
  category:
    description:
      - Category of a new item. An existing item keeps its own, because 1Password cannot change it.
    type: str
    choices: [API_CREDENTIAL, SECURE_NOTE, SERVER, DATABASE]
    default: API_CREDENTIAL
  fields:
    description: The fields that the item must have.
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description: Label of the field; a field is found as the last part of a secret reference finds it.
        type: str
        required: true
      value:
        description: The value; may have several lines.
        type: str
        required: true
      type:
        description: A new field is V(concealed) by default, an existing one keeps its type by default.
        type: str
        choices: [concealed, string, email, url]
      section:
        description: Label of the section, created when it is missing.
        type: str
      on_create:
        description:
          - Use O(fields[].value) only if the field does not exist or is empty.
          - For values that are generated once. An existing value is kept whatever O(fields[].value) says.
        type: bool
        default: false
  mode:
    description:
      - V(merge) keeps fields that are not listed.
      - V(replace) removes them. Built-in fields cannot be removed and are emptied.
    type: str
    choices: [merge, replace]
    default: merge
  tags:
    description: The item's tags, all of them. By default they stay as they are.
    type: list
    elements: str
  return_values:
    description: Also return RV(field_values). Such a task needs C(no_log).
    type: bool
    default: false
  may_replace_passkey:
    description:
      - Allow a change of an item of the category LOGIN.
      - A login may hold a passkey, which 1Password does not show to programs and which every such change destroys.
    type: bool
    default: false
  state:
    description: Whether the item shall exist. V(absent) deletes it for good.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Runs on the controller, as the user who runs Ansible, so that it can discard what the lookup keeps.
  - Without O(title) being unique in the vault the module fails and lists the IDs.
seealso:
  - plugin: pantheros.nixci.onepassword
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Store a key that was created elsewhere, keep all other fields
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Backblaze-B2
    fields:
      - label: application-key-id
        value: "{{ key.application_key.id }}"
        type: string
      - label: application-key
        value: "{{ key.secret }}"
  delegate_to: localhost

- name: Generate a password once and never again
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Registry
    fields:
      - label: password
        value: "{{ lookup('ansible.builtin.password', '/dev/null', length=40) }}"
        on_create: true
    return_values: true
  register: registry
  delegate_to: localhost
  no_log: true
"""

RETURN = r"""
item:
  description: The item, without values; null if it does not exist.
  type: dict
  returned: success
  sample:
    id: 2lhqlsvlq4qzkj3dzzd5wq7o3i
    vault_id: w6ljbbsdqm3xtzckkcxyvcyp2e
    title: Attic
    version: 3
    labels: [ci-token, signing-key]
    changed_labels: [ci-token]
  contains:
    id:
      description: ID of the item; null for a new one in check mode.
      type: str
    vault_id:
      description: ID of the vault; null for a new item in check mode.
      type: str
    title:
      description: Title of the item.
      type: str
    version:
      description: Version of the item; in check mode that before the change.
      type: int
    labels:
      description: Labels of all fields with a value, as C(section/label) inside a section.
      type: list
      elements: str
    changed_labels:
      description: Those added, changed or removed.
      type: list
      elements: str
field_values:
  description: The values that the listed fields have now, by label or C(section/label). Secret.
  type: dict
  returned: O(return_values=true) and O(state=present)
  sample:
    password: the stored value
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import NixciError
from ..module_utils._onepassword import Backend, backend, onepassword_argument_spec
from ..module_utils._onepassword_item import Item, Wish
from ..module_utils._onepassword_write import Stored, remove, store, value


def run(params: dict[str, t.Any], source: Backend, check: bool) -> dict[str, t.Any]:
    wishes = [Wish(**{**field, "type": field["type"] and field["type"].upper()}) for field in params["fields"]]
    if params["state"] == "absent":
        stored = remove(source, params["vault"], params["title"], check=check)
    else:
        names = ("category", "tags", "mode", "may_replace_passkey")
        options = {name: params[name] for name in names}
        stored = store(source, params["vault"], params["title"], wishes, **options, check=check)
    item = stored.item
    result = stored.change.result(item=item and summary(item, stored))
    if item and params["return_values"]:
        result["field_values"] = {
            f"{wish.section}/{wish.label}" if wish.section else wish.label: value(item, wish) for wish in wishes
        }
    return result


def summary(item: Item, stored: Stored) -> dict[str, t.Any]:
    return {
        "id": item.document.get("id"),
        "vault_id": item.document.get("vault", {}).get("id"),
        "title": item.title,
        "version": item.version,
        "labels": sorted(item.values()),
        "changed_labels": stored.changed_labels,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **onepassword_argument_spec(),
            "vault": {"type": "str", "required": True},
            "title": {"type": "str", "required": True},
            "category": {
                "type": "str",
                "choices": ["API_CREDENTIAL", "SECURE_NOTE", "SERVER", "DATABASE"],
                "default": "API_CREDENTIAL",
            },
            "fields": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "label": {"type": "str", "required": True},
                    "value": {"type": "str", "required": True, "no_log": True},
                    "type": {"type": "str", "choices": ["concealed", "string", "email", "url"]},
                    "section": {"type": "str"},
                    "on_create": {"type": "bool", "default": False},
                },
            },
            "mode": {"type": "str", "choices": ["merge", "replace"], "default": "merge"},
            "tags": {"type": "list", "elements": "str"},
            "return_values": {"type": "bool", "default": False},
            "may_replace_passkey": {"type": "bool", "default": False, "no_log": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, backend(module.params.get), module.check_mode)
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    if module.params["return_values"]:
        reveal(module, result)
    module.exit_json(**result)


def reveal(module: AnsibleModule, result: dict[str, t.Any]) -> None:
    """Ansible would mask what was asked for wherever it equals an option; keep it out of `invocation` instead."""
    module.no_log_values -= set(result.get("field_values", {}).values())
    for field in module.params["fields"]:
        field["value"] = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


if __name__ == "__main__":
    main()
