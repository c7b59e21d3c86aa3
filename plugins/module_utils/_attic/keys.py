# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two kinds of key that an Attic server has. Private: may change without notice.

The server's one SigningKey makes tokens; each cache has a key pair that signs what Nix downloads. Both are read as
strictly as the server reads them, which panics or answers with an error of its JSON library.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import typing as t
import warnings

from .._core.deps import optional, require
from .._core.errors import InvalidError
from .token import Claims, malformed

with optional("PyJWT"):
    import jwt
with optional("cryptography"):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

# A server that is given a larger one does not start (observed with atticd b7c9056).
LARGEST_RSA = 4096
# Below these, a key works but is too weak.
SMALLEST = {"RS256": 2048, "HS256": 256}

UNCHECKED = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")


# ---- keys of tokens ----------------------------------------------------------------------------------------------


class SigningKey:
    """The key of one server, written exactly as the server reads it from its environment."""

    def __init__(self, algorithm: str, text: str) -> None:
        _require_libraries()
        self.algorithm = algorithm
        raw = _base64(text)
        if raw is None:
            hint = (
                "a PEM file must be encoded as a whole" if "-----BEGIN" in text else "one line, padded, no line breaks"
            )
            raise InvalidError(
                f"signing_key: this is not base64 ({hint}); give the same text that the server reads, "
                "for example the output of 'base64 -w0'."
            )
        if not raw:
            raise InvalidError("signing_key: it is empty; give the same base64 text that the server reads.")
        if algorithm == "RS256":
            self._private: t.Any = _load_rsa(raw)
            self._public: t.Any = self._private.public_key()
            self.bits: int = self._private.key_size
        else:
            self._private = self._public = _check_hmac(raw)
            self.bits = len(raw) * 8

    @property
    def weakness(self) -> str | None:
        """The server accepts keys of any length, but a short one can be computed from a single token."""
        if self.bits >= SMALLEST[self.algorithm]:
            return None
        return (
            f"signing_key: a key of {self.bits} bits is too short for {self.algorithm} and can be computed from any "
            f"token; use at least {SMALLEST[self.algorithm]} bits."
        )

    def mint(self, claims: Claims) -> str:
        # Attic leaves letters beyond ASCII as they are; PyJWT's own encoding of claims would escape them.
        payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.PyJWS().encode(payload, self._private, algorithm=self.algorithm, sort_headers=True)

    def verify(self, token: str) -> Claims:
        """The claims of a token of this key; raises InvalidError with the reason. The caller checks the times."""
        options: t.Any = {"verify_signature": True, **{f"verify_{claim}": False for claim in UNCHECKED}}
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

    def read(self, token: str) -> tuple[Claims | None, str | None]:
        """The claims of a token of this key, or None and the reason."""
        if not token:
            return None, "there is no token yet"
        try:
            return self.verify(token), None
        except InvalidError as exc:
            return None, str(exc)


def _check_hmac(secret: bytes) -> t.Any:
    try:
        return jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        raise InvalidError(
            "signing_key: the base64 holds a PEM or SSH key, which is not an HS256 secret; set algorithm to RS256, "
            "or give base64 of random bytes."
        ) from None


def _load_rsa(pem: bytes) -> t.Any:
    if b"PUBLIC KEY-----" in pem:
        raise InvalidError("signing_key: this is a public key, which can verify but not sign; give the private key.")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise InvalidError("signing_key: the PEM is protected by a passphrase, which Attic cannot read.") from None
    except Exception:  # the library raises many kinds, and its message may quote the key
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


# ---- keys of caches ----------------------------------------------------------------------------------------------


def public_half(keypair: str) -> str:
    """The key that clients trust, for a key pair `name:base64(seed, public key)` as nix-store writes it."""
    _require_libraries()
    name, raw = _named("keypair", keypair, 64, "nix-store --generate-binary-cache-key NAME SECRET-FILE PUBLIC-FILE")
    # The server does not compare the halves: it would sign what nobody can verify (observed with atticd b7c9056).
    if Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw() != raw[32:]:
        raise InvalidError(
            "keypair: its public half does not belong to its secret half, so nobody could verify what it signs; "
            "give the complete content of the secret file that nix-store --generate-binary-cache-key wrote."
        )
    return f"{name}:{base64.b64encode(raw[32:]).decode()}"


def check_public_key(option: str, key: str) -> None:
    _named(option, key, 32, "what attic_cache returns as public_key")


def _named(option: str, text: str, size: int, source: str) -> tuple[str, bytes]:
    name, colon, encoded = text.partition(":")
    raw = _base64(encoded)
    if raw is not None and len(raw) == 96 - size and colon:
        this, other = ("secret key pair", "public key") if size == 32 else ("public key", "key pair with its secret")
        raise InvalidError(f"{option}: this is a {this}, but a {other} is needed; give {source}.")
    # Nix splits its lists of keys at white space, so a name must not hold any; Attic would accept it.
    if not re.fullmatch(r"[^\s:]+", name) or not colon or raw is None or len(raw) != size:
        raise InvalidError(f"{option}: this is not a name, a colon and base64 of {size} bytes; give {source}.")
    return name, raw


# ---- common ------------------------------------------------------------------------------------------------------


def _base64(text: str) -> bytes | None:
    """As strict as the server: padded, one line, no stray bits in the last character."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _require_libraries() -> None:
    for library in ("PyJWT", "cryptography"):
        require(library, "A key of Attic")
