#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_unit_check
short_description: Prove that systemd units of a NixOS host are active
version_added: 0.1.0
description:
  - Waits until all units are active and stay so for two seconds, and fails with the last lines of the journal of those that do not.
  - A service that restarts itself again and again is I(activating), not I(failed), so C(nixos-rebuild) reports success for it. This module does not.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing.
options:
  units:
    description: Full names, such as V(atticd.service).
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds to wait, from 1 to 3600.
    type: int
    default: 60
requirements:
  - Runs on the NixOS host with nothing but Python's standard library.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Prove that the cache runs
  pantheros.nixci.nixos_unit_check:
    units: [atticd.service, atticd-gc.timer]
"""

RETURN = r"""
units:
  description: Name of each unit and its state.
  type: dict
  returned: always
  sample: {"atticd.service": "active (running)"}
failed_units:
  description: Units that are not active, with the last lines of their journal; secrets are masked.
  type: list
  elements: dict
  returned: failure
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection"}]
"""

import textwrap
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.host import journal

# Longer than a server needs to find out that its database is missing.
SETTLED = 2.0


def states(runner: Runner, units: list[str]) -> dict[str, tuple[str, str]]:
    """Each unit's state in words, and a mark that changes when the unit was started anew."""
    properties = "--property=ActiveState,SubState,InvocationID"
    outcome = runner.run("systemctl", "show", properties, "--", *units)
    found = {}
    for unit, block in zip(units, outcome.out.strip().split("\n\n"), strict=True):
        values = dict(line.split("=", 1) for line in block.splitlines())
        found[unit] = (f"{values['ActiveState']} ({values['SubState']})", values.get("InvocationID", ""))
    return found


def wait(runner: Runner, units: list[str], timeout: float) -> tuple[dict[str, str], list[str]]:
    """The states at the end and the units that are not well: once none is left for a while, or when time is up."""
    deadline = time.monotonic() + timeout
    since: dict[str, float] = {}
    before: dict[str, tuple[str, str]] = {}
    while True:
        found, now = states(runner, units), time.monotonic()
        for unit, state in found.items():
            if not state[0].startswith("active ") or state != before.get(unit):
                since[unit] = now
        before = found
        # Not well: not active, or started anew a moment ago, as a service in a restart loop always is.
        unwell = [unit for unit in units if not found[unit][0].startswith("active ") or now - since[unit] < SETTLED]
        if not unwell or now >= deadline:
            return {unit: state for unit, (state, _mark) in found.items()}, unwell
        time.sleep(0.5)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    units, timeout = module.params["units"], module.params["timeout"]
    try:
        if not units or not 1 <= timeout <= 3600:
            raise InvalidError("units must name at least one unit, and timeout must be from 1 to 3600 seconds.")
        # The journal is read after the waiting, hence the reserve.
        runner = Runner(module, timeout + 30)
        found, unwell = wait(runner, units, timeout)
        if unwell:
            failed = [{"name": unit, "journal": journal(runner, unit)} for unit in unwell]
            listed = "\n".join(
                f"{u['name']}: {found[u['name']]}\n{textwrap.indent(u['journal'], '  ')}" for u in failed
            )
            raise NixciError(
                f"Not steadily active after {timeout} s: {', '.join(unwell)}.\n{listed}",
                units=found,
                failed_units=failed,
            )
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(changed=False, units=found)


if __name__ == "__main__":
    main()
