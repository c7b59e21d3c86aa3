#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_system_info
short_description: Read what a NixOS host runs and what it was built from
version_added: 0.1.0
description:
  - Reads the running system, the files of this collection that it was built from, and its revision. Changes nothing.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing.
requirements:
  - Runs on the NixOS host; needs only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_settings
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Read what the host runs
  pantheros.nixci.nixos_system_info:
  register: running

- name: Show its revision
  ansible.builtin.debug:
    var: running.revision
"""

RETURN = r"""
system:
  description: The running system.
  type: dict
  returned: success
  contains:
    store_path:
      description: The running system.
      type: str
      sample: /nix/store/00000000000000000000000000000000-nixos-system-hetzner-vps-25.11
    built_from:
      description:
        - The files that it was built from, as in RV(pantheros.nixci.nixos_settings#module:files); null if its configuration does not import
          our modules.
      type: dict
      sample: {"settings/postgresql.json": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
    unfinished:
      description: Whether its activation was interrupted, or is not confirmed yet.
      type: bool
      sample: false
host_name:
  description: The host name that the running system declares, or that the host has without one.
  type: str
  returned: success
  sample: hetzner-vps
revision:
  description:
    - The revision that it was built from, from the record of its deployment, otherwise from C(system.configurationRevision); null if neither
      says.
  type: str
  returned: success
  sample: 8f1c0a5c7c1b4a53a1bd9d7a1b1f5a4a7c3b2d1e
memory_available:
  description: Memory in MiB that is free or can be freed, without swap; null if the host does not say.
  type: int
  returned: success
  sample: 3011
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.resource import finish
from ..module_utils._nixos.fleet import running_name
from ..module_utils._nixos.settings import running_system
from ..module_utils._nixos.system_info import memory_available, revision


def info() -> dict[str, t.Any]:
    system = running_system()
    return {
        "system": system,
        "host_name": running_name(),
        "revision": revision(system["store_path"]),
        "memory_available": memory_available(),
    }


def main() -> None:
    finish(AnsibleModule(argument_spec={}, supports_check_mode=True), info)


if __name__ == "__main__":
    main()
