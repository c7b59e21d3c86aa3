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
  - Removes other C(.nix) files from C(nixci/modules) and other C(.json) files from C(nixci/settings). Files with other names, and everything
    outside these two folders, stay.
  - Does not rebuild the host; see M(pantheros.nixci.nixos_rebuild).
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  config_dir:
    description: Folder of the host's NixOS configuration.
    type: path
    default: /etc/nixos
  modules:
    description: File name to text of each NixOS module.
    type: dict
    required: true
  settings:
    description: Role to its settings. The settings of a role V(web) become the option C(nixci.web).
    type: dict
    required: true
  private_files:
    description:
      - Path to text of files that only root may read, such as the token of OpNix. They are never shown and not part of C(files).
      - A file with the same text keeps its mode; otherwise it gets the mode V(0600). An existing file keeps its owner and group.
    type: dict
    default: {}
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
rebuild:
  description: Whether the running system was built from other files, or its activation was interrupted.
  type: bool
  returned: success
  sample: false
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.resource import run
from ..module_utils._nixos.settings import Settings


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config_dir": {"type": "path", "default": "/etc/nixos"},
            "modules": {"type": "dict", "required": True},
            "settings": {"type": "dict", "required": True},
            "private_files": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    run(module, lambda: Settings(module))


if __name__ == "__main__":
    main()
