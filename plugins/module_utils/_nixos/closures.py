# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `nix store diff-closures` prints. Pure. Private: may change without notice.

A line is "name: OLD → NEW, +1.5 KiB". Versions or the size are left out if they are the same or differ by less than 8 KiB.
"""

from __future__ import annotations

import re
import typing as t

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_LINE = re.compile(r"^\s*(?P<name>[^\s:]+): (?P<changes>.+)$")
_SIZE = re.compile(r"(?:^|, )(?P<number>[+-]\d+(?:\.\d+)?) (?P<unit>[KMGT]?i?B)$")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
NOTHING, UNNAMED = "∅", "ε"

Package = dict[str, t.Any]


def parse(text: str) -> dict[str, list[Package]]:
    """Packages by what happens to them; `size` is the difference in bytes, 0 if it is less than 8 KiB."""
    found: dict[str, list[Package]] = {"added": [], "removed": [], "upgraded": [], "resized": []}
    for line in _COLOR.sub("", text).splitlines():
        if parsed := _LINE.match(line):
            kind, package = _package(parsed["name"], parsed["changes"])
            found[kind].append(package)
    return found


def _package(name: str, changes: str) -> tuple[str, Package]:
    size = _SIZE.search(changes)
    number = round(float(size["number"]) * _UNITS.get(size["unit"], 1)) if size else 0
    versions = changes[: size.start()] if size else changes
    before, arrow, after = (part.strip() for part in versions.partition("→"))
    package = {"name": name, "before": _versions(before), "after": _versions(after), "size": number}
    if not arrow:
        return "resized", {**package, "before": [], "after": []}
    return ("added" if before == NOTHING else "removed" if after == NOTHING else "upgraded"), package


def _versions(text: str) -> list[str]:
    """Several versions of a package may be in one system; one without a version is an empty text."""
    return [] if text in ("", NOTHING) else ["" if one == UNNAMED else one for one in text.split(", ")]
