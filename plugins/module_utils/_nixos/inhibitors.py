# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NixOS from 26.05 on refuses to change in a running system. Private: may change without notice."""

from __future__ import annotations

import json
import os
import typing as t

from .deployment import read_file

FILE = "switch-inhibitors"


def compare(running: str, system: str) -> dict[str, list[t.Any]]:
    """Name to the old and the new value. As NixOS' own check, it ignores what only one of the systems has."""
    old, new = (_read(os.path.join(path, FILE)) for path in (running, system))
    return {name: [old[name], new[name]] for name in sorted(old.keys() & new.keys()) if old[name] != new[name]}


def _read(path: str) -> dict[str, t.Any]:
    try:
        values = json.loads(read_file(path) or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
