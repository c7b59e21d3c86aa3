#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_settings
short_description: Write the NixOS modules and the settings of roles on a host
version_added: 0.1.0
description:
  - Makes C(nixci/modules) and C(nixci/settings) below O(config_dir) contain these modules and these settings, and reports whether the running
    system was built from other files.
  - Removes only the settings that O(absent) names. Everything else stays, also a module that an older version of the collection has written and
    that O(modules) no longer contains; C(default.nix) imports only what belongs to it.
  - Does not rebuild the host; see M(pantheros.nixci.nixos_rebuild).
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  config_dir:
    description: Folder of the host's NixOS configuration.
    type: path
    default: /etc/nixos
  modules:
    description: File name, which ends in C(.nix) or C(.json), to text of each NixOS module and of the data that they read.
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
  - Runs on the NixOS host as root; needs only Python's standard library.
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
  description: Path below C(nixci/) to SHA-256 of each file in the two folders.
  type: dict
  returned: success
  sample: {"settings/postgresql.json": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
built_from:
  description: The same for the running system, as it was when it was built; null if its configuration does not import C(nixci/modules).
  type: dict
  returned: success
  sample: {"settings/postgresql.json": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
removed:
  description: Path below C(nixci/) of each file that O(absent) removes.
  type: list
  elements: str
  returned: success
  sample: ["settings/caddy.json"]
store_path:
  description: The running system.
  type: str
  returned: success
  sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
rebuild:
  description: Whether the running system was built from other files, or its activation was interrupted.
  type: bool
  returned: success
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.resource import run
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.settings import GIT_TIMEOUT, Settings
from ..module_utils._nixos.staging import Repository


def settings(module: AnsibleModule) -> Settings:
    folder = module.params["config_dir"]
    return Settings(module, folder, Repository.of_flake(Runner(module, GIT_TIMEOUT), folder, module.params["flake"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config_dir": {"type": "path", "default": "/etc/nixos"},
            "modules": {"type": "dict", "required": True},
            "settings": {"type": "dict", "required": True},
            "absent": {"type": "list", "elements": "str", "default": []},
            "flake": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: settings(module))


if __name__ == "__main__":
    main()
