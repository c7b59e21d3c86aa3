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
# Members of responses that clients send back with their changes, as octodns and the SDKs do. Cloudflare ignores them.
READ_ONLY = {
    "id",
    "zone_id",
    "zone_name",
    "locked",
    "proxiable",
    "meta",
    "created_on",
    "modified_on",
    "comment_modified_on",
    "tags_modified_on",
}
# Parts of SRV that were withdrawn in 2024. octodns-cloudflare still sends them, and the name of the record counts.
WITHDRAWN = {"SRV": {"service", "proto", "name"}}
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
# https://github.com/DNSControl/dnscontrol/issues/4776
CLOUDFLARES = [ipaddress.ip_network(one) for one in ("1.0.0.0/24", "1.1.1.0/24")]


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
        if type(value) not in (int, float) or not lowest <= value <= highest:
            raise ValueError
        if float not in kinds and value != int(value):
            raise ValueError
        return value if float in kinds else int(value)  # Cloudflare's own SDK sends 10.0

    return check


def string(pattern: str = r".*") -> Check:
    def check(value: t.Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL):
            raise ValueError
        return value

    return check


def ascii_name(given: str) -> str:
    """In lower case and punycode. Raises ValueError, as idna does."""
    name = string(r"\S+")(given).lower().removesuffix(".")
    return ".".join(part if part.isascii() else idna.encode(part, uts46=True).decode() for part in name.split("."))


def host(value: t.Any) -> str:
    name = ascii_name(string()(value))
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(re.fullmatch(r"[\w-]{1,63}", one, re.ASCII) for one in labels):
        raise ValueError
    # An address is no host name: https://github.com/stephenou/fruitionsite/issues/79
    if labels[-1].isdigit():
        raise ValueError
    return name


def host_or_root(value: t.Any) -> str:
    return "." if value == "." else host(value)


def as_sent(check: Check) -> Check:
    """Cloudflare returns the replacement of a NAPTR as it was sent, with or without its final dot."""

    def checked(value: t.Any) -> t.Any:
        check(value)
        return value

    return checked


def absolute(value: t.Any) -> str:
    """Cloudflare returns targets of services with their final dot, see terraform-provider-cloudflare#2632."""
    return "." if value == "." else host(value) + "."


def base_64(value: t.Any) -> str:
    base64.b64decode(string(r"\S+")(value), validate=True)
    return value


U8, U16 = number(255), number(65535)
HEX = string(r"([0-9a-fA-F]{2})+")
DECIMAL = {"kinds": (int, float)}
SERVICE = {"priority": U16, "target": absolute, "value": lambda value: string()(value).strip()}
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
        "replacement": as_sent(host_or_root),
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
    if not isinstance(type_, str) or type_ not in TYPES:
        raise invalid(1004, "DNS Validation Error")
    # In the responses for types with data, the content and the priority of an SRV are composed.
    ignored = READ_ONLY | ({"content"} if type_ in DATA else set()) | ({"priority"} if type_ == "SRV" else set())
    wanted = {member: value for member, value in wanted.items() if member not in ignored}
    holder = "data" if type_ in DATA else "content"
    needed = {"name", holder} | ({"priority"} if type_ in WITH_PRIORITY else set())
    foreign = {"content", "data"} - {holder} | (set() if type_ in WITH_PRIORITY else {"priority"})
    if set(wanted) - MEMBERS or not needed <= set(wanted) or foreign & set(wanted):
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
    if type_ == "CNAME" and record["content"] == record["name"]:
        # https://github.com/kubernetes-sigs/external-dns/issues/4749
        raise invalid(9039, "CNAME content cannot reference itself.")
    proxied = wanted["proxied"]
    if type(proxied) is not bool:
        raise invalid(1004, "DNS Validation Error: proxied must be a boolean.")
    proxiable = type_ == "CNAME" or (type_ in ("A", "AAAA") and not within(record["content"], PRIVATE))
    if proxied and not proxiable:
        raise invalid(9004, "This record type cannot be proxied.")
    if proxied and type_ == "A" and within(record["content"], CLOUDFLARES):
        raise invalid(9003, f"Target {record['content']} is not allowed for a proxied record.")
    return {
        **record,
        "proxiable": proxiable,
        "proxied": proxied,
        "ttl": 1 if proxied else checked_ttl(wanted["ttl"]),
        "comment": checked_comment(wanted["comment"], plan),
        "tags": checked_tags(wanted["tags"], plan),
        "settings": checked_settings(type_, wanted, plan),
        "meta": {},
    }


def checked_ttl(ttl: t.Any) -> int:
    if type(ttl) not in (int, float) or (ttl != 1 and not (60 <= ttl <= 86400 and ttl == int(ttl))):
        raise invalid(9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    return int(ttl)


def checked_comment(comment: t.Any, plan: Plan) -> str | None:
    if comment is None or comment == "":
        return None
    if not isinstance(comment, str) or len(comment) > plan.comment or re.search(r"[\r\n]", comment):
        raise validation(9313, f"DNS record comment is invalid or has more than {plan.comment} characters.")
    return comment


def checked_tags(tags: t.Any, plan: Plan) -> list[str]:
    tags = [] if tags is None else tags
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise invalid(1004, "DNS Validation Error: tags must be a list of strings.")
    if len(tags) > plan.tags:
        raise validation(9300, f"DNS record has {len(tags)} tags, exceeding the quota of {plan.tags}.")
    if not all(re.fullmatch(r"[\w-]+(:[^\r\n]*)?", tag, re.ASCII) for tag in tags):
        raise validation(9301, "DNS record tag is invalid.")
    return tags


def checked_name(given: t.Any, zone: str) -> str:
    try:
        name = ascii_name(string()(given))
    except ValueError:
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
            found = (ipaddress.IPv4Address if type_ == "A" else ipaddress.IPv6Address)(string(r"[^%]+")(content))
        except ValueError:
            version = "IPv4" if type_ == "A" else "IPv6"
            raise invalid(9005, f"Content for {type_} record must be a valid {version} address.") from None
        return str(found)
    if type_ == "TXT":
        return checked_text(content)
    try:
        return CONTENT[type_](content)
    except ValueError:
        # https://github.com/kubernetes-sigs/external-dns/issues/753
        raise validation(9007, f"Content for {type_} record is invalid.") from None


def checked_text(content: t.Any) -> str:
    if not isinstance(content, str) or not content:
        raise invalid(9009, "Content for TXT record must not be empty.")
    # Longer strings are split: https://github.com/cloudflare/terraform-provider-cloudflare/issues/6238
    content = re.sub(r'"((?:[^"\\]|\\.)*)"', lambda found: split(found[1]), content, flags=re.DOTALL)
    if len(content.encode()) > 4096:
        raise invalid(9015, "A TXT record has more than 4096 bytes.")
    return content


def split(text: str) -> str:
    """Quoted strings of at most 255 bytes; an escaped byte counts once."""
    chunks, size = [""], 0
    for one in re.findall(r"\\\d{3}|\\.|.", text, re.DOTALL):
        length = 1 if len(one) == 4 else len(one.removeprefix("\\").encode()) or 1
        if size + length > 255:
            chunks.append("")
            size = 0
        size += length
        chunks[-1] += one
    return " ".join(f'"{chunk}"' for chunk in chunks)


def checked_data(type_: str, given: t.Any) -> Json:
    fields = DATA[type_]
    if not isinstance(given, dict):
        raise invalid(1004, "DNS Validation Error")
    given = {name: part for name, part in given.items() if name not in WITHDRAWN.get(type_, ())}
    for name in fields:
        if name not in given:
            # https://github.com/cloudflare/salt-cloudflare/issues/14
            raise validation(9101, f"{name} is a required data field.")
    if set(given) != set(fields):
        raise invalid(1004, "DNS Validation Error")
    data: Json = {}
    for name, check in fields.items():
        try:
            data[name] = check(given[name])
        except ValueError:
            raise validation(9101, f"{name} is invalid for type {type_}.") from None
    composed = {"data": data, "content": composed_content(type_, data)}
    return {**composed, "priority": data["priority"]} if type_ == "SRV" else composed


# How parts are written in the composed content, if not as they are. The responses that show it are in the acceptance
# tests of terraform-provider-cloudflare (LOC, SRV) and the fixtures of octodns-cloudflare (NAPTR, DS, SSHFP).
QUOTED: dict[str, set[str]] = {"CAA": {"value"}, "NAPTR": {"flags", "service", "regex"}, "URI": {"target"}}
DECIMALS = {
    **dict.fromkeys(("lat_seconds", "long_seconds"), 3),
    **dict.fromkeys(("altitude", "size", "precision_horz", "precision_vert"), 2),
}


def composed_content(type_: str, data: Json) -> str:
    shown = []
    for name, part in data.items():
        if type_ == "SRV" and name == "priority":
            continue  # a member of its own
        text = str(part)
        if type_ == "LOC" and name in DECIMALS:
            text = f"{part:.{DECIMALS[name]}f}"
        elif name in QUOTED.get(type_, ()):
            text = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
        shown.append(text)
    return " ".join(filter(None, shown))


def checked_settings(type_: str, wanted: Json, plan: Plan) -> Json:
    settings = wanted["settings"] or {}
    if not isinstance(settings, dict):
        raise invalid(1004, "DNS Validation Error: settings must be an object.")
    if set(settings) - SETTINGS or not all(type(value) is bool for value in settings.values()):
        raise invalid(1004, "DNS Validation Error")
    if settings.get("flatten_cname") and (type_ != "CNAME" or wanted["proxied"] or not plan.flattening):
        raise invalid(1004, "DNS Validation Error: flatten_cname is not possible for this record on this plan.")
    return {"flatten_cname": False, **settings} if type_ == "CNAME" else settings


def within(address: str, networks: t.Iterable[t.Any]) -> bool:
    return any(ipaddress.ip_address(address) in network for network in networks)


def refuse_lone_ds(records: t.Iterable[Json], zone: str) -> None:
    """A DS exists only beside the NS of a delegation: https://github.com/octodns/octodns-cloudflare/issues/102.

    The zone itself may have one: https://github.com/DNSControl/dnscontrol/issues/3569. The real code is not known.
    """
    records = list(records)
    delegated = {zone, *(one["name"] for one in records if one["type"] == "NS")}
    if any(one["type"] == "DS" and one["name"] not in delegated for one in records):
        raise invalid(1004, "DNS Validation Error: a DS record needs an NS record of the same name.")


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
