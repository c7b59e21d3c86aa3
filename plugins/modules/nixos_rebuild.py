#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_rebuild
short_description: Build and activate the NixOS configuration of a host
version_added: 0.1.0
description:
  - Builds the configuration with C(nixos-rebuild), compares it with the running system and activates it if they
    differ. Exactly the system that was built and previewed is activated.
  - Refuses a system whose host name is not the one of the running host, before anything is activated.
  - Distinguishes errors of evaluation, build and activation from failed units, although C(nixos-rebuild) exits with 1 for all of them.
  - Activates in a systemd unit C(nixci-activation), which survives the loss of the connection.
  - Repeats an activation that was interrupted or left failed units behind, even if the configuration is the same.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  check_mode:
    details:
      - Builds the configuration, which adds to the Nix store, and runs its dry activation.
options:
  action:
    description:
      - V(build) builds the system, previews its activation and changes nothing. It is V(changed) if activating the system would change the host.
      - V(switch) activates the system and makes it the boot default.
      - V(boot) makes the system the boot default and does not activate it. This is the way for a system that cannot be activated
        without a reboot.
    type: str
    choices: [build, boot, switch]
    default: switch
  activation:
    description: How a system that O(action=build) builds is going to be activated; what that would refuse, the build refuses.
    type: str
    choices: [boot, switch]
    default: switch
  store_path:
    description:
      - A system in the Nix store of the host, for instance one that O(action=build) returned. It is activated instead of building one.
    type: path
  flake:
    description:
      - A flake, optionally with the name of the configuration as in C(/etc/nixos#web). The default name is the host name.
      - By default, C(nixos-rebuild) uses C(/etc/nixos/flake.nix) if it exists, else C(/etc/nixos/configuration.nix).
    type: str
  staged:
    description:
      - Files that M(pantheros.nixci.nixos_settings) is going to write. The system is built from a copy of the configuration that has them,
        which the build sees in the place of the original; nobody else sees the copy, and it is removed afterwards.
      - Refuses a configuration that does not import these files.
      - Needs O(action=build), and a kernel that lets root make mount namespaces.
    type: dict
    suboptions:
      config_dir:
        description: As in M(pantheros.nixci.nixos_settings).
        type: path
        default: /etc/nixos
      modules:
        description: As in M(pantheros.nixci.nixos_settings).
        type: dict
        required: true
      settings:
        description: As in M(pantheros.nixci.nixos_settings).
        type: dict
        required: true
      absent:
        description: As in M(pantheros.nixci.nixos_settings).
        type: list
        elements: str
        default: []
      host:
        description: As in M(pantheros.nixci.nixos_settings).
        type: str
      host_module:
        description: As in M(pantheros.nixci.nixos_settings).
        type: str
  host_name:
    description:
      - The host name that the system must have, if it declares one. Set it to rename a host. The default is the name that the host has.
    type: str
  timeout:
    description:
      - Time limit for the build and the activation together in seconds, from 1 to 86400.
      - On timeout, a started activation continues in its own unit.
    type: int
    default: 3600
requirements:
  - Runs on the NixOS host as root; needs only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_settings
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Activate /etc/nixos
  pantheros.nixci.nixos_rebuild:
  become: true

- name: Show what would change
  pantheros.nixci.nixos_rebuild:
    flake: /etc/nixos#hetzner-vps
  become: true
  check_mode: true
  diff: true

- name: Build a system with new settings, without writing them
  pantheros.nixci.nixos_rebuild:
    action: build
    staged:
      modules:
        default.nix: "{{ lookup('ansible.builtin.file', 'modules/default.nix', rstrip=false) }}"
      settings:
        postgresql:
          databases: [atticd]
  become: true
  register: built

- name: Activate exactly that system
  pantheros.nixci.nixos_rebuild:
    store_path: "{{ built.store_path }}"
  become: true
"""

RETURN = r"""
store_path:
  description: Store path of the system that was built or given.
  type: str
  returned: success, and failure after the build
  sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
system:
  description: The configuration that was built, and its state on the host.
  type: dict
  returned: success, and failure after the build
  contains:
    path:
      description: Store path of the configuration.
      type: str
      sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
    previous:
      description: Store path of the system that was running before.
      type: str
      sample: /nix/store/11111111111111111111111111111111-nixos-system-hetzner-vps-25.11
    generation:
      description: Number of the generation that boots next; in check mode the current one.
      type: int
      sample: 42
    activated:
      description: Whether the configuration is the running system now.
      type: bool
      sample: true
units:
  description:
    - What the activation does to units, as its dry activation predicted.
    - Also the units that only the new system has (C(new)), which their targets start, and those that only the running one has (C(gone)).
  type: dict
  returned: when there is something to activate, and it needs no reboot
  sample: {"stop": [], "restart": ["caddy.service"], "reload": [], "start": [], "new": ["atticd.service"], "gone": []}
failed_units:
  description: Units that failed during the activation, with the last lines of their journal. Secrets are masked.
  type: list
  elements: dict
  returned: always
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection"}]
reason:
  description:
    - Kind of the failure. One of V(not_nixos), V(not_root), V(no_configuration), V(no_namespace), V(evaluation), V(build),
      V(another_host), V(not_imported), V(pre_switch_check), V(locked), V(profile), V(not_started), V(boot_loader), V(units_failed),
      V(activation_script), V(reboot_required), V(activation), V(timeout), V(missing_program), V(invalid).
  type: str
  returned: failure
  sample: evaluation
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.host import NixosHost
from ..module_utils._nixos.rebuild import RunningSystem
from ..module_utils._nixos.staging import exclusive


def rebuild(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    try:
        if not 1 <= params["timeout"] <= 86400:
            raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
        if params["staged"] and params["action"] != "build":
            raise InvalidError(
                "staged needs action=build: its files are not in place, so they must not be activated.",
                reason="invalid",
            )
        if os.geteuid() != 0:
            raise InvalidError("nixos_rebuild needs root on the host; add 'become: true'.", reason="not_root")
        runner = Runner(module, params["timeout"])
        host = NixosHost(runner)
        with exclusive(runner):
            host.wait_for_earlier()
            return converge(RunningSystem(module, host), params, module.check_mode or params["action"] == "build")
    except NixciError as exc:
        exc.details.setdefault("failed_units", [])
        raise


def main() -> None:
    staged = {
        "config_dir": {"type": "path", "default": "/etc/nixos"},
        "modules": {"type": "dict", "required": True},
        "settings": {"type": "dict", "required": True},
        "absent": {"type": "list", "elements": "str", "default": []},
        "host": {"type": "str"},
        "host_module": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["build", "boot", "switch"], "default": "switch"},
            "activation": {"type": "str", "choices": ["boot", "switch"], "default": "switch"},
            "store_path": {"type": "path"},
            "flake": {"type": "str"},
            "staged": {"type": "dict", "options": staged},
            "host_name": {"type": "str"},
            "timeout": {"type": "int", "default": 3600},
        },
        mutually_exclusive=[["store_path", "flake"], ["store_path", "staged"]],
        supports_check_mode=True,
    )
    finish(module, lambda: rebuild(module))


if __name__ == "__main__":
    main()
