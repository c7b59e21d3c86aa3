# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value of a secret reference in an item that has been fetched. Private: may change without notice.

All back ends return whole items, so attributes and file names are resolved here, in the same way for each of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable

from ...module_utils._core.deps import optional, require
from ...module_utils._core.errors import InvalidError
from ...module_utils._onepassword.item import FieldNotFoundError, Item, Json, choose, fold
from .reference import Reference

with optional("cryptography"):
    from cryptography.hazmat.primitives import serialization

FIELD_ATTRIBUTES = ("value", "otp", "type", "id", "purpose")
FILE_ATTRIBUTES = ("id", "name", "size")
SSH_MAGIC = b"openssh-key-v1\0"


def value_of(reference: Reference, item: Item, content: Callable[[Json], bytes]) -> bytes:
    """The value; `content` fetches that of a file. A field comes before a file of the same name, as in 1Password."""
    field = item.find(reference.field, reference.section)
    if field is not None:
        return field_value(reference, field).encode()
    file = find_file(reference, item)
    if file is None:
        raise FieldNotFoundError(f"'{reference}': item '{item.title}' ({item.id}) has no such field or file.")
    if reference.attribute in ("value", "content"):
        return content(file)
    if reference.attribute not in FILE_ATTRIBUTES:
        raise InvalidError(f"'{reference}': a file has only content, {', '.join(FILE_ATTRIBUTES)}.")
    return str(file.get(reference.attribute, "")).encode()


def field_value(reference: Reference, field: Json) -> str:
    if reference.attribute == "otp":
        if field.get("type") != "OTP":
            raise InvalidError(f"'{reference}': the field is not a one-time password.")
        if not field.get("totp"):
            raise InvalidError(
                f"'{reference}': 1Password computes no code for this field; check its secret in the app."
            )
        return str(field["totp"])
    if reference.attribute == "openssh":
        if field.get("type") != "SSHKEY":
            raise InvalidError(f"'{reference}': the field is not the private key of an SSH key item.")
        return openssh(reference, str(field.get("value") or ""))
    if reference.attribute not in FIELD_ATTRIBUTES:
        raise InvalidError(f"'{reference}': a field has only {', '.join(FIELD_ATTRIBUTES)}.")
    return str(field.get(reference.attribute) or "")


def find_file(reference: Reference, item: Item) -> Json | None:
    """Files are found like fields: outside any section first, then unique in all sections."""
    files: list[Json] = item.document.get("files") or []
    if reference.section:
        section = fold(reference.section)
        groups = [[file for file in files if section in [fold(name) for name in item.section_of(file) if name]]]
    else:
        groups = [[file for file in files if not item.section_of(file)[0]], files]
    what = f"File '{reference.field}' of item '{item.title}' ({item.id})"
    for group in groups:
        hit = choose(what, group, reference.field, lambda file: (file.get("id") or "", file.get("name") or ""))
        if hit is not None:
            return hit
    return None


def openssh(reference: Reference, key: str) -> str:
    """A private key, which 1Password stores as PKCS#8, in OpenSSH's format; always the same text for the same key."""
    require("cryptography", "ssh-format=openssh")
    load = serialization.load_ssh_private_key if "OPENSSH" in key[:40] else serialization.load_pem_private_key
    try:
        loaded = load(key.encode(), password=None)
        text = loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    except Exception:  # of many types; none may be shown because it may quote the key
        raise InvalidError(
            f"'{reference}': the field does not hold a private key that can be converted to OpenSSH's format."
        ) from None
    return _deterministic(text)


def _deterministic(text: bytes) -> str:
    """The format contains a random check number twice, so a file with the key would change in each run.

    It detects a wrong passphrase, and there is none here: derive it from the public key instead.
    Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
    """
    blob = bytearray(binascii.a2b_base64(b"".join(text.split(b"\n")[1:-2])))
    position = len(SSH_MAGIC)
    for _cipher_kdf_options in range(3):
        position += 4 + struct.unpack_from(">I", blob, position)[0]
    position += 4  # the number of keys
    size = struct.unpack_from(">I", blob, position)[0]
    public = bytes(blob[position + 4 : position + 4 + size])
    position += 4 + size + 4  # the public key, and the size of the private part
    blob[position : position + 8] = hashlib.sha256(public).digest()[:4] * 2
    encoded = base64.b64encode(blob).decode()
    lines = [encoded[start : start + 70] for start in range(0, len(encoded), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])
