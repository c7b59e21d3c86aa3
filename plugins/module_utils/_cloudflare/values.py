# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of DNS records, one normal form for equal values. Private: may change without notice.

The API returns many values in another spelling than it received them. For some types it returns a mapping `data` and a
`content` composed from it, whose form varies. Values are therefore compared part by part, each part in its normal form.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import ipaddress
import re
import typing as t

from .._core.errors import InvalidError
from .names import QUOTED, TOKEN, host_name, quote, refuse_stray_quotes, unquote

# https://developers.cloudflare.com/dns/manage-dns-records/reference/dns-record-types/: at most 4096 bytes in a record
# (the quotes are counted here as well), at most 8192 characters in all records of a name and type together.
LONGEST_TEXT = 4096
LONGEST_SET = 8192

# -- parts of values --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Kind:
    """One part of a value: its normal form, and its form in a zone file."""

    normal: t.Callable[[t.Any], t.Any]
    shown: t.Callable[[t.Any], str] = str
    greedy: bool = False
    """Takes the rest of the line, in which blanks have no meaning."""


def whole(highest: int) -> Kind:
    def normal(given: t.Any) -> int:
        # The API returns some numbers as strings, or as 1.0.
        number = int(float(given)) if re.fullmatch(r"\d{1,10}(\.0)?", str(given)) else -1
        if not 0 <= number <= highest:
            raise InvalidError(f"'{given}' is not a whole number from 0 to {highest}.")
        return number

    return Kind(normal)


def decimal(lowest: float, highest: float) -> Kind:
    def normal(given: t.Any) -> float:
        try:
            number = float(str(given).removesuffix("m"))
        except ValueError:
            number = highest + 1
        if not lowest <= number <= highest:
            raise InvalidError(f"'{given}' is not a number from {lowest:g} to {highest:g}.")
        return int(number) if number.is_integer() else number

    return Kind(normal)


def one_of(*choices: str) -> Kind:
    def normal(given: t.Any) -> str:
        if str(given).upper() not in choices:
            raise InvalidError(f"'{given}' is not one of {', '.join(choices)}.")
        return str(given).upper()

    return Kind(normal)


def address(version: int) -> Kind:
    def normal(given: t.Any) -> str:
        try:
            found = ipaddress.ip_address(str(given).strip())
        except ValueError:
            found = None
        if found is None or found.version != version or "%" in str(found):
            raise InvalidError(f"'{given}' is not an IPv{version} address.")
        return found.compressed

    return Kind(normal)


def target(given: t.Any) -> str:
    refuse_address(str(given).strip())
    name = host_name(str(given).strip())
    if "." not in name:
        raise InvalidError(f"'{given}' is not a fully qualified host name; the zone is not appended to targets.")
    return name


def refuse_address(given: str) -> None:
    try:
        found = ipaddress.ip_address(given.removesuffix("."))
    except ValueError:
        return
    type_ = "A" if found.version == 4 else "AAAA"
    raise InvalidError(
        f"'{given}' is an IP address, and this must be a host name; addresses have records of type {type_}."
    )


def target_or_none(given: t.Any) -> str:
    return "." if str(given).strip() == "." else target(given)


def text(given: t.Any) -> str:
    return str(given)


def filled_text(given: t.Any) -> str:
    value = unquote(str(given))
    if not value:
        raise InvalidError("A text must have at least one character.")
    return value


def refuse_text(given: str) -> None:
    """Refuse what cannot be intended, and what Cloudflare does not accept."""
    refuse_stray_quotes(given)
    value = unquote(given)
    if value == given and re.search(r"[\r\n]", value):
        raise InvalidError(
            "The text contains a line break; write it on one line (in YAML with >- instead of |), or quote it with \\010."
        )
    if len(quote(value).encode()) > LONGEST_TEXT:
        raise InvalidError(
            f"The text is longer than the {LONGEST_TEXT} bytes that Cloudflare accepts, quotes included."
        )


def property_tag(given: t.Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]+", str(given)):
        raise InvalidError(f"'{given}' is not a tag of a CAA record, such as issue, issuewild or iodef.")
    return str(given).lower()


def hexadecimal(given: t.Any) -> str:
    value = re.sub(r"\s", "", str(given)).lower()
    if not re.fullmatch(r"([0-9a-f]{2})+", value):
        raise InvalidError(f"'{given}' is not hexadecimal.")
    return value


def base_64(given: t.Any) -> str:
    value = re.sub(r"\s", "", str(given))
    try:
        if not value:
            raise ValueError
        base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidError(f"'{given}' is not base64.") from None
    return value


def service_parameters(given: t.Any) -> str:
    """The parameters of HTTPS and SVCB. Their order has no meaning, and quotes are optional."""
    parameters = []
    for token in re.findall(TOKEN, str(given), re.DOTALL):
        key, equals, value = token.partition("=")
        parameters.append(f"{key.lower()}={quote(unquote(value))}" if equals else key.lower())
    return " ".join(sorted(parameters))


UINT8, UINT16 = whole(255), whole(65535)
TARGET, TARGET_OR_NONE = Kind(target), Kind(target_or_none)
TEXT = Kind(text, shown=quote)
HEX, BASE64 = Kind(hexadecimal, greedy=True), Kind(base_64, greedy=True)
LENGTH = decimal(0, 90_000_000)


# -- types ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shape:
    """The parts of a type's value in the order of a zone file, and where the API expects them: parts in `beside` are fields
    of the record, `content` is its content, and all others are in `data`."""

    parts: dict[str, Kind]
    content: str | None = None
    beside: tuple[str, ...] = ()


def plain(kind: Kind) -> Shape:
    return Shape({"content": kind}, content="content")


CERTIFICATE_ASSOCIATION = Shape({"usage": UINT8, "selector": UINT8, "matching_type": UINT8, "certificate": HEX})
SERVICE_BINDING = Shape(
    {"priority": UINT16, "target": TARGET_OR_NONE, "value": Kind(service_parameters, greedy=True)},
)
SHAPES = {
    "A": plain(address(4)),
    "AAAA": plain(address(6)),
    "CAA": Shape({"flags": UINT8, "tag": Kind(property_tag), "value": TEXT}),
    "CERT": Shape({"type": UINT16, "key_tag": UINT16, "algorithm": UINT8, "certificate": BASE64}),
    "CNAME": plain(TARGET),
    "DNSKEY": Shape({"flags": UINT16, "protocol": UINT8, "algorithm": UINT8, "public_key": BASE64}),
    "DS": Shape({"key_tag": UINT16, "algorithm": UINT8, "digest_type": UINT8, "digest": HEX}),
    "HTTPS": SERVICE_BINDING,
    "LOC": Shape(
        {
            "lat_degrees": decimal(0, 90),
            "lat_minutes": decimal(0, 59),
            "lat_seconds": decimal(0, 59.999),
            "lat_direction": one_of("N", "S"),
            "long_degrees": decimal(0, 180),
            "long_minutes": decimal(0, 59),
            "long_seconds": decimal(0, 59.999),
            "long_direction": one_of("E", "W"),
            "altitude": decimal(-100_000, 42_849_672.95),
            "size": LENGTH,
            "precision_horz": LENGTH,
            "precision_vert": LENGTH,
        }
    ),
    "MX": Shape({"priority": UINT16, "target": TARGET_OR_NONE}, content="target", beside=("priority",)),
    "NAPTR": Shape(
        {
            "order": UINT16,
            "preference": UINT16,
            "flags": TEXT,
            "service": TEXT,
            "regex": TEXT,
            "replacement": TARGET_OR_NONE,
        }
    ),
    "NS": plain(TARGET),
    "OPENPGPKEY": plain(Kind(base_64)),
    "PTR": plain(TARGET),
    "SMIMEA": CERTIFICATE_ASSOCIATION,
    "SRV": Shape({"priority": UINT16, "weight": UINT16, "port": UINT16, "target": TARGET_OR_NONE}),
    "SSHFP": Shape({"algorithm": UINT8, "type": UINT8, "fingerprint": HEX}),
    "SVCB": SERVICE_BINDING,
    "TLSA": CERTIFICATE_ASSOCIATION,
    "TXT": plain(Kind(filled_text)),
    "URI": Shape({"priority": UINT16, "weight": UINT16, "target": TEXT}, beside=("priority",)),
}


@dataclasses.dataclass(frozen=True, order=True)
class Value:
    """The value of a record. Equal values have equal texts; requests are built from the parts."""

    text: str
    parts: tuple[tuple[str, t.Any], ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def from_option(cls, type_: str, value: t.Any) -> Value:
        """From the user: a mapping of all parts, or the text that follows the type in a zone file."""
        kinds = SHAPES[type_].parts
        form = f"a value of type {type_} consists of {', '.join(kinds)}"
        if isinstance(value, dict) and len(kinds) > 1:
            odd = ", ".join(sorted(map(str, set(value) ^ set(kinds))))
            if odd:
                raise InvalidError(f"Unknown or missing: {odd}; {form}.")
            return cls._of(type_, value)
        if isinstance(value, (dict, list, bool)) or value is None:
            raise InvalidError(f"'{value}' is neither text nor a mapping of all parts; quote it if it is a text.")
        if len(kinds) == 1:
            if type_ == "TXT":
                refuse_text(str(value))
            return cls._of(type_, {"content": value})
        tokens = re.findall(TOKEN, str(value), re.DOTALL)
        last, greedy = list(kinds.items())[-1]
        fixed = len(kinds) - 1
        odd = re.sub(TOKEN, "", str(value), flags=re.DOTALL).strip()
        single = all('"' not in one or re.fullmatch(QUOTED, one, re.DOTALL) for one in tokens[: fixed + 1])
        if greedy.normal is service_parameters:
            single = True
        if odd or not single or len(tokens) < fixed or (len(tokens) != len(kinds) and not greedy.greedy):
            raise InvalidError(f"'{value}' does not fit: {form}, and a text with blanks must be quoted.")
        parts = {name: unquote(token) for name, token in zip(kinds, tokens[:fixed], strict=False)}
        rest = " ".join(tokens[fixed:])
        return cls._of(type_, {**parts, last: rest if greedy.normal is service_parameters else unquote(rest)})

    @classmethod
    def from_api(cls, record: dict[str, t.Any]) -> Value:
        """From the API. A value that cannot be parsed is kept as text, because the zone may contain anything."""
        content = str(record.get("content") or "")
        shape = SHAPES.get(record["type"])
        try:
            if shape is None:
                return cls(content)
            if shape.content is None and not record.get("data"):
                return cls.from_option(record["type"], content)
            fields = {"priority": record.get("priority"), **(record.get("data") or {})}
            if shape.content:
                fields[shape.content] = content
            return cls._of(record["type"], {name: fields[name] for name in shape.parts})
        except (InvalidError, KeyError):
            return cls(content)

    @classmethod
    def _of(cls, type_: str, parts: dict[str, t.Any]) -> Value:
        kinds = SHAPES[type_].parts
        normal = {}
        for name, kind in kinds.items():
            try:
                normal[name] = kind.normal(parts[name])
            except InvalidError as exc:
                raise InvalidError(f"Wrong {name if len(kinds) > 1 else 'content'} for type {type_}: {exc}") from None
        # The parameters of a service may be empty; blanks around a text belong to it.
        shown = " ".join(filter(None, (kinds[name].shown(part) for name, part in normal.items())))
        # Surrogates cannot be printed.
        return cls(shown.encode(errors="surrogateescape").decode(errors="backslashreplace"), tuple(normal.items()))

    def fields(self, type_: str) -> dict[str, t.Any]:
        """The fields of a request."""
        shape, parts = SHAPES[type_], dict(self.parts)
        fields: dict[str, t.Any] = {name: parts.pop(name) for name in shape.beside}
        if shape.content:
            content = parts[shape.content]
            return {**fields, "content": quote(content) if type_ == "TXT" else content}
        return {**fields, "data": parts}
