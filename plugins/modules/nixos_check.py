#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_check
short_description: Verify units, databases, logins, dumps, files and local URLs of a NixOS host
version_added: 0.1.0
description:
  - Waits until everything listed passes its check. After O(timeout), fails and lists every problem, with the last lines of the journal of the
    units that are not active. The dumps come last, once all else has passed.
  - A service that restarts itself again and again is I(activating), not I(failed), so C(nixos-rebuild) reports success for it. This module
    requires that each unit has been active for two seconds without a restart.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  diff_mode:
    support: none
    details: Changes nothing but the dumps that it starts.
options:
  manifest:
    description:
      - Whether to check what the running system lists in C(/etc/nixci/manifest.json) as well. NixOS computes that list from the evaluated
        configuration, so it has the ports, folders and names that the host really uses.
    type: bool
    default: false
  units:
    description: Full names of units that must be active, such as V(atticd.service).
    type: list
    elements: str
    default: []
  databases:
    description: PostgreSQL database to its owner. Needs root, since PostgreSQL's administrator is asked.
    type: dict
    default: {}
  postgresql:
    description: Environment of PostgreSQL's programs, such as C(PGHOST) and C(PGPORT), if the server does not listen where they expect it.
    type: dict
    default: {}
  logins:
    description:
      - Name of a service to the URL of the PostgreSQL database that it uses. The user of the running service must be able to log in there over
        a new connection, also if it is a dynamic user.
      - The URL may not have a password, because all users of the host see the arguments of programs.
    type: dict
    default: {}
  dumps:
    description:
      - Databases whose newest dump must be readable by C(pg_restore), as the user C(postgres).
      - A dump is made first if there is none, if it is older than O(dumps[].max_age), or if the running system was activated after it, since
        that may have changed whether a dump is possible. In check mode, none is made.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: Name of the database. Its dumps are called C(NAME-20261126T023000Z.dump) and have PostgreSQL's custom format.
        type: str
        required: true
      unit:
        description: The unit that makes a dump and ends.
        type: str
        required: true
      folder:
        description: The folder of the dumps.
        type: path
        required: true
      max_age:
        description: Hours after which another dump is made.
        type: int
        default: 26
      timeout:
        description: Seconds within which a dump must be made and read.
        type: int
        default: 900
  files:
    description: Path of a file to its mode, such as V(0400). The contents are not read.
    type: dict
    default: {}
  urls:
    description: URLs that must answer a GET request from the host. Redirects are not followed.
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
      status:
        description: Status of the answer. By default any below 400.
        type: int
      contains:
        description: Text in the answer, which another server would not give.
        type: str
      unit:
        description: The unit whose process must be the one that listens there, such as V(atticd.service).
        type: str
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
        unit: atticd.service
  become: true

- name: Verify all that the running system lists itself
  pantheros.nixci.nixos_check:
    manifest: true
  become: true
"""

RETURN = r"""
units:
  description: Name of each unit and its state.
  type: dict
  returned: always
  sample: {"atticd.service": "active (running)"}
answers:
  description: What the URLs answered. With it, the same answer can be asked for from elsewhere.
  type: list
  elements: dict
  returned: success
  contains:
    url: {description: The URL., type: str}
    host: {description: The header C(Host) of the request, type: str}
    status: {description: Status of the answer., type: int}
    sha256: {description: Hash of the first MiB of the answer., type: str}
  sample: [{"url": "http://127.0.0.1:8080/", "host": "cache.example.com", "status": 200, "sha256": "e3b0c442..."}]
dumps:
  description: Database to its newest dump, its size in bytes, and whether it was made by this task.
  type: dict
  returned: success
  sample: {"atticd": {"path": "/var/backup/nixci/atticd-20261126T023000Z.dump", "size": 40960, "made": false}}
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
from ..module_utils._nixos.check import DUMP_DEFAULTS, HostCheck, with_manifest
from ..module_utils._nixos.command import Runner


def check(module: AnsibleModule) -> dict[str, t.Any]:
    params = with_manifest(module.params) if module.params["manifest"] else module.params
    if not any(params[what] for what in ("units", "databases", "logins", "dumps", "files", "urls")):
        raise InvalidError("Name at least one unit, database, login, dump, file or URL to check.")
    if not 1 <= params["timeout"] <= 3600:
        raise InvalidError("timeout must be from 1 to 3600 seconds.")
    # The journal is read after the waiting, hence the reserve.
    return HostCheck(Runner(module, params["timeout"] + 30), params).wait()


def main() -> None:
    url = {
        "url": {"type": "str", "required": True},
        "headers": {"type": "dict"},
        "status": {"type": "int"},
        "contains": {"type": "str"},
        "unit": {"type": "str"},
    }
    dump = {
        "database": {"type": "str", "required": True},
        "unit": {"type": "str", "required": True},
        "folder": {"type": "path", "required": True},
        "max_age": {"type": "int", "default": DUMP_DEFAULTS["max_age"]},
        "timeout": {"type": "int", "default": DUMP_DEFAULTS["timeout"]},
    }
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "bool", "default": False},
            "units": {"type": "list", "elements": "str", "default": []},
            "databases": {"type": "dict", "default": {}},
            "postgresql": {"type": "dict", "default": {}},
            "logins": {"type": "dict", "default": {}},
            "dumps": {"type": "list", "elements": "dict", "default": [], "options": dump},
            "files": {"type": "dict", "default": {}},
            "urls": {"type": "list", "elements": "dict", "default": [], "options": url},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module))


if __name__ == "__main__":
    main()
