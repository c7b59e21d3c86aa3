#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_flake
short_description: Build one host of a flake
version_added: 0.1.0
description:
  - Builds C(nixosConfigurations.NAME) from a copy of the tracked files of a checkout, with new modules and settings that
    M(pantheros.nixci.nixos_settings) is going to write. Nothing in the checkout changes.
  - Builds on the machine where it runs. To build on a host that has no checkout, run it on the controller with O(archive_to), copy that file
    to the host, and run it there with O(archive).
  - With O(evaluate) it stops before the build, so that what the system will be can be reviewed. O(derivation) builds that system later,
    without evaluating it again.
  - A commit without local changes gives the same store path as the git repository itself, wherever it is built.
  - Refuses a configuration that does not import the files, that is another host's, or that is behind what the host runs.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  check_mode:
    details:
      - Builds as well, which adds to the Nix store and to nothing else.
  diff_mode:
    support: none
    details: Shows no difference; M(pantheros.nixci.nixos_rebuild) shows what a system changes.
options:
  flake_dir:
    description: The folder of C(flake.nix) in the checkout. Needs O(name).
    type: path
  name:
    description: Name of the configuration.
    type: str
  archive_to:
    description:
      - Write the copy to this file instead of building it. Contains neither C(.git) nor files that git does not know, and only the user who
        runs this can read it.
    type: path
  archive:
    description:
      - A file that O(archive_to) wrote. It is removed, and nothing of it stays readable for others on the host.
      - Needs root. The evaluation may take at most 75% of the memory.
    type: path
  evaluate:
    description: Only evaluate the system. RV(store_path) is where it is going to be.
    type: bool
    default: false
  derivation:
    description: Build this, which is the RV(derivation) of an earlier run on the same machine, without evaluating again.
    type: path
  on_host:
    description:
      - With O(derivation), whether this is the host that the system is for. The build then waits for others on the host, and a link keeps the
        system from the garbage collector. Needs root.
    type: bool
    default: false
  modules:
    description: As in M(pantheros.nixci.nixos_settings).
    type: dict
    default: {}
  settings:
    description: As in M(pantheros.nixci.nixos_settings). Without settings, the configuration is built as it is.
    type: dict
    default: {}
  absent:
    description: As in M(pantheros.nixci.nixos_settings).
    type: list
    elements: str
    default: []
  host_module:
    description: As in M(pantheros.nixci.nixos_settings).
    type: str
  host_name:
    description:
      - The host name that the configuration must have. With O(archive), by default that of the running system.
    type: str
  running_revision:
    description: The revision that the host's running system was built from. A checkout that does not contain it is refused.
    type: str
  force:
    description: Refusals to ignore. V(stale) is a checkout that is behind the running system.
    type: list
    elements: str
    default: []
  host_memory:
    description: Memory in MiB that is free on the host that is going to evaluate, to warn if it is little.
    type: int
  timeout:
    description: Time limit in seconds.
    type: int
    default: 3600
requirements:
  - Nix where it builds, git where the checkout is. On the host, root, and only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_settings
  - module: pantheros.nixci.nixos_closure
  - module: pantheros.nixci.nixos_rebuild
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Build a host of the fleet on the controller
  pantheros.nixci.nixos_flake:
    flake_dir: "{{ playbook_dir }}/fleet"
    name: web
  delegate_to: localhost
  register: built

- name: Show it
  ansible.builtin.debug:
    msg: "{{ built.store_path }} is revision {{ built.revision }}"
"""

RETURN = r"""
store_path:
  description: The system that was built or evaluated.
  type: str
  returned: unless O(archive_to) is given
  sample: /nix/store/00000000000000000000000000000000-nixos-system-web-25.11
derivation:
  description: What it is built from, for O(derivation).
  type: str
  returned: unless O(archive_to) is given
  sample: /nix/store/00000000000000000000000000000000-nixos-system-web-25.11.drv
revision:
  description: The commit of the checkout, with C(-dirty) if the system was built from files that differ from it; null outside of git.
  type: str
  returned: unless O(derivation) is given
  sample: 8f1c0a5c7c1b4a53a1bd9d7a1b1f5a4a7c3b2d1e
manifest:
  description: What the system will say of itself in C(/etc/nixci/manifest.json); null if it does not import our modules.
  type: dict
  returned: unless O(archive_to) or O(derivation) is given
  sample: {"hostName": "web", "files": {}}
seconds:
  description: How long it took.
  type: float
  returned: success
  sample: 12.5
reason:
  description:
    - Kind of the failure. One of V(no_flake), V(no_attribute), V(not_imported), V(another_host), V(stale), V(evaluation), V(build),
      V(platform), V(memory), V(collected), V(locked), V(timeout), V(missing_program), V(not_root), V(invalid).
  type: str
  returned: failure
  sample: not_imported
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import finish
from ..module_utils._nixos import flake, fleet
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.flake import System
from ..module_utils._nixos.staging import exclusive


def build(module: AnsibleModule) -> dict[str, t.Any]:
    params, began = module.params, time.monotonic()
    if not 1 <= params["timeout"] <= 86400:
        raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
    runner = Runner(module, params["timeout"])
    if params["derivation"]:
        result = of_derivation(runner, params)
    elif params["archive"]:
        result = on_the_host(runner, params)
    else:
        result = in_a_checkout(module, runner)
    return {**result, "seconds": round(time.monotonic() - began, 1)}


def of_derivation(runner: Runner, params: dict[str, t.Any]) -> dict[str, t.Any]:
    derivation = params["derivation"]
    if params["on_host"]:
        need_root()
        with exclusive(runner, "nixos_flake"):
            path = flake.build(runner, derivation, fleet.built_root())
    else:
        path = flake.build(runner, derivation, None)
    return {"store_path": path, "derivation": derivation}


def on_the_host(runner: Runner, params: dict[str, t.Any]) -> dict[str, t.Any]:
    need_root()
    with exclusive(runner, "nixos_flake"), fleet.unpacked(runner, params["archive"]) as source:
        system = source.evaluate(runner, params["host_name"] or fleet.running_name(), bounded=True)
        if not params["evaluate"]:
            flake.build(runner, system.derivation, fleet.built_root())
        return described(source, system)


def need_root() -> None:
    if os.geteuid() != 0:
        raise InvalidError("nixos_flake needs root on the host; add 'become: true'.", reason="not_root")


def in_a_checkout(module: AnsibleModule, runner: Runner) -> dict[str, t.Any]:
    params = module.params
    if params["host_memory"] is not None and params["host_memory"] < fleet.SMALL:
        module.warn(
            f"{params['name']} has {params['host_memory']} MiB of free memory, and the evaluation on it may need more than it can spare; "
            "deploy_build_on: controller evaluates on the controller."
        )
    with fleet.prepared(module, runner, params) as source:
        if params["archive_to"]:
            fleet.write_archive(source, params["archive_to"])
            return {"revision": source.facts["revision"]}
        try:
            system = source.evaluate(runner, params["host_name"], bounded=False)
            if not params["evaluate"]:
                flake.build(runner, system.derivation, None)
            return described(source, system)
        except NixciError as exc:
            if exc.details.get("reason") != "missing_program":
                raise
            raise NixciError(
                f"{str(exc).removesuffix('.')}; install Nix on the controller, or set deploy_build_on: host.",
                **exc.details,
            ) from None


def described(source: fleet.Source, system: System) -> dict[str, t.Any]:
    return {
        "store_path": system.path,
        "derivation": system.derivation,
        "revision": source.facts["revision"],
        "manifest": system.manifest,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "flake_dir": {"type": "path"},
            "name": {"type": "str"},
            "archive_to": {"type": "path"},
            "archive": {"type": "path"},
            "evaluate": {"type": "bool", "default": False},
            "derivation": {"type": "path"},
            "on_host": {"type": "bool", "default": False},
            "modules": {"type": "dict", "default": {}},
            "settings": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "str", "default": []},
            "host_module": {"type": "str"},
            "host_name": {"type": "str"},
            "running_revision": {"type": "str"},
            "force": {"type": "list", "elements": "str", "default": []},
            "host_memory": {"type": "int"},
            "timeout": {"type": "int", "default": 3600},
        },
        mutually_exclusive=[["flake_dir", "archive", "derivation"], ["evaluate", "derivation"]],
        required_one_of=[["flake_dir", "archive", "derivation"]],
        required_by={"flake_dir": ["name"], "archive_to": ["flake_dir"]},
        supports_check_mode=True,
    )
    finish(module, lambda: build(module))


if __name__ == "__main__":
    main()
