# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attic's tokens: what they grant, minting and reading them. Private: may change without notice.

A token is a JWT whose claim CLAIM maps patterns of cache names to rights. The server ignores a token that it does
not like and treats the caller as anonymous, so everything that it would dislike is found here instead.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import fnmatch
import json
import re
import traceback
import typing as t
import warnings

from ._duration import format_duration
from ._errors import InvalidError, NixciError

try:
    import jwt
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
except ImportError:
    jwt = None
    JWT_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    JWT_IMPORT_ERROR = None

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

# The server allows no clock difference at all: a token from a clock that is ahead would be refused at first.
BACKDATE = 60

# A server that is given a larger one does not start.
LARGEST_RSA = 4096

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
    """What the server grants on a cache: the exact name, else the first pattern that matches; never a sum."""
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


def same_grants(one: Grants, other: Grants) -> bool:
    """Whether the server would decide alike: order counts among patterns, not among exact names."""
    return _meaning(one) == _meaning(other)


def _meaning(caches: Grants) -> tuple[dict[str, set[str]], list[tuple[str, set[str]]]]:
    entries = [(pattern, _granted(rights)) for pattern, rights in caches.items()]
    return {p: r for p, r in entries if "*" not in p}, [(p, r) for p, r in entries if "*" in p]


def _granted(rights: dict[str, int]) -> set[str]:
    return {right for right, key in RIGHTS.items() if rights.get(key)}


def _matches(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern)


# ---- reading -----------------------------------------------------------------------------------------------------


def read_claims(token: str) -> Claims | None:
    """What a token says about itself, unverified; None when it is not readable. For explanations only."""
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
        return "it carries no permissions for Attic"
    for pattern, rights in caches.items():
        if not PATTERN.fullmatch(pattern) or not isinstance(rights, dict):
            return f"its permissions for '{pattern}' are malformed"
        # The server wants the numbers 0 and 1; true is one of them in Python, not on the wire.
        if any(type(rights[key]) is not int or rights[key] not in (0, 1) for key in RIGHTS.values() if key in rights):
            return f"its permissions for '{pattern}' are not the numbers 0 and 1"
    for key in ("exp", "nbf", "iat"):
        if key in claims and type(claims[key]) not in (int, float):
            return f"its {key} is not a number"
    audiences = claims.get("aud", [])
    texts = list(audiences if isinstance(audiences, list) else [audiences])
    texts += [claims[key] for key in ("sub", "iss") if claims.get(key) is not None]
    if not all(isinstance(text, str) for text in texts):
        return "its subject, issuer or audiences are not text"
    return None


def untimely(claims: Claims, now: int, renew_before: int = 0) -> str | None:
    """Why the token is not valid now, or not for long enough; None when it is."""
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


# ---- minting -----------------------------------------------------------------------------------------------------


class SigningKey:
    """The key of one server, given exactly as the server reads it from its environment."""

    def __init__(self, algorithm: str, text: str) -> None:
        if jwt is None:
            raise NixciError(
                "Attic's tokens need the Python libraries PyJWT and cryptography on the machine that runs this task; "
                "install them with 'pip install PyJWT cryptography'.",
                exception=JWT_IMPORT_ERROR,
            )
        self.algorithm = algorithm
        raw = _decode(text)
        if algorithm == "RS256":
            self._private: t.Any = _load_rsa(raw)
            self._public: t.Any = self._private.public_key()
        else:
            self._private = self._public = _check_hmac(raw)

    @property
    def weakness(self) -> str | None:
        """HMAC keys of any length work, but a short one can be guessed from a single token."""
        if self.algorithm == "HS256" and len(self._private) < 32:
            return (
                f"signing_key: an HS256 secret of {len(self._private)} bytes can be guessed from any token; "
                "use at least 32 random bytes."
            )
        return None

    def mint(self, claims: Claims) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.encode(claims, self._private, algorithm=self.algorithm)

    def verify(self, token: str) -> Claims:
        """The claims of a token of this key; raises InvalidError with the reason. Times are the caller's business."""
        options = {"verify_signature": True, **{f"verify_{claim}": False for claim in UNCHECKED}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                claims = jwt.decode(token, self._public, algorithms=[self.algorithm], options=options)
        except jwt.InvalidAlgorithmError:
            raise InvalidError(f"it is not signed with {self.algorithm}") from None
        except jwt.InvalidSignatureError:
            raise InvalidError("it was signed with another key") from None
        except jwt.InvalidTokenError:
            raise InvalidError("it is not a token") from None
        if reason := malformed(claims):
            raise InvalidError(reason)
        return claims


UNCHECKED = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")


def _decode(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        hint = "a PEM file must be encoded as a whole" if "-----BEGIN" in text else "one line, padded, no line breaks"
        raise InvalidError(
            f"signing_key: this is not base64 ({hint}); give the same text that the server reads, "
            "for example the output of 'base64 -w0'."
        ) from None
    if not raw:
        raise InvalidError("signing_key: it is empty; give the same base64 text that the server reads.")
    return raw


def _check_hmac(secret: bytes) -> bytes:
    try:
        return jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise InvalidError(
            "signing_key: the base64 holds a PEM or SSH key, which is no HS256 secret; set algorithm to RS256, "
            "or give base64 of random bytes."
        ) from None


def _load_rsa(pem: bytes) -> t.Any:
    if b"PUBLIC KEY-----" in pem:
        raise InvalidError("signing_key: this is a public key, which can verify but not sign; give the private key.")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidError("signing_key: the PEM is protected by a passphrase, which Attic cannot read.") from None
    except Exception:  # the library raises many kinds, and its words may quote the key
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise InvalidError(
            "signing_key: the base64 does not hold an RSA private key in PEM form, as RS256 needs; "
            "make one with 'openssl genrsa -traditional 4096 | base64 -w0', or set algorithm to HS256."
        )
    if key.key_size > LARGEST_RSA:
        raise InvalidError(
            f"signing_key: the RSA key has {key.key_size} bits, but Attic reads at most {LARGEST_RSA}; make a shorter one."
        )
    return key
