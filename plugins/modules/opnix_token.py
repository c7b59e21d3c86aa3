#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: opnix_token
short_description: Give a NixOS host the token with which OpNix reads 1Password
version_added: 0.1.0
description:
  - Writes the token of a 1Password service account to the file from which OpNix reads it. A different token that is already there is never
    replaced unless O(replace) is V(true), and is then kept beside the new one.
  - If OpNix cannot read one of its references, it refreshes none of them. With O(system), this module therefore reads every reference of that
    system first, those of other services included, and fails with the list of those that the token cannot read. It does so if the token is
    new or if the running system does not have all of these references.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    details: Tokens are not shown.
options:
  token:
    description:
      - The token, which begins with C(ops_). Blanks around it are ignored.
      - If empty, the token on the host is kept and tested; it is an error if there is none.
    type: str
    default: ""
  path:
    description: Path of the token file. By default the file that OpNix in O(system) or in the running system reads.
    type: path
  system:
    description:
      - Store path of a system that was built and is to be activated. Its OpNix does the reading.
      - Without it, the token is not tested.
    type: path
  replace:
    description: Whether a different token may be replaced. The old one is then kept in a file with the suffix C(.previous).
    type: bool
    default: false
  refresh:
    description:
      - Only restarts OpNix' unit, so that all secrets are fetched, if it has not run since the token was written, or has failed.
      - Needed after the activation if this module returned RV(refresh), because OpNix reads the token only when its unit starts.
    type: bool
    default: false
  timeout:
    description: Seconds within which 1Password must have been read, from 1 to 3600.
    type: int
    default: 120
requirements:
  - Runs on the NixOS host, as root; needs only Python's standard library.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Give the host its token, if that can read all secrets of the new system
  pantheros.nixci.opnix_token:
    token: "{{ opnix_token }}"
    system: "{{ nixos_build_result.store_path }}"
  register: token
  become: true

- name: Fetch the secrets with it, after the activation
  pantheros.nixci.opnix_token:
    refresh: true
  when: token.refresh
  become: true
"""

RETURN = r"""
token_file:
  description: Path of the token file.
  type: str
  returned: success, without O(refresh)
  sample: /etc/opnix-token
previous:
  description: Path of the file that keeps the replaced token.
  type: str
  returned: success, without O(refresh); V(null) if none was replaced
  sample: /etc/opnix-token.previous
references:
  description: How many references were read. 0 if there was no need to.
  type: int
  returned: success, without O(refresh)
  sample: 3
refresh:
  description: Whether OpNix' unit has not run since the token was written, or has failed.
  type: bool
  returned: success, without O(refresh)
  sample: false
unreadable:
  description: References that the token cannot read.
  type: list
  elements: str
  returned: failure because of them
  sample: ["op://Servers/Mail/password"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.opnix_token import OpnixToken, refresh


def ensure(module: AnsibleModule) -> dict[str, object]:
    if not 1 <= module.params["timeout"] <= 3600:
        raise InvalidError("timeout must be from 1 to 3600 seconds.")
    if module.params["refresh"]:
        return refresh(module)
    return converge(OpnixToken(module), module.params, module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "token": {"type": "str", "default": "", "no_log": True},
            "path": {"type": "path"},
            "system": {"type": "path"},
            "replace": {"type": "bool", "default": False},
            "refresh": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: ensure(module))


if __name__ == "__main__":
    main()
