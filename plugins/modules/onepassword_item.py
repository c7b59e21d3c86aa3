#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: onepassword_item
short_description: Manage an item in a 1Password vault
version_added: 0.1.0
description:
  - Creates, changes, archives or deletes one item, through a Connect server, or with a service account through the command
    C(op) or the Python SDK.
  - Reads the item, merges the desired fields, writes only if something differs, and verifies the result by reading it back.
  - A value is given, generated once, or composed of other fields as a file for systemd's C(EnvironmentFile).
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_onepassword
  - pantheros.nixci._onepassword
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  vault:
    description: Name or ID of the vault. With an ID, a Connect server receives one request less.
    type: str
    required: true
  title:
    description: Title or ID of the item. If no item has exactly this title, it is compared case-insensitively.
    type: str
    required: true
  category:
    description:
      - Category of a new item; V(API_CREDENTIAL) by default. V(PASSWORD) needs a value in the field V(password).
      - 1Password cannot change a category. The task fails if an existing item has another one.
    type: str
    choices: [API_CREDENTIAL, DATABASE, LOGIN, PASSWORD, SECURE_NOTE, SERVER]
  fields:
    description: Desired fields of the item. Each needs one of O(fields[].value), O(fields[].generate) and O(fields[].env).
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description:
          - Label of the field. It is matched like the last part of a secret reference.
          - V(notesPlain) is the note that every item has; V(username) and V(password) are built-in fields of a login.
        type: str
        required: true
      value:
        description: Value of the field, which may have several lines. An empty value empties the field.
        type: str
      type:
        description:
          - Type of the field. By default, a new field is V(concealed) and an existing one keeps its type.
          - V(otp) requires a URI that starts with C(otpauth://) and has a secret, V(date) a day like V(2026-01-31), and
            V(month_year) a month like V(202601), with each back end.
          - 1Password stores a day as a time, in UTC. A stored time of the desired day stays; a new one is 12:01, as in
            1Password's web application.
          - These are the types that the Connect API and C(op) have in common,
            U(https://developer.1password.com/docs/connect/api-reference/) and
            U(https://developer.1password.com/docs/cli/item-fields/).
        type: str
        choices: [concealed, string, email, url, otp, date, month_year]
      section:
        description: Label of the section, which is created if it is missing. An empty label means outside any section.
        type: str
      on_create:
        description:
          - Use O(fields[].value) only if the field does not exist or is empty.
          - Meant for values that are created once elsewhere. An existing value is kept, whatever O(fields[].value) is.
        type: bool
        default: false
      generate:
        description:
          - Generate a random value if the field does not exist or is empty, and never again.
          - If the whole item is lost, it is created with a new value, which RV(generated) reports.
          - An empty dictionary selects all defaults.
        type: dict
        suboptions:
          length:
            description: Number of characters, from 8 to 256.
            type: int
            default: 32
          letters:
            description: Use ASCII letters of both cases.
            type: bool
            default: true
          digits:
            description: Use digits.
            type: bool
            default: true
          symbols:
            description: Use the symbols C(! * - . @ _).
            type: bool
            default: false
          generation:
            description:
              - Increase this number to generate a new value, once. All other runs keep the value.
              - Numbers greater than 1 are stored in the item, in a field with the label of this one and C(generation) appended.
              - A number smaller than the stored one changes nothing.
            type: int
            default: 1
      env:
        description:
          - Compose the value of variables, one C(KEY=value) line each, in the format of systemd's C(EnvironmentFile)
            (U(https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html)).
          - Values are put into double quotes where necessary. Newlines and other control characters are refused.
          - A field with the same variables in another notation or order is not changed.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the variable.
            type: str
            required: true
          value:
            description: Value of the variable. Exactly one of this and O(fields[].env[].label) is required.
            type: str
          label:
            description:
              - Label of a field of the same item that holds the value. The other changes of this task apply first.
              - The field must not be empty.
            type: str
          section:
            description: Section of that field.
            type: str
  mode:
    description:
      - V(merge) keeps fields that are not listed.
      - V(replace) removes them. Built-in fields cannot be removed; they are emptied.
    type: str
    choices: [merge, replace]
    default: merge
  tags:
    description: All tags of the item. By default the tags are not changed.
    type: list
    elements: str
  return_values:
    description: Also return RV(field_values). Set C(no_log) on such a task.
    type: bool
    default: false
  may_replace_passkey:
    description:
      - Allow a change of an item of the category LOGIN.
      - A login may hold a passkey, which 1Password does not show to programs and which any change destroys.
    type: bool
    default: false
  archive:
    description:
      - With O(state=absent), move the item to the archive, where people can find it and programs cannot.
      - Requires a service account. The Connect API cannot archive an item, and the task fails.
    type: bool
    default: false
  state:
    description: Whether the item should exist. V(absent) deletes it permanently unless O(archive=true).
    type: str
    choices: [present, absent]
    default: present
notes:
  - Run it on the controller, as the user who runs Ansible, so that it can invalidate the cache of the lookup.
  - If O(title) is not unique in the vault, the module fails and lists the IDs.
  - The credential must be allowed to read and write the vault. Check mode and runs without a change only need to read.
  - Items of the categories SSH_KEY, DOCUMENT and CUSTOM, items with files, and items with fields of types that the Connect
    API does not have can be read and deleted but not changed, because a program cannot write them back
    (U(https://github.com/1Password/connect-sdk-python/issues/57)). A service account can also change items with telephone
    numbers. The module cannot attach files, because no API of 1Password accepts a file in the JSON of an item.
  - If 1Password reports that the item or its vault was changed in the meantime, or does not respond to a write, the module
    reads the item and plans again, at most five times in all. It does not repeat the creation of an item, which could make a
    second one.
  - A Connect server shows a write only after its own copy of the vault has followed. The module waits for that, for at most
    O(timeout) seconds, and fails with a message if it takes longer; the write is done then, so run again when Connect shows
    it.
  - Connect has no locks, so the later one of two changes within the same second wins.
seealso:
  - plugin: pantheros.nixci.onepassword
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Store a key that was created elsewhere and keep all other fields
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
      - label: username
        value: ci
        type: string
      - label: password
        generate:
          length: 40
  register: registry
  delegate_to: localhost

- name: Report a new password
  ansible.builtin.debug:
    msg: The registry has a new password.
  when: "'password' in registry.generated"

- name: Generate a new password, once
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Registry
    fields:
      - label: password
        generate:
          length: 40
          generation: 2
  delegate_to: localhost

- name: Compose the file that systemd reads on the host
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Registry
    fields:
      - label: environment
        env:
          - name: REGISTRY_USER
            label: username
          - name: REGISTRY_PASSWORD
            label: password
          - name: REGISTRY_REALM
            value: A cache for builds
  delegate_to: localhost

- name: Use a stored value in this play
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Registry
    fields:
      - label: password
        generate: {}
    return_values: true
  register: registry_values
  delegate_to: localhost
  no_log: true

- name: Delete the item
  pantheros.nixci.onepassword_item:
    vault: pantherOS
    title: Registry
    state: absent
  delegate_to: localhost
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
      description: Version of the item. Each write increases it by one; check mode returns the next version.
      type: int
    labels:
      description: Labels of all fields with a value; C(section/label) for fields in a section.
      type: list
      elements: str
    changed_labels:
      description: Labels of the fields that were added, changed or removed.
      type: list
      elements: str
generated:
  description:
    - Labels of the fields that got a new random value; C(section/label) for fields in a section.
    - In check mode, those that would get one.
  type: list
  elements: str
  returned: O(state=present)
  sample: [password]
field_values:
  description:
    - Current values of the listed fields, by label or C(section/label). They are secrets.
    - In check mode, null for values that would be generated.
  type: dict
  returned: O(return_values=true) and O(state=present)
  sample:
    password: the stored value
"""

import contextlib
import copy

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.redact import SHORTEST
from ..module_utils._core.resource import Params, Result, finish
from ..module_utils._onepassword.backend import backend, onepassword_argument_spec
from ..module_utils._onepassword.desired import desired_fields
from ..module_utils._onepassword.write import manage


def run(module: AnsibleModule, params: Params) -> Result:
    with contextlib.closing(backend(params.get, module.warn)) as source:
        result = manage(source, params, desired_fields(params["fields"]), module.check_mode)
    # A requested value must not be masked because it is also the value of an option.
    module.no_log_values -= set(result.get("field_values", {}).values())
    return result


def take_values(module: AnsibleModule) -> Params:
    """The options. What the module returns as `invocation` has their secrets masked."""
    params: Params = copy.deepcopy(module.params)
    public = [params["vault"], params["title"], *(params["tags"] or [])]
    public += [name for field in params["fields"] for name in (field["label"], field["section"]) if name]
    for field in module.params["fields"]:
        for holder in [field, *(field["env"] or [])]:
            value = holder["value"]
            if value is None:
                continue
            holder["value"] = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
            # Ansible masks the value of a secret option wherever it occurs; that would spoil the result if the value is
            # "1" or a part of a name.
            if len(value) < SHORTEST or any(value in name for name in public):
                module.no_log_values.discard(value)
    for token in filter(None, (params["connect_token"], params["service_account_token"])):
        # A file or a secret store ends it with a newline, and blanks alone would mask every word.
        module.no_log_values.discard(token)
        if token.strip():
            module.no_log_values.add(token.strip())
    return params


def main() -> None:
    value = {"type": "str", "no_log": True}
    generate = {
        "length": {"type": "int", "default": 32},
        "letters": {"type": "bool", "default": True},
        "digits": {"type": "bool", "default": True},
        "symbols": {"type": "bool", "default": False},
        "generation": {"type": "int", "default": 1},
    }
    env = {
        "name": {"type": "str", "required": True},
        "value": value,
        "label": {"type": "str"},
        "section": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            **onepassword_argument_spec(),
            "vault": {"type": "str", "required": True},
            "title": {"type": "str", "required": True},
            "category": {
                "type": "str",
                "choices": ["API_CREDENTIAL", "DATABASE", "LOGIN", "PASSWORD", "SECURE_NOTE", "SERVER"],
            },
            "fields": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "label": {"type": "str", "required": True},
                    "value": value,
                    "type": {
                        "type": "str",
                        "choices": ["concealed", "string", "email", "url", "otp", "date", "month_year"],
                    },
                    "section": {"type": "str"},
                    "on_create": {"type": "bool", "default": False},
                    "generate": {"type": "dict", "options": generate},
                    "env": {
                        "type": "list",
                        "elements": "dict",
                        "options": env,
                        "mutually_exclusive": [["value", "label"]],
                        "required_one_of": [["value", "label"]],
                    },
                },
                "mutually_exclusive": [["value", "generate", "env"]],
                "required_one_of": [["value", "generate", "env"]],
            },
            "mode": {"type": "str", "choices": ["merge", "replace"], "default": "merge"},
            "tags": {"type": "list", "elements": "str"},
            "return_values": {"type": "bool", "default": False},
            "may_replace_passkey": {"type": "bool", "default": False, "no_log": False},
            "archive": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = take_values(module)
    finish(module, lambda: run(module, params))


if __name__ == "__main__":
    main()
