# SPDX-License-Identifier: GPL-3.0-or-later
"""Which units a new system stops, reloads, restarts and starts."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

UNITS = "etc/systemd/system"
SUFFIXES = (".service", ".timer", ".path", ".socket", ".target")
# A change of these alone does not affect a running unit.
IGNORED = {
    "Description", "Documentation", "OnFailure", "OnSuccess", "OnFailureJobMode", "IgnoreOnIsolate", "StopWhenUnneeded",
    "RefuseManualStart", "RefuseManualStop", "AllowIsolate", "CollectMode", "SourcePath", "X-Reload-Triggers",
}  # fmt: skip
# A change of such a unit restarts nothing: targets are only started again, and the others keep what they had.
NOT_RESTARTED = (".target", ".path", ".socket")
_FAILED_JOB = re.compile(r"^(?:Job|A dependency job) for (\S+) failed", re.M)
_REFUSED_JOB = re.compile(r"^Failed to .*", re.M)


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
        if name in active and parse(old[name]).get("X-StopOnRemoval") != ["false"]:
            plan.stop.append(name)
    for name in sorted(old.keys() & new.keys()):
        if name in active and old[name] != new[name] and not name.endswith(NOT_RESTARTED):
            _changed(plan, name, parse(old[name]), parse(new[name]), active, new)
    return plan


def _changed(
    plan: Plan,
    name: str,
    before: dict[str, list[str]],
    after: dict[str, list[str]],
    active: set[str],
    new: dict[str, str],
) -> None:
    different = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    flag = {key: values[-1] == "true" for key, values in after.items() if key.startswith("X-") and values}
    if different <= IGNORED:
        if "X-Reload-Triggers" in different:
            plan.reload.append(name)
    elif different <= IGNORED | {"ExecReload"} and "ExecReload" not in after:
        pass  # what runs is not affected, and cannot be reloaded any more
    elif different <= IGNORED | {"ExecReload"} or flag.get("X-ReloadIfChanged", False):
        plan.reload.append(name)
    elif not flag.get("X-RestartIfChanged", True) or flag.get("X-OnlyManualStart", False) or manual(after):
        plan.skip.append(name)
    elif not flag.get("X-StopIfChanged", True) or not name.endswith(".service"):
        plan.restart.append(name)
    else:
        # What its sockets start is not started itself.
        listed = " ".join(after.get("Sockets", [])).split() or [f"{name.removesuffix('.service')}.socket"]
        sockets = [socket for socket in listed if socket in active]
        plan.stop += [name, *sockets]
        plan.start += [socket for socket in sockets if socket in new] or [name]


def manual(unit: dict[str, list[str]]) -> bool:
    return unit.get("RefuseManualStop", [""])[-1] in ("1", "yes", "true", "on")


def jobs(verb: str, names: list[str]) -> tuple[list[str], list[str]]:
    """Run a job for each unit and wait for all: what systemd refused, and the units whose job or dependency failed."""
    if not names:
        return [], []
    done = systemctl(verb, "--", *names)
    return _REFUSED_JOB.findall(done.stderr), _FAILED_JOB.findall(done.stderr)


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
    """Failed units, and those that wait for their restart after they have failed."""
    return {
        name
        for name, (state, sub) in states().items()
        if state == "failed" or (sub == "auto-restart" and name.endswith(".service") and _status(name) != "0")
    }


def _status(name: str) -> str:
    return systemctl("show", "--property=ExecMainStatus", "--value", name).stdout.strip()
