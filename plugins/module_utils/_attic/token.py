# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attic's tokens: what they grant, and whether the server accepts them. Private: may change without notice.

A token is a JWT whose claim CLAIM maps patterns of cache names to rights. The server ignores a token that it does
not accept and treats the caller as anonymous, so whatever it would not accept is found here instead.
"""

from __future__ import annotations

import base64
import datetime
import fnmatch
import json
import re
import typing as t

from .._core.duration import format_duration
from .._core.errors import InvalidError

CLAIM = "https://jwt.attic.rs/v1"

# In the order in which the server itself writes them.
RIGHTS: dict[str, str] = {
    "pull": "r",
    "push": "w",
    "delete": "d",
    "create_cache": "cc",
    "configure_cache": "cr",
    "configure_cache_retention": "cq",
    "destroy_cache": "cd",
}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,49}")
PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9_+*-]{0,49}")

# The server tolerates no clock difference: it would refuse a new token from a clock that is ahead.
BACKDATE = 60

# The last second in Attic's tokens, 2106-02-07; it truncates a later one to this one.
LAST_SECOND = 2**32 - 1

Claims = dict[str, t.Any]
Grants = dict[str, dict[str, int]]


# ---- what a token grants ---------------------------------------------------------------------------------------


def grants(permissions: list[dict[str, t.Any]]) -> Grants:
    """The claim for a list of {caches: pattern, <right>: bool}; keeps the order, writes granted rights only."""
    claim: Grants = {}
    for entry in permissions:
        pattern = entry["caches"]
        if not PATTERN.fullmatch(pattern):
            raise InvalidError(
                f"permissions: '{pattern}' is not a pattern of cache names; use at most 50 letters, digits, "
                "'-', '_', '+' and '*', and begin with a letter, a digit or '*'."
            )
        if pattern in claim:
            raise InvalidError(f"permissions: '{pattern}' is listed twice; put all its rights into one entry.")
        claim[pattern] = {key: 1 for right, key in RIGHTS.items() if entry.get(right)}
    return claim


def rights_on(caches: Grants, name: str) -> set[str]:
    """What the server grants on a cache: the exact name decides, else the first pattern that matches; never a sum."""
    if name in caches:
        return _granted(caches[name])
    return next((_granted(rights) for pattern, rights in caches.items() if _matches(pattern, name)), set())


def unreachable(caches: Grants) -> list[tuple[str, str]]:
    """Patterns that can never apply, each with the earlier one that always wins."""
    wild = [pattern for pattern in caches if "*" in pattern]
    return [
        (later, earlier)
        for position, later in enumerate(wild)
        for earlier in wild[:position]
        if _matches(earlier, later)
    ]


def loses_pull(caches: Grants) -> list[tuple[str, str]]:
    """Entries that grant something but not pull, which another pattern would grant: the server never adds them up."""
    return [
        (entry, pattern)
        for entry, rights in caches.items()
        if _granted(rights) and not rights.get("r")
        for pattern, others in caches.items()
        if pattern != entry and "*" in pattern and others.get("r") and _matches(pattern, entry)
    ]


def differences(claims: Claims, desired: Claims) -> list[str]:
    """How a token differs from the desired one, except for times; empty if the server would treat them alike."""
    found = [
        f"its {name} is {_quoted(claims.get(key))}, not {_quoted(desired.get(key))}"
        for key, name in (("sub", "subject"), ("iss", "issuer"))
        if (claims.get(key) or "") != (desired.get(key) or "")
    ]
    have, want = audiences(claims), audiences(desired)
    if have != want:
        found.append(f"its audiences are {_listed(have)}, not {_listed(want)}")
    return found + _differing_grants(claims[CLAIM]["caches"], desired[CLAIM]["caches"])


def _differing_grants(have: Grants, want: Grants) -> list[str]:
    found = [f"it has no entry for '{pattern}'" for pattern in want if pattern not in have]
    found += [f"it has an undesired entry for '{pattern}'" for pattern in have if pattern not in want]
    for pattern, rights in want.items():
        old, new = _granted(have.get(pattern, rights)), _granted(rights)
        if lost := new - old:
            found.append(f"on '{pattern}' it lacks {_listed(lost)}")
        if gained := old - new:
            found.append(f"on '{pattern}' it should not have {_listed(gained)}")
    # The order only matters among patterns: an exact name wins in any position.
    common = [{pattern for pattern in one if "*" in pattern} for one in (have, want)]
    order, desired_order = (
        [pattern for pattern in one if pattern in set.intersection(*common)] for one in (have, want)
    )
    if order != desired_order:
        found.append(f"its patterns are in the order {', '.join(order)}, not {', '.join(desired_order)}")
    return found


def shown(claims: Claims) -> dict[str, t.Any]:
    """Claims as people read them, for --diff."""
    return {
        "subject": claims.get("sub"),
        "issuer": claims.get("iss"),
        "audiences": sorted(audiences(claims)),
        "expires": instant(claims["exp"]) if "exp" in claims else "never",
        # a list, because the order matters
        "permissions": [
            {"caches": pattern, "rights": [right for right, key in RIGHTS.items() if rights.get(key)]}
            for pattern, rights in claims[CLAIM]["caches"].items()
        ],
    }


def audiences(claims: Claims) -> set[str]:
    value = claims.get("aud")
    return {value} if isinstance(value, str) else set(value or ())


def _quoted(value: t.Any) -> str:
    return f"'{value}'" if value else "empty"


def _listed(names: t.Collection[str]) -> str:
    """Rights in their usual order, other names alphabetically."""
    order = [right for right in RIGHTS if right in names] or sorted(names)
    return ", ".join(order) or "empty"


def _granted(rights: dict[str, int]) -> set[str]:
    return {right for right, key in RIGHTS.items() if rights.get(key)}


def _matches(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


# ---- reading -----------------------------------------------------------------------------------------------------


def read_claims(token: str) -> Claims | None:
    """The unverified claims of a token, None if it is unreadable. For explanations only."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, IndexError):
        return None
    return claims if isinstance(claims, dict) else None


def malformed(claims: Claims) -> str | None:
    """Why the server would ignore the whole token whatever its signature, or None."""
    namespace = claims.get(CLAIM)
    caches = namespace.get("caches") if isinstance(namespace, dict) else None
    if not isinstance(caches, dict):
        return "it has no permissions for Attic"
    for pattern, rights in caches.items():
        if not PATTERN.fullmatch(pattern) or not isinstance(rights, dict):
            return f"its permissions for '{pattern}' are malformed"
        # The server requires the numbers 0 and 1; Python's True is equal to 1, but JSON's true is not.
        if any(repr(rights[key]) not in ("0", "1") for key in RIGHTS.values() if key in rights):
            return f"its permissions for '{pattern}' are not the numbers 0 and 1"
    for key in ("exp", "nbf", "iat"):
        if key in claims and type(claims[key]) not in (int, float):
            return f"its {key} is not a number"
    texts = claims["aud"] if isinstance(claims.get("aud"), list) else [claims.get("aud", "")]
    texts = texts + [claims[key] for key in ("sub", "iss", "jti", "nonce") if claims.get(key) is not None]
    if not all(isinstance(text, str) for text in texts):
        return "its subject, issuer, audiences or id are not text"
    return None


def untimely(claims: Claims, now: int, renew_before: int = 0) -> str | None:
    """Why the token is not valid now, or not for long enough; None if it is."""
    for key in ("nbf", "iat"):
        if claims.get(key, now) > now:
            return f"it is not valid before {instant(claims[key])} (is a clock wrong?)"
    remaining = claims.get("exp", now + renew_before + 1) - now
    if remaining < 0:
        return f"it expired on {instant(claims['exp'])}"
    if remaining < renew_before:
        return f"it expires on {instant(claims['exp'])}, which is less than {format_duration(renew_before)} from now"
    return None


def instant(seconds: float) -> str:
    """A point in time for people."""
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds:g}"
