# SPDX-License-Identifier: GPL-3.0-or-later
"""Which units a new system stops, reloads, restarts and starts."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

UNITS = "etc/systemd/system"
SUFFIXES = (".service", ".timer", ".path", ".socket", ".target")
# These only describe a unit; a change of them alone does not affect it.
IGNORED = {"Description", "Documentation", "OnFailure", "OnSuccess", "X-Reload-Triggers"}
# Never stopped for a change, because everything depends on them.
KEEP = {"sysinit.target", "basic.target", "multi-user.target", "graphical.target", "timers.target"}


@dataclasses.dataclass
class Plan:
    stop: list[str] = dataclasses.field(default_factory=list)
    skip: list[str] = dataclasses.field(default_factory=list)
    reload: list[str] = dataclasses.field(default_factory=list)
    restart: list[str] = dataclasses.field(default_factory=list)
    start: list[str] = dataclasses.field(default_factory=list)


def read(directory: Path) -> dict[str, str]:
    """Name -> text of each unit file of one system."""
    if not directory.is_dir():
        return {}
    return {file.name: file.read_text() for file in sorted(directory.iterdir()) if file.name.endswith(SUFFIXES)}


def parse(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif "=" in line and not line.startswith("#") and section != "[Install]":
            key, value = line.split("=", 1)
            values.setdefault(key if section in ("[Unit]", "[Service]") else section + key, []).append(value)
    return values


def compare(old: dict[str, str], new: dict[str, str], active: set[str]) -> Plan:
    plan = Plan()
    for name in sorted(old.keys() - new.keys()):
        if name in active and name not in KEEP:
            plan.stop.append(name)
    for name in sorted(old.keys() & new.keys()):
        if name in active and name not in KEEP and old[name] != new[name]:
            _changed(plan, name, parse(old[name]), parse(new[name]))
    return plan


def _changed(plan: Plan, name: str, before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    flag = {key: values[-1] == "true" for key, values in after.items() if key.startswith("X-") and values}
    if different <= IGNORED:
        if "X-Reload-Triggers" in different:
            plan.reload.append(name)
    elif different <= IGNORED | {"ExecReload"} or flag.get("X-ReloadIfChanged", False):
        plan.reload.append(name)
    elif not flag.get("X-RestartIfChanged", True):
        plan.skip.append(name)
    elif not flag.get("X-StopIfChanged", True) or not name.endswith(".service"):
        plan.restart.append(name)
    else:
        plan.stop.append(name)
        plan.start.append(name)


def systemctl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)


def states() -> dict[str, tuple[str, str]]:
    """Name -> (active, sub) of each unit that systemd has loaded."""
    out = systemctl("list-units", "--all", "--plain", "--no-legend", "--full").stdout
    rows = (line.split(None, 4) for line in out.splitlines())
    return {row[0]: (row[2], row[3]) for row in rows if len(row) >= 4}


def active() -> set[str]:
    return {name for name, (state, _) in states().items() if state in ("active", "activating", "reloading")}


def failed() -> set[str]:
    """Failed units, and those that systemd keeps restarting after a failure."""
    return {
        name
        for name, (state, sub) in states().items()
        if state == "failed"
        or (state == "activating" and sub.startswith("auto-restart") and _result(name) != "success")
    }


def _result(name: str) -> str:
    return systemctl("show", "--property=Result", "--value", name).stdout.strip()
