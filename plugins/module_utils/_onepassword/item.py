# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An item, with fields found and changed as secret references name them. Private: may change without notice.

Connect and `op` use nearly the same JSON; the differences are handled here and nowhere else.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import typing as t
import unicodedata
from collections.abc import Callable, Iterable

from .._core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError

if t.TYPE_CHECKING:
    from .desired import DesiredField

Json = dict[str, t.Any]
T = t.TypeVar("T")

ID = re.compile(r"[\da-z]{26}", re.ASCII)
# Where the apps keep custom fields that the user put into no section.
NO_SECTION = "add more"
# The server derives these; Connect refuses a write that echoes them.
DERIVED = {"createdAt", "updatedAt", "lastEditedBy", "version", "state", "files"}
DERIVED |= {"created_at", "updated_at", "last_edited_by", "additional_information"}
# Fields that 1Password itself adds to an item, with these IDs.
NOTES = {"notesPlain": "NOTES"}
BUILT_IN = {
    "LOGIN": {"username": "USERNAME", "password": "PASSWORD", **NOTES},
    "PASSWORD": {"password": "PASSWORD", **NOTES},
}
# Types that can be read and written back unchanged. For others, such as SSHKEY, this is unknown or known to fail.
# Connect's published API has no PHONE (https://developer.1password.com/docs/connect/api-reference/).
CONNECT_TYPES = frozenset({"STRING", "CONCEALED", "EMAIL", "URL", "OTP", "DATE", "MONTH_YEAR", "MENU"})
WRITABLE = CONNECT_TYPES | {"PHONE"}
DERIVED_IN_FIELDS = {"entropy", "passwordDetails", "password_details", "totp", "ssh_formats", "reference"}


class VaultNotFoundError(NotFoundError):
    """No such vault, or the credential may not see it."""


class ItemNotFoundError(NotFoundError):
    """The vault has no such item."""


class FieldNotFoundError(NotFoundError):
    """The item has no such field."""


class BehindError(UnavailableError):
    """1Password accepted a write that the service does not show in time."""

    plan_again = False  # a plan made of what is shown now would repeat the write


class AmbiguousError(ConflictError):
    """Several objects have the name; the message lists their IDs."""

    plan_again = False

    def __init__(self, what: str, ids: Iterable[str]) -> None:
        ids = sorted(ids)
        # A planned field has no ID yet.
        remedy = f"use the ID of one of {', '.join(ids)}" if all(ids) else "give its section too"
        super().__init__(f"{what} is ambiguous: {remedy}.", ids=ids)


def is_id(name: str) -> bool:
    """A name may have this form too."""
    return ID.fullmatch(name) is not None


def fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def choose(what: str, candidates: Iterable[T], name: str, key: Callable[[T], tuple[str, str]]) -> T | None:
    """The one candidate that matches: by ID first, then by exact name, then by name without case. `key` gives both."""
    candidates = list(candidates)
    tests: list[Callable[[str, str], bool]] = [
        lambda own_id, own_name: own_id == name,
        lambda own_id, own_name: own_name == name,
        lambda own_id, own_name: fold(name) in (fold(own_id), fold(own_name)),
    ]
    for test in tests:
        hits = [candidate for candidate in candidates if test(*key(candidate))]
        if len(hits) > 1:
            raise AmbiguousError(what, [key(hit)[0] for hit in hits])
        if hits:
            return hits[0]
    return None


class Item:
    """One item. `document` is its JSON as the service returns it and holds secrets; `writable` are the types of fields
    that the back end can write.
    """

    def __init__(self, document: Json, writable: frozenset[str] = WRITABLE) -> None:
        self.document = document
        self.writable_types = writable

    @property
    def id(self) -> str:
        return str(self.document.get("id", "new"))

    @property
    def title(self) -> str:
        return str(self.document.get("title", ""))

    @property
    def vault_id(self) -> str:
        return str(self.document["vault"]["id"])

    @property
    def version(self) -> int:
        return int(self.document.get("version", 0))

    @property
    def category(self) -> str:
        return str(self.document.get("category", ""))

    @property
    def tags(self) -> list[str]:
        return sorted(self.document.get("tags") or [])

    @property
    def fields(self) -> list[Json]:
        return self.document.get("fields") or []

    def section_of(self, field: Json) -> tuple[str, str]:
        """(ID, label) of the field's section, both empty if it has none."""
        own = field.get("section") or {}
        named = {section["id"]: section.get("label") or "" for section in self.document.get("sections") or []}
        label = own.get("label") or named.get(own.get("id"), "")
        if not own or (own.get("id") == NO_SECTION and not label):
            return "", ""
        return own.get("id", ""), label

    def path(self, field: Json) -> str:
        """The name of the field in messages and diffs."""
        section_id, section = self.section_of(field)
        name = field.get("label") or field.get("id") or ""
        return f"{section or section_id}/{name}" if section_id else name

    def find(self, label: str, section: str | None = None) -> Json | None:
        """The field that op://vault/item[/section]/label means; fields outside any section come first.

        An empty section means only those.
        """
        what = f"Field '{section + '/' if section else ''}{label}' of item '{self.title}' ({self.id})"
        outside = [field for field in self.fields if not self.section_of(field)[0]]
        groups = [outside] if section == "" else [outside, self.fields]
        if section:
            groups = [[field for field in self.fields if self._in(field, section)]]
        for group in groups:
            hit = choose(what, group, label, lambda field: (field.get("id") or "", field.get("label") or ""))
            if hit is not None:
                return hit
        return None

    def value(self, label: str, section: str | None = None) -> str:
        """The value of the field, a secret; empty if there is no such field."""
        return str((self.find(label, section) or {}).get("value") or "")

    def _in(self, field: Json, section: str) -> bool:
        return fold(section) in [fold(name) for name in self.section_of(field) if name]

    def values(self) -> dict[str, tuple[str, str]]:
        """path → (type, value) of every field with a value; secrets. The path of a duplicate name includes the ID."""
        filled = [field for field in self.fields if field.get("value")]
        paths = [self.path(field) for field in filled]
        return {
            path if paths.count(path) == 1 else f"{path} ({field.get('id')})": (
                field.get("type", "STRING"),
                field["value"],
            )
            for path, field in zip(paths, filled, strict=True)
        }

    def changed(self, fields: list[DesiredField], tags: list[str] | None, replace: bool) -> Item:
        """The item in its desired state, ready to be written."""
        item = Item(copy.deepcopy(self.document), self.writable_types)
        named: list[Json] = []
        for desired in sorted(fields, key=lambda field: field.section is None):
            named.append(item._apply(desired, named))
        if replace:
            # Built-in fields cannot be removed; they are emptied.
            for field in item.fields:
                if not any(field is kept for kept in named):
                    field.pop("value", None)
            item.document["fields"] = [
                field for field in item.fields if field.get("purpose") or any(field is kept for kept in named)
            ]
            used = {field["section"]["id"] for field in item.fields if field.get("section")}
            item.document["sections"] = [one for one in item.document.get("sections") or [] if one["id"] in used]
        if tags is not None:
            item.document["tags"] = sorted(set(tags))
        return item

    def _apply(self, desired: DesiredField, taken: list[Json]) -> Json:
        field = self.find(desired.label, desired.section)
        if field is None or (
            any(field is other for other in taken) and not desired.section and self.section_of(field)[0]
        ):
            field = self._new_field(desired)
        elif any(field is other for other in taken):
            raise InvalidError(
                f"Two fields refer to the field '{self.path(field)}' of item '{self.title}'; name it once."
            )
        if desired.type and field.get("purpose") and desired.type != field.get("type"):
            raise InvalidError(
                f"Field '{self.path(field)}' of item '{self.title}' is built in and cannot become "
                f"{desired.type.lower()}; leave its type out."
            )
        if not (desired.on_create and field.get("value")):
            field["value"] = desired.value
            field["type"] = desired.type or field.get("type", "CONCEALED")
        return field

    def _new_field(self, desired: DesiredField) -> Json:
        if is_id(desired.label):
            raise FieldNotFoundError(f"Item '{self.title}' has no field with the ID '{desired.label}'; use a label.")
        if "/" in desired.label + (desired.section or ""):
            raise InvalidError(
                f"A secret reference cannot name the field '{desired.path}' of item '{self.title}'; "
                "use a label and a section without '/'."
            )
        built_in = [one for one in BUILT_IN.get(self.category, NOTES).items() if fold(one[0]) == fold(desired.label)]
        field: Json = {"label": desired.label, "type": desired.type or "CONCEALED"}
        if desired.section:
            field["section"] = {"id": self._section(desired.section)}
        elif built_in:
            [(name, purpose)] = built_in
            kind = "CONCEALED" if purpose == "PASSWORD" else "STRING"
            field = {"id": name, "label": name, "type": kind, "purpose": purpose}
        self.document.setdefault("fields", []).append(field)
        return field

    def _section(self, name: str) -> str:
        """The ID of a section; that of a new one is derived from its name, because planning is deterministic."""
        sections = self.document.setdefault("sections", [])
        known = choose(f"Section '{name}'", sections, name, lambda section: (section["id"], section.get("label") or ""))
        if known is None:
            digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()
            known = {"id": digest[:26], "label": name}
            sections.append(known)
        return str(known["id"])

    def writable(self) -> Json:
        """The document without members that the server derives."""
        document = {key: value for key, value in self.document.items() if key not in DERIVED}
        document["fields"] = [
            {key: value for key, value in field.items() if key not in DERIVED_IN_FIELDS} for field in self.fields
        ]
        return document

    def may_hold_passkey(self) -> bool:
        """Only logins hold passkeys. 1Password shows them in neither JSON, and a write loses them."""
        return self.category == "LOGIN"

    def not_writable(self) -> str | None:
        """Why a write would lose data or the server would refuse it, for a message.

        Files: https://github.com/1Password/connect-sdk-python/issues/57. SSH keys in a template are not stored.
        """
        if self.category in ("SSH_KEY", "DOCUMENT", "CUSTOM"):
            return f"is of the category {self.category}"
        if self.document.get("files"):
            return "has files"
        kinds = {field.get("type", "STRING") for field in self.fields} - self.writable_types
        return f"has a field of the type {min(kinds)}" if kinds else None
