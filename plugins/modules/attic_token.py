#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_token
short_description: Mint a token for an Attic server, or keep the current one
version_added: 0.1.0
description:
  - Mints a token with the server's signing key, byte for byte as C(atticadm make-token) does. No server is contacted
    unless O(verify) is set.
  - Attic keeps no list of its tokens, so the task passes the one in use as O(current). It is kept as long as it grants
    exactly the desired rights and is valid for long enough; otherwise a new one is minted, and RV(reason) lists the
    differences.
  - A token cannot be revoked. A replaced token stays valid until it expires or the server's key is changed.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._http
  - pantheros.nixci._http.ca_path
  - ansible.builtin.files
options:
  signing_key:
    description:
      - The server's key, written exactly as the server reads it. One line of base64, of a PEM private key for V(RS256)
        (C(openssl genrsa -traditional 4096 | base64 -w0)) and of random bytes for V(HS256).
    type: str
    required: true
  algorithm:
    description: The kind of key in the server's configuration.
    type: str
    choices: [RS256, HS256]
    default: RS256
  subject:
    description: Who the token is for. The server records it as the creator of what is pushed. It must not be empty.
    type: str
    required: true
  validity:
    description:
      - How long a new token is valid. Whole seconds, or a duration such as V(90d), V(1.5h) or V(1y 6months), where C(m) is
        a minute and C(M) a month, in the format that Attic itself reads (U(https://docs.rs/humantime/2.3.0)). Fractions of a
        second are dropped.
      - A token must expire before the year 2106, because Attic truncates later times (observed with atticadm b7c9056).
    type: str
    required: true
  renew_before:
    description:
      - A token is only kept if it is valid for at least this long. The format is that of O(validity).
      - The default is a third of O(validity).
    type: str
  permissions:
    description:
      - The rights that the token grants. The server uses the entry with the cache's exact name, otherwise the first entry
        whose pattern matches; it never combines several. So put narrow patterns first and repeat all rights in them. The
        order is kept, which C(atticadm) cannot guarantee. At least one entry is needed.
      - An entry without any right denies the token access to those caches even if a later pattern would grant it.
    type: list
    elements: dict
    required: true
    suboptions:
      caches:
        description: The name of a cache, or a pattern in which C(*) stands for any number of characters, including none.
        type: str
        required: true
      pull:
        description: Read the cache and its configuration.
        type: bool
        default: false
      push:
        description: Upload store paths. On a private cache, clients also need C(pull) for it.
        type: bool
        default: false
      delete:
        description: Reserved by Attic; no server uses it yet.
        type: bool
        default: false
      create_cache:
        description: Create the cache.
        type: bool
        default: false
      configure_cache:
        description: Change its settings, except for the retention.
        type: bool
        default: false
      configure_cache_retention:
        description: Change its retention; requires C(configure_cache) as well.
        type: bool
        default: false
      destroy_cache:
        description: Destroy the cache.
        type: bool
        default: false
  current:
    description: The token in use. Empty or omitted if there is none.
    type: str
  issuer:
    description: Required if the server is configured with C(token-bound-issuer).
    type: str
  audiences:
    description: Required if the server is configured with C(token-bound-audiences); at least one must be among them.
      An empty list is the same as none; an empty entry is refused.
    type: list
    elements: str
  url:
    description:
      - The root of the server's API, as clients use it. Required for O(verify), O(config_path) and O(netrc_path), and
        for RV(client_config) and RV(netrc).
    type: str
  verify:
    description:
      - Whether to ask the server at O(url) if it accepts the token, kept or new. A token that it does not accept fails the
        task.
      - The module asks for a cache that does not exist, because only then does Attic answer differently for a token that it
        accepts (404) and one that it ignores (401).
      - The request carries the token's claims and the right to pull from that cache, and changes nothing. It is also sent in
        check mode, and before any file is written.
    type: bool
    default: false
  server_name:
    description: The name of the server in the client's configuration, as in C(attic push NAME:ci-cache).
    type: str
    default: attic
  config_path:
    description:
      - Where to write the configuration of the C(attic) client. The client reads
        C($XDG_CONFIG_HOME/attic/config.toml); C(attic login) would put the token on a command line instead.
      - A file that holds anything else, such as other servers or this name with another host, is refused rather than
        replaced.
      - Missing directories are created with the mode C(0700) and belong to the user who runs the task, as does a new file
        unless O(owner) is given. Use C(become_user) for another user's home. An existing file keeps its owner and group.
    type: path
  netrc_path:
    description:
      - Where to write a C(netrc) for Nix (C(netrc-file) in C(nix.conf)) and C(curl).
      - A C(netrc) identifies servers by host name, so there is one token for all caches of a server. A file that holds other
        machines as well, or that is not a C(netrc), is refused rather than replaced. It must not be the file of
        O(config_path).
      - The rules for its directory and owner are those of O(config_path).
    type: path
  mode:
    description:
      - The mode of O(config_path) and O(netrc_path), as for M(ansible.builtin.file), for example V('0600') or V(u=rw,g=r).
      - The default is V('0600'), so that only the owner can read the token.
    type: raw
attributes:
  diff_mode:
    details: Shows what the tokens grant and when they expire, never the tokens.
  idempotent:
    details: If the token of the last run is passed as O(current).
requirements:
  - PyJWT
  - cryptography
  - requests, for O(verify) only
notes:
  - The result contains the token, so set C(no_log) in the task.
  - A new token is valid from 60 seconds before it was minted, because the server tolerates no clock difference.
seealso:
  - module: pantheros.nixci.attic_cache
"""

EXAMPLES = r"""
- name: Mint a token for CI to read and write its own cache, and renew it in its last 30 days
  pantheros.nixci.attic_token:
    signing_key: "{{ attic_rsa_key }}"
    subject: ci
    validity: 90d
    renew_before: 30d
    permissions:
      - caches: ci-cache
        pull: true
        push: true
    current: "{{ stored_ci_token }}"
  register: ci_token
  no_log: true

- name: Let a developer read everything and also write the caches of one team
  pantheros.nixci.attic_token:
    signing_key: "{{ attic_signing_key }}"
    algorithm: HS256
    subject: alice
    validity: 1y
    permissions:
      - caches: team-*
        pull: true
        push: true
      - caches: "*"
        pull: true
  register: alice_token
  no_log: true

- name: Write the files that the attic client and Nix read, once the server has accepted the token
  pantheros.nixci.attic_token:
    signing_key: "{{ attic_signing_key }}"
    algorithm: HS256
    subject: alice
    validity: 1y
    permissions:
      - caches: team-*
        pull: true
        push: true
      - caches: "*"
        pull: true
    current: "{{ alice_token.token }}"
    url: https://cache.example.org
    verify: true
    server_name: example
    config_path: "{{ alice_home }}/.config/attic/config.toml"
    netrc_path: "{{ alice_home }}/.config/nix/netrc"
  no_log: true
"""

RETURN = r"""
token:
  description: The token to use from now on, kept or new. Null in check mode if a new one would be minted.
  returned: success
  type: str
  sample: eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDI0NzY4MDB9.c2lnbmF0dXJl
kept:
  description: Whether RV(token) is O(current).
  returned: success
  type: bool
  sample: false
reason:
  description: Why the current token is not kept. Null if it is kept.
  returned: success
  type: str
  sample: it expires on 2026-11-30 12:00:00 UTC, which is less than 30d from now; on 'ci-cache' it lacks push
verified:
  description: Always true, because a token that the server does not accept fails the task.
  returned: if O(verify) is set
  type: bool
  sample: true
client_config:
  description: The configuration of the C(attic) client. It contains the token, and is null if RV(token) is null.
  returned: if O(url) is given
  type: str
  sample: |
    default-server = "attic"

    [servers."attic"]
    endpoint = "https://cache.example.org/"
    token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDI0NzY4MDB9.c2lnbmF0dXJl"
netrc:
  description: The C(netrc) for Nix and C(curl), likewise.
  returned: if O(url) is given
  type: str
  sample: |
    machine cache.example.org
    login attic
    password eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDI0NzY4MDB9.c2lnbmF0dXJl
claims:
  description: The claims of the token. In check mode, those that a new one would have.
  returned: success
  type: dict
  sample:
    exp: 1802476800
    nbf: 1794700740
    sub: ci
    https://jwt.attic.rs/v1:
      caches:
        ci-cache:
          r: 1
          w: 1
"""

import dataclasses
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic.desired import DesiredToken
from ..module_utils._attic.keys import SigningKey
from ..module_utils._attic.texts import strip_blanks
from ..module_utils._attic.token import RIGHTS, Claims, shown
from ..module_utils._attic.token_files import Existing, texts, token_files
from ..module_utils._attic.verify import verify
from ..module_utils._core.change import Change
from ..module_utils._core.http import http_argument_spec
from ..module_utils._core.resource import Params, Result, converge, finish


@dataclasses.dataclass(frozen=True)
class Found:
    now: int
    claims: Claims | None
    """What the current token says, None if there is none or it is unusable."""

    reason: str | None
    """Why it is unusable."""

    files: list[Existing]


@dataclasses.dataclass(frozen=True)
class TokenPlan:
    change: Change
    claims: Claims
    """What the token to use from now on says."""

    reason: str | None
    """Why a new one is minted, None to keep the current one."""

    files: list[Change]


class TokenResource:
    def __init__(self, module: AnsibleModule) -> None:
        self.params = module.params
        self.key = SigningKey(self.params["algorithm"], self.params["signing_key"])
        self.desired = DesiredToken.from_params(self.params)
        self.token: str = (self.params["current"] or "").strip()
        self.kinds = list(texts(self.params, self.token))
        self.files = token_files(module)

    def read(self, params: Params) -> Found:
        claims, reason = self.key.read(self.token)
        return Found(int(time.time()), claims, reason, [file.read() for file in self.files])

    def plan(self, params: Params, found: Found) -> TokenPlan:
        new = self.desired.claims_at(found.now)
        current = found.claims
        reason = found.reason if current is None else self.desired.reason_to_replace(current, found.now)
        claims = current if current is not None and reason is None else new
        contents = {} if reason else texts(self.params, self.token)
        files = [
            file.plan(existing, contents.get(file.kind)) for file, existing in zip(self.files, found.files, strict=True)
        ]
        before, after = shown(current) if current else {}, shown(claims)
        if files:
            paths = [file.path for file in self.files]
            before["files"] = {path: change.before for path, change in zip(paths, files, strict=True)}
            after["files"] = {path: change.after for path, change in zip(paths, files, strict=True)}
        return TokenPlan(Change(before or None, after), claims, reason, files)

    def predict(self, plan: TokenPlan) -> Result:
        self._verify(plan.claims)
        if plan.reason:
            return {"token": None, **dict.fromkeys(self.kinds), **self._facts(plan)}
        return {"token": self.token, **texts(self.params, self.token), **self._facts(plan)}

    def apply(self, plan: TokenPlan) -> Result:
        self._verify(plan.claims)
        token = self.key.mint(plan.claims) if plan.reason else self.token
        contents = texts(self.params, token)
        for file, change in zip(self.files, plan.files, strict=True):
            file.apply(change, contents[file.kind])
        return {"token": token, **contents, **self._facts(plan)}

    def _verify(self, claims: Claims) -> None:
        """Before anything is written, in check mode as well."""
        if self.params["verify"]:
            bounds = {option: self.params[option] for option in http_argument_spec()}
            verify(self.params["url"], self.key, claims, **bounds)

    def _facts(self, plan: TokenPlan) -> Result:
        verified = {"verified": True} if self.params["verify"] else {}
        return {"claims": plan.claims, "kept": not plan.reason, "reason": plan.reason, **verified}


def manage(module: AnsibleModule) -> Result:
    strip_blanks(module, "url", "signing_key")
    resource = TokenResource(module)
    for warning in [*resource.desired.remarks(), *filter(None, [resource.key.weakness])]:
        module.warn(warning)
    result = converge(resource, module.params, module.check_mode)
    # A value of a no_log option is masked wherever it appears. A kept token is the result, a replaced one is not in it, and
    # a placeholder such as "-" would cut into the new one: mask the option only.
    module.no_log_values -= {module.params["current"]} - {module.params["signing_key"]}
    module.params["current"] = None
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "signing_key": {"type": "str", "required": True, "no_log": True},
            "algorithm": {"type": "str", "choices": ["RS256", "HS256"], "default": "RS256"},
            "subject": {"type": "str", "required": True},
            "validity": {"type": "str", "required": True},
            "renew_before": {"type": "str"},
            "permissions": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "caches": {"type": "str", "required": True},
                    **{right: {"type": "bool", "default": False} for right in RIGHTS},
                },
            },
            "current": {"type": "str", "no_log": True},
            "issuer": {"type": "str"},
            "audiences": {"type": "list", "elements": "str"},
            "url": {"type": "str"},
            "verify": {"type": "bool", "default": False},
            "server_name": {"type": "str", "default": "attic"},
            "config_path": {"type": "path"},
            "netrc_path": {"type": "path"},
            **http_argument_spec(),
        },
        required_if=[("verify", True, ["url"])],
        required_by={"config_path": ["url"], "netrc_path": ["url"]},
        add_file_common_args=True,
        supports_check_mode=True,
    )
    finish(module, lambda: manage(module))


if __name__ == "__main__":
    main()
