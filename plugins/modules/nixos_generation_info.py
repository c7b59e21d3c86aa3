#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_generation_info
short_description: Read the generations and deployments of a NixOS host
version_added: 0.1.0
description:
  - Lists the generations of the system profile, and which of them runs, was booted, boots next, and was confirmed by a deployment.
  - Also returns the deployment that waits for its confirmation, the systems that were given up and why, and the last deployments.
  - Reads files. Only O(compare) and systems that do not have a manifest of this collection take programs.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing.
options:
  records:
    description: How many of the last deployments to return. V(0) returns none.
    type: int
    default: 10
  compare:
    description:
      - Two systems whose closures to compare, the older one first. Each is the number of a generation, a store path, or V(running), V(booted)
        or V(profile).
      - Needs the program C(nix).
    type: list
    elements: str
requirements:
  - Runs on the NixOS host; needs only Python's standard library. Deployments of root may only be readable for root.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: List the generations
  pantheros.nixci.nixos_generation_info:
  become: true
  register: host

- name: Show what the last rebuild has changed since the boot
  pantheros.nixci.nixos_generation_info:
    compare: [booted, running]
  become: true
"""

RETURN = r"""
generations:
  description: The generations of the system profile, the newest first.
  type: list
  elements: dict
  returned: success
  contains:
    generation: {description: Its number., type: int, sample: 42}
    path: {description: "Its store path, or null if somebody removed that by force.", type: str}
    date: {description: When it was made., type: str, sample: "2026-11-26T02:30:00Z"}
    nixos_version: {description: The version of NixOS., type: str, sample: "25.11.20261120.4c2fcb0"}
    revision: {description: "The revision of the configuration, or null if it does not record one.", type: str}
    profile: {description: "Whether the profile has it, so that it boots next.", type: bool}
    running: {description: Whether its system runs., type: bool}
    booted: {description: Whether its system was booted., type: bool}
    confirmed: {description: Whether a deployment has confirmed it., type: bool}
systems:
  description:
    - The systems that run (C(running)), that was booted (C(booted)) and that the profile has (C(profile)), each with C(path), C(nixos_version) and
      C(revision). A system that only runs for a test is not a generation.
  type: dict
  returned: success
  sample:
    running: {"path": "/nix/store/00000000000000000000000000000000-nixos-system-web-25.11", "nixos_version": "25.11", "revision": null}
pending:
  description: The deployment that is not confirmed yet, as M(pantheros.nixci.nixos_rebuild) returned it, or null.
  type: dict
  returned: success
  sample: {"id": "5f0c3a", "system": "/nix/store/...-nixos-system-web-25.11", "phase": "activated", "started": "2026-11-26T02:30:00Z", "who": "panther@yoga"}
failed_systems:
  description: Store path of each system that a deployment gave up, and the reason.
  type: dict
  returned: success
  sample: {"/nix/store/00000000000000000000000000000000-nixos-system-web-25.11": "atticd.service failed. (2026-11-26T02:30:00Z)"}
records:
  description: The last deployments, the oldest first, with the keys of the record on the host.
  type: list
  elements: dict
  returned: success
  sample: [{"time": "2026-11-26T02:30:00Z", "id": "5f0c3a", "who": "panther@yoga", "result": "confirmed", "from_generation": 41, "to_generation": 42}]
closures:
  description: The difference between the two systems of O(compare).
  type: dict
  returned: if O(compare) is set
  contains:
    before: {description: Store path of the first system., type: str}
    after: {description: Store path of the second system., type: str}
    size_before: {description: Size of its closure in bytes., type: int}
    size_after: {description: Size of its closure in bytes., type: int}
    added:
      description:
        - Packages that only the second system has, as dictionaries of C(name), C(before) and C(after) (lists of versions), and C(size), the
          difference in bytes, which is 0 below 8 KiB. Another version beside one that stays counts as added, too.
      type: list
      elements: dict
      sample: [{"name": "acl", "before": [], "after": ["2.3.1"], "size": 200499}]
    removed: {description: Packages that only the first system has., type: list, elements: dict}
    upgraded: {description: Packages whose version changes., type: list, elements: dict}
    resized: {description: Packages that change in size only., type: list, elements: dict}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import finish
from ..module_utils._nixos import deployment, generations
from ..module_utils._nixos.command import Runner

TIMEOUT = 300


def read(module: AnsibleModule) -> dict[str, t.Any]:
    number, compare = module.params["records"], module.params["compare"]
    if number < 0:
        raise InvalidError("records must not be negative.")
    if compare is not None and len(compare) != 2:
        raise InvalidError("compare takes exactly two systems.")
    host = generations.Generations(Runner(module, TIMEOUT))
    try:
        records = deployment.records()
        listed = host.all(records)
        result = {
            "generations": listed,
            "systems": host.systems(),
            "pending": generations.pending(),
            "failed_systems": generations.failed(),
            "records": records[-number:] if number else [],
        }
    except PermissionError as exc:
        raise generations.not_root(exc) from None
    return {**result, "closures": host.compare(compare, listed)} if compare else result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "records": {"type": "int", "default": 10},
            "compare": {"type": "list", "elements": "str"},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: read(module))


if __name__ == "__main__":
    main()
