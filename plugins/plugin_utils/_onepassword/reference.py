# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret references, op://vault/item[/section]/field-or-file[?key=value]. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from ...module_utils._core.errors import InvalidError

SCHEME = "op://"
# References have no escaping in 1Password: a name with another character must be replaced by its ID.
PART = re.compile(r"[A-Za-z0-9_.-][A-Za-z0-9_. -]*", re.ASCII)
# What may follow the question mark, and its meaning. The SDK knows otp, totp and openssh, `op` knows all of them.
QUERIES = {
    "attribute": {
        **{name: name for name in ("value", "content", "otp", "type", "id", "purpose", "name", "size")},
        "totp": "otp",
    },
    "ssh-format": {"openssh": "openssh"},
}
QUERIES["attr"] = QUERIES["attribute"]


@dataclasses.dataclass(frozen=True)
class Reference:
    """Each part is a name, compared case-insensitively, or an ID."""

    vault: str
    item: str
    section: str | None
    field: str
    attribute: str = "value"

    def __str__(self) -> str:
        parts = [part for part in (self.vault, self.item, self.section, self.field) if part]
        key = "ssh-format" if self.attribute == "openssh" else "attribute"
        return SCHEME + "/".join(parts) + ("" if self.attribute == "value" else f"?{key}={self.attribute}")


def parse(text: object, position: int = 1) -> Reference:
    """Stricter than 1Password's own parser, which accepts empty parts. A refused term may be a secret: never quote it."""

    def refuse(why: str) -> InvalidError:
        return InvalidError(
            f"Term {position} is not a secret reference: {why}. Expected op://vault/item[/section]/field; "
            "the term is not shown because it may be a secret."
        )

    if not isinstance(text, str) or not text.startswith(SCHEME):
        raise refuse("it does not start with op://")
    path, mark, query = text[len(SCHEME) :].partition("?")
    parts = path.split("/")
    if len(parts) not in (3, 4):
        raise refuse(f"it has {len(parts)} parts instead of three or four")
    for number, part in enumerate(parts, 1):
        if not PART.fullmatch(part) or part in (".", ".."):
            raise refuse(
                f"part {number} is empty, is '.' or '..', starts with a space or has characters other than ASCII "
                "letters, digits, space, '-', '_' and '.' (use its ID instead)"
            )
    section = parts[2] if len(parts) == 4 else None
    return Reference(parts[0], parts[1], section, parts[-1], _attribute(query, refuse) if mark else "value")


def _attribute(query: str, refuse: Callable[[str], InvalidError]) -> str:
    """There is at most one pair, and it has no escaping either."""
    key, _equals, name = query.partition("=")
    if key not in QUERIES:
        raise refuse("only attribute=… and ssh-format=openssh may follow '?'")
    if name not in QUERIES[key]:
        raise refuse(f"after '?' {key} must be one of {', '.join(QUERIES[key])}")
    return QUERIES[key][name]
