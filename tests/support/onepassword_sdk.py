# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the client of 1Password's SDK, with the SDK's types and error messages and the vaults of the double.

A service account signs in with SRP and everything after that is encrypted, so no server can stand in for 1Password.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import typing as t

from onepassword import types as sdk

from lab.clouds._onepassword_rules import noon, sdk_value, shown
from lab.clouds.onepassword import OnePasswordDouble

Json = dict[str, t.Any]
T = t.TypeVar("T", sdk.Item, sdk.ItemCreateParams)

NOT_AUTHENTICATED = "authentication error: you are not authenticated"
NO_RIGHT = "you don't have the right permissions to access this resource"
WRONG_VERSION = "itemStatusIncorrectItemVersion"
CONFLICT = "Server error: data conflict occurred on the server: performing a vault operation"
DAY, MONTH = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII), re.compile(r"(0[1-9]|1[0-2])/([1-9]\d{3})", re.ASCII)
TYPES = {
    "STRING": sdk.ItemFieldType.TEXT,
    "CONCEALED": sdk.ItemFieldType.CONCEALED,
    "URL": sdk.ItemFieldType.URL,
    "EMAIL": sdk.ItemFieldType.EMAIL,
    "OTP": sdk.ItemFieldType.TOTP,
    "SSHKEY": sdk.ItemFieldType.SSHKEY,
    "MONTH_YEAR": sdk.ItemFieldType.MONTHYEAR,
    "DATE": sdk.ItemFieldType.DATE,
    "MENU": sdk.ItemFieldType.MENU,
    "PHONE": sdk.ItemFieldType.PHONE,
    "ADDRESS": sdk.ItemFieldType.ADDRESS,
}
CATEGORIES = {
    "API_CREDENTIAL": sdk.ItemCategory.APICREDENTIALS,
    "DATABASE": sdk.ItemCategory.DATABASE,
    "LOGIN": sdk.ItemCategory.LOGIN,
    "PASSWORD": sdk.ItemCategory.PASSWORD,
    "SERVER": sdk.ItemCategory.SERVER,
    "SECURE_NOTE": sdk.ItemCategory.SECURENOTE,
    "DOCUMENT": sdk.ItemCategory.DOCUMENT,
}
NOW = "2026-01-01T00:00:00Z"  # the types expect the JSON of the service


def sdk_token(url: str) -> str:
    """A token that the SDK accepts; it contains the address of the service."""
    content = {
        "signInAddress": url,
        "userAuth": {"method": "SRPg-4096", "alg": "PBES2g-HS256", "iterations": 650000, "salt": "a" * 22},
        "email": "robot@1passwordserviceaccounts.com",
        "srpX": "ab" * 32,
        "muk": {"alg": "A256GCM", "ext": True, "k": "a" * 43, "key_ops": ["decrypt"], "kty": "oct", "kid": "mp"},
        "secretKey": "A3-AAAAAA-AAAAAA-AAAAA-AAAAA-AAAAA-AAAAA",
        "throttleSecret": {"seed": "ab" * 32, "uuid": "A" * 26},
        "deviceUuid": "a" * 26,
    }
    return "ops_" + base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


class StandIn:
    """`authenticate` replaces that of the SDK; `log` lists the requests, and `conflicts` is how many writes to refuse."""

    def __init__(self, double: OnePasswordDouble, conflicts: int = 0) -> None:
        self.double, self.conflicts = double, conflicts
        self.log: list[str] = []

    async def authenticate(self, token: str) -> Client:
        self.log.append("sign in")
        if token not in self.double.service_accounts:
            raise Exception(NOT_AUTHENTICATED)
        return Client(self, self.double.service_accounts[token]["vaults"])


class Client:
    def __init__(self, owner: StandIn, scope: dict[str, str]) -> None:
        self.vaults = Vaults(owner, scope)
        self.items = Items(owner, scope)


class Part:
    def __init__(self, owner: StandIn, scope: dict[str, str]) -> None:
        self.owner, self.double, self.log, self.scope = owner, owner.double, owner.log, scope

    def items_of(self, vault_id: str, write: bool = False) -> dict[str, Json]:
        right = self.scope.get(self.double.vaults.get(vault_id, ""))
        if right is None or (write and right == "read"):
            raise Exception(NO_RIGHT)
        if write and self.owner.conflicts:
            self.owner.conflicts -= 1
            raise Exception(CONFLICT)
        return self.double.items[vault_id]


class Vaults(Part):
    async def list(self) -> list[sdk.VaultOverview]:
        self.log.append("list vaults")
        unused = {"description": "", "vault_type": "userCreated", "created_at": NOW, "updated_at": NOW}
        counts = {"active_item_count": 0, "content_version": 1, "attribute_version": 1}
        return [
            sdk.VaultOverview.model_construct(id=vault_id, title=name, **unused, **counts)
            for vault_id, name in self.double.vaults.items()
            if name in self.scope
        ]


class Items(Part):
    def __init__(self, owner: StandIn, scope: dict[str, str]) -> None:
        super().__init__(owner, scope)
        self.files = Files(owner, scope)

    async def list(self, vault_id: str) -> list[sdk.ItemOverview]:
        self.log.append("list items")
        return [
            sdk.ItemOverview(
                id=item["id"],
                title=item["title"],
                category=CATEGORIES[item["category"]],
                vault_id=vault_id,
                websites=[],
                tags=item["tags"],
                created_at=NOW,
                updated_at=NOW,
                state=sdk.ItemState.ARCHIVED if item.get("state") == "ARCHIVED" else sdk.ItemState.ACTIVE,
            )
            for item in self.items_of(vault_id).values()
        ]

    async def get(self, vault_id: str, item_id: str) -> sdk.Item:
        self.log.append("get item")
        return to_sdk(shown(self.items_of(vault_id)[item_id]))

    async def create(self, params: sdk.ItemCreateParams) -> sdk.Item:
        self.log.append("create item")
        self.items_of(params.vault_id, write=True)
        params = sent(params)
        return to_sdk(shown(self.double._store(params.vault_id, from_sdk(params), None)))

    async def put(self, item: sdk.Item) -> sdk.Item:
        self.log.append("put item")
        item = sent(item)
        before = self.items_of(item.vault_id, write=True)[item.id]
        if before["version"] != item.version:
            raise Exception(WRONG_VERSION)
        return to_sdk(shown(self.double._store(item.vault_id, from_sdk(item), before)))

    async def delete(self, vault_id: str, item_id: str) -> None:
        self.log.append("delete item")
        del self.items_of(vault_id, write=True)[item_id]

    async def archive(self, vault_id: str, item_id: str) -> None:
        self.log.append("archive item")
        self.items_of(vault_id, write=True)[item_id]["state"] = "ARCHIVED"


class Files(Part):
    async def read(self, vault_id: str, item_id: str, attributes: sdk.FileAttributes) -> bytes:
        self.log.append("read file")
        assert attributes.id in [file["id"] for file in self.items_of(vault_id)[item_id]["files"]]
        return self.double.contents[attributes.id]


def sent(model: T) -> T:
    """The model as it arrives in the core of the SDK, which receives JSON."""
    return type(model).model_validate_json(json.dumps(model.model_dump(by_alias=True)))


def to_sdk(item: Json) -> sdk.Item:
    fields = []
    for field in item["fields"]:
        if field.get("purpose") == "NOTES":
            continue
        details = None
        if field["type"] == "OTP":
            details = sdk.ItemFieldDetailsOtp(content=sdk.OtpFieldDetails(code=field.get("totp")))
        if field["type"] == "SSHKEY":
            attributes = sdk.SshKeyAttributes(public_key="ssh-ed25519 AAAA", fingerprint="SHA256:x", key_type="ed25519")
            details = sdk.ItemFieldDetailsSshKey(content=attributes)
        fields.append(
            sdk.ItemField(
                id=field["id"],
                title=field["label"],
                section_id=(field.get("section") or {}).get("id"),
                field_type=TYPES[field["type"]],
                value=sdk_value(field["type"], field.get("value", "")),
                details=details,
            )
        )
    files, document = [], None
    for file in item.get("files", []):
        attributes = sdk.FileAttributes(id=file["id"], name=file["name"], size=file["size"])
        if item["category"] == "DOCUMENT":
            document = attributes
        else:
            section_id = (file.get("section") or {}).get("id", "")
            files.append(sdk.ItemFile(attributes=attributes, section_id=section_id, field_id=file["id"]))
    return sdk.Item(
        id=item["id"],
        title=item["title"],
        category=CATEGORIES[item["category"]],
        vault_id=item["vault"]["id"],
        fields=fields,
        sections=[sdk.ItemSection(id=part["id"], title=part.get("label", "")) for part in item["sections"]],
        notes=next((field.get("value", "") for field in item["fields"] if field.get("purpose") == "NOTES"), ""),
        tags=item["tags"],
        websites=[],
        version=item["version"],
        files=files,
        document=document,
        created_at=NOW,
        updated_at=NOW,
    )


def stored(field: sdk.ItemField) -> str:
    """The value as 1Password stores it; the SDK takes days and months in its own form only."""
    if field.field_type == sdk.ItemFieldType.DATE and field.value:
        if not DAY.fullmatch(field.value):
            raise Exception("invalid item: the date is not valid")
        return noon(field.value)
    if field.field_type == sdk.ItemFieldType.MONTHYEAR and field.value:
        match = MONTH.fullmatch(field.value)
        if match is None:
            raise Exception("invalid item: the month and year are not valid")
        return match[2] + match[1]
    return t.cast(str, field.value)


def from_sdk(item: sdk.Item | sdk.ItemCreateParams) -> Json:
    names = {kind: name for name, kind in TYPES.items()}
    fields: list[Json] = []
    for field in item.fields or []:
        section = {"section": {"id": field.section_id}} if field.section_id else {}
        value = stored(field)
        content = {"id": field.id, "label": field.title, "type": names[field.field_type], "value": value}
        fields.append({**content, **section})
    assert len({field["id"] for field in fields}) == len(fields), "the SDK refuses two fields with one ID"
    known = {section.id for section in item.sections or []}
    assert all("section" not in field or field["section"]["id"] in known for field in fields)
    if item.notes:
        fields.append(
            {"id": "notesPlain", "label": "notesPlain", "type": "STRING", "purpose": "NOTES", "value": item.notes}
        )
    return copy.deepcopy(
        {
            "title": item.title,
            "category": next(name for name, kind in CATEGORIES.items() if kind == item.category),
            "tags": item.tags or [],
            "sections": [{"id": section.id, "label": section.title} for section in item.sections or []],
            "fields": fields,
        }
    )
