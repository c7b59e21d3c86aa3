#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_token
short_description: Mint a token for an Attic server, or keep the one there is
version_added: 0.1.0
description:
  - Mints a token with the server's signing key, in the same form as C(atticadm make-token). No server is contacted.
  - Attic keeps no list of its tokens, so the one in use is given as O(current). It is kept as long as it grants exactly
    what is wanted and lives long enough; otherwise a new one is minted, and RV(reason) says why.
  - A token cannot be revoked. A replaced one stays valid until it expires or the server's key is changed.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
options:
  signing_key:
    description:
      - The server's key, exactly as the server reads it. One line of base64, of a PEM private key for V(RS256)
        (C(openssl genrsa -traditional 4096 | base64 -w0)) and of random bytes for V(HS256).
    type: str
    required: true
  algorithm:
    description: The kind of key that the server is configured with.
    type: str
    choices: [RS256, HS256]
    default: RS256
  subject:
    description: Whom the token is for. The server records it as the creator of what is pushed.
    type: str
    required: true
  validity:
    description:
      - How long a new token is valid. Whole seconds, or a duration such as V(90d) or V(1y 6months), where C(m) is a
        minute and C(M) a month.
    type: str
    required: true
  renew_before:
    description:
      - A kept token must be valid for at least this long, written like O(validity).
      - The default is a third of O(validity).
    type: str
  permissions:
    description:
      - What the token grants. The server takes the entry with the cache's exact name, otherwise the first entry whose
        pattern matches; it never adds up several. So put narrow patterns first and repeat all rights in them.
      - An entry without any right closes those caches to the token even if a later pattern would open them.
    type: list
    elements: dict
    required: true
    suboptions:
      caches:
        description: The name of a cache, or a pattern in which C(*) stands for any characters, also none.
        type: str
        required: true
      pull:
        description: Read the cache and its configuration.
        type: bool
        default: false
      push:
        description: Upload store paths. Clients also need C(pull) for it on a private cache.
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
        description: Change its settings, apart from the retention.
        type: bool
        default: false
      configure_cache_retention:
        description: Change its retention; needs C(configure_cache) as well.
        type: bool
        default: false
      destroy_cache:
        description: Destroy the cache.
        type: bool
        default: false
  current:
    description: The token in use so far. Empty or missing if there is none.
    type: str
  issuer:
    description: Needed if the server is configured with C(token-bound-issuer).
    type: str
  audiences:
    description: Needed if the server is configured with C(token-bound-audiences); one of these must be among them.
    type: list
    elements: str
attributes:
  diff_mode:
    details: Shows what the tokens grant, never the tokens. The expiry of a new one is shown as its life time.
  idempotent:
    details: As long as the token of the last run is given as O(current).
requirements:
  - PyJWT
  - cryptography
notes:
  - The result holds the token, so use C(no_log) in the task.
  - A new token counts as valid since 60 seconds ago, because the server tolerates no difference of clocks.
seealso:
  - module: pantheros.nixci.attic_cache
"""

EXAMPLES = r"""
- name: A token with which CI reads and writes its own cache, renewed in its last 30 days
  pantheros.nixci.attic_token:
    signing_key: "{{ attic_signing_key }}"
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

- name: A developer reads everything and also writes the caches of one team
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
"""

RETURN = r"""
token:
  description: The token to use from now on, kept or new. Missing in check mode when a new one would be minted.
  returned: success
  type: str
  sample: eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDI0NzY4MDB9.c2lnbmF0dXJl
kept:
  description: Whether RV(token) is O(current).
  returned: success
  type: bool
  sample: false
reason:
  description: Why the current token is not kept. Null when it is.
  returned: success
  type: str
  sample: it expires on 2026-11-30 12:00:00 UTC, which is less than 30d from now
claims:
  description: What the token says. In check mode, what a new one would say.
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

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic_token import (
    BACKDATE,
    CLAIM,
    RIGHTS,
    Claims,
    SigningKey,
    grants,
    instant,
    same_grants,
    unreachable,
    untimely,
)
from ..module_utils._change import Change
from ..module_utils._duration import format_duration, parse_duration
from ..module_utils._errors import InvalidError, NixciError


def wish(params: dict[str, t.Any]) -> Claims:
    """The claims that do not depend on the time, in the server's own order."""
    claims: Claims = {"sub": params["subject"]}
    if params["issuer"]:
        claims = {"iss": params["issuer"], **claims}
    if params["audiences"]:
        claims["aud"] = params["audiences"]
    return {**claims, CLAIM: {"caches": grants(params["permissions"])}}


def lifetime(params: dict[str, t.Any]) -> tuple[int, int]:
    """Seconds of validity, and seconds that a kept token must have left."""
    validity = parse_duration("validity", params["validity"])
    asked = params["renew_before"]
    renew_before = validity // 3 if asked is None else parse_duration("renew_before", asked)
    if renew_before >= validity:
        raise InvalidError(
            f"renew_before ({format_duration(renew_before)}) must be shorter than validity "
            f"({format_duration(validity)}), or every run would mint a new token."
        )
    return validity, renew_before


def differences(claims: Claims, wanted: Claims) -> list[str]:
    found = [
        f"its {word} is {_name(claims.get(key))}, not {_name(wanted.get(key))}"
        for key, word in (("sub", "subject"), ("iss", "issuer"))
        if claims.get(key) != wanted.get(key)
    ]
    if _set(claims.get("aud")) != _set(wanted.get("aud")):
        found.append("its audiences differ")
    if not same_grants(claims[CLAIM]["caches"], wanted[CLAIM]["caches"]):
        found.append("its permissions differ")
    return found


def shown(claims: Claims, expires: str) -> dict[str, t.Any]:
    """Claims in words for --diff."""
    caches = claims[CLAIM]["caches"]
    return {
        "subject": claims.get("sub"),
        "issuer": claims.get("iss"),
        "audiences": sorted(_set(claims.get("aud"))),
        "expires": expires,
        # a list, because the order decides
        "permissions": [
            {"caches": pattern, "rights": [right for right, key in RIGHTS.items() if rights.get(key)]}
            for pattern, rights in caches.items()
        ],
    }


def plan(
    wanted: Claims, validity: int, renew_before: int, current: Claims | None, fault: str | None, now: int
) -> tuple[Change, str | None]:
    """What happens to the current token, and why; without readable claims the fault says what is wrong with it."""
    before = None
    if current is not None:
        before = shown(current, instant(current["exp"]) if "exp" in current else "never")
        late = untimely(current, now, renew_before)
        fault = "; ".join([late] * bool(late) + differences(current, wanted)) or None
    if fault is None:
        return Change(before, before), None
    return Change(before, shown(wanted, f"{format_duration(validity)} from now")), fault


def run(module: AnsibleModule) -> dict[str, t.Any]:
    params, now = module.params, int(time.time())
    key = SigningKey(params["algorithm"], params["signing_key"])
    wanted, (validity, renew_before) = wish(params), lifetime(params)
    for warning in warnings(key, wanted):
        module.warn(warning)

    token = (params["current"] or "").strip()
    current, fault = read(key, token)
    change, reason = plan(wanted, validity, renew_before, current, fault, now)
    if not change:
        return change.result(token=token, claims=current, kept=True, reason=None)
    claims = {"exp": now + validity, "nbf": now - BACKDATE, **wanted}
    minted = {} if module.check_mode else {"token": key.mint(claims)}
    return change.result(**minted, claims=claims, kept=False, reason=reason)


def read(key: SigningKey, token: str) -> tuple[Claims | None, str | None]:
    """The claims of a token of this key, or None and the reason."""
    if not token:
        return None, "there is no token yet"
    try:
        return key.verify(token), None
    except InvalidError as exc:
        return None, str(exc)


def warnings(key: SigningKey, wanted: Claims) -> list[str]:
    found = [
        f"permissions: '{later}' never applies, because '{earlier}' stands before it and the server takes the first "
        "pattern that matches; put the narrower one first."
        for later, earlier in unreachable(wanted[CLAIM]["caches"])
    ]
    return [*found, *([key.weakness] if key.weakness else [])]


def _name(value: t.Any) -> str:
    return f"'{value}'" if value else "empty"


def _set(audiences: t.Any) -> set[str]:
    return {audiences} if isinstance(audiences, str) else set(audiences or ())


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
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except NixciError as exc:
        module.fail_json(msg=str(exc), **exc.details)
    if result["kept"]:
        # A value of a no_log option is masked wherever it appears, but here it is the result: mask the option only.
        module.no_log_values.discard(module.params["current"])
        module.params["current"] = None
    module.exit_json(**result)


if __name__ == "__main__":
    main()
