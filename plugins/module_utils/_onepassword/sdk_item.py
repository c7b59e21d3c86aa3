# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts between the items of the SDK and the JSON of Connect. Private: may change without notice.

The SDK names types and categories differently, keeps the notes beside the fields and has no purposes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t

from .dates import month_of, sdk_month_of
from .item import Json

NOTES = "notesPlain"
PURPOSES = {"username": "USERNAME", "password": "PASSWORD"}
# Names that differ by more than their spelling, unlike "MonthYear" for MONTH_YEAR.
TYPES = {"Text": "STRING", "Totp": "OTP", "SshKey": "SSHKEY"}
CATEGORIES = {
    "ApiCredentials": "API_CREDENTIAL",
    "Email": "EMAIL_ACCOUNT",
    "Rewards": "REWARD_PROGRAM",
    "Router": "WIRELESS_ROUTER",
}
# Attributes of a private key in the SDK; the other back ends have fields for them.
KEY_ATTRIBUTES = {"public_key": "public key", "fingerprint": "fingerprint", "key_type": "key type"}


def to_document(item: t.Any) -> Json:
    """An item of the SDK in the form of the other back ends."""
    category = _from_sdk(item.category.value, CATEGORIES)
    fields = [_field(field, category) for field in item.fields]
    labels = {field["label"] for field in fields}
    for field in item.fields:
        attributes = field.details.content if field.field_type.value == "SshKey" and field.details else None
        for name, label in KEY_ATTRIBUTES.items():
            if attributes and label not in labels:
                value = getattr(attributes, name)
                fields.append({"id": name, "label": label, "type": "STRING", "value": value, "derived": True})
    notes = {"id": NOTES, "label": NOTES, "type": "STRING", "purpose": "NOTES"}
    return {
        "id": item.id,
        "title": item.title,
        "category": category,
        "vault": {"id": item.vault_id},
        "version": item.version,
        "tags": list(item.tags),
        "sections": [{"id": section.id, "label": section.title} for section in item.sections],
        "fields": [*fields, {**notes, "value": item.notes} if item.notes else notes],
        "files": [
            *([_file(item.document)] if item.document else []),
            *(_file(file.attributes, file.section_id) for file in item.files),
        ],
        "urls": [{"href": site.url, "label": site.label} for site in item.websites],
    }


def _field(field: t.Any, category: str) -> Json:
    found: Json = {"id": field.id, "label": field.title, "type": _from_sdk(field.field_type.value, TYPES)}
    if field.value:
        found["value"] = _value(field)
    if field.section_id:
        found["section"] = {"id": field.section_id}
    if category in ("LOGIN", "PASSWORD") and field.id in PURPOSES:
        found["purpose"] = PURPOSES[field.id]
    code = getattr(field.details.content, "code", None) if field.details else None
    return {**found, "totp": code} if code else found


def _value(field: t.Any) -> t.Any:
    """The value in the notation of Connect and `op`; all of them have days as dates.py writes them."""
    return month_of(field.value) if field.field_type.value == "MonthYear" else field.value


def _file(attributes: t.Any, section_id: str | None = None) -> Json:
    found = {"id": attributes.id, "name": attributes.name, "size": attributes.size}
    return {**found, "section": {"id": section_id}} if section_id else found


def file_attributes(file: Json) -> t.Any:
    from onepassword.types import FileAttributes

    return FileAttributes(id=file["id"], name=file["name"], size=file["size"])


def new_item(vault_id: str, document: Json) -> t.Any:
    """The parameters that create an item."""
    from onepassword.types import ItemCategory, ItemCreateParams

    return ItemCreateParams(
        category=_to_sdk(ItemCategory, document["category"], CATEGORIES),
        vault_id=vault_id,
        title=document["title"],
        tags=document.get("tags") or [],
        **_content({}, document),
    )


def changed_item(item: t.Any, document: Json) -> t.Any:
    """The item with the content of the document; what only the SDK has, such as the rules of web sites, stays."""
    before = {field.id: field for field in item.fields}
    update = {"title": document["title"], "tags": document.get("tags") or [], **_content(before, document)}
    return item.model_copy(update=update)


def _content(before: dict[str, t.Any], document: Json) -> Json:
    """Fields, sections and notes; an existing field keeps its details."""
    from onepassword.types import ItemField, ItemFieldType, ItemSection

    fields = []
    for field in document.get("fields") or []:
        if field.get("purpose") == "NOTES" or field.get("derived"):
            continue
        old = before.get(field.get("id", ""))
        section_id = (field.get("section") or {}).get("id")
        content = {
            "title": field.get("label") or "",
            "section_id": section_id,
            "field_type": old.field_type
            if old and _from_sdk(old.field_type.value, TYPES) == field["type"]
            else _to_sdk(ItemFieldType, field["type"], TYPES),
            "value": field.get("value") or "",
        }
        if old and old.value and content["value"] == _value(old):
            content["value"] = old.value
        elif field["type"] == "MONTH_YEAR":
            content["value"] = sdk_month_of(content["value"])
        new_id = field.get("id") or _id_for(section_id or "", content["title"])
        fields.append(old.model_copy(update=content) if old else ItemField(id=new_id, **content))
    notes = [field.get("value") or "" for field in document.get("fields") or [] if field.get("purpose") == "NOTES"]
    sections = [ItemSection(id=part["id"], title=part.get("label") or "") for part in document.get("sections") or []]
    return {"fields": fields, "sections": sections, "notes": "".join(notes)}


def _id_for(section_id: str, label: str) -> str:
    """The SDK requires an ID for a new field and accepts any."""
    return base64.b32encode(hashlib.sha256(f"{section_id}/{label}".encode()).digest()).decode().lower()[:26]


def _from_sdk(name: str, special: dict[str, str]) -> str:
    return special.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _to_sdk(kind: t.Any, name: str, special: dict[str, str]) -> t.Any:
    return next(member for member in kind if _from_sdk(member.value, special) == name)
