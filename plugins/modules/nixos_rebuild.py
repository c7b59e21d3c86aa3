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
  - Nothing is permanent before the system has worked. It is activated with C(switch-to-configuration test), in a systemd unit
    C(nixci-activation) that survives the loss of the connection; profile and boot loader keep the previous system until the confirmation. A
    timer on the host, armed before the activation, goes back to the previous system if no confirmation comes. So do a failed activation and a
    restart of the host.
  - With O(confirm_timeout=0) the module confirms by itself if the activation went well. Otherwise M(pantheros.nixci.nixos_confirm) confirms,
    preferably over a new connection.
  - A unit that fails is decisive if the activation touches it, or if the new system's manifest names it. Other units that fail, and those that
    had failed before, are only listed in RV(failed_units).
  - A system that was taken back is remembered in C(/var/lib/nixci/failed) and refused from then on. One that was only not confirmed may be
    tried a second time, because its controller may have died. A later confirmation forgets it.
  - Before the activation, the manifest of the new system (C(/etc/nixci/manifest.json), if it has one) says whether who deploys could still
    log in. What also holds for the running system does not count.
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
      - V(dry_activate) does the same for the activation by V(switch); use it with O(store_path).
      - V(test) activates the system and does not make it the boot default.
      - V(switch) activates the system and makes it the boot default.
      - V(boot) makes the system the boot default and does not activate it. This is the way for a system that cannot be activated
        without a reboot. With O(confirm_timeout), the confirmation is due after the reboot; on a host with the modules of this collection, the
        host otherwise goes back to the previous system and reboots into it.
    type: str
    choices: [build, dry_activate, test, boot, switch]
    default: switch
  activation:
    description: How a system that O(action=build) builds is going to be activated; what that would refuse, the build refuses.
    type: str
    choices: [test, boot, switch]
    default: switch
  confirm_timeout:
    description:
      - Seconds that the host waits for M(pantheros.nixci.nixos_confirm), from 0 to 86400, counted from the end of the activation. Without it,
        the host goes back to the previous system.
      - V(0) does not wait. The module confirms by itself, or goes back at once.
      - The activation itself is taken back if it lasts longer than 900 seconds, or than O(timeout).
    type: int
    default: 0
  inhibitors:
    description:
      - What to do about a system that changes what a running system cannot replace (its C(switch-inhibitors), or its init interface).
      - V(refuse) fails with RV(reason) V(inhibited) or V(reboot_required).
      - V(boot) and V(boot_and_reboot) make it the boot default, as O(action=boot); RV(reboot_required) is then true. This module never
        reboots, since that would end its own connection; V(boot_and_reboot) says that the caller is going to.
      - V(force) activates it all the same, which a changed init interface does not allow.
    type: str
    choices: [refuse, boot, boot_and_reboot, force]
    default: refuse
  access:
    description:
      - How the next connection is going to be made. A system that would not accept it is refused.
      - By default, what C(SSH_CONNECTION) and C(SUDO_USER) say; without these, nothing is reviewed and a warning says so.
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
  force:
    description:
      - Refusals to override. V(failed_system) activates a system that failed on this host before, V(lockout) one that would lock out who deploys.
    type: list
    elements: str
    choices: [failed_system, lockout]
    default: []
  who:
    description: Who deploys, for the record and for others that find the deployment. The default is the user that has logged in.
    type: str
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
      - On timeout, a started activation is taken back.
    type: int
    default: 3600
requirements:
  - Runs on the NixOS host as root; needs only Python's standard library.
notes:
  - Every activation is recorded in C(/var/log/nixci/deployments.jsonl).
seealso:
  - module: pantheros.nixci.nixos_confirm
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

# Works on any NixOS host. If one of these tasks fails, or the connection does, the host goes back by itself.
- name: Activate /etc/nixos for two minutes
  pantheros.nixci.nixos_rebuild:
    confirm_timeout: 120
  become: true
  register: activation

- name: Give up the connection, which may have outlived what it needs
  ansible.builtin.meta: reset_connection

- name: Make it permanent over a new connection
  pantheros.nixci.nixos_confirm:
    id: "{{ activation.deployment.id }}"
  become: true
  when: activation.deployment.pending

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
closures:
  description: Packages that are added, removed or change their version.
  type: list
  elements: str
  returned: success, and failure after the build
  sample: ["caddy: 2.8 → 2.9, +12.0 KiB"]
inhibitors:
  description: What a running system cannot replace and the new one changes; name to the old and the new value.
  type: dict
  returned: success, and failure after the build
  sample: {"dbus-implementation": ["dbus", "broker"]}
reboot_required:
  description: Whether only a reboot brings the system about.
  type: bool
  returned: success, and failure after the build
  sample: false
access:
  description: What the review of the access found, one sentence each; none of it has stopped the activation.
  type: list
  elements: str
  returned: success, and failure after the build
  sample: []
deployment:
  description: The deployment that was made. Without one, RV(deployment.id) is null.
  type: dict
  returned: success, and failure after the build
  contains:
    id:
      description: Its name, for M(pantheros.nixci.nixos_confirm).
      type: str
      sample: 3f0c8a91d2be
    system:
      description: Store path of the system.
      type: str
      sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
    previous:
      description: Store path of the system that the host goes back to.
      type: str
      sample: /nix/store/11111111111111111111111111111111-nixos-system-hetzner-vps-25.11
    pending:
      description: Whether it waits for its confirmation.
      type: bool
      sample: true
    action:
      description: How it was activated, one of V(switch), V(test) and V(boot). See O(inhibitors).
      type: str
      sample: switch
    confirm_timeout:
      description: Seconds that the host waits for the confirmation.
      type: int
      sample: 120
    boot_id:
      description: The boot of the host during which it was activated.
      type: str
      sample: 8a7f6d0e-4f0a-4b43-9a5f-6f0a2f3f6a55
    who:
      description: Who deployed it.
      type: str
      returned: if there is a deployment
      sample: alice
    started:
      description: Since when.
      type: str
      returned: if there is a deployment
      sample: "2026-11-26T15:00:00Z"
failed_units:
  description:
    - Units that have failed, with the last lines of their journal. Secrets are masked. C(decisive) says whether a unit stops the deployment,
      C(failed_before) whether it had failed before the activation.
  type: list
  elements: dict
  returned: always
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection", "decisive": true, "failed_before": false}]
reason:
  description:
    - Kind of the failure. One of V(not_nixos), V(not_root), V(no_configuration), V(no_namespace), V(evaluation), V(build),
      V(another_host), V(not_imported), V(unconfirmed), V(failed_system), V(lockout), V(inhibited), V(reboot_required),
      V(pre_switch_check), V(locked), V(not_started), V(reverted), V(interrupted), V(revert_failed), V(not_written), V(timeout), V(missing_program), V(invalid).
    - V(reverted) means that the host runs the previous system again; RV(cause) says why.
  type: str
  returned: failure
  sample: evaluation
cause:
  description: Why the system was taken back. One of V(units_failed), V(activation_script), V(activation), V(boot_loader), V(profile),
    V(reboot_required), V(not_written), V(timeout).
  type: str
  returned: if RV(reason) is V(reverted) or V(revert_failed), and the module has taken it back itself
  sample: units_failed
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.confirmation import deployed_by
from ..module_utils._nixos.host import NixosHost
from ..module_utils._nixos.rebuild import RunningSystem, nothing_to_do
from ..module_utils._nixos.staging import exclusive


def rebuild(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    try:
        if not 1 <= params["timeout"] <= 86400:
            raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
        if not 0 <= params["confirm_timeout"] <= 86400:
            raise InvalidError("confirm_timeout must be from 0 to 86400 seconds.", reason="invalid")
        if params["staged"] and params["action"] != "build":
            raise InvalidError(
                "staged needs action=build: its files are not in place, so they must not be activated.",
                reason="invalid",
            )
        if os.geteuid() != 0:
            raise InvalidError("nixos_rebuild needs root on the host; add 'become: true'.", reason="not_root")
        runner = Runner(module, params["timeout"])
        host = NixosHost(runner)
        only_looks = module.check_mode or params["action"] in ("build", "dry_activate")
        if nothing_to_do(host, params):
            return converge(RunningSystem(module, host), params, only_looks)
        with exclusive(runner, deployed_by(params["who"])):
            host.wait_for_earlier()
            return converge(RunningSystem(module, host), params, only_looks)
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
    access = {
        "user": {"type": "str"},
        "port": {"type": "int"},
        "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "sudo": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "action": {
                "type": "str",
                "choices": ["build", "dry_activate", "test", "boot", "switch"],
                "default": "switch",
            },
            "activation": {"type": "str", "choices": ["test", "boot", "switch"], "default": "switch"},
            "store_path": {"type": "path"},
            "flake": {"type": "str"},
            "staged": {"type": "dict", "options": staged},
            "host_name": {"type": "str"},
            "confirm_timeout": {"type": "int", "default": 0},
            "inhibitors": {
                "type": "str",
                "choices": ["refuse", "boot", "boot_and_reboot", "force"],
                "default": "refuse",
            },
            "access": {"type": "dict", "options": access},
            "force": {"type": "list", "elements": "str", "choices": ["failed_system", "lockout"], "default": []},
            "who": {"type": "str"},
            "timeout": {"type": "int", "default": 3600},
        },
        mutually_exclusive=[["store_path", "flake"], ["store_path", "staged"]],
        supports_check_mode=True,
    )
    finish(module, lambda: rebuild(module))


if __name__ == "__main__":
    main()
