#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_deploy_check
short_description: Check whether a NixOS host is ready for a deployment
version_added: 0.1.0
description:
  - Finds what would stop a deployment, before anything changes - a host key that is not pinned, a full disk or C(/boot), a deployment that
    is not confirmed or still runs, a system that failed before or that would lock out who deploys it, a stale plan, a cache that cannot be
    reached.
  - Also says whether the host runs the system already, and which system a rollback would bring back.
  - Changes nothing. Does not fail for what it finds; see RV(problems). An unreachable host is unreachable, as for any module.
  - The host key is checked first, and the host is not connected to without it. Connections other than C(ssh) have none.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing.
options:
  store_path:
    description: The system to deploy. It need not be on the host yet.
    type: path
  generation:
    description:
      - Instead of O(store_path), the number of a generation of the host, or V(previous).
      - V(previous) is the system that ran when the running one was deployed, so that a second rollback takes the first one back; without a
        record, the generation before the current one. For a system that was only tested, it is the current generation.
    type: str
  plan:
    description:
      - Instead of O(store_path), a file on the controller that C(deploy.yml) wrote with C(deploy_action=plan). The host's entry names the
        system, and the one that must still run.
    type: path
  action:
    description: How the system is going to be activated.
    type: str
    choices: [switch, boot, test, dry_activate, build, plan]
    default: switch
  expected:
    description: The system that must run now.
    type: path
  closure:
    description:
      - Each store path of the system to its size in bytes, from which the space that is needed is computed. By default, what Nix on the
        controller says, if it has the system.
    type: dict
    default: {}
  need_bytes:
    description: Bytes that have to be copied, if that is known and O(closure) is not.
    type: int
  manifest:
    description:
      - What the system says of itself in C(/etc/nixci/manifest.json), as M(pantheros.nixci.nixos_flake) returns it, for a system that is not on
        the host yet. By default it is read from the store of the host, or from that of the controller.
    type: dict
    default: {}
  access:
    description:
      - How the next connection is going to be made, as in M(pantheros.nixci.nixos_rebuild). A system that would not accept it is a problem. By
        default, how the controller gets in now, see RV(access).
    type: dict
    suboptions:
      user:
        description: The user that logs in.
        type: str
      port:
        description: The port of SSH.
        type: int
      keys:
        description: Public keys, one of which must be accepted for the user. If there are none, keys are not reviewed.
        type: list
        elements: str
        default: []
      sudo:
        description: Whether the user needs sudo without a password.
        type: bool
        default: false
  caches:
    description:
      - The binary caches that the host shall fetch the system from. By default, the substituters and the trusted keys of its C(nix.conf).
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: The URL of the cache, such as V(https://cache.example.org/ci).
        type: str
        required: true
      key:
        description: The public key that the host trusts, such as V(ci:bXlrZXk=).
        type: str
  copy:
    description: How the system reaches the host. What is wrong with a cache is a warning unless this is V(cache).
    type: str
    choices: [auto, cache, ssh]
    default: auto
  force:
    description:
      - Findings to ignore. V(failed_system) deploys a system that was taken back before, V(lockout) one that would lock out who deploys it.
    type: list
    elements: str
    default: []
  time:
    description: The time on the controller in seconds of the epoch. Set by the module itself.
    type: float
requirements:
  - OpenSSH's C(ssh) and C(ssh-keygen) on the controller, for connections over SSH.
seealso:
  - module: pantheros.nixci.nixos_rebuild
  - module: pantheros.nixci.nixos_confirm
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Check whether the host can take this system
  pantheros.nixci.nixos_deploy_check:
    store_path: /nix/store/00000000000000000000000000000000-nixos-system-web-25.11
  register: ready
  become: true

- name: Find the system that a rollback would bring back
  pantheros.nixci.nixos_deploy_check:
    generation: previous
  register: back
  become: true

- name: Stop if there is a problem
  ansible.builtin.assert:
    that: ready.problems | length == 0
    fail_msg: "{{ ready.problems | join(' ') }}"
"""

RETURN = r"""
problems:
  description: One sentence for each reason not to deploy. Empty if there is none.
  type: list
  elements: str
  returned: success
notes:
  description: What does not stop the deployment but should be known, such as a clock that differs. Also shown as warnings.
  type: list
  elements: str
  returned: success
running:
  description: What the host runs. Empty if the host was not connected to.
  type: dict
  returned: success
  contains:
    system: {description: Store path of the running system., type: str}
    profile: {description: Store path of the system profile., type: str}
    booted: {description: Store path of the system that was booted., type: str}
    generation: {description: Number of the profile's generation., type: int}
    revision: {description: Revision that the running system was built from; null if it is not known., type: str}
    host_name: {description: Name of the host., type: str}
    boot_id: {description: Changes with each boot., type: str}
    unfinished: {description: Store path of an activation that was interrupted., type: str}
store_path:
  description: The system to deploy, also if a generation or a plan was given; null if there is none.
  type: str
  returned: success
  sample: /nix/store/00000000000000000000000000000000-nixos-system-web-25.11
present:
  description: Whether that system is on the host.
  type: bool
  returned: success
current:
  description: Whether the host is already as the deployment would make it.
  type: bool
  returned: success
manifest:
  description: Whether that system lists checks of its own.
  type: bool
  returned: success
unconfirmed:
  description: The deployment that is not confirmed; null if there is none.
  type: dict
  returned: success
resume:
  description: Id of an unconfirmed deployment of the same system that was booted meanwhile and waits for its confirmation; otherwise null.
  type: str
  returned: success
missing_bytes:
  description: Bytes that have to be copied; null if that is not known.
  type: int
  returned: success
access:
  description:
    - How the controller gets in, for O(pantheros.nixci.nixos_rebuild#module:access). One of the C(keys) is used. Empty for connections other
      than C(ssh), and if the host runs the system already.
  type: dict
  returned: success
  sample: {"user": "deploy", "port": 22, "keys": ["ssh-ed25519 AAAA… deploy"], "sudo": true}
ssh_args:
  description:
    - The first arguments of C(ssh), with a bound for how long a silent host is waited for; for the variable C(ansible_ssh_args). Null for other
      connections.
  type: str
  returned: success
controller:
  description: Who deploys, for the record.
  type: dict
  returned: success
  contains:
    who: {description: "The user on GitLab, or the one on the controller.", type: str}
    name: {description: Name of the controller., type: str}
    pipeline: {description: URL of the job; null outside of GitLab., type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.resource import finish
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.readiness import Readiness


def arguments() -> dict[str, dict[str, object]]:
    """Shared with the action, which adds what only the controller knows."""
    login = {
        "user": {"type": "str"},
        "port": {"type": "int"},
        "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "sudo": {"type": "bool", "default": False},
    }
    cache = {"url": {"type": "str", "required": True}, "key": {"type": "str", "no_log": False}}
    return {
        "store_path": {"type": "path"},
        "generation": {"type": "str"},
        "plan": {"type": "path"},
        "action": {
            "type": "str",
            "choices": ["switch", "boot", "test", "dry_activate", "build", "plan"],
            "default": "switch",
        },
        "expected": {"type": "path"},
        "closure": {"type": "dict", "default": {}},
        "need_bytes": {"type": "int"},
        "manifest": {"type": "dict", "default": {}},
        "access": {"type": "dict", "options": login},
        "caches": {"type": "list", "elements": "dict", "default": [], "options": cache},
        "copy": {"type": "str", "choices": ["auto", "cache", "ssh"], "default": "auto"},
        "force": {"type": "list", "elements": "str", "default": []},
        "time": {"type": "float"},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=arguments(),
        mutually_exclusive=[["store_path", "generation", "plan"]],
        supports_check_mode=True,
    )
    finish(module, lambda: Readiness(Runner(module, 60), module.params).look())


if __name__ == "__main__":
    main()
