#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_host_key
short_description: Pin the SSH host key of a host whose fingerprint was confirmed
version_added: 0.1.0
description:
  - Fetches the host keys that a host offers with C(ssh-keyscan), and compares them with a C(known_hosts) file.
  - Adds the key with this O(fingerprint) to the file if it holds none of the host yet. Without O(fingerprint), only reports the keys, so
    that somebody can compare and confirm one of them.
  - Never replaces a key. If the host offers another key than the one in the file, the module fails.
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  host:
    description: Name or address of the host, as SSH connects to it.
    type: str
    required: true
  port:
    description: Port of its SSH server.
    type: int
    default: 22
  known_hosts:
    description: Path of the C(known_hosts) file. It is created if a key is added.
    type: path
    required: true
  fingerprint:
    description:
      - SHA-256 fingerprint of the key to add, such as C(SHA256:) followed by 43 characters.
      - Not needed for a host whose key is in the file already.
    type: str
  timeout:
    description: Seconds within which the host must answer, from 1 to 120.
    type: int
    default: 10
requirements:
  - Runs on the controller, with OpenSSH's C(ssh-keyscan) and C(ssh-keygen). A host that is reached through another one
    (C(ProxyJump)) cannot be scanned; add its key by hand.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Read the host keys of a new host
  pantheros.nixci.ssh_host_key:
    host: "{{ ansible_host }}"
    known_hosts: "{{ inventory_dir }}/known_hosts"
  delegate_to: localhost
  register: host_key

- name: Pin the one that was confirmed
  pantheros.nixci.ssh_host_key:
    host: "{{ ansible_host }}"
    known_hosts: "{{ inventory_dir }}/known_hosts"
    fingerprint: SHA256:0bqCjEPzYP9Vbx+MLeEuQrTdkDTlLMTFWTyi3hPWLIo
  delegate_to: localhost
"""

RETURN = r"""
pinned:
  description: Whether the file holds a key of the host, after this run.
  type: bool
  returned: success
  sample: true
fingerprint:
  description: The fingerprint of the pinned key; without one, of the key to compare first.
  type: str
  returned: success
  sample: SHA256:0bqCjEPzYP9Vbx+MLeEuQrTdkDTlLMTFWTyi3hPWLIo
offered:
  description: The C(type) and C(fingerprint) of each key that the host offers.
  type: list
  elements: dict
  returned: success
  sample: [{"type": "ssh-ed25519", "fingerprint": "SHA256:0bqCjEPzYP9Vbx+MLeEuQrTdkDTlLMTFWTyi3hPWLIo"}]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.resource import run
from ..module_utils._nixos.host_key import HostKey


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 22},
            "known_hosts": {"type": "path", "required": True},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    run(module, lambda: HostKey(module))


if __name__ == "__main__":
    main()
