#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Check the variables of roles before anything is changed
version_added: 0.1.0
description:
  - Compares the variables of a host with the argument specifications of roles of this collection, and with what NixOS and Attic accept.
  - Finds misspelt variables. A variable with one of our prefixes is reported only if its name is close to one of ours and no other variable
    refers to it. It is a problem if it looks mistyped, and a warning if it differs by whole words. List your own in
    C(nixci_other_variables), also with patterns such as C(b2_backup_*).
  - Finds placeholders of the documentation, such as an address in C(203.0.113.0/24).
  - Checks that the controller has the Python libraries and collections that these roles need.
  - Runs on the controller without a connection to the host. Does not evaluate secrets.
options:
  roles:
    description: Names of the roles, without the name of the collection.
    type: list
    elements: str
    choices: [attic, b2, backup, bootstrap, caches, caddy, deploy, dns, gitlab, nixos, opnix, postgresql, substituter]
    required: true
  fail:
    description: Whether to fail if there are problems. All of them are in the message.
    type: bool
    default: true
attributes:
  check_mode:
    description: Whether the module does in check mode what it does otherwise.
    support: full
  diff_mode:
    description: Whether the module returns a diff.
    support: none
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Check what concerns the records
  pantheros.nixci.inventory_check:
    roles: [dns]
"""

RETURN = r"""
problems:
  description: One sentence for each cause. Empty if everything is right.
  type: list
  elements: str
  returned: always
  sample: ["The variable dns_recods is unknown; did you mean dns_records? If it is yours, list it in nixci_other_variables."]
unusable:
  description: The roles that cannot run with these variables.
  type: list
  elements: str
  returned: always
  sample: [dns]
onepassword:
  description: The roles that read values from 1Password.
  type: list
  elements: str
  returned: always
  sample: [dns]
reachable:
  description: Whether the address of the host is more than a placeholder.
  type: bool
  returned: always
  sample: true
libraries:
  description: The Python libraries that the controller lacks.
  type: list
  elements: str
  returned: always
  sample: [boto3]
host:
  description: Options for M(pantheros.nixci.nixos_host_info), whose values only the host can judge.
  type: dict
  returned: always
  sample: {config_dir: /etc/nixos, persistent: [/etc/nixos], calendars: [daily]}
"""
