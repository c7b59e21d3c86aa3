#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_settings
short_description: Write the NixOS modules and the settings of roles into a NixOS configuration
version_added: 0.1.0
description:
  - Makes C(nixci/modules) and the settings folder below O(config_dir) contain these modules and these settings, and reports whether the
    running system was built from other files.
  - Runs on the host, or, with O(system), on the controller in a checkout of the flake that describes several hosts.
  - Removes only the settings that O(absent) names. Everything else stays, also a module that an older version of the collection has written and
    that O(modules) no longer contains; C(default.nix) imports only what belongs to it.
  - Does not rebuild the host; see M(pantheros.nixci.nixos_rebuild).
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  config_dir:
    description: Folder of the host's NixOS configuration, or the folder of C(flake.nix) in a checkout on the controller.
    type: path
    default: /etc/nixos
  host:
    description:
      - Name of the configuration. Its settings go to C(nixci/hosts/NAME/settings), so that several hosts can share the modules, and the
        configuration imports C(./nixci/hosts/NAME).
      - Without it, settings go to C(nixci/settings), and the configuration imports C(./nixci/modules). A folder C(nixci/settings) that
        exists on the host stays in use in any case.
    type: str
  host_module:
    description: Text of C(nixci/hosts/NAME/default.nix).
    type: str
  system:
    description:
      - What the host runs, as M(pantheros.nixci.nixos_system_info) returns it in RV(pantheros.nixci.nixos_system_info#module:system). Needed
        on the controller, where it cannot be read.
    type: dict
    suboptions:
      store_path:
        description: The running system.
        type: str
        required: true
      built_from:
        description: The files that it was built from.
        type: dict
      unfinished:
        description: Whether its activation was interrupted.
        type: bool
        default: false
  commit:
    description:
      - Commit these files, and nothing else that is changed or staged. Never pushes.
      - Needs a git repository with a checked-out branch.
    type: bool
    default: false
  modules:
    description: File name, which ends in C(.nix), C(.json), C(.sh) or C(.py), to text of each NixOS module and of the data that they read.
    type: dict
    required: true
  settings:
    description: Role to its settings. The settings of a role V(web) become the option C(nixci.web).
    type: dict
    required: true
  absent:
    description:
      - Roles whose settings are removed. Settings of roles that are named neither here nor in O(settings) stay.
    type: list
    elements: str
    default: []
  flake:
    description:
      - The flake that the host is built from, if it is one. Without it, a C(flake.nix) in O(config_dir) or at the top of its git
        repository says the same.
      - In a flake's git repository, files that git does not know are invisible to Nix. Therefore these files, and no others, are added
        with C(git add --intent-to-add). Committing them is yours.
    type: str
requirements:
  - On a NixOS host, root. Needs only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_rebuild
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Write one module and its settings
  pantheros.nixci.nixos_settings:
    modules:
      default.nix: "{{ lookup('ansible.builtin.file', 'modules/default.nix', rstrip=false) }}"
    settings:
      postgresql:
        databases: [atticd]
  become: true
  register: settings

- name: Rebuild the host
  pantheros.nixci.nixos_rebuild:
  become: true
  when: settings.rebuild
"""

RETURN = r"""
files:
  description: Path to SHA-256 of each file in the two folders, as C(modules/NAME) and C(settings/NAME).
  type: dict
  returned: success
  sample: {"settings/postgresql.json": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
built_from:
  description: The same for the running system, as it was when it was built; null if its configuration does not import C(nixci/modules).
  type: dict
  returned: success
  sample: {"settings/postgresql.json": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
removed:
  description: Path of each file that O(absent) removes, as in RV(files).
  type: list
  elements: str
  returned: success
  sample: ["settings/caddy.json"]
store_path:
  description: The running system.
  type: str
  returned: success
  sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
revision:
  description: The commit of the checkout after this, with C(-dirty) if files differ from it; null outside of git, and if check mode predicts a
    change.
  type: str
  returned: with O(system)
  sample: 8f1c0a5c7c1b4a53a1bd9d7a1b1f5a4a7c3b2d1e
imported:
  description: What the configuration has to import.
  type: str
  returned: success
  sample: ./nixci/hosts/hetzner-vps
rebuild:
  description: Whether the running system was built from other files, or its activation was interrupted.
  type: bool
  returned: success
  sample: false
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.checkout import Checkout
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.settings import GIT_TIMEOUT, Layout, Settings
from ..module_utils._nixos.staging import Repository


def on_the_host(module: AnsibleModule, runner: Runner) -> dict[str, t.Any]:
    params = module.params
    folder = params["config_dir"]
    repository = Repository.of_flake(runner, folder, params["flake"])
    if params["commit"] and repository is None:
        raise InvalidError(
            f"{folder} is no flake in a git repository, so nothing can be committed; set nixci_commit: false."
        )
    settings = Settings(module, folder, Layout.of(folder, params["host"], fleet=False), repository, params["commit"])
    return converge(settings, params, module.check_mode)


def in_a_checkout(module: AnsibleModule, runner: Runner) -> dict[str, t.Any]:
    params = module.params
    checkout = Checkout(runner, params["config_dir"])
    checkout.refuse_commit(params["commit"])
    layout = Layout.of(checkout.folder, params["host"], fleet=True)
    with checkout.locked():
        settings = Settings(module, checkout.folder, layout, checkout.repository, params["commit"])
        result = converge(settings, params, module.check_mode)
        # What a commit would be named, nobody knows before.
        revision = None if module.check_mode and result["changed"] else checkout.revision().name
        return {**result, "revision": revision}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config_dir": {"type": "path", "default": "/etc/nixos"},
            "host": {"type": "str"},
            "host_module": {"type": "str"},
            "system": {
                "type": "dict",
                "options": {
                    "store_path": {"type": "str", "required": True},
                    "built_from": {"type": "dict"},
                    "unfinished": {"type": "bool", "default": False},
                },
            },
            "commit": {"type": "bool", "default": False},
            "modules": {"type": "dict", "required": True},
            "settings": {"type": "dict", "required": True},
            "absent": {"type": "list", "elements": "str", "default": []},
            "flake": {"type": "str"},
        },
        required_by={"system": ["host"], "host": ["host_module"]},
        supports_check_mode=True,
    )
    where = in_a_checkout if module.params["system"] else on_the_host
    finish(module, lambda: where(module, Runner(module, GIT_TIMEOUT)))


if __name__ == "__main__":
    main()
