# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One DNS record at Cloudflare, and who owns it. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

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
    """The name of a tag has no case, its value has."""
    name, colon, value = tag.partition(":")
    return name.lower() + colon + value


@dataclasses.dataclass(frozen=True)
class Record:
    """What we manage of a record; everything else stays as it is because only changed members are ever sent."""

    name: str
    type: str
    value: Value
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str = ""
    tags: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()
    """Those that are on; one that is off may be missing in the answer as well."""
    id: str | None = None

    @classmethod
    def parse(cls, answer: dict[str, t.Any]) -> Record:
        return cls(
            name=answer["name"].lower(),
            type=answer["type"],
            value=Value.answered(answer),
            ttl=answer["ttl"],
            proxied=bool(answer.get("proxied")),
            comment=answer.get("comment") or "",
            tags=frozenset(map(normal_tag, answer.get("tags") or ())),
            settings=frozenset(name for name, on in (answer.get("settings") or {}).items() if on is True),
            id=answer["id"],
        )

    @property
    def key(self) -> tuple[str, str, Value]:
        return (self.name, self.type, self.value)

    @property
    def proxiable(self) -> bool:
        if self.type == "CNAME":
            return True
        return self.type in PROXIABLE and not any(ipaddress.ip_address(self.value.text) in net for net in UNREACHABLE)

    def excludes(self, other: Record, zone: str | None) -> bool:
        """Whether Cloudflare refuses these two different records at one name.

        "A/AAAA records cannot exist on the same name as CNAME records. NS records cannot exist on the same name as any
        other record type" (notes of the API's create call); the latter is applied where error 81056 is known to come,
        and not to the zone's own name.
        """
        if self.name != other.name:
            return False
        types = {self.type, other.type}
        if types == ALIAS or (types & ALIAS and types & ADDRESS):
            return True
        delegated = zone is not None and self.name != zone and types & DELEGATION
        return bool(delegated and types & (ALIAS | ADDRESS))

    def changes(self, other: Record) -> dict[str, t.Any]:
        """What a PATCH must say to make this record equal to `other`."""
        said: dict[str, t.Any] = {}
        if self.value != other.value:
            said |= other.value.members(self.type)
        for member in ("ttl", "proxied", "comment"):
            if getattr(self, member) != getattr(other, member):
                said[member] = getattr(other, member)
        if self.tags != other.tags:
            said["tags"] = sorted(other.tags)
        if self.settings != other.settings:
            said["settings"] = {name: name in other.settings for name in sorted(self.settings | other.settings)}
        return said

    def body(self) -> dict[str, t.Any]:
        """What a POST must say: nothing about members that have the API's own default."""
        blank = dataclasses.replace(
            self, ttl=AUTOMATIC_TTL, proxied=False, comment="", tags=frozenset(), settings=frozenset()
        )
        said = {"name": self.name, "type": self.type, **self.value.members(self.type), "ttl": self.ttl}
        if self.type in PROXIABLE:
            said["proxied"] = self.proxied
        return {**said, **blank.changes(self)}

    def public(self) -> dict[str, t.Any]:
        """For results and differences, without the id, which check mode cannot foresee."""
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
    """Records carry a mark in their comment; without a name everything is ours."""

    name: str | None = None
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
