#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_check
short_description: Verify units, ports, URLs, commands, databases, logins, dumps and files of a NixOS host
version_added: 0.1.0
description:
  - Waits until everything listed passes its check. After O(timeout), fails and lists every problem, with the last lines of the journal of the
    units that are not active. The dumps come last, once all else has passed.
  - A service that restarts itself again and again is I(activating), not I(failed), so C(nixos-rebuild) reports success for it. This module
    requires that each unit has been active for O(steady) seconds without a restart.
  - If a unit has failed for good, because systemd does not restart it and nothing else is starting, the task ends before O(timeout).
  - After a deployment, O(changed_units) and O(ignore_failed) separate what the deployment broke from what is failed for other reasons.
  - With only O(urls), O(ports) and O(commands), it also runs on other systems, such as the controller that probes a host from outside.
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
  skip:
    description: Kinds of checks to leave out, also of those that the manifest lists, such as dumps that would take too long.
    type: list
    elements: str
    choices: [units, ports, commands, databases, logins, dumps, copies, files, urls]
    default: []
  units:
    description:
      - Full names of units that must be active, such as V(atticd.service). A unit of type C(oneshot) that has ended successfully passes as well.
    type: list
    elements: str
    default: []
  changed_units:
    description:
      - Full names of units that a deployment has created, started, restarted or reloaded. None of them may be failed or wait for an automatic
        restart, and those that run must be steadily active. They need not run, because they may wait for a timer or a socket.
      - With this option, even if it is empty, all other failed units of the host are listed, and do not make the task fail.
    type: list
    elements: str
  ignore_failed:
    description:
      - Full names of units that were failed before. They are listed if they still are, and do not make the task fail.
    type: list
    elements: str
    default: []
  steady:
    description:
      - Seconds for which each unit must have been active without a restart, from 2 to 600. Only services that are running are observed for so
        long. If all else passes, the task observes them to the end, even after O(timeout).
    type: int
    default: 2
  ports:
    description:
      - TCP ports that must accept connections, as V(HOST:PORT), V([IPV6 ADDRESS]:PORT), or only the port of V(127.0.0.1).
    type: list
    elements: raw
    default: []
  commands:
    description:
      - Name of a check to the command that must succeed, as a list of a program and its arguments. No shell is involved.
      - Instead of the list, a mapping with the keys C(argv) (the list), C(rc) (the expected exit status, 0 by default), C(contains) (a text in
        its output) and C(timeout) (seconds, 10 by default).
      - Commands run as the user of the task in C(/). All users of the host see their arguments, so they must contain no secrets.
      - They also run in check mode, and again and again until all checks pass, so they must not change anything.
    type: dict
    default: {}
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
  copies:
    description:
      - Units that copy dumps off the host. They must have copied the databases within O(copies[].max_age), and since the running system was
        activated; otherwise they are started. In check mode, they are not.
      - Not part of O(manifest), so a deployment is not taken back because the place of the copies cannot be reached.
    type: list
    elements: dict
    default: []
    suboptions:
      unit:
        description:
          - The unit, such as V(nixci-offsite.service). For each database it writes the name of the dump that it copied and read back to
            C(/var/lib/nixci-backup/DATABASE.offsite).
        type: str
        required: true
      databases:
        description: The databases.
        type: list
        elements: str
        required: true
      max_age:
        description: Hours after which another copy is made.
        type: int
        default: 26
      timeout:
        description: Seconds within which the unit must have ended.
        type: int
        default: 3600
  files:
    description: Path of a file to its mode, such as V(0400). The contents are not read.
    type: dict
    default: {}
  urls:
    description: URLs that must answer a GET request from the host. Redirects are not followed, and proxies are not used.
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
      certificate_days:
        description: Days for which the certificate must still be valid. A certificate that is not trusted or has expired is always a failure.
        type: int
      certificate_name:
        description: The name that the certificate must have, and that is asked for. By default that of the URL.
        type: str
      ca_path:
        description: A file of certificates to trust instead of those of the system.
        type: path
  timeout:
    description: Seconds within which everything must pass, from 1 to 3600. Checks that fail are repeated until then.
    type: int
    default: 60
    aliases: [grace]
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

- name: Verify a deployment on the host
  pantheros.nixci.nixos_check:
    manifest: true
    changed_units: "{{ rebuild.units.start + rebuild.units.restart }}"
    ignore_failed: "{{ failed_before }}"
    steady: 10
    grace: 30
    ports: [22]
    commands:
      resolver: [getent, hosts, cache.nixos.org]
      answer:
        argv: [curl, --silent, "http://127.0.0.1:8080/"]
        contains: attic
  become: true

- name: Verify the same host from the controller
  pantheros.nixci.nixos_check:
    ports: ["cache.example.com:443"]
    urls:
      - url: https://cache.example.com/nix-cache-info
        certificate_days: 14
  delegate_to: localhost
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
    certificate_until: {description: "The time until which the certificate is valid, or null without TLS.", type: str}
  sample:
    - {"url": "http://127.0.0.1:8080/", "host": "cache.example.com", "status": 200, "sha256": "e3b0c442...", "certificate_until": null}
dumps:
  description: Database to its newest dump, its size in bytes, and whether it was made by this task.
  type: dict
  returned: success
  sample: {"atticd": {"path": "/var/backup/nixci/atticd-20261126T023000Z.dump", "size": 40960, "made": false}}
copies:
  description: Database to the name of the dump that was last copied off the host and read back; null if none was.
  type: dict
  returned: success
  sample: {"atticd": "atticd-20261126T023000Z.dump"}
failed_units:
  description:
    - Units that are not active, or failed without being decisive, with the last lines of their journal. Secrets are masked.
  type: list
  elements: dict
  returned: always
  sample: [{"name": "atticd.service", "journal": "Error: database refused the connection", "decisive": true}]
failures:
  description: Each check that does not pass. Only those that are decisive make the task fail.
  type: list
  elements: dict
  returned: always
  sample: [{"check": "port 22", "message": "Nothing accepts connections on port 22 of 127.0.0.1: Connection refused.", "decisive": true}]
ignored:
  description: Units that are failed, but were so before or have nothing to do with the change.
  type: list
  elements: str
  returned: always
  sample: [backup.service]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError
from ..module_utils._core.resource import finish
from ..module_utils._nixos.check import DUMP_DEFAULTS, HostCheck, with_manifest
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.probes import parse_command, parse_port
from ..module_utils._nixos.unit_watch import SETTLED

CHECKS = ("units", "ports", "commands", "databases", "logins", "dumps", "copies", "files", "urls")


def check(module: AnsibleModule) -> dict[str, t.Any]:
    params = with_manifest(module.params) if module.params["manifest"] else module.params
    if not (
        params["manifest"] or params["skip"] or params["changed_units"] is not None or any(map(params.get, CHECKS))
    ):
        raise InvalidError("Name at least one unit, port, command, database, login, dump, file or URL to check.")
    if not 1 <= params["timeout"] <= 3600:
        raise InvalidError("timeout must be from 1 to 3600 seconds.")
    if not SETTLED <= params["steady"] <= 600:
        raise InvalidError("steady must be from 2 to 600 seconds.")
    params = {**params, **{what: type(params[what])() for what in params["skip"]}}
    # What can never pass is refused before anything is waited for.
    for port in params["ports"]:
        parse_port(port)
    for name, command in params["commands"].items():
        parse_command(name, command)
    # The journal is read after the waiting, hence the reserve.
    return HostCheck(Runner(module, params["timeout"] + params["steady"] + 30), params).wait()


def main() -> None:
    url = {
        "url": {"type": "str", "required": True},
        "headers": {"type": "dict"},
        "status": {"type": "int"},
        "contains": {"type": "str"},
        "unit": {"type": "str"},
        "certificate_days": {"type": "int"},
        "certificate_name": {"type": "str"},
        "ca_path": {"type": "path"},
    }
    copies = {
        "unit": {"type": "str", "required": True},
        "databases": {"type": "list", "elements": "str", "required": True},
        "max_age": {"type": "int", "default": 26},
        "timeout": {"type": "int", "default": 3600},
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
            "skip": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "changed_units": {"type": "list", "elements": "str"},
            "ignore_failed": {"type": "list", "elements": "str", "default": []},
            "steady": {"type": "int", "default": 2},
            "ports": {"type": "list", "elements": "raw", "default": []},
            "commands": {"type": "dict", "default": {}},
            "databases": {"type": "dict", "default": {}},
            "postgresql": {"type": "dict", "default": {}},
            "logins": {"type": "dict", "default": {}},
            "dumps": {"type": "list", "elements": "dict", "default": [], "options": dump},
            "copies": {"type": "list", "elements": "dict", "default": [], "options": copies},
            "files": {"type": "dict", "default": {}},
            "urls": {"type": "list", "elements": "dict", "default": [], "options": url},
            "timeout": {"type": "int", "default": 60, "aliases": ["grace"]},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module))


if __name__ == "__main__":
    main()
