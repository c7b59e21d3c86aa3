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
  - An option that is not given leaves its setting unchanged. A new cache gets the default of Attic's own client.
  - A cache with its own retention needs two requests. If the second one fails, the next run makes up for it.
  - The key pair with which a cache signs is only replaced on explicit request, see O(replace_public_key).
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
      - V(absent) destroys the cache, its signing key and its entries. The garbage collection frees the space.
      - A server with C(soft-delete-caches) never releases the name. The cache then looks absent, but creating it again
        fails; the message explains how to release the name in the database.
    type: str
    choices: [present, absent]
    default: present
  is_public:
    description: Whether everybody may read the cache without a token. A new cache is private by default.
    type: bool
  priority:
    description:
      - The order in which Nix asks its substituters; a lower number comes first. C(cache.nixos.org) has 40.
      - The default for a new cache is 41.
    type: int
  store_dir:
    description: The directory of the store that the paths belong to. The default for a new cache is V(/nix/store).
    type: str
  upstream_cache_key_names:
    description:
      - Names of the signing keys of other caches. The name of a key is the part of its public key before the colon. Clients
        do not push what such a key has signed.
      - Replaces the whole list. The default for a new cache is V([cache.nixos.org-1]).
    type: list
    elements: str
  retention_period:
    description:
      - How long an entry is kept after its upload or its last download, whichever is later.
      - Whole seconds, or a duration such as V(30d) or V(1y 6months), where C(m) is a minute and C(M) a month.
      - V(0) keeps entries for ever. V(global), the default for a new cache, follows the server's setting.
      - Uploads and downloads of the content count, requests for the C(.narinfo) do not.
    type: str
  keypair:
    description:
      - The key pair with which the cache signs, as C(nix-store --generate-binary-cache-key) writes it to its secret file.
        Without it the server generates one when it creates the cache, and never reveals it. An empty one is refused.
      - A cache that signs with another key is only changed if O(replace_public_key) names that key; otherwise the task fails.
      - The module verifies that the two halves belong together, because the server accepts a pair whose halves do not, and
        then signs what nobody can verify (observed with atticd b7c9056).
    type: str
  replace_public_key:
    description:
      - The public key to replace, by O(keypair) if given, otherwise by one that the server generates. A cache that signs
        with another key is left alone, so a second run does not replace the key again.
      - The server signs at the time of each request, so after the replacement everything in the cache is signed with the new
        key, including what was pushed before. From then on, clients that trust only the old key refuse the cache.
      - "Give clients the new key first, which is possible with O(keypair), and let them trust both for 30 days: Nix remembers
        signatures that long (U(https://nix.dev/manual/nix/latest/command-ref/conf-file#conf-narinfo-cache-positive-ttl)),
        and paths that were fetched before keep the old signature."
      - The old key pair is lost unless you have a copy of it.
    type: str
notes:
  - "Rights that the token needs on the cache: C(pull) always, except for a cache that is public and stays public;
    C(create_cache) to create it, with C(configure_cache) and C(configure_cache_retention) for its own retention;
    C(configure_cache) to change it, with C(configure_cache_retention) if the retention differs;
    C(destroy_cache) to destroy it. Check mode reports a missing right as well."
  - A public cache answers everybody, so the task can succeed although the server ignores the token. If the token itself
    shows the reason, for example that it has expired, the task warns. Whether the server accepts its signature only shows
    when something is changed, not in check mode; M(pantheros.nixci.attic_token) can verify it.
requirements:
  - cryptography and PyJWT, for O(keypair) and O(replace_public_key) only
seealso:
  - module: pantheros.nixci.attic_token
"""

EXAMPLES = r"""
- name: Create a cache that everybody may read, and keep its entries for 90 days
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: public-cache
    is_public: true
    retention_period: 90d

- name: Create a private cache for CI that does not store what the NixOS cache has
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: ci-cache
    is_public: false
    priority: 30
    upstream_cache_key_names: [cache.nixos.org-1]
    retention_period: 30d

- name: Create a cache whose key is known to clients before it exists
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: release
    keypair: "{{ release_keypair }}"
  register: release

- name: Show the lines for nix.conf
  ansible.builtin.debug:
    msg: "{{ release.cache.nix_conf | join('\n') }}"

- name: Replace that key once clients have the new one
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: release
    keypair: "{{ release_new_keypair }}"
    replace_public_key: "{{ release_public_key }}"

- name: Destroy a cache that is no longer needed
  pantheros.nixci.attic_cache:
    url: https://cache.example.org
    token: "{{ attic_root_token }}"
    name: experiment
    state: absent
"""

RETURN = r"""
cache:
  description: The cache as it is now, or as it would be in check mode. Null if it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ci-cache
    public_key:
      description: For C(trusted-public-keys) in C(nix.conf). Null in check mode if the server would generate the key.
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
        - The lines for C(nix.conf) that add the cache to those that a machine already uses.
        - A private cache also needs C(netrc-file), see M(pantheros.nixci.attic_token). Null if one of the parts is null.
      type: list
      elements: str
      sample:
        - extra-substituters = https://cache.example.org/ci-cache
        - extra-trusted-public-keys = ci-cache:b9YLs2Sm1tZHFFhQpMSnCZTyMFPXzTx8YvpKiOhUl8I=
    is_public:
      description: Whether everybody may read the cache.
      type: bool
      sample: false
    priority:
      description: Nix asks the substituter with the lowest number first.
      type: int
      sample: 30
    store_dir:
      description: The store that the paths belong to.
      type: str
      sample: /nix/store
    upstream_cache_key_names:
      description: Clients do not push paths that these keys have signed.
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

from ..module_utils._attic.cache import CacheResource, DesiredCache
from ..module_utils._attic.client import AtticClient, attic_argument_spec
from ..module_utils._attic.texts import strip_blanks
from ..module_utils._core.resource import converge, finish


def manage(module: AnsibleModule) -> dict[str, t.Any]:
    strip_blanks(module, "url", "token", "keypair", "replace_public_key")
    client, desired = AtticClient.from_params(module.params), DesiredCache.from_params(module.params)
    module.no_log_values.discard(desired.replaceable)  # a checked public key, which may be shown
    resource = CacheResource(client, desired)
    result = converge(resource, module.params, module.check_mode)
    for warning in resource.warnings(result):
        module.warn(warning)
    return result


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
    finish(module, lambda: manage(module))


if __name__ == "__main__":
    main()
