#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_variable
short_description: Manage one CI/CD variable of a GitLab project or group
version_added: 0.1.0
description:
  - Creates, changes or removes one variable, identified by O(key) and O(environment_scope).
  - GitLab's rules for keys, scopes and masked values are checked before anything is sent. They are those of its models, see
    U(https://gitlab.com/gitlab-org/gitlab/-/tree/master/app/models/concerns/ci).
  - A variable is changed in place. The old value stays where GitLab refuses the new one.
  - A variable that exists already keeps what is not set here; O(raw) has a default, so it is always set.
  - Settings that GitLab drops without a word are a failure, see the notes.
notes:
  - >-
    Rights: writing needs a token with the scope C(api) whose user or bot is Maintainer of the project, or Owner of the group,
    see U(https://docs.gitlab.com/user/permissions/). For check mode and for a run that changes nothing the scope C(read_api) suffices, with the same role.
    A job token (C(CI_JOB_TOKEN)) cannot manage variables.
  - A new variable that GitLab makes otherwise than asked is removed again at once, because it might be visible or reach other
    environments. This happens to O(environment_scope) in a group without GitLab Premium (EE::API::Helpers::VariablesHelpers in
    GitLab's source) and to O(hidden) before GitLab 17.4.
  - Variables of the whole instance are not supported; they need an administrator's token and have neither scopes nor hiding.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_gitlab
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
      - A text or a number. Anything else is refused, because its text would be Python's and not JSON; the filter
        P(ansible.builtin.to_json#filter) makes JSON of it.
    type: raw
  final_newline:
    description:
      - Whether the value gets a line end if it has none. Tools such as OpenSSH refuse a file without it, and the lookup
        P(ansible.builtin.file#lookup) takes it away.
      - By default this is done for O(variable_type=file), unless the variable is masked, because GitLab masks no line ends.
      - A private key with the line ends of Windows is refused, because OpenSSH does not read it.
    type: bool
  masked:
    description:
      - Whether job logs show C([MASKED]) instead of the value. A new variable is not masked.
      - The value then needs at least 8 characters without white space. With O(raw=false) only letters, digits and
        C(_+=/@:.~-) are allowed.
      - The value must not be the name of a variable, see U(https://docs.gitlab.com/ci/variables/#mask-a-cicd-variable).
        Predefined variables and those of the same project or group are looked at; the latter cost a further request,
        and only when a value that could be a name is about to be written.
    type: bool
  hidden:
    description:
      - Whether GitLab never shows the value again, which includes O(masked=true). A new variable is not hidden.
      - GitLab takes this at creation only. For an existing variable of the other kind the task fails, unless O(recreate=true).
      - GitLab does not tell a hidden value, so it cannot be compared. An existing hidden variable keeps its value,
        with a warning, unless O(rewrite_hidden=true).
    type: bool
  rewrite_hidden:
    description:
      - Write the value of an existing hidden variable in every run, and report a change.
      - Where the value comes from a task that makes it, pass that task's result, as the example does.
    type: bool
    default: false
  recreate:
    description:
      - Replace an existing variable whose O(hidden) is another.
      - The new one is first made in the scope C(pantheros.nixci/replacement), then the old one is removed, then the new one
        gets O(environment_scope). A value that GitLab refuses leaves the old variable in place. Pipelines that start in the
        moment between the last two requests do not have the variable.
      - In a group this needs GitLab Premium.
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
    description:
      - The environments that get the variable; V(*) is all of them. A key may exist once in each scope.
      - In a group, other scopes than V(*) need GitLab Premium.
    type: str
    default: "*"
  description:
    description: A note for people, up to 255 characters, V("") for none.
    type: str
  state:
    description: Whether the variable shall exist. With V(absent) nothing but O(key) and O(environment_scope) counts.
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

- name: Where the cache is, for every project of the group
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    group: panther
    key: ATTIC_SERVER_URL
    value: https://cache.hbohlen.systems/
    description: Set by pantheros.nixci

- name: The key that deploys to production, as a file that ssh-add accepts
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: DEPLOY_SSH_KEY
    value: "{{ deploy_ssh_key }}"
    variable_type: file
    environment_scope: production
    protected: true
  no_log: true

- name: Nobody can read the token in the settings, and a new one is still written
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: REPORT_TOKEN
    value: "{{ report_token }}"
    hidden: true
    rewrite_hidden: "{{ report_token_made is changed }}"
  no_log: true

- name: The token becomes a hidden one, without a moment in which its value is lost
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: CI_ATTIC_TOKEN
    value: "{{ attic_ci_token }}"
    hidden: true
    recreate: true
  no_log: true

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
  contains:
    key:
      description: Its name.
      returned: always
      type: str
      sample: CI_ATTIC_TOKEN
    environment_scope:
      description: The environments that get it.
      returned: always
      type: str
      sample: "*"
    variable_type:
      description: Whether jobs get the value (V(env_var)) or the path of a file with it (V(file)).
      returned: always
      type: str
      sample: env_var
    masked:
      description: Whether job logs hide the value.
      returned: always
      type: bool
      sample: true
    hidden:
      description: Whether nobody can read the value in GitLab.
      returned: always
      type: bool
      sample: false
    protected:
      description: Whether only pipelines of protected branches and tags get it.
      returned: always
      type: bool
      sample: true
    raw:
      description: Whether the value is taken literally.
      returned: always
      type: bool
      sample: true
    description:
      description: The note for people.
      returned: always
      type: str
      sample: Pull and push on ci-cache
status:
  description: The HTTP status of GitLab's refusal.
  returned: when GitLab refuses
  type: int
  sample: 403
answer:
  description: GitLab's own words for its refusal, unless they repeat a secret.
  returned: when GitLab refuses
  type: str
  sample: 403 Forbidden
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.change import Change
from ..module_utils._core.errors import ConflictError, InvalidError, NixciError, UnavailableError
from ..module_utils._gitlab.client import OWNERS, GitLabClient, gitlab_argument_spec
from ..module_utils._gitlab.variable import check_maskable, check_options, content, is_key

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
OLD = "not shown, another one"


def public(variable: dict[str, t.Any]) -> dict[str, t.Any]:
    """The variable without its value."""
    shown = {field: variable.get(field, default) for field, default in NEW.items()}
    shown["description"] = shown["description"] or ""
    return {"key": variable["key"], "environment_scope": variable["environment_scope"], **shown}


def plan(params: dict[str, t.Any], found: dict[str, t.Any] | None) -> Change:
    before = {**public(found), "value": SAME} if found else None
    if params["state"] == "absent":
        return Change(before, None)
    key = params["key"]
    wanted = {field: params[field] for field in (*SETTABLE, "hidden") if params[field] is not None}
    identity = {"key": key, "environment_scope": params["environment_scope"]}
    after = {**identity, **NEW, **(before or {}), **wanted, "value": SAME}
    if before and after["hidden"] != before["hidden"] and not params["recreate"]:
        raise ConflictError(
            f"The variable {key} exists and is {'' if before['hidden'] else 'not '}hidden, which GitLab cannot change "
            "later; set recreate: true to replace it."
        )
    if after["hidden"]:
        if params["masked"] is False:
            raise InvalidError(f"The variable {key} is hidden, so GitLab does not allow masked: false.")
        after["masked"] = True
    value = content(params, after["variable_type"], masked=after["masked"])
    if after["masked"]:
        check_maskable(key, value, after["raw"])
    if before and is_other(params, found, after, value):
        before["value"] = OLD
    return Change(before, after)


def is_other(params: dict[str, t.Any], found: dict[str, t.Any], after: dict[str, t.Any], value: str) -> bool:
    """Whether the value must be written."""
    if not found.get("hidden"):
        return (found["value"] or "") != value
    return params["rewrite_hidden"] or not after["hidden"]


def apply(client: GitLabClient, params: dict[str, t.Any], change: Change) -> None:
    key, scope, before, after = params["key"], params["environment_scope"], change.before, change.after
    if after is None:
        client.delete_variable(key, scope)
        return
    fields = {field: after[field] for field in SETTABLE}
    fields["value"] = content(params, after["variable_type"], masked=after["masked"])
    if before and before["hidden"] == after["hidden"]:
        if before["hidden"] and before["value"] == SAME:
            del fields["value"]
        # GitLab checks value and flags together, so all of them are sent.
        client.update_variable(key, scope, fields)
        return
    fields |= {"key": key, "environment_scope": scope}
    if after["hidden"]:
        fields["masked_and_hidden"] = True
    if before:
        client.replace_variable(key, scope, fields)
        return
    client.create_variable(fields)
    if params["recreate"]:
        client.forget_replacement(key)


def refuse_a_name(client: GitLabClient, params: dict[str, t.Any]) -> None:
    # All names are asked for: in the address of a request for one, the value would get into logs.
    if is_key(params["value"]) and params["value"] in client.names():
        raise InvalidError(
            f"The value of {params['key']} is the name of another variable, and such a value must not be masked; "
            "nothing was changed."
        )


def read_value(params: dict[str, t.Any]) -> None:
    """Makes text of the value. What is refused must not stay: Ansible hides what is in a mapping, but not its keys."""
    given, params["value"] = params["value"], None
    if params["state"] == "absent":
        return
    if isinstance(given, bool | dict | list):
        raise InvalidError(
            f"The value of {params['key']} is not text; quote it, or make JSON of it with the filter to_json."
        )
    params["value"] = str(given)


def run(module: AnsibleModule, client: GitLabClient) -> dict[str, t.Any]:
    params = module.params
    check_options(params)
    key, scope = params["key"], params["environment_scope"]
    change = plan(params, client.get_variable(key, scope))
    if change and change.after and change.after["masked"]:
        refuse_a_name(client, params)
    if change and not module.check_mode:
        try:
            apply(client, params, change)
        except (UnavailableError, ConflictError):
            # The call may have worked although its answer got lost, or somebody was faster: what is there now decides.
            # A hidden value cannot be compared, so it is written once more.
            again = plan({**params, "rewrite_hidden": True}, client.get_variable(key, scope))
            if again:
                apply(client, params, again)
    if change.before and change.before["hidden"] and change.before["value"] == SAME and change.after:
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
            "value": {"type": "raw", "no_log": True},
            "final_newline": {"type": "bool"},
            "masked": {"type": "bool"},
            "hidden": {"type": "bool"},
            "rewrite_hidden": {"type": "bool", "default": False},
            "recreate": {"type": "bool", "default": False},
            "protected": {"type": "bool"},
            "raw": {"type": "bool", "default": True},
            "variable_type": {"type": "str", "choices": ["env_var", "file"]},
            "environment_scope": {"type": "str", "default": "*"},
            "description": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["value"])],
        required_one_of=[OWNERS],
        mutually_exclusive=[OWNERS],
        supports_check_mode=True,
    )
    try:
        read_value(module.params)
        result = run(module, GitLabClient(module.params))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
