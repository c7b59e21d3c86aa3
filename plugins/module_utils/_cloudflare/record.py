# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records at Cloudflare, who owns them, and changes to them. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from .names import stored_name
from .values import Value

AUTOMATIC_TTL = 1
PROXIABLE = ("A", "AAAA", "CNAME")
SETTINGS = ("ipv4_only", "ipv6_only", "flatten_cname")
# The proxy refuses addresses that it cannot reach.
UNREACHABLE = [
    ipaddress.ip_network(one)
    for one in (
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
]
# Types that tolerate none of the others at the same name. A zone's own name servers stand beside everything.
ALIAS, ADDRESS, DELEGATION = {"CNAME"}, {"A", "AAAA"}, {"NS"}


def normal_tag(tag: str) -> str:
    """The name of a tag is not case-sensitive; its value is."""
    name, colon, value = tag.partition(":")
    return name.lower() + colon + value


@dataclasses.dataclass(frozen=True)
class Record:
    """The fields that this collection manages. Requests contain changed fields only, so other fields stay as they are."""

    name: str
    type: str
    value: Value
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str = ""
    tags: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()
    """Those that are on. Cloudflare may leave out one that is off."""
    id: str | None = None
    read_only: bool = False
    """Cloudflare made it for one of its features, such as Email Routing, and refuses every change."""

    @classmethod
    def parse(cls, fields: dict[str, t.Any]) -> Record:
        return cls(
            name=stored_name(fields["name"]),
            type=fields["type"],
            value=Value.from_api(fields),
            ttl=fields["ttl"],
            proxied=bool(fields.get("proxied")),
            comment=fields.get("comment") or "",
            tags=frozenset(map(normal_tag, fields.get("tags") or ())),
            settings=frozenset(name for name, on in (fields.get("settings") or {}).items() if on is True),
            id=fields["id"],
            read_only=(fields.get("meta") or {}).get("read_only") is True,
        )

    @property
    def key(self) -> tuple[str, str, Value]:
        return (self.name, self.type, self.value)

    @property
    def proxiable(self) -> bool:
        if self.type == "CNAME":
            return True
        return self.type in PROXIABLE and not any(ipaddress.ip_address(self.value.text) in net for net in UNREACHABLE)

    def excludes(self, other: Record, zone: str) -> bool:
        """Whether Cloudflare refuses these two different records at one name.

        "A/AAAA records cannot exist on the same name as CNAME records. NS records cannot exist on the same name as any
        other record type" (API reference, Create DNS Record). The rule for NS is applied only where Cloudflare is known to
        return error 81056, which excludes the zone's own name. `zone` is empty if only the zone's id is known.
        """
        if self.name != other.name:
            return False
        types = {self.type, other.type}
        if types == ALIAS or (types & ALIAS and types & ADDRESS):
            return True
        delegated = zone and self.name != zone and types & DELEGATION
        return bool(delegated and types & (ALIAS | ADDRESS))

    def changes(self, other: Record) -> dict[str, t.Any]:
        """The body of the PATCH that makes this record equal to `other`."""
        body: dict[str, t.Any] = {}
        if self.value != other.value:
            body |= other.value.fields(self.type)
        for field in ("ttl", "proxied", "comment"):
            if getattr(self, field) != getattr(other, field):
                body[field] = getattr(other, field)
        if self.tags != other.tags:
            body["tags"] = sorted(other.tags)
        if self.settings != other.settings:
            body["settings"] = {name: name in other.settings for name in sorted(self.settings | other.settings)}
        return body

    def body(self) -> dict[str, t.Any]:
        """The body of the POST that creates this record. It omits fields that have the API's own default."""
        default = dataclasses.replace(
            self, ttl=AUTOMATIC_TTL, proxied=False, comment="", tags=frozenset(), settings=frozenset()
        )
        body = {"name": self.name, "type": self.type, **self.value.fields(self.type), "ttl": self.ttl}
        if self.type in PROXIABLE:
            body["proxied"] = self.proxied
        return {**body, **default.changes(self)}

    def public(self) -> dict[str, t.Any]:
        """For return values and diffs. The id is left out because check mode cannot predict it."""
        return {
            "name": self.name,
            "type": self.type,
            "content": self.value.text,
            "data": dict(self.value.parts) if len(self.value.parts) > 1 else None,
            "ttl": self.ttl,
            "proxied": self.proxied,
            "comment": self.comment,
            "tags": sorted(self.tags),
            "settings": {name: True for name in sorted(self.settings)},
        }

    def __str__(self) -> str:
        comment = f"comment '{self.comment}'" if self.comment else "no comment"
        return f"{self.type} {self.name} → {self.value.text} ({comment})"


ANY_MARK = re.compile(r"\s*\(?\bmanaged by [\w.-]+\)?")


@dataclasses.dataclass(frozen=True)
class Owner:
    """Owned records carry a mark in their comment."""

    name: str | None = None
    """Without a name, the task may change every record."""
    take_over: bool = False

    def marked(self, record: Record) -> bool:
        mark = rf"\bmanaged by {re.escape(self.name or '')}(?![\w-]|\.\w)"
        return bool(self.name) and re.search(mark, record.comment) is not None

    def may_change(self, record: Record) -> bool:
        return self.name is None or self.take_over or self.marked(record)

    def mark(self, record: Record) -> Record:
        if self.name is None or self.marked(record):
            return record
        comment = ANY_MARK.sub("", record.comment).strip()
        comment = f"{comment} (managed by {self.name})" if comment else f"managed by {self.name}"
        return dataclasses.replace(record, comment=comment)


@dataclasses.dataclass(frozen=True)
class Zone:
    """A zone as Cloudflare has it."""

    id: str
    records: list[Record]
    """At least all records of the names that the task manages."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One change. `before` is None for a new record, `after` for a record to delete."""

    before: Record | None
    after: Record | None

    @property
    def name(self) -> str:
        return next(record.name for record in (self.before, self.after) if record)

    @property
    def kind(self) -> str:
        """The list of a batch request to which it belongs."""
        if self.before is None:
            return "posts"
        return "deletes" if self.after is None else "patches"

    @property
    def rank(self) -> tuple[int, bool]:
        """The order within a name: the API deletes first and creates last, and a DS exists only beside an NS."""
        is_ds = any(record and record.type == "DS" for record in (self.before, self.after))
        return ("deletes", "patches", "posts").index(self.kind), is_ds is (self.kind != "deletes")

    @property
    def body(self) -> dict[str, t.Any]:
        if self.after is None:
            return {}
        return self.before.changes(self.after) if self.before else self.after.body()
