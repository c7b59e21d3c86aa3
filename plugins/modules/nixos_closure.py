#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nixos_closure
short_description: Bring a system into the Nix store of a host
version_added: 0.1.0
description:
  - Takes a store path with everything that it needs from the host's binary caches. Signatures are checked. A cache that is away, slow or
    wrong is no failure unless O(required) is set, because the path can still be copied.
  - To copy it instead, run the module on the controller with O(query) and O(export_to), copy that file to the host, and run it there with
    O(import_from).
  - Nothing but the Nix store changes. A link keeps the path from the garbage collector until it is activated.
extends_documentation_fragment:
  - pantheros.nixci._attributes
attributes:
  check_mode:
    details:
      - Returns about how many bytes the caches would send. Takes nothing.
  diff_mode:
    support: none
    details: Store paths do not change.
options:
  path:
    description: The store path.
    type: path
    required: true
  query:
    description: Only return RV(closure).
    type: bool
    default: false
  closure:
    description: Everything that O(path) needs, as RV(closure) of the machine that has it. RV(missing) is about these.
    type: list
    elements: str
    default: []
  cache:
    description: Whether to ask the binary caches.
    type: bool
    default: true
  substituters:
    description: URLs of binary caches, by default those of the host's configuration.
    type: list
    elements: str
    default: []
  public_keys:
    description: The keys of which one must have signed each path, by default those of the host's configuration.
    type: list
    elements: str
    default: []
  required:
    description: Whether it is a failure if the caches do not have the path.
    type: bool
    default: false
  export_to:
    description: Write the paths of O(closure) to this file, which only the user who runs this can read.
    type: path
  import_from:
    description: Take paths from a file that O(export_to) wrote, and remove it. Needs root, whom Nix trusts.
    type: path
  cache_timeout:
    description: Time limit in seconds for what the caches send. What has come by then stays.
    type: int
    default: 900
  timeout:
    description: Time limit in seconds for everything else.
    type: int
    default: 3600
requirements:
  - Nix. Needs only Python's standard library.
seealso:
  - module: pantheros.nixci.nixos_flake
  - module: pantheros.nixci.nixos_rebuild
author:
  - The pantheros.nixci contributors (@pantheros)
"""

EXAMPLES = r"""
- name: Take a system from the host's binary caches
  pantheros.nixci.nixos_closure:
    path: /nix/store/00000000000000000000000000000000-nixos-system-web-25.11
    required: true
  become: true
"""

RETURN = r"""
present:
  description: Whether the store has the path now.
  type: bool
  returned: success
  sample: true
transport:
  description: V(present) if it had the path before, V(cache) or V(ssh) if it got it that way, otherwise null.
  type: str
  returned: success
  sample: cache
bytes:
  description: The bytes of what came, unpacked; in check mode about what would come.
  type: int
  returned: success
  sample: 104857600
missing:
  description: The paths of O(closure) that the store still lacks.
  type: list
  elements: str
  returned: success
  sample: []
problem:
  description: Why the caches did not deliver; null if they did or were not asked.
  type: str
  returned: success
  sample: "error: unable to download 'https://cache.example.org/nix-cache-info': Couldn't connect to server (7)"
seconds:
  description: How long it took.
  type: float
  returned: success
  sample: 12.5
closure:
  description: Every path that O(path) needs, with its size in bytes. Empty if the store does not have it.
  type: dict
  returned: with O(query)
  sample: {"/nix/store/00000000000000000000000000000000-nixos-system-web-25.11": 1024}
reason:
  description: Kind of the failure. One of V(not_in_cache), V(store), V(timeout), V(missing_program), V(invalid).
  type: str
  returned: failure
  sample: not_in_cache
"""

import contextlib
import glob
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._core.resource import finish
from ..module_utils._nixos.closure import Store, keep
from ..module_utils._nixos.command import Runner
from ..module_utils._nixos.fleet import built_root

# What an interrupted copy leaves beside the file that is imported.
LEFT = "closure-*.gz"
DAY = 86400


def bring(module: AnsibleModule) -> dict[str, t.Any]:
    began = time.monotonic()
    return {**_bring(module), "seconds": round(time.monotonic() - began, 1)}


def _bring(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if not all(1 <= params[name] <= 86400 for name in ("timeout", "cache_timeout")):
        raise InvalidError("timeout and cache_timeout must be from 1 to 86400 seconds.", reason="invalid")
    if not params["path"].startswith("/nix/store/"):
        raise InvalidError(f"{params['path']} is not a path in the Nix store.", reason="invalid")
    store = Store(Runner(module, params["timeout"]))
    if params["query"]:
        return {"closure": store.closure(params["path"])}
    if params["export_to"]:
        store.write(params["closure"], params["export_to"])
        return {"bytes": sum(store.sizes(params["closure"]))}
    if params["import_from"]:
        return imported(module, store, params)
    return fetched(module, store, params)


def imported(module: AnsibleModule, store: Store, params: dict[str, t.Any]) -> dict[str, t.Any]:
    wanted = store.missing(params["closure"])
    try:
        if not module.check_mode:
            store.read(params["import_from"])
            keep(params["path"], built_root())
    finally:
        for left in glob.glob(os.path.join(os.path.dirname(params["import_from"]), LEFT)):
            with contextlib.suppress(OSError):
                if left == params["import_from"] or os.path.getmtime(left) < time.time() - DAY:
                    os.unlink(left)
    if store.missing([params["path"]]) and not module.check_mode:
        raise NixciError(f"{params['path']} was not among what was copied.", reason="store")
    sizes = 0 if module.check_mode else sum(store.sizes(wanted))
    return {
        "changed": bool(wanted),
        "present": True,
        "transport": "ssh",
        "bytes": sizes,
        "missing": [],
        "problem": None,
    }


def fetched(module: AnsibleModule, store: Store, params: dict[str, t.Any]) -> dict[str, t.Any]:
    path, substituters, keys = params["path"], params["substituters"], params["public_keys"]
    result: dict[str, t.Any] = {
        "changed": False,
        "present": True,
        "transport": "present",
        "bytes": 0,
        "missing": [],
        "problem": None,
    }
    if not store.missing([path]):
        if not module.check_mode:
            keep(path, built_root())
        return result
    if params["cache"]:
        caches = Store(Runner(module, params["cache_timeout"]))
        if module.check_mode:
            number = caches.would_fetch(path, substituters, keys)
            return {
                **result,
                "present": False,
                "transport": "cache" if number else None,
                "bytes": number,
                "changed": bool(number),
            }
        number, problem = caches.fetch(path, substituters, keys, built_root())
        result.update(bytes=number, problem=problem, changed=number > 0, transport="cache")
        if problem is None:
            return result
    if params["required"]:
        why = f": {result['problem']}" if result["problem"] else "."
        raise NixciError(
            f"{path} is in no binary cache that this host uses, and the controller does not have it{why}",
            reason="not_in_cache",
        )
    return {**result, "present": False, "transport": None, "missing": store.missing(params["closure"] or [path])}


def main() -> None:
    paths: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "query": {"type": "bool", "default": False},
            "closure": paths,
            "cache": {"type": "bool", "default": True},
            "substituters": paths,
            "public_keys": {**paths, "no_log": False},
            "required": {"type": "bool", "default": False},
            "export_to": {"type": "path"},
            "import_from": {"type": "path"},
            "cache_timeout": {"type": "int", "default": 900},
            "timeout": {"type": "int", "default": 3600},
        },
        mutually_exclusive=[["query", "export_to", "import_from"]],
        supports_check_mode=True,
    )
    finish(module, lambda: bring(module))


if __name__ == "__main__":
    main()
