# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A glance at a host that may have nothing to do. Private: may change without notice.

In a large fleet, most hosts run the system already. A shell finds that out for a quarter of the time that a module takes: it needs neither
Python nor the search for it. Whatever is not plain is left to the module.
"""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import time
import typing as t

from ...module_utils._nixos import readiness

SCRIPT = pathlib.Path(__file__).with_name("glance.sh")

Result = dict[str, t.Any]


def command(system: str) -> str:
    return " ".join(["sh", "-c", *map(shlex.quote, [SCRIPT.read_text(encoding="utf-8"), "sh", system])])


def nothing_to_do(text: str, action: str) -> Result | None:
    """What nixos_deploy_check returns for a host that is as the deployment would make it; None if the module has to look."""
    head, _separator, tail = text.replace("\r\n", "\n").partition("manifest=\n")
    found = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    if found.get("uid") != "0" or not found.get("complete") or "busy" in found or not _on_time(found.get("time", "")):
        return None
    try:
        manifest = dict(json.loads(tail or "{}"))
    except (TypeError, ValueError):
        return None
    running: Result = {
        name: found.get(name) or None for name in ("system", "profile", "booted", "host_name", "boot_id")
    }
    number = re.fullmatch(r"system-(\d+)-link", found.get("generation", ""))
    running.update(generation=int(number[1]) if number else None, revision=manifest.get("revision"), unfinished=None)
    path = found.get("given", "")
    if not path or not readiness.is_current(running, path, action):
        return None
    return {
        "running": running,
        "store_path": path,
        "present": True,
        "current": True,
        "manifest": readiness.has_checks(manifest),
        "unconfirmed": None,
        "resume": None,
        "missing_bytes": None,
        "problems": [],
        "notes": [],
    }


def _on_time(clock: str) -> bool:
    return clock.isdecimal() and abs(int(clock) - time.time()) < readiness.CLOCK_SKEW
