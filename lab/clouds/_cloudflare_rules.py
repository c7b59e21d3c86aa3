# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for DNS records at Cloudflare: what it accepts and how it stores it. A part of the double, without state."""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import re
import typing as t

import idna

Json = dict[str, t.Any]
Check = t.Callable[[t.Any], t.Any]

MEMBERS = {
    "type",
    "name",
    "content",
    "data",
    "priority",
    "ttl",
    "proxied",
    "comment",
    "tags",
    "settings",
    "private_routing",
}
DEFAULTS: Json = {"ttl": 1, "proxied": False, "comment": None, "tags": [], "settings": {}}
SETTINGS = {"ipv4_only", "ipv6_only", "flatten_cname"}
PRIVATE = [
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """The limits of a zone's plan, see https://developers.cloudflare.com/dns/manage-dns-records/."""

    batch: int
    records: int
    comment: int
    tags: int
    flattening: bool


PLANS = {"free": Plan(200, 200, 100, 0, False), "pro": Plan(3500, 3500, 500, 20, True)}


class Refused(Exception):
    def __init__(self, status: int, code: int, message: str, *chain: tuple[int, str]) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"code": code, "message": message}
        if chain:
            self.error["error_chain"] = [{"code": number, "message": text} for number, text in chain]


def invalid(code: int, message: str) -> Refused:
    return Refused(400, code, message)


def validation(code: int, message: str) -> Refused:
    """Cloudflare returns the reason in a chain below a general error, see terraform-provider-cloudflare#3217."""
    return Refused(400, 1004, "DNS Validation Error", (code, message))


# -- parts of values ---------------------------------------------------------------------------------------------------


def number(highest: float, lowest: float = 0, kinds: tuple[type, ...] = (int,)) -> Check:
    def check(value: t.Any) -> t.Any:
        if type(value) not in kinds or not lowest <= value <= highest:
            raise ValueError
        return value

    return check


def string(pattern: str = r".*") -> Check:
    def check(value: t.Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            raise ValueError
        return value

    return check


def host(value: t.Any) -> str:
    name = string(r"\S+")(value).lower().removesuffix(".")
    labels = [label if label.isascii() else idna.encode(label, uts46=True).decode() for label in name.split(".")]
    if len(labels) < 2 or not all(re.fullmatch(r"[\w-]{1,63}", label, re.ASCII) for label in labels):
        raise ValueError
    return ".".join(labels)


def host_or_root(value: t.Any) -> str:
    return "." if value == "." else host(value)


def absolute(value: t.Any) -> str:
    """Cloudflare returns targets of services with their final dot, see terraform-provider-cloudflare#2632."""
    return "." if value == "." else host(value) + "."


def base_64(value: t.Any) -> str:
    base64.b64decode(string(r"\S+")(value), validate=True)
    return value


U8, U16 = number(255), number(65535)
HEX = string(r"[0-9a-fA-F]+")
DECIMAL = {"kinds": (int, float)}
SERVICE = {"priority": U16, "target": absolute, "value": string()}
ASSOCIATION = {"usage": U8, "selector": U8, "matching_type": U8, "certificate": HEX}
DATA: dict[str, dict[str, Check]] = {
    "CAA": {"flags": U8, "tag": string(r"[A-Za-z0-9]+"), "value": string()},
    "CERT": {"type": U16, "key_tag": U16, "algorithm": U8, "certificate": base_64},
    "DNSKEY": {"flags": U16, "protocol": U8, "algorithm": U8, "public_key": base_64},
    "DS": {"key_tag": U16, "algorithm": U8, "digest_type": U8, "digest": HEX},
    "HTTPS": SERVICE,
    "LOC": {
        "lat_degrees": number(90, **DECIMAL),
        "lat_minutes": number(59, **DECIMAL),
        "lat_seconds": number(59.999, **DECIMAL),
        "lat_direction": string("N|S"),
        "long_degrees": number(180, **DECIMAL),
        "long_minutes": number(59, **DECIMAL),
        "long_seconds": number(59.999, **DECIMAL),
        "long_direction": string("E|W"),
        "altitude": number(42849672.95, -100000, **DECIMAL),
        "size": number(9e7, **DECIMAL),
        "precision_horz": number(9e7, **DECIMAL),
        "precision_vert": number(9e7, **DECIMAL),
    },
    "NAPTR": {
        "order": U16,
        "preference": U16,
        "flags": string(),
        "service": string(),
        "regex": string(),
        "replacement": host_or_root,
    },
    "SMIMEA": ASSOCIATION,
    "SRV": {"priority": U16, "weight": U16, "port": U16, "target": host_or_root},
    "SSHFP": {"algorithm": U8, "type": U8, "fingerprint": HEX},
    "SVCB": SERVICE,
    "TLSA": ASSOCIATION,
    "URI": {"weight": U16, "target": string(r".+")},
}
CONTENT: dict[str, Check] = {"CNAME": host, "MX": host_or_root, "NS": host, "OPENPGPKEY": base_64, "PTR": host}
TYPES = {"A", "AAAA", "TXT", *CONTENT, *DATA}
WITH_PRIORITY = {"MX", "URI"}


# -- records -----------------------------------------------------------------------------------------------------------


def checked(wanted: Json, zone: str, plan: Plan) -> Json:
    """The record as it is stored. Raises Refused if it is invalid."""
    type_ = wanted.get("type")
    holder = "data" if type_ in DATA else "content"
    needed = {"type", "name", holder} | ({"priority"} if type_ in WITH_PRIORITY else set())
    foreign = {"content", "data"} - {holder} | (set() if type_ in WITH_PRIORITY else {"priority"})
    if type_ not in TYPES or set(wanted) - MEMBERS or not needed <= set(wanted) or foreign & set(wanted):
        raise invalid(1004, "DNS Validation Error")
    record: Json = {"name": checked_name(wanted["name"], zone), "type": type_}
    if type_ in WITH_PRIORITY:
        try:
            record["priority"] = U16(wanted["priority"])
        except ValueError:
            raise validation(9003, "priority must be from 0 to 65535") from None
    record |= (
        checked_data(type_, wanted["data"]) if type_ in DATA else {"content": checked_content(type_, wanted["content"])}
    )
    proxiable = type_ == "CNAME" or (type_ in ("A", "AAAA") and not is_private(record["content"]))
    if wanted["proxied"] and not proxiable:
        raise invalid(9004, "This record type cannot be proxied.")
    ttl = wanted["ttl"]
    if type(ttl) is not int or (ttl != 1 and not 60 <= ttl <= 86400):
        raise invalid(9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    comment = wanted["comment"] or None
    if comment and (len(comment) > plan.comment or re.search(r"[\r\n]", comment)):
        raise validation(9300, f"DNS record comment is invalid or has more than {plan.comment} characters.")
    tags = wanted["tags"] or []
    if len(tags) > plan.tags:
        raise validation(9300, f"DNS record has {len(tags)} tags, exceeding the quota of {plan.tags}.")
    if not all(re.fullmatch(r"[\w-]+(:[^\r\n]*)?", tag, re.ASCII) for tag in tags):
        raise validation(9301, "DNS record tag is invalid.")
    return {
        **record,
        "proxiable": proxiable,
        "proxied": bool(wanted["proxied"]),
        "ttl": 1 if wanted["proxied"] else ttl,
        "comment": comment,
        "tags": tags,
        "settings": checked_settings(type_, wanted, plan),
        "meta": {},
    }


def checked_name(given: t.Any, zone: str) -> str:
    try:
        name = string(r"\S+")(given).lower().removesuffix(".")
        name = ".".join(part if part.isascii() else idna.encode(part, uts46=True).decode() for part in name.split("."))
    except ValueError:  # idna's errors as well
        raise invalid(9000, "DNS name is invalid.") from None
    name = zone if name == "@" else name
    if name != zone and not name.endswith("." + zone):
        name = f"{name}.{zone}"
    if len(name) > 253 or not all(re.fullmatch(r"\*|[\w-]{1,63}", label, re.ASCII) for label in name.split(".")):
        raise invalid(9000, "DNS name is invalid.")
    return name


def checked_content(type_: str, content: t.Any) -> str:
    if type_ in ("A", "AAAA"):
        try:
            return str((ipaddress.IPv4Address if type_ == "A" else ipaddress.IPv6Address)(string()(content)))
        except ValueError:
            version = "IPv4" if type_ == "A" else "IPv6"
            raise invalid(9005, f"Content for {type_} record must be a valid {version} address.") from None
    if type_ == "TXT":
        if not isinstance(content, str) or not content:
            raise invalid(9009, "Content for TXT record must not be empty.")
        parts = re.findall(r'"((?:[^"\\]|\\.)*)"', content)
        if any(len(part.encode()) > 255 for part in parts) or len(content.encode()) > 4096:
            raise invalid(9015, "A string of a TXT record has more than 255 bytes, or the record more than 4096.")
        return content
    try:
        return CONTENT[type_](content)
    except ValueError:
        raise invalid(9009, f"Content for {type_} record is invalid.") from None


def checked_data(type_: str, given: t.Any) -> Json:
    fields = DATA[type_]
    if not isinstance(given, dict) or set(given) != set(fields):
        raise invalid(1004, "DNS Validation Error")
    data: Json = {}
    for name, check in fields.items():
        try:
            data[name] = check(given[name])
        except ValueError:
            raise validation(9101, f"{name} is invalid for type {type_}.") from None
    # The composed content omits the priority, which is a member of its own, and quotes texts.
    shown = [f'"{data[name]}"' if type_ == "CAA" and name == "value" else str(data[name]) for name in fields]
    if type_ == "SRV":
        return {"data": data, "content": " ".join(shown[1:]), "priority": data["priority"]}
    return {"data": data, "content": " ".join(shown)}


def checked_settings(type_: str, wanted: Json, plan: Plan) -> Json:
    settings = wanted["settings"] or {}
    if set(settings) - SETTINGS or not all(type(value) is bool for value in settings.values()):
        raise invalid(1004, "DNS Validation Error")
    if settings.get("flatten_cname") and (type_ != "CNAME" or wanted["proxied"] or not plan.flattening):
        raise invalid(1004, "DNS Validation Error: flatten_cname is not possible for this record on this plan.")
    return {"flatten_cname": False, **settings} if type_ == "CNAME" else settings


def is_private(address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in PRIVATE)


def refuse_rivals(record: Json, others: t.Iterable[Json], zone: str) -> None:
    """`others` are the other records of the same name."""
    mine = record["type"]
    for other in others:
        if all(other.get(member) == record.get(member) for member in ("type", "content", "data", "priority")):
            raise invalid(81058, "An identical record already exists.")
        theirs = other["type"]
        if mine == "CNAME" and theirs in ("A", "AAAA", "CNAME"):
            raise invalid(81053, "An A, AAAA, or CNAME record with that host already exists.")
        if mine in ("A", "AAAA") and theirs == "CNAME":
            raise invalid(81054, "A CNAME record with that host already exists.")
        # https://github.com/acme-dns/acme-dns/issues/258
        if record["name"] != zone and theirs == "NS" and mine in ("A", "AAAA", "CNAME"):
            raise invalid(81056, "NS records with that host already exist.")
        if record["name"] != zone and mine == "NS" and theirs in ("A", "AAAA", "CNAME"):
            raise invalid(81053, "An A, AAAA, or CNAME record with that host already exists.")
