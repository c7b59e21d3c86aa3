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
    differ.
  - Distinguishes errors of evaluation, build and activation from failed units, although C(nixos-rebuild) exits with 1 for all of them.
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
      - V(switch) activates the configuration and makes it the boot default.
    type: str
    choices: [switch]
    default: switch
  flake:
    description:
      - A flake, optionally with the name of the configuration as in C(/etc/nixos#web). The default name is the host name.
      - By default, C(nixos-rebuild) uses C(/etc/nixos/flake.nix) if it exists, else C(/etc/nixos/configuration.nix).
    type: str
  timeout:
    description:
      - Time limit for the build and the activation together in seconds, from 1 to 86400.
      - On timeout, a started activation continues in its own unit.
    type: int
    default: 3600
requirements:
  - Runs on the NixOS host as root; needs only Python's standard library.
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
"""

RETURN = r"""
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
  description: What the activation does to units, as its dry activation predicted.
  type: dict
  returned: when there is something to activate
  sample: {"stop": [], "restart": ["caddy.service"], "reload": [], "start": ["atticd.service"]}
failed_units:
  description: Units that failed during the activation, with the last lines of their journal. Secrets are masked.
  type: list
  elements: dict
  returned: always
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection"}]
reason:
  description:
    - Kind of the failure. One of V(not_nixos), V(not_root), V(evaluation), V(build), V(pre_switch_check), V(locked),
      V(units_failed), V(activation_script), V(reboot_required), V(activation), V(timeout), V(missing_program),
      V(invalid).
  type: str
  returned: failure
  sample: evaluation
"""

import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.host import NixosHost
from ..module_utils._nixos.rebuild import RunningSystem


def rebuild(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    try:
        if not 1 <= params["timeout"] <= 86400:
            raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
        if os.geteuid() != 0:
            raise InvalidError("nixos_rebuild needs root on the host; add 'become: true'.", reason="not_root")
        with tempfile.TemporaryDirectory(prefix="nixci-") as workdir:
            host = NixosHost(Runner(module, params["timeout"]), params["flake"], workdir)
            return converge(RunningSystem(host), params, module.check_mode)
    except NixciError as exc:
        exc.details.setdefault("failed_units", [])
        raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["switch"], "default": "switch"},
            "flake": {"type": "str"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: rebuild(module))


if __name__ == "__main__":
    main()
