# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's Nix store knows of a system that a host may lack. Private: may change without notice."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

from .access import output

MANIFEST = "etc/nixci/manifest.json"
# For a shell whose PATH lacks it.
PROGRAM = "/nix/var/nix/profiles/default/bin/nix-store"
# Paths per command line.
BATCH = 1000


def knows(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Arguments of the module on the host: the sizes of what has to be copied, and the manifest; empty if the store lacks the system."""
    path = arguments.get("store_path")
    # For a build, nothing is copied.
    if not path or arguments.get("action") == "build":
        return {}
    return {"manifest": manifest(path), "closure": closure(shutil.which("nix-store") or PROGRAM, path)}


def closure(program: str, path: str) -> dict[str, int]:
    paths = (output([program, "--query", "--requisites", path]) or "").split()
    sizes: list[str] = []
    for start in range(0, len(paths), BATCH):
        sizes += (output([program, "--query", "--size", *paths[start : start + BATCH]]) or "").split()
    return {one: int(sizes[position]) for position, one in enumerate(paths)} if len(sizes) == len(paths) else {}


def manifest(path: str) -> dict[str, t.Any]:
    try:
        value = json.loads((pathlib.Path(path) / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
