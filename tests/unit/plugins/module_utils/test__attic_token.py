# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils import _attic_token
from ansible_collections.pantheros.nixci.plugins.module_utils._attic_token import (
    CLAIM,
    SigningKey,
    grants,
    malformed,
    read_claims,
    rights_on,
    same_grants,
    unreachable,
    untimely,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._errors import InvalidError, NixciError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

# Minted by atticadm with a throw-away secret, bound to an issuer and one audience.
SECRET = "YSBzZWNyZXQgb2YgZXhhY3RseSAzMiBieXRlcywgb2s="
FROM_ATTICADM = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTgyNDAyNzgsIm5iZiI6MTc5NTQzNzQ2MiwiaXNzIjoibml4Y2kiLCJzdWIi"
    "OiJjaSIsImF1ZCI6WyJmbGVldCJdLCJodHRwczovL2p3dC5hdHRpYy5ycy92MSI6eyJjYWNoZXMiOnsiY2ktKiI6eyJyIjoxLCJjcSI6MX0sIioi"
    "OnsiciI6MX0sImNpLWNhY2hlIjp7InciOjF9fX19.Sc4Qup7XGh3Iszde0bzeZVvoffYsrLpit_uW52AgPwQ"
)


def pem(key: t.Any, form: str = "TraditionalOpenSSL", passphrase: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), lock)
    return base64.b64encode(text).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_minting_equals_the_server_s_own_byte_for_byte() -> None:
    key = SigningKey("HS256", SECRET)
    assert key.verify(FROM_ATTICADM)["iss"] == "nixci"
    claims = {
        "exp": 1798240278,
        "nbf": 1795437462,
        "iss": "nixci",
        "sub": "ci",
        "aud": ["fleet"],
        CLAIM: {"caches": {"ci-*": {"r": 1, "cq": 1}, "*": {"r": 1}, "ci-cache": {"w": 1}}},
    }
    assert key.mint(claims) == FROM_ATTICADM


@pytest.mark.parametrize("form", ["TraditionalOpenSSL", "PKCS8"])
def test_rs256_keys_in_both_pem_forms_mint_and_verify(rsa_key: rsa.RSAPrivateKey, form: str) -> None:
    key = SigningKey("RS256", pem(rsa_key, form))
    claims = {"sub": "ci", CLAIM: {"caches": {}}}
    assert key.verify(key.mint(claims)) == claims


def test_verifying_says_what_is_wrong(rsa_key: rsa.RSAPrivateKey) -> None:
    key, other = SigningKey("HS256", SECRET), SigningKey("HS256", base64.b64encode(b"o" * 32).decode())
    with pytest.raises(InvalidError, match="another key"):
        other.verify(FROM_ATTICADM)
    with pytest.raises(InvalidError, match="not signed with RS256"):
        SigningKey("RS256", pem(rsa_key)).verify(FROM_ATTICADM)
    for text in ("", "token", "a.b.c", FROM_ATTICADM.rsplit(".", 1)[0]):
        with pytest.raises(InvalidError, match="not a token"):
            key.verify(text)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "no permissions"),
        ({CLAIM: {}}, "no permissions"),
        ({CLAIM: {"caches": {"a/b": {"r": 1}}}}, "'a/b' are malformed"),
        ({CLAIM: {"caches": {"a": 1}}}, "'a' are malformed"),
        ({CLAIM: {"caches": {"a": {"r": True}}}}, "not the numbers"),
        ({CLAIM: {"caches": {"a": {"r": 2}}}}, "not the numbers"),
        ({CLAIM: {"caches": {"a": {"r": 1.0}}}}, "not the numbers"),
        ({CLAIM: {"caches": {}}, "exp": None}, "exp is not a number"),
        ({CLAIM: {"caches": {}}, "nbf": True}, "nbf is not a number"),
        ({CLAIM: {"caches": {}}, "aud": [1]}, "not text"),
        ({CLAIM: {"caches": {}}, "sub": 5}, "not text"),
        ({CLAIM: {"caches": {"a": {"r": 1, "future": True}}}, "iss": None, "aud": "x"}, None),
    ],
)
def test_claims_that_the_server_ignores_are_recognised(claims: dict[str, t.Any], reason: str | None) -> None:
    found = malformed(claims)
    assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, None),
        ({"exp": 1100, "nbf": 1000}, None),
        ({"exp": 1099}, "less than 1m 40s from now"),
        ({"exp": 999}, "it expired on 1970-01-01 00:16:39 UTC"),
        ({"nbf": 1001}, "not valid before"),
        ({"iat": 1001}, "not valid before"),
        ({"exp": 1e300}, None),
        ({"nbf": 1e300}, "not valid before second 1e+300"),
    ],
)
def test_times_are_judged_without_any_tolerance(claims: dict[str, t.Any], reason: str | None) -> None:
    found = untimely(claims, 1000, renew_before=100)
    assert found is None if reason is None else reason in str(found)


def test_the_exact_name_wins_then_the_first_pattern_and_nothing_is_added_up() -> None:
    caches = {"*": {"r": 1}, "ci-*": {"w": 1}, "ci-x": {"cd": 1}, "closed": {}}
    assert rights_on(caches, "ci-x") == {"destroy_cache"}
    assert rights_on(caches, "ci-y") == {"pull"}
    assert rights_on(caches, "closed") == set()
    assert rights_on({"ci-*": {"w": 1}}, "prod") == set()
    assert rights_on({"*x*": {"r": 1}}, "x") == {"pull"}
    assert unreachable(caches) == [("ci-*", "*")]
    assert unreachable({"ci-*": {}, "*": {}, "ci-x": {}}) == []


def test_order_matters_among_patterns_only() -> None:
    assert same_grants({"a": {"r": 1}, "b": {}}, {"b": {"w": 0}, "a": {"r": 1}})
    assert same_grants({"*": {"r": 1}, "a": {"r": 1}}, {"a": {"r": 1}, "*": {"r": 1}})
    assert not same_grants({"a*": {"r": 1}, "*": {}}, {"*": {}, "a*": {"r": 1}})
    assert not same_grants({"a": {"r": 1}}, {"a": {"r": 1, "w": 1}})


def test_only_granted_rights_are_written_as_numbers_in_the_given_order() -> None:
    claim = grants([{"caches": "b*", "push": True, "pull": True}, {"caches": "a", "pull": False}])
    assert list(claim.items()) == [("b*", {"r": 1, "w": 1}), ("a", {})]
    assert list(claim["b*"]) == ["r", "w"]
    assert type(claim["b*"]["r"]) is int


@pytest.mark.parametrize("pattern", ["", "-a", "a b", "a/b", "a" * 51, "ä"])
def test_patterns_that_the_server_refuses_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidError, match="is not a pattern"):
        grants([{"caches": pattern}])


def test_a_pattern_twice_is_refused() -> None:
    with pytest.raises(InvalidError, match="'a' is listed twice"):
        grants([{"caches": "a"}, {"caches": "a", "pull": True}])


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


def test_a_short_secret_is_accepted_but_remarked() -> None:
    assert SigningKey("HS256", "YQ==").weakness is not None
    assert SigningKey("HS256", SECRET).weakness is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_attic_token, "jwt", None)
    with pytest.raises(NixciError, match="pip install PyJWT cryptography"):
        SigningKey("HS256", SECRET)


def test_unreadable_tokens_are_no_claims() -> None:
    for text in ("", "opaque", "a.b", "a.W10.c", "a.\u00e4\u00f6.c"):
        assert read_claims(text) is None
