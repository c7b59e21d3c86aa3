# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloudflare's DNS API: names, contents, records, calls. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from ansible.module_utils.basic import env_fallback

from ._errors import AuthenticationError, ConflictError, ForbiddenError, InvalidError, NixciError, NotFoundError
from ._http import JsonClient, http_argument_spec

try:
    import idna
except ImportError:  # it comes with requests, whose absence JsonClient reports
    idna = None

TYPES = ("A", "AAAA", "CNAME", "TXT")
PROXIABLE = ("A", "AAAA", "CNAME")
AUTOMATIC_TTL = 1
MUTABLE = ("content", "ttl", "proxied", "comment")

# The numbers are all that the API promises; it has no complete official list.
TOKEN_MALFORMED = {6003, 6111}
TOKEN_REFUSED = {1000, 9106, 9109, 10000}
NO_SUCH_ROUTE = {7003}
# 81044: the record is gone; the others: something like it is there. Both mean that the list we had is out of date.
RECORD_CONFLICT = {81044, 81053, 81054, 81055, 81056, 81057, 81058}


def cloudflare_argument_spec() -> dict[str, t.Any]:
    """Options of doc_fragments/_cloudflare.py and _http.py."""
    return {
        "token": {
            "type": "str",
            "required": True,
            "no_log": True,
            "fallback": (env_fallback, ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_TOKEN"]),
        },
        "url": {"type": "str", "default": "https://api.cloudflare.com/client/v4"},
        **http_argument_spec(),
    }


# -- names ------------------------------------------------------------------------------------------------------------


def host_name(name: str) -> str:
    """As the API writes host names: lower case, punycode, no final dot."""
    labels = name.lower().removesuffix(".").split(".")
    try:
        labels = [label if label.isascii() else idna.encode(label, uts46=True).decode() for label in labels]
    except idna.IDNAError as exc:
        raise InvalidError(f"'{name}' is not a host name ({exc}).") from None
    if not all(re.fullmatch(r"\*|[a-z0-9_-]{1,63}", label) for label in labels):
        raise InvalidError(f"'{name}' is not a host name; its parts are 1 to 63 letters, digits, '-' or '_'.")
    return ".".join(labels)


def full_name(name: str, zone: str) -> str:
    """`name` within `zone`: @ is the zone itself, and only a final ".zone" makes a name complete."""
    if name in ("", "@"):
        return zone
    complete, absolute = host_name(name), name.endswith(".")
    if complete == zone or complete.endswith("." + zone):
        return complete
    if absolute:
        raise InvalidError(
            f"The name '{name}' ends in a dot, so it is complete, but it is not within the zone '{zone}'."
        )
    return f"{complete}.{zone}"


# -- contents ---------------------------------------------------------------------------------------------------------

QUOTED = r'"((?:[^"\\]|\\.)*)"'


def comparable(type_: str, content: str) -> str:
    """One spelling for equal contents: of addresses, host names and quoted texts."""
    if type_ in ("A", "AAAA"):
        version = 4 if type_ == "A" else 6
        try:
            address = ipaddress.ip_address(content.strip())
        except ValueError:
            address = None
        if address is None or address.version != version:
            raise InvalidError(f"'{content}' is not an IPv{version} address, which a record of type {type_} needs.")
        return address.compressed
    if type_ == "CNAME":
        return host_name(content.strip())
    if type_ == "TXT":
        return unquote(content)
    return content


def unquote(text: str) -> str:
    """The value of a TXT record; text that is not wholly made of quoted strings is taken as it is."""
    if not re.fullmatch(rf"\s*{QUOTED}(\s+{QUOTED})*\s*", text, re.DOTALL):
        return text
    value = "".join(match.group(1) for match in re.finditer(QUOTED, text, re.DOTALL)).encode()
    plain = re.sub(
        rb"\\(\d{3}|.)",
        lambda match: bytes([int(match[1]) & 255]) if len(match[1]) == 3 else match[1],
        value,
        flags=re.DOTALL,
    )
    return plain.decode(errors="replace")


def quote(value: str) -> str:
    """A TXT value as strings of at most 255 bytes, the limit of the protocol."""
    chunks: list[str] = [""]
    for character in value:
        if len((chunks[-1] + character).encode()) > 255:
            chunks.append("")
        chunks[-1] += character
    return " ".join('"{}"'.format(chunk.replace("\\", "\\\\").replace('"', '\\"')) for chunk in chunks)


# -- records ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Record:
    """What we manage of a record; tags and settings stay as they are because only changed members are ever sent."""

    name: str
    type: str
    content: str  # in its comparable form
    ttl: int = AUTOMATIC_TTL
    proxied: bool = False
    comment: str = ""
    id: str | None = None

    @classmethod
    def parse(cls, answer: dict[str, t.Any]) -> Record:
        return cls(
            name=answer["name"].lower(),
            type=answer["type"],
            content=comparable(answer["type"], answer.get("content") or ""),
            ttl=answer["ttl"],
            proxied=bool(answer.get("proxied")),
            comment=answer.get("comment") or "",
            id=answer["id"],
        )

    def changes(self, other: Record) -> dict[str, t.Any]:
        """What a PATCH must say to make this record equal to `other`."""
        body = other.body()
        return {field: body[field] for field in MUTABLE if getattr(self, field) != getattr(other, field)}

    def body(self) -> dict[str, t.Any]:
        """What a POST must say."""
        content = quote(self.content) if self.type == "TXT" else self.content
        return {
            "name": self.name,
            "type": self.type,
            "content": content,
            "ttl": self.ttl,
            "proxied": self.proxied,
            "comment": self.comment,
        }

    def public(self) -> dict[str, t.Any]:
        """Without the id, which check mode cannot foresee."""
        values = dataclasses.asdict(self)
        del values["id"]
        return values

    def __str__(self) -> str:
        comment = f"comment '{self.comment}'" if self.comment else "no comment"
        return f"{self.type} {self.name} → {self.content} ({comment})"


@dataclasses.dataclass(frozen=True)
class Batch:
    """Calls to make. In one batch the API runs deletes, patches and posts in this order, all or none."""

    deletes: tuple[str, ...] = ()
    patches: tuple[tuple[str, dict[str, t.Any]], ...] = ()
    posts: tuple[dict[str, t.Any], ...] = ()

    def __len__(self) -> int:
        return len(self.deletes) + len(self.patches) + len(self.posts)


# -- calls ------------------------------------------------------------------------------------------------------------


class CloudflareClient(JsonClient):
    service = "Cloudflare"
    PAGE = 1000

    def __init__(self, params: dict[str, t.Any]) -> None:
        token = params["token"].strip()
        # requests would quote the whole header in its complaint about such a token.
        if not re.fullmatch(r"[!-~]+", token):
            raise InvalidError(
                "The Cloudflare token is empty or holds blanks, line breaks or other foreign characters."
            )
        super().__init__(
            params["url"],
            {"Authorization": f"Bearer {token}"},
            timeout=params["timeout"],
            retries=params["retries"],
            ca_path=params["ca_path"],
        )
        self.token_works = False

    def request(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        answer = super().request(*args, **kwargs)
        self.token_works = True  # a later refusal is about rights, see error()
        return answer

    def zone_id(self, zone: str) -> str:
        found = self.request("GET", "/zones", params={"name": zone, "per_page": 50})["result"]
        if not found:
            raise NotFoundError(
                f"Cloudflare: the token sees no zone '{zone}'. Either the name is wrong or belongs to another account, or "
                "the token lacks Zone / Zone / Read (the template 'Edit zone DNS' does not grant it); add that permission "
                "or give zone_id."
            )
        if len(found) > 1:
            which = ", ".join(f"{one['id']} ({one.get('status', 'unknown status')})" for one in found)
            raise ConflictError(
                f"Cloudflare: the token sees several zones '{zone}': {which}; give zone_id to choose one."
            )
        return found[0]["id"]

    def records(self, zone_id: str, name: str) -> list[Record]:
        """Every record of a name, of any type: what a new record could conflict with is among them."""
        found: list[Record] = []
        page = 1
        while True:
            answer = self.request(
                "GET",
                f"/zones/{zone_id}/dns_records",
                params={"name.exact": name, "per_page": self.PAGE, "page": page},
            )
            found += [Record.parse(one) for one in answer["result"]]
            info = answer.get("result_info") or {}
            if len(answer["result"]) < self.PAGE or page >= info.get("total_pages", page + 1):
                return found
            page += 1

    def apply(self, zone_id: str, batch: Batch) -> list[Record]:
        """One call for one change, one batch for several; returns the records written."""
        path = f"/zones/{zone_id}/dns_records"
        if len(batch) > 1:
            body = {
                "deletes": [{"id": id_} for id_ in batch.deletes],
                "patches": [{"id": id_, **fields} for id_, fields in batch.patches],
                "posts": list(batch.posts),
            }
            done = self.request("POST", f"{path}/batch", {kind: items for kind, items in body.items() if items})[
                "result"
            ]
            return [Record.parse(one) for kind in ("patches", "posts") for one in done.get(kind) or ()]
        for id_ in batch.deletes:
            # 81044: somebody was faster, or the answer to our first try got lost.
            self.request("DELETE", f"{path}/{id_}", none_on=(404,))
        written = [self.request("PATCH", f"{path}/{id_}", fields) for id_, fields in batch.patches]
        written += [self.request("POST", path, fields) for fields in batch.posts]
        return [Record.parse(one["result"]) for one in written]

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        errors = content.get("errors") if isinstance(content, dict) else None
        if not errors or status == 429 or status >= 500:
            return super().error(method, path, status, content)
        chain = [cause for one in errors for cause in (one, *(one.get("error_chain") or ()))]
        codes = {cause.get("code") for cause in chain}
        words = "; ".join(f"{cause.get('code')} {cause.get('message')}" for cause in chain)[:500]
        details = {"status": status, "codes": [cause.get("code") for cause in chain]}
        if codes & TOKEN_MALFORMED:
            return AuthenticationError(
                f"Cloudflare does not accept the form of the token ({words}); "
                "give the whole API token, without 'Bearer', and not the global key.",
                **details,
            )
        if codes & TOKEN_REFUSED and self.token_works:
            return ForbiddenError(
                f"Cloudflare: the token is valid but may not do {method} {path} ({words}); "
                "it needs Zone / DNS / Edit for this zone.",
                **details,
            )
        if codes & TOKEN_REFUSED:
            return AuthenticationError(
                f"Cloudflare refuses the token for {method} {path} ({words}): it is wrong, expired or revoked, or "
                "lacks Zone / DNS / Edit or Zone / Zone / Read for this zone.",
                **details,
            )
        if codes & NO_SUCH_ROUTE:
            return NotFoundError(f"Cloudflare has no {path} ({words}); check zone_id.", **details)
        kind = ConflictError if codes & RECORD_CONFLICT else InvalidError
        return kind(f"Cloudflare refuses {method} {path} ({words}).", **details)
