# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its running system beside its files. Private: may change without notice."""

from __future__ import annotations

import json
import re
import typing as t

from .settings import MANIFEST

# One JSON object per line; nixos_confirm appends to it.
RECORD = "/var/log/nixci/deployments.jsonl"
MEMORY = "/proc/meminfo"


def revision(system: str) -> str | None:
    """The last record of this system knows it even if the flake does not set system.configurationRevision."""
    found = None
    for line in _text(RECORD).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # cut by a crash
            continue
        if isinstance(entry, dict) and entry.get("to") == system and entry.get("revision"):
            found = str(entry["revision"])
    return found or _of_manifest()


def _of_manifest() -> str | None:
    try:
        value: t.Any = json.loads(_text(MANIFEST) or "{}").get("revision")
    except (ValueError, AttributeError):
        return None
    return str(value) if value else None


def memory_available() -> int | None:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _text(MEMORY), re.M)
    return int(match[1]) // 1024 if match else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
