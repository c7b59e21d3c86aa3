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
  - The key pair with which a cache signs is replaced on explicit request only, see O(replace_public_key).
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
      - A server with C(soft-delete-caches) keeps the name occupied for ever. The cache then looks absent, but creating it
        again fails; the message tells how to free the name in the database.
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
    description: The folder of the store that the paths belong to, V(/nix/store) unless told otherwise.
    type: str
  upstream_cache_key_names:
    description:
      - Names of signing keys of other caches, which is the part of a public key before the colon. Clients do not push
        what such a key has signed.
      - Replaces the whole list. A new cache has V([cache.nixos.org-1]) unless told otherwise.
    type: list
    elements: str
  retention_period:
    description:
      - How long an entry is kept after its upload or its last download, whichever is later.
      - Whole seconds, or a duration such as V(30d) or V(1y 6months), where C(m) is a minute and C(M) a month.
      - V(0) keeps entries for ever. V(global) follows the server's default, as does a new cache unless told otherwise.
      - An upload or the download of the content counts, a look at the C(.narinfo) does not.
    type: str
  keypair:
    description:
      - The key pair that the cache shall sign with, as C(nix-store --generate-binary-cache-key) writes it to its secret
        file. Without it the server makes one when it creates the cache, and keeps it to itself. An empty one is refused.
      - A cache that signs with another key is changed only if O(replace_public_key) names that key; otherwise the task fails.
      - The two halves are compared here, because the server would take a pair that does not fit and sign with it what
        nobody can verify (observed with atticd b7c9056).
    type: str
  replace_public_key:
    description:
      - The public key that shall be replaced, by O(keypair) or otherwise by one that the server makes. A cache that signs
        with another key is left alone, so that a second run does not replace anything again.
      - The server signs at the time of each request, so with the replacement everything in the cache is signed with the new
        key, also what was pushed before. Clients that trust only the old key refuse the cache from then on.
      - "Give clients the new key first, which is possible with O(keypair), and let them trust both for 30 days: Nix remembers
        signatures that long (U(https://nix.dev/manual/nix/latest/command-ref/conf-file#conf-narinfo-cache-positive-ttl)),
        and what they have fetched keeps its old one."
      - The old key pair is lost, unless you have it.
    type: str
notes:
  - "Rights that the token needs on the cache: C(pull) always, but not for a cache that is public and stays so;
    C(create_cache) to create it, with C(configure_cache) and C(configure_cache_retention) for a retention of its own;
    C(configure_cache) to change it, with C(configure_cache_retention) when the retention differs;
    C(destroy_cache) to destroy it."
  - A public cache answers everybody, so the task can succeed although the server ignores the token. If the token itself
    shows why, for example that it has expired, the task warns. Whether the server accepts its signature shows there with
    the first change only, not in check mode; M(pantheros.nixci.attic_token) can prove it.
requirements:
  - cryptography and PyJWT, for O(keypair) and O(replace_public_key) only
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

- name: A cache whose key clients know before it exists
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: release
    keypair: "{{ release_keypair }}"
  register: release

- name: What belongs into nix.conf
  ansible.builtin.debug:
    msg: "{{ release.cache.nix_conf | join('\n') }}"

- name: Replace that key, once, when clients have been given the new one
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: release
    keypair: "{{ release_new_keypair }}"
    replace_public_key: "{{ release_public_key }}"

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
      description: For C(trusted-public-keys) in C(nix.conf). Null in check mode when the server would make the key.
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
    nix_conf:
      description:
        - Lines for C(nix.conf) of those who use the cache, in addition to the caches that they use already.
        - A private cache also needs C(netrc-file), see M(pantheros.nixci.attic_token). Null where one of its parts is.
      type: list
      elements: str
      sample:
        - extra-substituters = https://cache.example.org/ci-cache
        - extra-trusted-public-keys = ci-cache:b9YLs2Sm1tZHFFhQpMSnCZTyMFPXzTx8YvpKiOhUl8I=
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

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic.client import AtticClient, attic_argument_spec, check_name
from ..module_utils._attic.keys import check_public_key, public_half
from ..module_utils._core.change import Change
from ..module_utils._core.duration import parse_duration
from ..module_utils._core.errors import ConflictError, InvalidError, NixciError

INT32 = range(-(2**31), 2**31)
Cache = dict[str, t.Any]

# Stands for a key pair that only the server knows, so that check mode and later runs can speak of it.
ANOTHER_KEY = "another one"


def settings(params: dict[str, t.Any]) -> Cache:
    """The settings that the user gave, as the client understands them; refuses what the server or Nix would."""
    check_name(params["name"])
    wanted = {field: params[field] for field in AtticClient.FIELDS if params[field] is not None}
    if wanted.get("retention_period", "global") != "global":
        try:
            wanted["retention_period"] = parse_duration("retention_period", wanted["retention_period"])
        except InvalidError as exc:
            raise InvalidError(f"{exc} Write global for the server's default.") from None
    for field in ("priority", "retention_period"):
        if isinstance(wanted.get(field), int) and wanted[field] not in INT32:
            raise InvalidError(
                f"{field}: {wanted[field]} does not fit into the server's database; the limit is 2^31 - 1."
            )
    if not re.fullmatch(r"/\S+", wanted.get("store_dir", "/nix/store")):
        raise InvalidError(f"store_dir: '{wanted['store_dir']}' is not a folder's absolute path, such as /nix/store.")
    for key in wanted.get("upstream_cache_key_names", ()):
        if not re.fullmatch(r"[^\s:]+", key):
            raise InvalidError(
                f"upstream_cache_key_names: '{key}' is not a key's name; give the part before the colon."
            )
    if params["replace_public_key"]:
        check_public_key("replace_public_key", params["replace_public_key"])
    return wanted


def plan(params: dict[str, t.Any], wanted: Cache, own_key: str | None, found: Cache | None) -> Change:
    """`own_key` is the public half of keypair. The key is part of the states only where a key was asked for."""
    replaceable = params["replace_public_key"]

    def state(cache: Cache) -> Cache:
        shown = {field: cache[field] for field in ("name", *AtticClient.FIELDS)}
        if own_key or replaceable:
            shown["public_key"] = cache["public_key"] if own_key or cache["public_key"] == replaceable else ANOTHER_KEY
        return shown

    before = state(found) if found else None
    if params["state"] == "absent":
        return Change(before, None)
    if found and own_key and found["public_key"] not in (own_key, replaceable):
        raise ConflictError(
            f"Attic: cache '{params['name']}' signs with {found['public_key']}, not with the keypair, whose public key "
            f"is {own_key}; nothing has been changed. To replace the key, which every client will notice, set "
            "replace_public_key to the former."
        )
    default = {"name": params["name"], **AtticClient.DEFAULTS}
    return Change(before, state({**(found or default), **wanted, "public_key": own_key or ANOTHER_KEY}))


def presented(cache: Cache) -> Cache:
    """The cache as a return value, with what belongs into nix.conf."""
    lines = {"extra-substituters": cache["substituter_endpoint"], "extra-trusted-public-keys": cache["public_key"]}
    return {**cache, "nix_conf": [f"{key} = {value}" for key, value in lines.items()] if all(lines.values()) else None}


def warnings(client: AtticClient, name: str, change: Change, cache: Cache | None) -> list[str]:
    found = []
    if fault := client.ignored_because():
        found.append(f"token: the server ignores it because {fault}; this run needed no right that everybody lacks.")
    if change.before and "public_key" in change.fields:
        found.append(
            f"Attic: with the key of cache '{name}' replaced, the server signs everything with the new one, also what was "
            f"pushed before. Clients that trust only {change.before['public_key']} refuse the cache until they have the "
            "new public_key; let them trust both for 30 days, because Nix remembers old signatures that long."
        )
    endpoints = [cache[field] for field in ("substituter_endpoint", "api_endpoint") if cache and cache[field]]
    if endpoints and (not endpoints[0].endswith(f"/{name}") or not endpoints[1].endswith("/")):
        found.append(
            f"Attic: the server gives {' and '.join(endpoints)} as the addresses of cache '{name}'; end api-endpoint and "
            "substituter-endpoint in its configuration with a slash."
        )
    if client.base_url.startswith("https:") and any(url.startswith("http:") for url in endpoints):
        found.append(
            "Attic: the server gives addresses without https to its clients, which would send tokens in the clear; set "
            "api-endpoint in its configuration, or let the proxy send X-Forwarded-Proto."
        )
    return found


def run(module: AnsibleModule, client: AtticClient) -> dict[str, t.Any]:
    params, name = module.params, module.params["name"]
    keypair = None if params["keypair"] is None else params["keypair"].strip()
    if keypair == "":
        raise InvalidError(
            "keypair: it is empty; give the key pair, or leave the option out to let the server make one."
        )
    wanted, own_key = settings(params), public_half(keypair) if keypair else None
    module.no_log_values.discard(params["replace_public_key"])  # now it is known to be public, and may be shown
    found = client.get_cache(name)
    change = plan(params, wanted, own_key, found)
    client.require_rights(name, change)
    new_key = change.after is not None and (found is None or "public_key" in change.fields)
    known = {field: (found or {}).get(field) for field in client.READ_ONLY}
    if new_key:
        known["public_key"] = own_key
    if change and not module.check_mode:
        client.apply(name, change, keypair)
        if new_key:
            told = client.get_cache(name) or {}
            known = {field: told.get(field) for field in known}
    cache = {**change.after, **known} if change.after else None
    for warning in warnings(client, name, change, cache):
        module.warn(warning)
    return change.result(cache=cache and presented(cache))


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
            "keypair": {"type": "str", "no_log": True},
            # Hidden until it is known to be public: a key pair that is given by mistake must reach no log.
            "replace_public_key": {"type": "str", "no_log": True},
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
