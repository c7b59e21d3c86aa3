#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_cache
short_description: Create, configure and destroy a cache on an Attic server
version_added: 0.1.0
description:
  - Creates a binary cache on an Attic server, changes its settings or destroys it, through the server's HTTP API.
  - A setting that is not given keeps its value; for a new cache it gets the default that Attic's own client uses.
  - A cache with its own retention needs two requests. When the second one does not happen, the next run makes up for it.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._attributes.actiongroup_attic
  - pantheros.nixci._attic
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
options:
  name:
    description: The name of the cache, at most 50 letters, digits, C(-), C(_) and C(+).
    type: str
    required: true
  state:
    description:
      - V(absent) destroys the cache, its signing key and its entries. The space is freed by the garbage collection.
      - A server with C(soft-delete-caches) keeps the name occupied for ever.
    type: str
    choices: [present, absent]
    default: present
  is_public:
    description: Whether everybody may read, without a token. A new cache is private unless told otherwise.
    type: bool
  priority:
    description:
      - Which substituter Nix asks first; a lower number wins. C(cache.nixos.org) has 40.
      - A new cache has 41 unless told otherwise.
    type: int
  store_dir:
    description: The store that the paths belong to, V(/nix/store) unless told otherwise.
    type: str
  upstream_cache_key_names:
    description:
      - Names of signing keys of other caches. Clients do not push what such a key has signed.
      - Replaces the whole list. A new cache has V([cache.nixos.org-1]) unless told otherwise.
    type: list
    elements: str
  retention_period:
    description:
      - How long an entry is kept after its upload or its last download, whichever is later.
      - Whole seconds, or a duration such as V(30d) or V(1y 6months), where C(m) is a minute and C(M) a month.
      - V(0) keeps entries for ever. V(global) follows the server's default, as does a new cache unless told otherwise.
    type: str
notes:
  - "Rights that the token needs on the cache: C(pull) always (none for a public one), C(create_cache) to create it,
    C(configure_cache) to change it, C(configure_cache_retention) as well when the retention differs,
    C(destroy_cache) to destroy it."
seealso:
  - module: pantheros.nixci.attic_token
"""

EXAMPLES = r"""
- name: A cache that everybody may read, kept for 90 days
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: public-cache
    is_public: true
    retention_period: 90d

- name: A private cache for CI that does not store what the NixOS cache has
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: ci-cache
    is_public: false
    priority: 30
    upstream_cache_key_names: [cache.nixos.org-1]
    retention_period: 30d

- name: A cache that is no longer needed
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: experiment
    state: absent
"""

RETURN = r"""
cache:
  description: The cache as it is now, or would be in check mode. Null when it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ci-cache
    public_key:
      description: For C(trusted-public-keys) in C(nix.conf). Null in check mode for a cache that would be created.
      type: str
      sample: ci-cache:b9YLs2Sm1tZHFFhQpMSnCZTyMFPXzTx8YvpKiOhUl8I=
    substituter_endpoint:
      description: For C(substituters) in C(nix.conf). Null in check mode for a cache that would be created.
      type: str
      sample: https://cache.example.org/ci-cache
    api_endpoint:
      description: Where clients send their pushes. Null in check mode for a cache that would be created.
      type: str
      sample: https://cache.example.org/
    is_public:
      description: Whether everybody may read.
      type: bool
      sample: false
    priority:
      description: Nix asks the substituter with the lower number first.
      type: int
      sample: 30
    store_dir:
      description: The store that the paths belong to.
      type: str
      sample: /nix/store
    upstream_cache_key_names:
      description: Paths signed by these keys are not pushed.
      type: list
      elements: str
      sample: [cache.nixos.org-1]
    retention_period:
      description: Seconds, 0 for ever, or V(global).
      type: raw
      sample: 2592000
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic import AtticClient, attic_argument_spec, check_name
from ..module_utils._change import Change
from ..module_utils._duration import parse_duration
from ..module_utils._errors import InvalidError, NixciError

INT32 = range(-(2**31), 2**31)


def settings(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """The settings that the user gave, as the client understands them; refuses what the server would."""
    check_name(params["name"])
    wanted = {field: params[field] for field in AtticClient.FIELDS if params[field] is not None}
    if wanted.get("retention_period", "global") != "global":
        wanted["retention_period"] = parse_duration("retention_period", wanted["retention_period"])
    for field in ("priority", "retention_period"):
        if isinstance(wanted.get(field), int) and wanted[field] not in INT32:
            raise InvalidError(f"{field}: {wanted[field]} does not fit into the server's database; the limit is 2^31.")
    return wanted


def plan(params: dict[str, t.Any], wanted: dict[str, t.Any], before: dict[str, t.Any] | None) -> Change:
    if params["state"] == "absent":
        return Change(before, None)
    return Change(before, {**(before or {"name": params["name"], **AtticClient.DEFAULTS}), **wanted})


def run(module: AnsibleModule, client: AtticClient) -> dict[str, t.Any]:
    name = module.params["name"]
    wanted = settings(module.params)
    found = client.get_cache(name)
    known = {field: (found or {}).get(field) for field in client.READ_ONLY}
    before = {field: value for field, value in found.items() if field not in known} if found else None
    change = plan(module.params, wanted, before)
    client.require_rights(name, change)
    if change and not module.check_mode:
        client.apply(name, change)
        if change.before is None:
            created = client.get_cache(name) or {}
            known = {field: created.get(field) for field in known}
    return change.result(cache={**change.after, **known} if change.after else None)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **attic_argument_spec(),
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "is_public": {"type": "bool"},
            "priority": {"type": "int"},
            "store_dir": {"type": "str"},
            "upstream_cache_key_names": {"type": "list", "elements": "str", "no_log": False},
            "retention_period": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module, AtticClient.from_params(module.params))
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
