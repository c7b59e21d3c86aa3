#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_confirm
short_description: Confirm a NixOS system that was activated, or go back to the previous one
version_added: 0.1.0
description:
  - Confirms what M(pantheros.nixci.nixos_rebuild) activated with O(pantheros.nixci.nixos_rebuild#module:confirm_timeout). Only now the system
    becomes the profile and the boot default. It is recorded, and kept from being collected as garbage.
  - Or goes back to the previous system at once. The host does the same by itself if no confirmation comes.
  - If both happen at the same moment, exactly one of them has an effect. A confirmation that came too late fails and says what happened.
  - Run it over a new connection, and after checks that the system does its work.
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  state:
    description:
      - V(confirmed) makes the deployment permanent. A deployment with the action V(boot) may be confirmed before the reboot as well.
      - V(reverted) goes back. A deployment with the action V(boot) that was booted is left by a reboot, which this module starts.
    type: str
    choices: [confirmed, reverted]
    default: confirmed
  id:
    description: The deployment, RV(pantheros.nixci.nixos_rebuild#module:deployment.id); another one is refused. By default, the one that waits.
    type: str
  reason:
    description: Why the host goes back, for the record. The system is remembered as failed with this reason.
    type: str
    default: taken back by hand
  record:
    description:
      - What the record shall say beside what the host knows.
    type: dict
    default: {}
    suboptions:
      who:
        description: Who deploys.
        type: str
      controller:
        description: Where from.
        type: str
      revision:
        description: The commit that the system was built from.
        type: str
      transport:
        description: How the closure came to the host.
        type: str
        choices: [cache, ssh, host, present]
      bytes:
        description: How much of it did.
        type: int
      durations:
        description: Seconds that C(build), C(copy), C(activate) and C(verify) took.
        type: dict
      pipeline:
        description: URL of the pipeline.
        type: str
  keep_generations:
    description:
      - How many confirmed generations are kept from being collected as garbage, from 1 to 1000. The running, the booted and the last confirmed
        one always are.
    type: int
    default: 5
  timeout:
    description: Seconds to wait for the end of another confirmation or revert, from 1 to 86400.
    type: int
    default: 600
requirements:
  - Runs on the NixOS host as root; needs only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_rebuild
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Make it permanent
  pantheros.nixci.nixos_confirm:
    id: "{{ activation.deployment.id }}"
  become: true
  when: activation.deployment.pending

- name: Go back now
  pantheros.nixci.nixos_confirm:
    state: reverted
    reason: The shop does not answer
  become: true
"""

RETURN = r"""
deployment:
  description: The deployment, as M(pantheros.nixci.nixos_rebuild) returned it; null if none was waiting.
  type: dict
  returned: always
  sample: {"id": "3f0c8a91d2be", "pending": false}
record:
  description: The line in C(/var/log/nixci/deployments.jsonl); in check mode and if nothing was to do, the last one, if there is one.
  type: dict
  returned: always
  sample: {"id": "3f0c8a91d2be", "result": "confirmed", "to_generation": 42}
generation:
  description: Number of the generation that boots next.
  type: int
  returned: always
  sample: 42
reason:
  description:
    - Kind of the failure. V(reverted) and V(interrupted) say what happened to the deployment before the confirmation, which RV(record)
      has. Otherwise one of V(not_pending), V(another_deployment), V(not_running), V(activating), V(revert_failed), V(not_written), V(locked), V(not_nixos),
      V(not_root), V(invalid).
  type: str
  returned: failure
  sample: reverted
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import converge, finish
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.confirming import Confirmation
from ..module_utils._nixos.host import NixosHost


def manage(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if not 1 <= params["timeout"] <= 86400:
        raise InvalidError("timeout must be from 1 to 86400 seconds.", reason="invalid")
    if not 1 <= params["keep_generations"] <= 1000:
        raise InvalidError("keep_generations must be from 1 to 1000.", reason="invalid")
    if os.geteuid() != 0:
        raise InvalidError("nixos_confirm needs root on the host; add 'become: true'.", reason="not_root")
    host = NixosHost(Runner(module, params["timeout"]))
    return converge(Confirmation(module, host), params, module.check_mode)


def main() -> None:
    record = {
        "who": {"type": "str"},
        "controller": {"type": "str"},
        "revision": {"type": "str"},
        "transport": {"type": "str", "choices": ["cache", "ssh", "host", "present"]},
        "bytes": {"type": "int"},
        "durations": {"type": "dict"},
        "pipeline": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["confirmed", "reverted"], "default": "confirmed"},
            "id": {"type": "str"},
            "reason": {"type": "str", "default": "taken back by hand"},
            "record": {"type": "dict", "options": record, "default": {}},
            "keep_generations": {"type": "int", "default": 5},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: manage(module))


if __name__ == "__main__":
    main()
