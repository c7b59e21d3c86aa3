# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights of a token, as the server reads them. The bearer of an invalid token is anonymous."""

from __future__ import annotations

import re
import typing as t

import jwt

from .config import Config
from .signing import decode_base64

NAMESPACE = "https://jwt.attic.rs/v1"
RIGHTS = ("r", "w", "d", "cc", "cr", "cq", "cd")
PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9_+*-]{0,49}")
Rights = frozenset[str]


class Bearer:
    """The caller of one request."""

    def __init__(self, claims: dict[str, t.Any] | None = None) -> None:
        self.subject: str | None = claims.get("sub") if claims else None
        self.caches: dict[str, dict[str, int]] = claims[NAMESPACE]["caches"] if claims else {}

    def rights(self, cache: str, *, public: bool) -> Rights:
        """The exact name wins, otherwise the first pattern in the token's order. Entries are never combined."""
        granted = self.caches.get(cache)
        if granted is None:
            granted = next((value for pattern, value in self.caches.items() if _matches(pattern, cache)), {})
        own = {right for right in RIGHTS if granted.get(right) == 1}
        return frozenset(own | {"r"} if public else own)


def identify(header: str | None, config: Config) -> Bearer:
    """From the Authorization header."""
    token = _from_header(header or "")
    if token is None:
        return Bearer()
    options: t.Any = {"verify_aud": bool(config.bound_audiences)}
    try:
        claims = jwt.decode(
            token,
            config.signing.key,
            algorithms=[config.signing.algorithm],
            issuer=config.bound_issuer,
            audience=config.bound_audiences or None,
            options=options,
        )
    except (jwt.PyJWTError, ValueError):
        return Bearer()
    return Bearer(claims) if _texts(claims) and _well_formed(claims.get(NAMESPACE)) else Bearer()


def _from_header(header: str) -> str | None:
    scheme, space, rest = header.partition(" ")
    if not space or scheme.lower() not in ("bearer", "basic"):
        return None
    if scheme.lower() == "bearer":
        return rest
    try:
        _, colon, password = decode_base64(rest).decode().partition(":")
    except ValueError:
        return None
    return password if colon else None


def _texts(claims: dict[str, t.Any]) -> bool:
    audiences = claims.get("aud", "")
    texts = [claims.get(name) or "" for name in ("iss", "sub", "jti", "nonce")]
    texts += audiences if isinstance(audiences, list) else [audiences]
    return all(isinstance(text, str) for text in texts)


def _well_formed(namespace: t.Any) -> bool:
    """One malformed entry invalidates the entire token. Booleans are not integers here."""
    caches = namespace.get("caches") if isinstance(namespace, dict) else None
    return isinstance(caches, dict) and all(
        PATTERN.fullmatch(pattern)
        and isinstance(granted, dict)
        and all(type(granted.get(right, 0)) is int and granted.get(right, 0) in (0, 1) for right in RIGHTS)
        for pattern, granted in caches.items()
    )


def _matches(pattern: str, cache: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), cache) is not None
