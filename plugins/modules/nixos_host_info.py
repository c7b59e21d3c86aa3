#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_host_info
short_description: Inspect a host before its first deployment
version_added: 0.1.0
description:
  - Reports whether a host runs a supported release of NixOS and of OpNix, whether root is reached, and whether its configuration can be
    rebuilt with the modules of this collection.
  - Needs no Python on the host. Finds one in C(PATH), in the running system or in the Nix store. Without any, it lets Nix fetch one, kept
    until the next boot by a link in C(/run/nixci).
  - Changes nothing else. Does not fail for what it finds; see RV(problems). An unreachable host is unreachable, as for any module.
options:
  config_dir:
    description: Folder of the host's NixOS configuration. Empty if the configuration is not on the host.
    type: str
    default: /etc/nixos
  configuration:
    description: Name of the host's configuration, for the line that is to be added. By default the host's name in the inventory.
    type: str
    default: ""
  persistent:
    description: Paths that must survive a reboot. A path that does not exist yet is judged by the closest folder that does.
    type: list
    elements: path
    default: []
  calendars:
    description: Calendar expressions for systemd to check.
    type: list
    elements: str
    default: []
  fetch_python:
    description: Whether Nix may fetch a Python if the host has none.
    type: bool
    default: true
attributes:
  check_mode:
    description: Whether the module does in check mode what it does otherwise.
    support: full
  diff_mode:
    description: Whether the module returns a diff.
    support: none
seealso:
  - module: pantheros.nixci.nixos_check
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Inspect the host
  pantheros.nixci.nixos_host_info:
    persistent: [/etc/nixos, /var/lib/postgresql]
  register: inspected

- name: Use the Python that was found
  ansible.builtin.set_fact:
    ansible_python_interpreter: "{{ inspected.interpreter }}"
  when: inspected.interpreter is not none
"""

RETURN = r"""
nixos:
  description: Whether the host runs NixOS.
  type: bool
  returned: success
  sample: true
release:
  description: Release of NixOS; null if it cannot be told.
  type: str
  returned: success
  sample: "25.11"
system:
  description: How the system names itself.
  type: str
  returned: success
  sample: Debian GNU/Linux 13 (trixie)
architecture:
  description: Architecture of the kernel.
  type: str
  returned: success
  sample: x86_64
config_files:
  description: Which of C(configuration.nix) and C(flake.nix) are in O(config_dir).
  type: list
  elements: str
  returned: success
  sample: [flake.nix]
install_problems:
  description: One sentence for each reason why nixos-anywhere could not install NixOS there. Empty for a host that runs NixOS.
  type: list
  elements: str
  returned: success
  sample: ["Host web has 981 MB of memory, and nixos-anywhere needs 1500."]
opnix:
  description: Version of OpNix that its unit runs; null without one.
  type: str
  returned: success
  sample: 0.11.0
python:
  description: Path of a Python for Ansible's modules; null without one.
  type: str
  returned: success
  sample: /run/current-system/sw/bin/python3
interpreter:
  description: The same, if it is not in C(PATH), where Ansible would find it by itself.
  type: str
  returned: success
  sample: /nix/store/0c0qhkzzzk0cbbnhh8b6pvdqzbnfg2rk-python3-3.13.9/bin/python3
problems:
  description: One sentence for each reason not to deploy to this host. Empty if there is none.
  type: list
  elements: str
  returned: success
  sample: [Host web has neither configuration.nix nor flake.nix in /etc/nixos, so it is deployed from elsewhere; ...]
"""
