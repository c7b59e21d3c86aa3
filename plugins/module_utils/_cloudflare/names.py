# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS names and quoted texts. Private: may change without notice."""

from __future__ import annotations

import re

from .._core.deps import optional
from .._core.errors import InvalidError

with optional("requests"):  # requests depends on idna, and JsonClient reports its absence
    import idna

# -- names ------------------------------------------------------------------------------------------------------------


def host_name(name: str) -> str:
    """A host name as the API returns it: lower case, punycode, no final dot."""
    labels = name.lower().removesuffix(".").split(".")
    try:
        labels = [label if label.isascii() else idna.encode(label, uts46=True).decode() for label in labels]
    except idna.IDNAError as exc:
        raise InvalidError(f"'{name}' is not a host name ({exc}).") from None
    if not all(re.fullmatch(r"\*|[a-z0-9_-]{1,63}", label) for label in labels):
        raise InvalidError(f"'{name}' is not a host name; its parts are 1 to 63 letters, digits, '-' or '_'.")
    whole = ".".join(labels)
    if len(whole) > 253:
        raise InvalidError(f"'{name}' is not a host name; it is longer than 253 characters.")
    return whole


def full_name(name: str, zone: str) -> str:
    """`name` within `zone`. @ is the zone itself, and a name is complete only if it ends in the zone."""
    if name == "@":
        return zone
    complete, absolute = host_name(name), name.endswith(".")
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

QUOTED = r'"((?:[^"\\]|\\.)*)"'
TOKEN = r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+'


def unquote(text: str) -> str:
    """The value of a text. One that does not consist entirely of quoted strings is returned unchanged.

    Bytes that are not UTF-8 become surrogates, which `quote` converts back.
    """
    if not re.fullmatch(rf"\s*{QUOTED}(\s+{QUOTED})*\s*", text, re.DOTALL):
        return text
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
