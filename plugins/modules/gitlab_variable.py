#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_variable
short_description: Manage one CI/CD variable of a GitLab project
version_added: 0.1.0
description:
  - Creates, changes or removes one variable, identified by O(key) and O(environment_scope).
  - GitLab's rules for keys and for masked values are checked before anything is sent.
  - A variable is changed in place. It is never deleted in order to be created again, so its value cannot get lost on the way.
  - A variable that exists already keeps what is not set here.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._gitlab
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
attributes:
  idempotent:
    support: partial
    details: With O(rewrite_hidden=true) every run writes the value of a hidden variable.
options:
  key:
    description: The name of the variable, 1 to 255 letters of the English alphabet, digits and underscores.
    type: str
    required: true
  value:
    description:
      - The value. Required with O(state=present).
      - It is never shown, neither in results nor in differences.
    type: str
  masked:
    description:
      - Whether job logs show C([MASKED]) instead of the value. A new variable is not masked.
      - The value then needs at least 8 characters without white space.
        With O(raw=false) only letters, digits and C(_+=/@:.~-) are allowed.
    type: bool
  hidden:
    description:
      - Whether GitLab never shows the value again, which includes O(masked=true). A new variable is not hidden.
      - GitLab takes this at creation only. An existing variable of the other kind is a failure; remove it first.
      - GitLab does not tell a hidden value, so it cannot be compared. An existing hidden variable keeps its value,
        with a warning, unless O(rewrite_hidden=true).
    type: bool
  rewrite_hidden:
    description: Write the value of an existing hidden variable in every run, and report a change.
    type: bool
    default: false
  protected:
    description: Whether only pipelines of protected branches and tags get the variable. A new variable is not protected.
    type: bool
  raw:
    description:
      - Whether the value is taken literally. With V(false) GitLab replaces C($NAME) in it by other variables, which damages
        secrets that happen to have a dollar sign, and masks fewer values.
    type: bool
    default: true
  variable_type:
    description: Whether the job gets the value (V(env_var)) or the path of a file with it (V(file)). A new one is V(env_var).
    type: str
    choices: [env_var, file]
  environment_scope:
    description: The environments that get the variable; V(*) is all of them.
    type: str
    default: "*"
  description:
    description: A note for people, V("") for none.
    type: str
  state:
    description: Whether the variable shall exist.
    type: str
    choices: [present, absent]
    default: present
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Pipelines of protected branches may push to the cache
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: CI_ATTIC_TOKEN
    value: "{{ attic_ci_token }}"
    masked: true
    protected: true
  no_log: true

- name: Where the cache is, for everybody
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: ATTIC_SERVER_URL
    value: https://cache.hbohlen.systems/
    description: Set by pantheros.nixci

- name: No leftover of the old name
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: ATTIC_TOKEN
    state: absent
"""

RETURN = r"""
variable:
  description: The variable after the task, without its value; null if it does not exist.
  returned: success
  type: dict
  sample:
    key: CI_ATTIC_TOKEN
    environment_scope: "*"
    variable_type: env_var
    masked: true
    hidden: false
    protected: true
    raw: true
    description: ""
status:
  description: The HTTP status of GitLab's refusal.
  returned: failure
  type: int
  sample: 403
answer:
  description: GitLab's own words for its refusal.
  returned: failure
  type: str
  sample: 403 Forbidden
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._change import Change
from ..module_utils._errors import ConflictError, InvalidError, NixciError, UnavailableError
from ..module_utils._gitlab import GitLabClient, gitlab_argument_spec

NEW = {
    "variable_type": "env_var",
    "masked": False,
    "hidden": False,
    "protected": False,
    "raw": True,
    "description": "",
}
SETTABLE = ("variable_type", "masked", "protected", "raw", "description")

# What stands for the value in states, which --diff prints.
SAME = "not shown"
OTHER = "not shown, different"


def check(params: dict[str, t.Any]) -> None:
    """What can be refused without asking GitLab."""
    key, value = params["key"], params["value"]
    if not re.fullmatch(r"[A-Za-z0-9_]{1,255}", key):
        raise InvalidError(f"The key '{key}' is not made of 1 to 255 letters (a-z, A-Z), digits and underscores.")
    if params["hidden"] and params["masked"] is False:
        raise InvalidError(f"The variable {key} cannot be hidden without being masked; leave masked out.")
    if params["state"] == "present" and (params["masked"] or params["hidden"]):
        check_maskable(key, value, params["raw"])


def check_maskable(key: str, value: str, raw: bool) -> None:
    """GitLab's rules for masked values, without telling the value."""
    wrong = ""
    if len(value) < 8:
        wrong = f"has {len(value)} characters and a masked value needs at least 8"
    elif re.search(r"\s", value, re.ASCII):
        wrong = "holds white space or line breaks, which GitLab cannot mask"
    elif not raw and not re.fullmatch(r"[a-zA-Z0-9_+=/@:.~-]+", value):
        wrong = "holds characters that GitLab masks with raw: true only"
    if wrong:
        raise InvalidError(f"The value of {key} {wrong}; nothing was changed.")


def public(variable: dict[str, t.Any]) -> dict[str, t.Any]:
    """The variable without its value."""
    shown = {field: variable.get(field, default) for field, default in NEW.items()}
    shown["description"] = shown["description"] or ""
    return {"key": variable["key"], "environment_scope": variable["environment_scope"], **shown}


def plan(params: dict[str, t.Any], found: dict[str, t.Any] | None) -> Change:
    before = {**public(found), "value": SAME} if found else None
    if params["state"] == "absent":
        return Change(before, None)
    wanted = {field: params[field] for field in (*SETTABLE, "hidden") if params[field] is not None}
    identity = {"key": params["key"], "environment_scope": params["environment_scope"]}
    after = {**identity, **NEW, **(before or {}), **wanted, "value": SAME}
    if after["hidden"] and before is None:
        after["masked"] = True
    if before and after["hidden"] != before["hidden"]:
        raise ConflictError(
            f"The variable {params['key']} exists and is {'' if before['hidden'] else 'not '}hidden, which GitLab cannot "
            "change later; remove it with state: absent first, then create it again."
        )
    if after["hidden"] and not after["masked"]:
        raise InvalidError(f"The variable {params['key']} is hidden, so GitLab does not allow masked: false.")
    if after["masked"]:
        check_maskable(params["key"], params["value"], after["raw"])
    if before is None:
        different = False
    elif before["hidden"]:
        different = params["rewrite_hidden"]
    else:
        different = found["value"] != params["value"]
    return Change(before, {**after, "value": OTHER if different else SAME})


def apply(client: GitLabClient, params: dict[str, t.Any], change: Change) -> None:
    key, scope, value = params["key"], params["environment_scope"], params["value"]
    if change.after is None:
        client.delete_variable(key, scope)
        return
    fields = {field: change.after[field] for field in SETTABLE}
    if change.before is not None:
        # GitLab checks value and flags together, so all of them are sent.
        send_value = {} if change.after["hidden"] and change.after["value"] == SAME else {"value": value}
        client.update_variable(key, scope, {**fields, **send_value})
        return
    if change.after["hidden"]:
        fields["masked_and_hidden"] = True
        del fields["masked"]
    client.create_variable({"key": key, "environment_scope": scope, "value": value, **fields})


def run(module: AnsibleModule, client: GitLabClient) -> dict[str, t.Any]:
    params = module.params
    check(params)
    key, scope = params["key"], params["environment_scope"]
    change = plan(params, client.get_variable(key, scope))
    if change and not module.check_mode:
        try:
            apply(client, params, change)
        except (UnavailableError, ConflictError):
            # The call may have worked although its answer got lost, or somebody was faster: what is there now decides.
            # A hidden value cannot be compared, so it is written once more.
            again = plan({**params, "rewrite_hidden": True}, client.get_variable(key, scope))
            if again:
                apply(client, params, again)
    kept = change.before and change.before["hidden"] and change.after and change.after["value"] == SAME
    if kept:
        module.warn(
            f"GitLab does not tell the value of the hidden variable {key}, so it was neither compared nor changed; "
            "set rewrite_hidden: true to write it."
        )
    return change.result(variable=change.after and public(change.after))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **gitlab_argument_spec(),
            "key": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str", "no_log": True},
            "masked": {"type": "bool"},
            "hidden": {"type": "bool"},
            "rewrite_hidden": {"type": "bool", "default": False},
            "protected": {"type": "bool"},
            "raw": {"type": "bool", "default": True},
            "variable_type": {"type": "str", "choices": ["env_var", "file"]},
            "environment_scope": {"type": "str", "default": "*"},
            "description": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["value"])],
        supports_check_mode=True,
    )
    try:
        result = run(module, GitLabClient(module.params))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
