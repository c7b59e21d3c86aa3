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
  - Checks GitLab's rules for keys, scopes and masked values before it sends anything. They are the rules of GitLab's models
    (U(https://gitlab.com/gitlab-org/gitlab/-/tree/master/app/models/concerns/ci)).
  - Changes a variable in place. If GitLab rejects the new value, the old value is kept.
  - An existing variable keeps the settings that the task does not set. O(raw) has a default and is therefore always set.
  - Fails if GitLab silently ignores a setting. See the notes.
notes:
  - >-
    The token needs the scope C(api) to write, and its user or bot must be Maintainer of the project or Owner of the group
    (U(https://docs.gitlab.com/user/permissions/)). The scope C(read_api) with the same role is sufficient for check mode and for runs
    without changes. Check mode reports a missing role, but not a missing scope C(api).
    A job token (C(CI_JOB_TOKEN)) cannot manage variables.
  - A new variable that GitLab creates with other settings than requested is removed again at once, because it might be visible or
    available in other environments. This concerns O(environment_scope) in a group without GitLab Premium
    (EE::API::Helpers::VariablesHelpers in GitLab's source) and O(hidden) before GitLab 17.4.
  - Instance variables are not supported. They require an administrator's token, have no scopes and cannot be hidden.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_gitlab
  - pantheros.nixci._gitlab
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
attributes:
  idempotent:
    support: partial
    details: With O(rewrite_hidden=true), every run writes the value of a hidden variable and reports a change.
options:
  key:
    description: The name of the variable. It consists of 1 to 255 ASCII letters, digits and underscores.
    type: str
    required: true
  value:
    description:
      - The value, a text or a number. Required if O(state=present).
      - Return values, diffs and messages never contain it, so an ordinary word as value is not masked in them either.
      - It has at most 10000 characters (U(https://docs.gitlab.com/ci/variables/)).
      - Other types are an error, because they would be written in Python's notation. Convert them to JSON with the filter
        P(ansible.builtin.to_json#filter).
    type: raw
  final_newline:
    description:
      - Whether to append a line ending to the value if it has none. Tools such as OpenSSH reject a file without it, and the lookup
        P(ansible.builtin.file#lookup) strips it.
      - The default is V(true) for O(variable_type=file), unless the variable is masked, because GitLab cannot mask line endings.
      - A private key with Windows line endings is an error, because OpenSSH does not accept it.
    type: bool
  masked:
    description:
      - Whether job logs show C([MASKED]) instead of the value. A new variable is not masked by default.
      - A masked value has at least 8 characters and no white space. With O(raw=false), it consists of letters, digits and C(_+=/@:.~-).
      - A masked value must not be the name of a variable (U(https://docs.gitlab.com/ci/variables/#mask-a-cicd-variable)).
        The module checks predefined variables and those of the same project or group. If a value that could be a name is about to be
        written, this takes an additional request.
    type: bool
  hidden:
    description:
      - Whether GitLab never shows the value again. A hidden variable is also masked. A new variable is not hidden by default.
      - GitLab accepts this setting only when a variable is created. If an existing variable differs, the task fails unless O(recreate=true).
      - GitLab does not return a hidden value, so it cannot be compared. An existing hidden variable keeps its value, and the module
        issues a warning, unless O(rewrite_hidden=true).
    type: bool
  rewrite_hidden:
    description:
      - Whether to write the value of an existing hidden variable in every run and to report a change.
      - If another task generates the value, pass whether that task has changed it, as in the example.
    type: bool
    default: false
  recreate:
    description:
      - Whether to replace an existing variable that differs in O(hidden).
      - The module first creates the new variable in the scope C(pantheros.nixci/replacement), then removes the old one, and finally moves
        the new one to O(environment_scope). If GitLab rejects the value, the old variable is kept. The variable is missing in pipelines
        that start between the last two requests.
      - In a group this requires GitLab Premium.
    type: bool
    default: false
  protected:
    description: Whether the variable is only available in pipelines of protected branches and tags. A new variable is not protected by default.
    type: bool
  raw:
    description:
      - Whether the value is used literally. With V(false), GitLab expands C($NAME) in it, which corrupts secrets that contain a
        dollar sign, and can mask fewer values.
    type: bool
    default: true
  variable_type:
    description: Whether jobs get the value (V(env_var)) or the path of a file that contains it (V(file)). The type of a new variable is V(env_var) by default.
    type: str
    choices: [env_var, file]
  environment_scope:
    description:
      - The environments in which the variable is available. V(*) means all environments. A key may exist once in each scope.
      - In a group, other scopes than V(*) require GitLab Premium.
    type: str
    default: "*"
  description:
    description: A description of at most 255 characters. V("") removes the description.
    type: str
  state:
    description: Whether the variable exists. With V(absent), all options other than O(key) and O(environment_scope) are ignored.
    type: str
    choices: [present, absent]
    default: present
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Let pipelines of protected branches push to the cache
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: CI_ATTIC_TOKEN
    value: "{{ attic_ci_token }}"
    masked: true
    protected: true
  no_log: true

- name: Set the address of the cache for all projects of a group
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    group: panther
    key: ATTIC_SERVER_URL
    value: https://cache.hbohlen.systems/
    description: Set by pantheros.nixci

- name: Provide the deploy key for production as a file that ssh-add accepts
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: DEPLOY_SSH_KEY
    value: "{{ deploy_ssh_key }}"
    variable_type: file
    environment_scope: production
    protected: true
  no_log: true

- name: Hide a token and write it again after it was renewed
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: REPORT_TOKEN
    value: "{{ report_token }}"
    hidden: true
    rewrite_hidden: "{{ report_token_made is changed }}"
  no_log: true

- name: Hide an existing variable without losing its value
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: CI_ATTIC_TOKEN
    value: "{{ attic_ci_token }}"
    hidden: true
    recreate: true
  no_log: true

- name: Remove the variable with the old name
  pantheros.nixci.gitlab_variable:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    key: ATTIC_TOKEN
    state: absent
"""

RETURN = r"""
variable:
  description: The variable after the task, without its value, or null if it does not exist.
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
      description: The name of the variable.
      returned: always
      type: str
      sample: CI_ATTIC_TOKEN
    environment_scope:
      description: The environments in which it is available.
      returned: always
      type: str
      sample: "*"
    variable_type:
      description: Whether jobs get the value (V(env_var)) or the path of a file that contains it (V(file)).
      returned: always
      type: str
      sample: env_var
    masked:
      description: Whether job logs mask the value.
      returned: always
      type: bool
      sample: true
    hidden:
      description: Whether GitLab never shows the value.
      returned: always
      type: bool
      sample: false
    protected:
      description: Whether it is only available in pipelines of protected branches and tags.
      returned: always
      type: bool
      sample: true
    raw:
      description: Whether the value is used literally.
      returned: always
      type: bool
      sample: true
    description:
      description: The description of the variable.
      returned: always
      type: str
      sample: Pull and push on ci-cache
status:
  description: The HTTP status with which GitLab rejected the request.
  returned: when GitLab rejects the request
  type: int
  sample: 403
retry_after:
  description: The pause in seconds that GitLab requested, if it is longer than O(longest_pause).
  returned: failure
  type: float
  sample: 300
answer:
  description: GitLab's error message, unless it repeats a secret or may repeat a value of less than 8 characters.
  returned: when GitLab rejects the request
  type: str
  sample: 403 Forbidden
"""

import typing as t

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import run
from ..module_utils._core.secret_module import SecretModule
from ..module_utils._gitlab.client import OWNERS, GitLabClient, gitlab_argument_spec
from ..module_utils._gitlab.variable import Found, Plan, apply, check_options, needs_names, plan


def text(params: dict[str, t.Any], given: t.Any) -> str:
    if params["state"] == "absent":
        return ""
    if isinstance(given, bool | dict | list):
        raise InvalidError(
            f"The value of {params['key']} is not text; quote it, or convert it with the filter to_json."
        )
    return str(given)


class GitLabVariable:
    """One variable of a project or group."""

    def __init__(self, params: dict[str, t.Any], value: t.Any, warn: t.Callable[[str], None]) -> None:
        self.params = {**params, "value": text(params, value)}
        self.warn = warn
        self.client = GitLabClient(self.params)
        check_options(self.params)
        self.value_sent = False  # whether an attempt may have written the value

    def read(self, params: dict[str, t.Any]) -> Found:
        variable = self.client.get_variable(params["key"], params["environment_scope"])
        names = self.client.names() if needs_names(self.params, variable) else frozenset()
        return Found(variable, names, self.value_sent)

    def plan(self, params: dict[str, t.Any], found: Found) -> Plan:
        return plan(self.params, found)

    def predict(self, plan: Plan) -> dict[str, t.Any]:
        if plan.keeps_hidden_value:
            self.warn(
                f"GitLab does not return the value of the hidden variable {plan.key}, so it was neither compared nor "
                "changed; set rewrite_hidden: true to write it."
            )
        return {"variable": plan.variable}

    def apply(self, plan: Plan) -> dict[str, t.Any]:
        self.value_sent = self.value_sent or "value" in plan.fields
        apply(self.client, plan)
        return self.predict(plan)


def main() -> None:
    module = SecretModule(
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
    value = module.take_secret()
    run(module, lambda: GitLabVariable(module.params, value, module.warn))


if __name__ == "__main__":
    main()
