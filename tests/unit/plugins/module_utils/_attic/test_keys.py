# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.keys import (
    SigningKey,
    check_public_key,
    public_half,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._attic.token import CLAIM
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError, NixciError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.collection import hide_library

# Tokens of the server's own tool, with the keys that made them.
FROM_ATTICADM = json.loads(pathlib.Path(__file__).with_name("tokens.json").read_text())["vectors"]
SECRET = base64.b64encode(b"a secret of exactly 32 bytes, ok").decode()
# Written by nix-store --generate-binary-cache-key, for this test only.
NIX_SECRET = "golden-1:aH08eNldcDj8/woVpSvzi3yuNHpl9m0kOcETPoMj1nm5gOfxJ8cDWhtT2VumRp4e77qaFAQu/VuGQZO2oTNR+g=="
NIX_PUBLIC = "golden-1:uYDn8SfHA1obU9lbpkaeHu+6mhQELv1bhkGTtqEzUfo="


def pem(key: t.Any, form: str = "TraditionalOpenSSL", passphrase: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), lock)
    return base64.b64encode(text).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


# ---- keys of tokens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", FROM_ATTICADM, ids=lambda vector: vector["algorithm"])
def test_minting_equals_the_server_s_own_byte_for_byte(vector: dict[str, t.Any]) -> None:
    key = SigningKey(vector["algorithm"], vector["signing_key"])
    assert key.mint(vector["claims"]) == vector["token"]
    assert key.verify(vector["token"]) == vector["claims"]


@pytest.mark.parametrize("form", ["TraditionalOpenSSL", "PKCS8"])
def test_rs256_keys_in_both_pem_forms_mint_and_verify(rsa_key: rsa.RSAPrivateKey, form: str) -> None:
    key = SigningKey("RS256", pem(rsa_key, form))
    claims = {"sub": "ci", CLAIM: {"caches": {}}}
    assert key.verify(key.mint(claims)) == claims


def test_reading_says_what_is_wrong(rsa_key: rsa.RSAPrivateKey) -> None:
    mine, other = SigningKey("HS256", SECRET), SigningKey("HS256", base64.b64encode(b"o" * 32).decode())
    token = mine.mint({"sub": "ci", CLAIM: {"caches": {}}})
    assert mine.read(token) == ({"sub": "ci", CLAIM: {"caches": {}}}, None)
    assert other.read(token) == (None, "it was signed with another key")
    assert SigningKey("RS256", pem(rsa_key)).read(token) == (None, "it is not signed with RS256")
    assert mine.read("") == (None, "there is no token yet")
    for text in ("token", "a.b.c", token.rsplit(".", 1)[0]):
        assert mine.read(text) == (None, "it is not a token")


def test_keys_of_the_wrong_kind_are_one_sentence_without_the_key(rsa_key: rsa.RSAPrivateKey) -> None:
    raw_pem = base64.b64decode(pem(rsa_key)).decode()
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    large = rsa.generate_private_key(65537, 4608)
    for algorithm, text, words in [
        ("RS256", raw_pem, "a PEM file must be encoded as a whole"),
        ("HS256", SECRET + "\n", "not base64"),
        ("HS256", SECRET.rstrip("="), "not base64"),
        ("HS256", "YR==", "not base64"),  # stray bits, at which the server panics
        ("HS256", "", "empty"),
        ("HS256", pem(rsa_key), "set algorithm to RS256"),
        ("RS256", SECRET, "does not hold an RSA private key"),
        ("RS256", pem(ec.generate_private_key(ec.SECP256R1())), "does not hold an RSA private key"),
        ("RS256", base64.b64encode(public).decode(), "public key"),
        ("RS256", pem(rsa_key, passphrase=b"secret"), "passphrase"),
        ("RS256", pem(large), "4608 bits"),
    ]:
        with pytest.raises(InvalidError) as caught:
            SigningKey(algorithm, text)
        assert words in str(caught.value)
        assert str(caught.value).startswith("signing_key: ")
        assert not text or text not in str(caught.value)


def test_a_weak_key_is_accepted_but_remarked(rsa_key: rsa.RSAPrivateKey) -> None:
    assert "8 bits is too short for HS256" in str(SigningKey("HS256", "YQ==").weakness)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    assert "1024 bits is too short for RS256" in str(SigningKey("RS256", pem(weak)).weakness)
    assert SigningKey("HS256", SECRET).weakness is None
    assert SigningKey("RS256", pem(rsa_key)).weakness is None


@pytest.mark.parametrize("use", [lambda: SigningKey("HS256", SECRET), lambda: public_half(NIX_SECRET)])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, use: t.Callable[[], t.Any]) -> None:
    hide_library(monkeypatch, "PyJWT")
    with pytest.raises(NixciError, match="pip install PyJWT"):
        use()


# ---- keys of caches ----------------------------------------------------------------------------------------------


def test_the_public_half_is_the_one_that_nix_writes() -> None:
    assert public_half(NIX_SECRET) == NIX_PUBLIC
    check_public_key("replace_public_key", NIX_PUBLIC)


def named(raw: bytes, name: str = "own-1") -> str:
    return f"{name}:{base64.b64encode(raw).decode()}"


def test_key_pairs_that_would_not_work_are_one_sentence_without_the_key() -> None:
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    good = named(seed + public)
    assert public_half(good) == named(public)
    for text, words in [
        (named(seed + bytes(32)), "its public half does not belong to its secret half"),
        (named(public), "this is a public key, but a key pair with its secret is needed"),
        (named(seed + public, "two words"), "not a name, a colon and base64 of 64 bytes"),
        (named(seed + public, ""), "not a name, a colon"),
        (f"a:{good}", "not a name, a colon"),
        (good.partition(":")[2], "not a name, a colon"),
        (good.removesuffix("="), "not a name, a colon"),
        (named(seed + public + b"x"), "not a name, a colon"),
        ("own-1:", "not a name, a colon"),
        ("", "nix-store --generate-binary-cache-key"),
    ]:
        with pytest.raises(InvalidError) as caught:
            public_half(text)
        assert words in str(caught.value)
        assert base64.b64encode(seed).decode()[:20] not in str(caught.value)


def test_a_secret_in_the_place_of_a_public_key_is_recognised() -> None:
    with pytest.raises(InvalidError, match="this is a secret key pair, but a public key is needed") as caught:
        check_public_key("replace_public_key", NIX_SECRET)
    assert NIX_SECRET[10:30] not in str(caught.value)
    with pytest.raises(InvalidError, match="replace_public_key: this is not a name, a colon and base64 of 32 bytes"):
        check_public_key("replace_public_key", "name:AAAA")
