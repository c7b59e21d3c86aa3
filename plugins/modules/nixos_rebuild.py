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
  - Evaluation, build, activation and failed units are told apart, although C(nixos-rebuild) ends with 1 for all.
  - An activation that was cut off or left failed units behind is repeated by the next run, even if the configuration
    is the same.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  check_mode:
    details:
      - Builds the configuration, which adds to the Nix store, and asks it what activation would do.
options:
  action:
    description:
      - V(switch) activates the configuration and makes it the one that boots.
    type: str
    choices: [switch]
    default: switch
  flake:
    description:
      - A flake, optionally with C(#name) of the configuration; the default name is the host name.
      - Without it C(nixos-rebuild) takes C(/etc/nixos/flake.nix) if there is one, else C(/etc/nixos/configuration.nix).
    type: str
  timeout:
    description:
      - Seconds for everything together, from 1 to 86400.
      - When they are over, an activation that has begun goes on in its own unit.
    type: int
    default: 3600
requirements:
  - Runs on the NixOS host, as root, with nothing but Python's standard library.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Activate /etc/nixos
  pantheros.nixci.nixos_rebuild:
  become: true

- name: See what would change
  pantheros.nixci.nixos_rebuild:
    flake: /etc/nixos#hetzner-vps
  become: true
  check_mode: true
  diff: true
"""

RETURN = r"""
system:
  description: The configuration that was built and what became of it.
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
      description: Number of the generation that boots next; in check mode of the one that is there now.
      type: int
      sample: 42
    activated:
      description: Whether the configuration is the running system now.
      type: bool
      sample: true
units:
  description: What activation does to units, as the configuration itself foretold it before.
  type: dict
  returned: when there is something to activate
  sample: {"stop": [], "restart": ["caddy.service"], "reload": [], "start": ["atticd.service"]}
failed_units:
  description: Units that failed during the activation, with the last lines of their journal; secrets are masked.
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

from ..module_utils._core.change import Change
from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.host import NixosHost


def plan(state: dict[str, t.Any], built: str) -> Change:
    """The configuration shall run, be the one that boots, and have been activated to the end."""
    return Change(state, {"system": built, "profile": built, "unfinished": None})


def run(module: AnsibleModule, host: NixosHost) -> dict[str, t.Any]:
    before = host.state()
    change = plan(before, host.build())
    path = change.after["system"]
    result = change.result(failed_units=[])
    if change:
        result["units"] = host.dry_activate(path)
        result["diff"]["prepared"] = describe(host.closure_changes(before["system"], path), result["units"])
    try:
        if change and not module.check_mode:
            host.switch(path)
    except NixciError as exc:
        after = system(host, before, path)
        exc.details = {**result, "changed": host.moved(before), "system": after, **exc.details}
        raise
    return {**result, "system": system(host, before, path)}


def system(host: NixosHost, before: dict[str, t.Any], path: str) -> dict[str, t.Any]:
    return {
        "path": path,
        "previous": before["system"],
        "generation": host.generation(),
        "activated": host.state()["system"] == path,
    }


def describe(closures: list[str], units: dict[str, list[str]]) -> str:
    """What a reader of the diff wants to know beside two store paths."""
    lines = [*closures, *(f"{verb}: {', '.join(names)}" for verb, names in units.items() if names)]
    return "".join(f"{line}\n" for line in lines)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["switch"], "default": "switch"},
            "flake": {"type": "str"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    try:
        if not 1 <= module.params["timeout"] <= 86400:
            raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
        if os.geteuid() != 0:
            raise InvalidError("nixos_rebuild needs root on the host; add 'become: true'.", reason="not_root")
        with tempfile.TemporaryDirectory(prefix="nixci-") as workdir:
            runner = Runner(module, module.params["timeout"])
            result = run(module, NixosHost(runner, module.params["flake"], workdir))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **{"failed_units": [], **exc.details})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
