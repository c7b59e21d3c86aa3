# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS names and quoted texts. Private: may change without notice."""

from __future__ import annotations

import re
import unicodedata

from .._core.deps import optional
from .._core.errors import InvalidError

with optional("requests"):  # requests depends on idna, and JsonClient reports its absence
    import idna

# -- names ------------------------------------------------------------------------------------------------------------


# RFC 3490 section 3.1: what users of other scripts type as a dot.
DOTS = re.compile("[.\u3002\uff0e\uff61]")


def host_name(name: str) -> str:
    """A host name as the API returns it: lower case, punycode, no final dot."""
    labels = [label if label.isascii() else encoded(label, name) for label in parts(name)]
    if not all(re.fullmatch(r"\*|[a-z0-9_-]{1,63}", label) for label in labels):
        raise InvalidError(f"'{name}' is not a host name; its parts are 1 to 63 letters, digits, '-' or '_'.")
    whole = ".".join(labels)
    if len(whole) > 253:
        raise InvalidError(f"'{name}' is not a host name; it is longer than 253 characters.")
    return whole


def parts(name: str) -> list[str]:
    labels = DOTS.split(name.lower())
    return labels[:-1] if len(labels) > 1 and not labels[-1] else labels


def encoded(label: str, name: str) -> str:
    """The punycode of a part, if it is one that IDNA 2008 allows; an emoji is not."""
    try:
        return idna.encode(label, uts46=True).decode()
    except idna.IDNAError:
        raw = punycode(label)
        remedy = f"; if it is meant, write this part as {raw}" if len(raw) < 64 else ""
        raise InvalidError(
            f"'{name}' is not a host name: internationalized names (IDNA 2008) do not allow the characters of '{label}'{remedy}."
        ) from None


def punycode(label: str) -> str:
    return label if label.isascii() else "xn--" + unicodedata.normalize("NFC", label).encode("punycode").decode()


def stored_name(name: str) -> str:
    """The name of an existing record. It may be one that `host_name` refuses, such as an emoji."""
    try:
        return host_name(name)
    except InvalidError:
        return ".".join(map(punycode, parts(name)))


def full_name(name: str, zone: str) -> str:
    """`name` within `zone`. @ is the zone itself, and a name is complete only if it ends in the zone."""
    if name == "@":
        return zone
    complete, absolute = host_name(name), DOTS.fullmatch(name[-1]) is not None
    if within(complete, zone):
        return complete
    if absolute:
        raise InvalidError(
            f"The name '{name}' ends in a dot, so it is fully qualified, but it is not within the zone '{zone}'."
        )
    return host_name(f"{complete}.{zone}")


def within(name: str, zone: str) -> bool:
    return name == zone or name.endswith("." + zone)


# -- texts ------------------------------------------------------------------------------------------------------------

# RFC 1035 section 5.1: a string ends at its quote, so another one may follow at once, and parentheses group lines.
QUOTED = r'"((?:[^"\\]|\\.)*)"'
TOKEN = r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+'
STRINGS = re.compile(rf"\s*{QUOTED}(?:\s*{QUOTED})*\s*", re.DOTALL)
GROUP = re.compile(r"\s*\((\s*\".*)\)\s*", re.DOTALL)


def refuse_stray_quotes(text: str) -> None:
    """Refuse a text that was meant to consist of quoted strings, but does not."""
    group = GROUP.fullmatch(text)
    if STRINGS.fullmatch(group[1] if group else text):
        odd = next(
            (one for one in re.findall(r"\\(\d{3}|.)", text, re.DOTALL) if len(one) == 3 and int(one) > 255), None
        )
        if odd:
            raise InvalidError(f"The text contains \\{odd}, which is no byte; \\000 to \\255 are.")
        return
    bare = re.sub(r"\\.", "", text, flags=re.DOTALL)
    if re.match(r'\s*\(?\s*"', bare) or bare.count('"') % 2 or re.search(r'"\s*"', bare):
        raise InvalidError(
            "The text contains quotes, but does not consist of quoted strings; put quotes around each string, and write "
            'a quote within a string as \\", or remove the quotes.'
        )


def unquote(text: str) -> str:
    """The value of a text. One that does not consist entirely of quoted strings is returned unchanged.

    Bytes that are not UTF-8 become surrogates, which `quote` converts back.
    """
    group = GROUP.fullmatch(text)
    text, given = group[1] if group else text, text
    if not STRINGS.fullmatch(text):
        return given
    value = "".join(match.group(1) for match in re.finditer(QUOTED, text, re.DOTALL)).encode()
    plain = re.sub(
        rb"\\(\d{3}|.)",
        lambda match: bytes([int(match[1]) & 255]) if len(match[1]) == 3 else match[1],
        value,
        flags=re.DOTALL,
    )
    return plain.decode(errors="surrogateescape")


def quote(value: str) -> str:
    """A text as quoted strings of at most 255 bytes each, which is the limit of the protocol."""
    chunks, size = [""], 0
    for character in value:
        raw = character.encode(errors="surrogateescape")
        if size + len(raw) > 255:
            chunks.append("")
            size = 0
        size += len(raw)
        if character in '"\\':
            chunks[-1] += "\\" + character
        elif character.isprintable():
            chunks[-1] += character
        else:
            chunks[-1] += "".join(f"\\{byte:03d}" for byte in raw)
    return " ".join(f'"{chunk}"' for chunk in chunks)
