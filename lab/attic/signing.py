# SPDX-License-Identifier: GPL-3.0-or-later
"""Nix's key pairs, hashes and fingerprints."""

from __future__ import annotations

import base64
import re

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
STORE_HASH = re.compile(f"[{ALPHABET}]{{32}}")


def decode_base64(text: str) -> bytes:
    """As strict as the server: padded, and without stray bits in the last character. Raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("Invalid last symbol")
    return raw


class Keypair:
    """`name:base64(seed || public key)`, as `nix-store --generate-binary-cache-key` writes it."""

    def __init__(self, text: str) -> None:
        self.name, colon, encoded = text.partition(":")
        try:
            raw = decode_base64(encoded)
        except ValueError:
            raise ValueError("Signing error: Base64 decode error") from None
        if not self.name or not colon or len(raw) != 64:
            raise ValueError("Signing error: Invalid signing key")
        self.key = Ed25519PrivateKey.from_private_bytes(raw[:32])
        # As in the server, not compared with the seed: a pair that does not match is stored, and nobody can verify its signatures.
        self.public_key = f"{self.name}:{base64.b64encode(raw[32:]).decode()}"
        self.text = text

    @classmethod
    def generate(cls, name: str) -> Keypair:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(f"{name}:{base64.b64encode(key.private_bytes_raw() + public).decode()}")

    def sign(self, message: str) -> str:
        return f"{self.name}:{base64.b64encode(self.key.sign(message.encode())).decode()}"


def fingerprint(store_path: str, nar_hash: str, nar_size: int, references: list[str]) -> str:
    """The text that a narinfo's signature covers; nar_hash is `sha256:<hex>`."""
    store_dir = store_path.rpartition("/")[0]
    paths = ",".join(f"{store_dir}/{reference}" for reference in references)
    return f"1;{store_path};sha256:{nix32(bytes.fromhex(nar_hash.removeprefix('sha256:')))};{nar_size};{paths}"


def nix32(digest: bytes) -> str:
    number = int.from_bytes(digest, "little")
    return "".join(ALPHABET[number >> (5 * i) & 31] for i in reversed(range((len(digest) * 8 + 4) // 5)))


def parse_sha256(text: str) -> str:
    """`sha256:<64 hex or 52 base32>` as `sha256:<hex>`; raises ValueError."""
    kind, _, value = text.partition(":")
    if kind == "sha256" and re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return f"sha256:{value.lower()}"
    if kind == "sha256" and re.fullmatch(f"[{ALPHABET}]{{52}}", value):
        number = 0
        for char in value:
            number = number << 5 | ALPHABET.index(char)
        return f"sha256:{number.to_bytes(33, 'little')[:32].hex()}"
    raise ValueError(f"Hash error: The string {text!r} is not a SHA-256 hash")
