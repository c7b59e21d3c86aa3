#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_deployment
short_description: Record a deployment in a GitLab project
version_added: 0.1.0
description:
  - Records that a commit is being deployed to an environment, and how the deployment ends, so that GitLab shows it under
    I(Operate > Environments) and for the commit and its merge requests.
  - Without O(id), finishes the running deployment of the same commit and branch in the environment. If there is none, and the last deployment of
    the environment is not the desired one already, records a new one.
  - GitLab creates the environment if it does not exist. With O(tier) or O(external_url), the module sets these as well.
notes:
  - The token needs the scope C(api), and its user or bot the role Developer. For a protected environment, they must be among those who are
    allowed to deploy to it. The token of a job (C(CI_JOB_TOKEN)) has the rights of the user who started the job, and is sufficient.
  - Check mode reads only. It reports neither a missing right to deploy nor a commit that GitLab does not have.
  - A job with C(environment) makes a deployment of its own, which only GitLab changes. Give such a job C(action) V(access), V(prepare) or V(verify), or do
    not use this module in it.
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  token:
    description:
      - A personal, group or project access token with the scope C(api), whose user or bot is Developer of the project.
      - Defaults to the environment variable E(GITLAB_TOKEN).
    type: str
  job_token:
    description:
      - The token of a CI/CD job, which is used if there is no O(token).
      - Defaults to the environment variable E(CI_JOB_TOKEN).
    type: str
  url:
    description: The URL of the GitLab instance. A trailing C(/api/v4) is ignored.
    type: str
    default: https://gitlab.com
  project:
    description: The full path or the numeric id of the project.
    type: str
    required: true
  environment:
    description: The name of the environment, such as that of the host.
    type: str
    required: true
  tier:
    description: The tier of the environment. By default, an existing environment keeps it, and GitLab guesses that of a new one from its name.
    type: str
    choices: [production, staging, testing, development, other]
  external_url:
    description: The URL under which the environment can be visited. By default, it is not changed. V("") removes it.
    type: str
  sha:
    description: The full hash of the commit that is deployed. Required without O(id).
    type: str
  ref:
    description: The branch or tag that is deployed. Required without O(id).
    type: str
  tag:
    description: Whether O(ref) is a tag. Only for a new deployment.
    type: bool
    default: false
  status:
    description:
      - The status of the deployment. The others that GitLab has, such as I(created) and I(blocked), belong to jobs.
      - A finished deployment cannot run again, so V(running) records another one.
    type: str
    choices: [running, success, failed, canceled]
    required: true
  id:
    description: The number of the deployment to change, as an earlier task returned it.
    type: int
  longest_pause:
    description: The maximum pause in seconds before each of the O(retries), if GitLab requests one with C(Retry-After).
    type: int
    default: 30
requirements:
  - python-gitlab (Python library on the host that runs the module)
seealso:
  - name: GitLab's API of deployments
    description: What GitLab records.
    link: https://docs.gitlab.com/api/deployments/
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Record that the deployment has begun
  pantheros.nixci.gitlab_deployment:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    environment: hetzner-vps
    tier: production
    external_url: https://cache.hbohlen.systems/
    sha: "{{ revision }}"
    ref: main
    status: running
  register: deployment

- name: Record that it has succeeded
  pantheros.nixci.gitlab_deployment:
    token: "{{ gitlab_token }}"
    project: panther/nixos
    environment: hetzner-vps
    id: "{{ deployment.deployment.id }}"
    status: success

- name: Record a rollback to a tag in a job of a pipeline
  pantheros.nixci.gitlab_deployment:
    job_token: "{{ job_token }}"
    project: panther/nixos
    environment: ovh-vps
    sha: "{{ revision }}"
    ref: v1.0.0
    tag: true
    status: success
"""

RETURN = r"""
deployment:
  description: The deployment after the task. In check mode, the numbers of a new one are null.
  returned: success
  type: dict
  contains:
    id: {description: Its number in the GitLab instance., type: int, sample: 4711}
    iid: {description: Its number in the project., type: int, sample: 42}
    environment: {description: The name of the environment., type: str, sample: hetzner-vps}
    sha: {description: The commit., type: str, sample: 5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050}
    ref: {description: The branch or tag., type: str, sample: main}
    status: {description: Its status., type: str, sample: success}
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
  description: GitLab's error message.
  returned: when GitLab rejects the request
  type: str
  sample: 403 Forbidden
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ..module_utils._core.http import http_argument_spec
from ..module_utils._core.resource import run
from ..module_utils._gitlab.deployment import STATUSES, TIERS, Found, Plan, apply, check_options, plan, read
from ..module_utils._gitlab.deployments import DeploymentClient


class GitLabDeployment:
    """One deployment of a project, and the environment that it belongs to."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        self.client = DeploymentClient(params)
        check_options(params)
        self.environment = params["environment"]

    def read(self, params: dict[str, t.Any]) -> Found:
        return read(self.client, params)

    def plan(self, params: dict[str, t.Any], found: Found) -> Plan:
        return plan(params, found)

    def predict(self, plan: Plan) -> dict[str, t.Any]:
        return {"deployment": plan.deployment}

    def apply(self, plan: Plan) -> dict[str, t.Any]:
        return {"deployment": apply(self.client, plan, self.environment)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["GITLAB_TOKEN"])},
            "job_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["CI_JOB_TOKEN"])},
            "url": {"type": "str", "default": "https://gitlab.com"},
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "tier": {"type": "str", "choices": list(TIERS)},
            "external_url": {"type": "str"},
            "sha": {"type": "str"},
            "ref": {"type": "str"},
            "tag": {"type": "bool", "default": False},
            "status": {"type": "str", "choices": list(STATUSES), "required": True},
            "id": {"type": "int"},
            "longest_pause": {"type": "int", "default": 30},
            **http_argument_spec(),
        },
        required_one_of=[("token", "job_token"), ("id", "sha"), ("id", "ref")],
        supports_check_mode=True,
    )
    run(module, lambda: GitLabDeployment(module.params))


if __name__ == "__main__":
    main()
