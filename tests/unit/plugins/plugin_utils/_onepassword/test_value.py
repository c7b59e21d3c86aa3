# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError, NixciError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import (
    AmbiguousError,
    FieldNotFoundError,
    Item,
)
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.reference import parse
from ansible_collections.pantheros.nixci.plugins.plugin_utils._onepassword.value import value_of
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.support.collection import hide_library

NO_SECTION = {"section": {"id": "add more"}}
ITEM: dict[str, t.Any] = {
    "id": "i" * 26,
    "title": "Item",
    "vault": {"id": "v" * 26},
    "sections": [{"id": "add more"}, {"id": "s1", "label": "Prod"}, {"id": "s2", "label": "Test"}],
    "fields": [
        {"id": "a", "label": "both", "type": "STRING", "value": "a field"},
        {"id": "b", "label": "made in the app", "type": "CONCEALED", "value": "outside", **NO_SECTION},
        {"id": "c", "label": "made in the app", "type": "CONCEALED", "value": "inside", "section": {"id": "s1"}},
        {"id": "d", "label": "twice", "type": "CONCEALED", "value": "1", "section": {"id": "s1"}},
        {"id": "e", "label": "twice", "type": "CONCEALED", "value": "2", "section": {"id": "s2"}},
        {"id": "f", "label": "Case", "type": "CONCEALED", "value": "upper"},
        {"id": "g", "label": "case", "type": "CONCEALED", "value": "lower"},
        {"id": "h", "label": "g", "type": "CONCEALED", "value": "labelled like an ID"},
        {"id": "o", "label": "broken", "type": "OTP", "value": "otpauth://totp/x"},
    ],
    "files": [
        {"id": "x", "name": "both", "size": 1},
        {"id": "y", "name": "a.pem", "size": 2, **NO_SECTION},
        {"id": "z", "name": "a.pem", "size": 3, "section": {"id": "s1"}},
        {"id": "w", "name": "b.pem", "size": 4, "section": {"id": "s1"}},
        {"id": "q", "name": "b.pem", "size": 5, "section": {"id": "s2"}},
    ],
}


def get(reference: str, document: dict[str, t.Any] = ITEM) -> str:
    return value_of(parse(f"op://v/i/{reference}"), Item(document), lambda file: f"file {file['id']}".encode()).decode()


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("both", "a field"),
        ("made in the app", "outside"),
        ("Prod/made in the app", "inside"),
        ("s1/MADE IN THE APP", "inside"),
        ("test/twice", "2"),
        ("Case", "upper"),
        ("case", "lower"),
        ("g", "lower"),
        ("x", "file x"),
        ("a.pem", "file y"),
        ("A.PEM", "file y"),
        ("prod/a.pem", "file z"),
        ("z?attribute=name", "a.pem"),
        ("s2/b.pem?attribute=size", "5"),
        ("a.pem?attribute=content", "file y"),
        ("both?attribute=id", "a"),
        ("both?attribute=purpose", ""),
    ],
)
def test_what_a_reference_means(reference: str, expected: str) -> None:
    assert get(reference) == expected


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("CASE", AmbiguousError, "use the ID of one of f, g"),
        ("twice", AmbiguousError, "use the ID of one of d, e"),
        ("b.pem", AmbiguousError, "use the ID of one of q, w"),
        ("nothing", FieldNotFoundError, "has no such field or file"),
        ("Nowhere/both", FieldNotFoundError, "has no such field or file"),
        ("add more/b", FieldNotFoundError, "has no such field or file"),
        ("a.pem?attribute=type", InvalidError, "a file has only content, id, name, size"),
        ("a.pem?attribute=otp", InvalidError, "a file has only"),
        ("both?attribute=size", InvalidError, "a field has only"),
        ("both?attribute=otp", InvalidError, "not a one-time password"),
        ("broken?attribute=otp", InvalidError, "1Password computes no code"),
        ("both?ssh-format=openssh", InvalidError, "not the private key of an SSH key item"),
    ],
)
def test_an_invalid_reference_is_an_error(reference: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        get(reference)
    assert not any(field.get("value", "-") in str(caught.value).split() for field in ITEM["fields"])


def pkcs8(key: t.Any) -> str:
    return t.cast(
        str,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def ssh_item(value: str) -> dict[str, t.Any]:
    return {**ITEM, "fields": [{"id": "k", "label": "private key", "type": "SSHKEY", "value": value}]}


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(public_exponent=65537, key_size=2048)],
    ids=["ed25519", "rsa"],
)
def test_a_private_key_is_given_as_openssh_writes_it(key: t.Any, tmp_path: pathlib.Path) -> None:
    text = get("private key?ssh-format=openssh", ssh_item(pkcs8(key)))
    loaded = serialization.load_ssh_private_key(text.encode(), None)
    assert pkcs8(loaded) == pkcs8(key)
    # The same text each time, or a file of it would change in each run; also from a key that has the format already.
    assert get("private key?ssh-format=openssh", ssh_item(pkcs8(key))) == text
    assert get("private key?ssh-format=openssh", ssh_item(text)) == text
    if not shutil.which("ssh-keygen"):
        return
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert shown.stdout.split()[:2] == public.decode().split()


@pytest.mark.parametrize("value", ["", "canary", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_is_not_shown(value: str) -> None:
    with pytest.raises(InvalidError, match="not hold a private key that can be converted") as caught:
        get("private key?ssh-format=openssh", ssh_item(value))
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library(monkeypatch, "cryptography")
    with pytest.raises(NixciError, match="needs the Python library cryptography"):
        get("private key?ssh-format=openssh", ssh_item("x"))
