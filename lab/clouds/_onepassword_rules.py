# SPDX-License-Identifier: GPL-3.0-or-later
"""What the double of 1Password accepts, refuses and computes; stateless."""

from __future__ import annotations

import base64
import binascii
import copy
import datetime
import hashlib
import hmac
import re
import secrets
import string
import struct
import time
import typing as t
import urllib.parse

from flask import request

Json = dict[str, t.Any]

ID = re.compile(r"[\da-z]{26}", re.ASCII)
FILTER = re.compile(r'(\w+) eq "([^"\'\\]*)"')
# Members that the server derives. The vendor's own clients send them back, and they have no effect.
READ_ONLY = {"id", "createdAt", "updatedAt", "lastEditedBy", "version", "state", "files", "trashed"}
READ_ONLY_FIELD = {"entropy", "passwordDetails", "totp", "reference"}
CREATABLE = {"API_CREDENTIAL", "LOGIN", "PASSWORD", "SECURE_NOTE", "SERVER", "DATABASE"}
# The types of the published API, with OTP as its server spells it (https://github.com/1Password/connect/pull/26).
CONNECT_TYPES = {"STRING", "EMAIL", "CONCEALED", "URL", "OTP", "DATE", "MONTH_YEAR", "MENU"}
# https://developer.1password.com/docs/cli/item-fields/
CLI_TYPES = CONNECT_TYPES | {"PHONE"}
PURPOSES = {"", "USERNAME", "PASSWORD", "NOTES"}
MONTH_YEAR = re.compile(r"[1-9]\d{3}(0[1-9]|1[0-2])", re.ASCII)
SECONDS = re.compile(r"-?\d{1,11}", re.ASCII)
CHARACTERS = {"LETTERS": string.ascii_letters, "DIGITS": string.digits, "SYMBOLS": "!@.-_*"}
NOON = datetime.time(12, 1, tzinfo=datetime.UTC)  # when the web application lets a day begin


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
    match = FILTER.fullmatch(text)
    if not match or match[1] not in attributes:
        raise Refusal(400, "Invalid filter")
    return lambda names: match[2] in names[match[1]]


def body() -> t.Any:
    """The JSON of the request, None if it is not JSON."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None


def checked(vault_id: str, before: Json | None, types: set[str], zone: datetime.tzinfo) -> Json:
    """The stored part of the body of a write, or a refusal. `zone` is where the server is."""
    document = body()
    if not isinstance(document, dict):
        raise Refusal(400, "Invalid item: body is not a JSON object")
    shape(document)
    if (document.get("vault") or {}).get("id") != vault_id:
        raise Refusal(400, "Invalid item: vault does not match")
    if not document.get("title"):
        raise invalid("title is required")
    if before is None and document.get("category") not in CREATABLE:
        raise Refusal(400, "Invalid item: category cannot be created")
    if before is not None and (document.get("id"), document.get("category")) != (before["id"], before["category"]):
        raise Refusal(400, "Invalid item: id and category cannot change")
    document = {key: value for key, value in copy.deepcopy(document).items() if key not in READ_ONLY}
    fields, sections = document.get("fields") or [], document.get("sections") or []
    known = {section.get("id") for section in sections}
    stored = {field["id"]: (field["type"], field.get("value")) for field in (before or {}).get("fields", [])}
    for number, field in enumerate(fields):
        for name in READ_ONLY_FIELD & field.keys():
            del field[name]
        if field.get("section") and field["section"].get("id") not in known:
            raise Refusal(400, "Invalid item: field names an unknown section")
        check_type(number, field, types)
        # What the item holds already was accepted once.
        if field.get("generate") or stored.get(field.get("id")) != (field.get("type") or "STRING", field.get("value")):
            check_value(number, field, zone)
        field.pop("generate", None)
        field.pop("recipe", None)
    purposes = [field["purpose"] for field in fields if field.get("purpose")]
    for purpose in set(purposes):
        if purposes.count(purpose) > 1:
            name = purpose.lower()
            raise Refusal(
                400, f'Validation: (too many "{name}" fields in Apply()), You can only use one "{name}" field.'
            )
    passwords = [field for field in fields if field.get("purpose") == "PASSWORD" and field.get("value")]
    if document["category"] == "PASSWORD" and not passwords:
        raise invalid("a password item requires a field with the purpose PASSWORD")
    return document


def shape(document: Json) -> None:
    """Refuse JSON that does not have the types of the API."""
    kinds: dict[str, type] = {"title": str, "category": str, "id": str, "vault": dict, "favorite": bool}
    lists: dict[str, type] = {"tags": str, "urls": dict, "sections": dict, "fields": dict}
    texts = ("id", "type", "purpose", "label", "value")
    parts = [(document, kinds), (document, dict.fromkeys(lists, list))]
    for name, kind in lists.items():
        members = document.get(name)
        if isinstance(members, list) and not all(isinstance(member, kind) for member in members):
            raise Refusal(400, f"Invalid item: {name} has a member of a wrong type")
    for field in document.get("fields") if isinstance(document.get("fields"), list) else []:
        parts.append((field, {**dict.fromkeys(texts, str), "section": dict, "recipe": dict, "generate": bool}))
    for name in ("sections", "urls"):
        for part in document.get(name) if isinstance(document.get(name), list) else []:
            parts.append((part, dict.fromkeys(("id", "label", "href"), str)))
    for part, expected in parts:
        for name, kind in expected.items():
            if part.get(name) is not None and not isinstance(part[name], kind):
                raise Refusal(400, f"Invalid item: {name} has a wrong type")
    for section in [
        *(document.get("sections") or []),
        *((f.get("section") or {}) for f in document.get("fields") or []),
    ]:
        if section and not isinstance(section.get("id"), str):
            raise Refusal(400, "Invalid item: a section needs an id")
    if not isinstance((document.get("vault") or {}).get("id", ""), str):
        raise Refusal(400, "Invalid item: id has a wrong type")


def invalid(why: str) -> Refusal:
    """A refusal in the form of Connect's validator."""
    return Refusal(
        400,
        "Validation: (validateVaultItem failed to Validate), Couldn't validate the item: "
        f'"[ItemValidator] has found 1 errors, 0 warnings: \\nErrors:{{1. {why}}}"',
    )


def check_type(number: int, field: Json, types: set[str]) -> None:
    where = f"details.sections[0].fields[{number}]"
    kind, purpose = field.get("type") or "STRING", field.get("purpose") or ""
    if kind not in types:
        raise invalid(f"{where} has unsupported field type: {kind.lower()}")
    if purpose not in PURPOSES:
        raise invalid(f"{where} has unsupported purpose: {purpose}")


def check_value(number: int, field: Json, zone: datetime.tzinfo) -> None:
    """Check the value, and give the field the one that is stored."""
    where, kind = f"details.sections[0].fields[{number}]", field.get("type") or "STRING"
    if field.get("generate") and not field.get("value"):
        field["value"] = generated(field.get("recipe") or {})
    value = field.get("value") or ""
    if value and kind == "OTP" and otp_key(value) is None:
        raise invalid(f"{where} has a malformed one-time password")
    if value and kind == "MONTH_YEAR" and not MONTH_YEAR.fullmatch(value):
        raise invalid(f"{where} has a malformed month")
    if value and kind == "DATE":
        try:
            field["value"] = value if SECONDS.fullmatch(value) else midnight(value, zone)
        except ValueError:
            raise invalid(f"{where} has a malformed date") from None


def generated(recipe: Json) -> str:
    length, sets = recipe.get("length") or 32, recipe.get("characterSets") or list(CHARACTERS)
    if not isinstance(length, int) or not 1 <= length <= 64 or not isinstance(sets, list):
        raise Refusal(400, "Invalid item: recipe")
    if not all(isinstance(name, str) and name in CHARACTERS for name in sets):
        raise Refusal(400, "Invalid item: recipe")
    left = set("".join(CHARACTERS[name] for name in sets)) - set(str(recipe.get("excludeCharacters") or ""))
    if not left:
        raise Refusal(400, "Invalid item: recipe leaves no characters")
    return "".join(secrets.choice(sorted(left)) for _ in range(length))


def midnight(day: str, zone: datetime.tzinfo) -> str:
    """A day that is sent as text begins where the server is, which may be yesterday or tomorrow in UTC."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", day, re.ASCII):
        raise ValueError
    begin = datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time(tzinfo=zone))
    return str(int((begin - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()))


def noon(day: str) -> str:
    """A day as the web application and the SDK store it, in seconds."""
    begin = datetime.datetime.combine(datetime.date.fromisoformat(day), NOON)
    return str(int((begin - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()))


def day_of(seconds: str) -> str:
    begin = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=int(seconds))
    return begin.date().isoformat()


def sdk_value(kind: str, value: str) -> str:
    """A stored value as the SDK has it: days and months are texts of other forms."""
    if kind == "DATE" and SECONDS.fullmatch(value):
        return day_of(value)
    if kind == "MONTH_YEAR" and MONTH_YEAR.fullmatch(value):
        return f"{value[4:]}/{value[:4]}"
    return value


def shown(item: Json) -> Json:
    """An item as the API returns it: one-time passwords include their current code."""
    item = copy.deepcopy(item)
    for field in item["fields"]:
        if field["type"] == "OTP" and field.get("value"):
            code = one_time_code(field["value"])
            if code:
                field["totp"] = code
    return item


def otp_key(value: str) -> tuple[bytes, dict[str, str]] | None:
    """The key of a one-time password and its parameters; a URI, or the bare secret."""
    parameters: dict[str, str] = {}
    secret = value
    if value.startswith("otpauth://"):
        try:
            parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(value).query))
        except ValueError:
            return None
        secret = parameters.get("secret", "")
    secret = secret.replace(" ", "").rstrip("=")
    try:
        key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    except (binascii.Error, ValueError):
        return None
    return (key, parameters) if key else None


def one_time_code(value: str) -> str | None:
    """RFC 6238; None for a value from which no code can be computed."""
    found = otp_key(value)
    if found is None:
        return None
    key, parameters = found
    digits, period = parameters.get("digits", "6"), parameters.get("period", "30")
    algorithm = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}.get(
        parameters.get("algorithm", "SHA1").upper()
    )
    if digits not in ("6", "7", "8") or not re.fullmatch(r"[1-9]\d{0,4}", period, re.ASCII) or algorithm is None:
        return None
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // int(period)), algorithm).digest()
    start = digest[-1] & 15
    number = struct.unpack(">I", digest[start : start + 4])[0] & 0x7FFFFFFF
    return f"{number % 10 ** int(digits):0{digits}d}"
