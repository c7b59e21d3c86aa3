#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_check
short_description: Verify units, databases, files and local URLs of a NixOS host
version_added: 0.1.0
description:
  - Waits until everything listed passes its check. After O(timeout), fails and lists every problem, with the last lines of the journal of the
    units that are not active.
  - A service that restarts itself again and again is I(activating), not I(failed), so C(nixos-rebuild) reports success for it. This module
    requires that each unit has been active for two seconds without a restart.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing.
options:
  units:
    description: Full names of units that must be active, such as V(atticd.service).
    type: list
    elements: str
    default: []
  databases:
    description: PostgreSQL database to its owner. Needs root, since PostgreSQL's administrator is asked.
    type: dict
    default: {}
  files:
    description: Path of a file to its mode, such as V(0400). The contents are not read.
    type: dict
    default: {}
  urls:
    description: URLs that must answer a GET request from the host without an error.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: The URL.
        type: str
        required: true
      headers:
        description: Headers of the request.
        type: dict
  timeout:
    description: Seconds to wait, from 1 to 3600.
    type: int
    default: 60
requirements:
  - Runs on the NixOS host; needs only Python's standard library.
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Verify that the cache runs
  pantheros.nixci.nixos_check:
    units: [atticd.service, atticd-gc.timer]
    databases:
      atticd: atticd
    urls:
      - url: http://127.0.0.1:8080/
  become: true
"""

RETURN = r"""
units:
  description: Name of each unit and its state.
  type: dict
  returned: always
  sample: {"atticd.service": "active (running)"}
failed_units:
  description: Units that are not active, with the last lines of their journal. Secrets are masked.
  type: list
  elements: dict
  returned: failure
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection"}]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import finish
from ..module_utils._nixos.check import HostCheck
from ..module_utils._nixos.command import Runner


def check(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if not any(params[what] for what in ("units", "databases", "files", "urls")):
        raise InvalidError("Name at least one unit, database, file or URL to check.")
    if not 1 <= params["timeout"] <= 3600:
        raise InvalidError("timeout must be from 1 to 3600 seconds.")
    # The journal is read after the waiting, hence the reserve.
    return HostCheck(Runner(module, params["timeout"] + 30), params).wait()


def main() -> None:
    url = {"url": {"type": "str", "required": True}, "headers": {"type": "dict"}}
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "databases": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "urls": {"type": "list", "elements": "dict", "default": [], "options": url},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module))


if __name__ == "__main__":
    main()
