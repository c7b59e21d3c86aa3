# SPDX-License-Identifier: GPL-3.0-or-later
"""What the double of 1Password accepts, refuses and computes; stateless."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import re
import struct
import time
import typing as t
import urllib.parse

from flask import request

Json = dict[str, t.Any]

ID = re.compile(r"^[\da-z]{26}$")
FILTER = re.compile(r'^(\w+) eq "([^"\'\\]*)"$')
# Members that the server derives and a write must not contain.
READ_ONLY = {"createdAt", "updatedAt", "lastEditedBy", "version", "state", "files"}
READ_ONLY_FIELD = {"entropy", "passwordDetails", "totp", "reference"}
CREATABLE = {"API_CREDENTIAL", "LOGIN", "PASSWORD", "SECURE_NOTE", "SERVER", "DATABASE"}


class Refusal(Exception):
    """A response that is not a success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def same(name: str, *names: str | None) -> bool:
    return name.casefold() in [other.casefold() for other in names if other]


def grant(tokens: dict[str, Json]) -> Json:
    """The rights of the token of the current request."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind != "Bearer" or token not in tokens:
        raise Refusal(401, "Invalid token signature")
    return tokens[token]


def parse_filter(text: str | None, attributes: set[str]) -> t.Callable[[dict[str, list[str]]], bool]:
    """The part of SCIM that Connect supports: attribute eq "value"."""
    if not text:
        return lambda names: True
    match = FILTER.match(text)
    if not match or match[1] not in attributes:
        raise Refusal(400, "Invalid filter")
    return lambda names: match[2] in names[match[1]]


def checked(vault_id: str, before: Json | None) -> Json:
    """The body of a write, or a refusal."""
    document = request.get_json(silent=True)
    if not isinstance(document, dict):
        raise Refusal(400, "Invalid item: body is not a JSON object")
    if (document.get("vault") or {}).get("id") != vault_id:
        raise Refusal(400, "Invalid item: vault does not match")
    if before is None and document.get("category") not in CREATABLE:
        raise Refusal(400, "Invalid item: category cannot be created")
    if before is not None and (document.get("id"), document.get("category")) != (before["id"], before["category"]):
        raise Refusal(400, "Invalid item: id and category cannot change")
    fields, sections = document.get("fields") or [], document.get("sections") or []
    if READ_ONLY & document.keys() or any(READ_ONLY_FIELD & field.keys() for field in fields):
        raise Refusal(400, "Invalid item: read-only member")
    if any(field.get("generate") for field in fields):
        raise Refusal(501, "This double generates no values")
    known = {section.get("id") for section in sections}
    if any(field.get("section") and field["section"].get("id") not in known for field in fields):
        raise Refusal(400, "Invalid item: field names an unknown section")
    return document


def shown(item: Json) -> Json:
    """An item as the API returns it: one-time passwords include their current code."""
    item = copy.deepcopy(item)
    for field in item["fields"]:
        if field["type"] == "OTP" and field.get("value"):
            field["totp"] = one_time_code(field["value"])
    return item


def one_time_code(uri: str) -> str:
    """RFC 6238 with its defaults: six digits, 30 seconds, SHA-1."""
    [secret] = urllib.parse.parse_qs(urllib.parse.urlsplit(uri).query)["secret"]
    key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"
