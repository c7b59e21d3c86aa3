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

import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._change import Change
from ..module_utils._errors import ConflictError, InvalidError, NixciError, UnavailableError
from ..module_utils._onepassword import Backend, backend, onepassword_argument_spec
from ..module_utils._onepassword_cache import forget
from ..module_utils._onepassword_item import Item, ItemNotFoundError, Wish, fold

WRITE_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Plan:
    before: Item | None
    after: Item | None

    @property
    def change(self) -> Change:
        return Change(describe(self.before, None), describe(self.after, self.before))

    @property
    def changed_labels(self) -> list[str]:
        before = self.before.values() if self.before else {}
        after = self.after.values() if self.after else {}
        return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def describe(item: Item | None, other: Item | None) -> dict[str, t.Any] | None:
    """The item without a value, fit for --diff: a changed value is another placeholder."""
    if item is None:
        return None
    old = other.values() if other else {}
    return {
        "title": item.title,
        "category": item.category,
        "tags": item.tags,
        "fields": {
            path: {"type": kind, "value": "(secret)" if old.get(path, (kind, value))[1] == value else "(new secret)"}
            for path, (kind, value) in item.values().items()
        },
    }


def wishes(params: dict[str, t.Any]) -> list[Wish]:
    found = [Wish(**{**field, "type": field["type"] and field["type"].upper()}) for field in params["fields"]]
    names = [(fold(wish.section or ""), fold(wish.label)) for wish in found]
    if not all(wish.label for wish in found) or len(set(names)) != len(names):
        raise InvalidError(f"The fields of item '{params['title']}' need labels that differ; name each field once.")
    return found


def plan(params: dict[str, t.Any], before: Item | None) -> Plan:
    if params["state"] == "absent":
        return Plan(before, None)
    wanted = wishes(params)
    empty = before or Item({"title": params["title"], "category": params["category"], "fields": []})
    after = empty.changed(wanted, params["tags"], params["mode"] == "replace")
    for wish in wanted:
        if wish.on_create and not value(after, wish):
            raise InvalidError(f"Field '{wish.label}' of item '{params['title']}' is still empty; give it a value.")
    result = Plan(before, after)
    if before and before.may_hold_passkey() and result.change and not params["may_replace_passkey"]:
        raise InvalidError(
            f"Item '{before.title}' ({before.id}) is a login: a change would destroy its passkey, if it has one. "
            "Use an item of another category, or confirm with may_replace_passkey."
        )
    return result


def value(item: Item, wish: Wish) -> str:
    field = item.find(wish.label, wish.section) or {}
    return str(field.get("value") or "")


def fetch(source: Backend, params: dict[str, t.Any]) -> Item | None:
    try:
        return source.fetch(params["vault"], params["title"])
    except ItemNotFoundError:
        return None


def write(source: Backend, vault: str, wanted: Plan) -> Item | None:
    """Carry out the plan and prove it by what can be read afterwards."""
    try:
        if wanted.after is None:
            source.delete(t.cast(Item, wanted.before))
            return None
        written = source.replace(wanted.after) if wanted.before else source.create(vault, wanted.after.document)
    finally:
        forget()
    now = written.values()
    lost = sorted(path for path, content in wanted.after.values().items() if now.get(path) != content)
    if lost or written.tags != wanted.after.tags:
        raise UnavailableError(
            f"1Password took the change of item '{written.title}' ({written.id}) but does not show it; "
            f"look at its {'fields ' + ', '.join(lost) if lost else 'tags'} and run again."
        )
    return written


def run(module: AnsibleModule, source: Backend) -> dict[str, t.Any]:
    params = module.params
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        wanted = plan(params, fetch(source, params))
        item = wanted.after
        if not wanted.change or module.check_mode:
            break
        try:
            item = write(source, params["vault"], wanted)
            break
        except ConflictError:  # somebody else changed the item meanwhile: look again
            if attempt == WRITE_ATTEMPTS:
                raise
    result = wanted.change.result(item=item and summary(item, wanted.changed_labels))
    if item and params["return_values"]:
        result["field_values"] = {
            f"{wish.section}/{wish.label}" if wish.section else wish.label: value(item, wish) for wish in wishes(params)
        }
    return result


def summary(item: Item, changed_labels: list[str]) -> dict[str, t.Any]:
    return {
        "id": item.document.get("id"),
        "vault_id": item.document.get("vault", {}).get("id"),
        "title": item.title,
        "version": item.version,
        "labels": sorted(item.values()),
        "changed_labels": changed_labels,
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
        result = run(module, backend(module.params.get))
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
