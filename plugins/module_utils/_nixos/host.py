# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NixOS host, through its own tools. Private: may change without notice.

What is built is a store path, and exactly that path is activated: nothing is evaluated twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
import typing as t

from .._core.errors import ConflictError, InvalidError, NixciError
from .._core.redact import redact_log
from . import inhibitors, messages
from .command import Outcome, Runner
from .staging import Copy

# Tests point these elsewhere; NixOS has no other place for them.
CURRENT_SYSTEM = "/run/current-system"
PROFILE = "/nix/var/nix/profiles/system"
BOOTED_SYSTEM = "/run/booted-system"
SYSTEMD = "/run/systemd/system"
# Holds the path that is being activated. /run/current-system changes before the units do, so without this mark an
# interrupted activation would look finished. A reboot starts all units again and removes the mark.
UNFINISHED = "/run/nixci/unfinished-activation"
UNIT = "nixci-activation"
MANIFEST = "etc/nixci/manifest.json"

JOURNAL_LINES = 15
# Statuses of switch-to-configuration.
LOCKED = 11
INIT_CHANGED = 100


@dataclasses.dataclass(frozen=True)
class Look:
    """What a system would change, before it is activated."""

    units: dict[str, list[str]] | None
    inhibitors: dict[str, list[t.Any]]
    reboot: str | None
    """Why it cannot be activated without a reboot."""
    init: bool = False
    """Not even by force."""


class NixosHost:
    """Builds and activates systems of the host that this code runs on."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        if runner.find("nixos-rebuild") is None or not os.path.lexists(CURRENT_SYSTEM):
            raise InvalidError(
                "This host is not NixOS: it has no nixos-rebuild or no /run/current-system; "
                "install NixOS on it first, or take it out of the group.",
                reason="not_nixos",
            )

    # Reading

    def state(self) -> dict[str, t.Any]:
        """The system that runs and the one that the profile (and so the next boot) has."""
        return {"system": _target(CURRENT_SYSTEM), "profile": _target(PROFILE), "unfinished": _read(UNFINISHED)}

    def moved(self, before: dict[str, t.Any]) -> bool:
        """Whether a failed activation nevertheless changed what runs or what boots."""
        now = self.state()
        return any(now[key] != before[key] for key in ("system", "profile"))

    def generation(self) -> int | None:
        match = re.search(r"-(\d+)-link$", os.readlink(PROFILE)) if os.path.islink(PROFILE) else None
        return int(match[1]) if match else None

    def name(self) -> str:
        """The host name as its running system declares it; one that the network assigned otherwise."""
        return host_name(CURRENT_SYSTEM) or os.uname().nodename

    def closure_changes(self, before: str | None, after: str) -> list[str]:
        """Packages that are added, removed or change their version; empty if Nix cannot compare the two."""
        if not before or before == after or self.runner.find("nix") is None:
            return []
        features = "--extra-experimental-features"
        outcome = self.runner.run("nix", features, "nix-command", "store", "diff-closures", before, after)
        if outcome.rc != 0:
            return []
        return re.sub(r"\x1b\[[0-9;]*m", "", outcome.out).strip().splitlines()

    # Building

    def build(self, flake: str | None, workdir: str, copy: Copy | None = None) -> str:
        """The store path of the configuration; the link in workdir keeps it from being collected."""
        argv = ["nixos-rebuild", "build", *(["--flake", flake] if flake else [])]
        outcome = self.runner.run(*(copy.command(*argv) if copy else argv), cwd=workdir)
        path = _target(os.path.join(workdir, "result"))
        if copy and outcome.rc != 0 and copy.refused(outcome.rc, outcome.err):
            raise NixciError(
                "The configuration cannot be built beside the one in place, because this host lets root make no mount "
                f"namespace: {messages.tail(outcome.err)}",
                reason="no_namespace",
            )
        if outcome.rc != 0 or path is None:
            raise build_error(outcome)
        return path

    # Looking

    def look(self, path: str) -> Look:
        """What activation would do, and whether only a reboot can bring it about.

        The dry activation also takes the lock and runs the system's own pre-switch checks.
        """
        outcome = self.runner.run(os.path.join(path, "bin", "switch-to-configuration"), "dry-activate")
        text = outcome.out + outcome.err
        changed = inhibitors.compare(CURRENT_SYSTEM, path)
        if outcome.rc == INIT_CHANGED:
            return Look(None, changed, "its init system is incompatible with the running one", init=True)
        inhibited = bool(changed) or bool(messages.INHIBITED.search(text))
        if outcome.rc != 0 and not inhibited:
            if refused_by_lock(outcome):
                raise locked()
            if messages.CHECK_FAILED.search(text):
                raise NixciError(
                    "The new system was built, but its own checks refuse to activate it; nothing was activated:\n"
                    + messages.tail(text),
                    reason="pre_switch_check",
                )
            raise NixciError(
                f"The new system was built, but asked what its activation would do, it failed with status {outcome.rc}; nothing was "
                f"activated:\n{messages.tail(text)}",
                reason="not_started",
            )
        units = {**messages.would(text), **self._new_units(path)} if outcome.rc == 0 else None
        if not inhibited:
            return Look(units, {}, None)
        named = f" ({', '.join(changed)})" if changed else ""
        return Look(units, changed, f"it changes what cannot be replaced in a running system{named}")

    def _new_units(self, path: str) -> dict[str, list[str]]:
        """A dry activation says nothing of units that their targets start, nor of units that do not run."""
        old, new = (_units(os.path.join(system, "etc/systemd/system")) for system in (CURRENT_SYSTEM, path))
        return {"new": sorted(new - old), "gone": sorted(old - new)}

    def wait_for_earlier(self) -> None:
        """An activation survives the run that started it."""
        if not os.path.isdir(SYSTEMD):
            return
        while self.active(f"{UNIT}.service"):
            if self.runner.left() <= 0:
                raise locked()
            time.sleep(0.5)

    def active(self, unit: str) -> bool:
        return self.runner.run("systemctl", "is-active", "--quiet", unit).rc == 0

    def failed_units(self) -> list[str]:
        outcome = self.runner.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
        return [line.split()[0] for line in outcome.out.splitlines() if line.strip()]


def forget_unfinished() -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(UNFINISHED)


def manifest(system: str) -> dict[str, t.Any]:
    """What our modules say of a system; empty for one without them."""
    try:
        value = json.loads(_read(os.path.join(system, MANIFEST)) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def host_name(system: str) -> str | None:
    """The host name that a system declares."""
    return (_read(os.path.join(system, "etc", "hostname")) or "").strip() or None


def journal(runner: Runner, unit: str, since: int | str = 0, field: str = "") -> str:
    """The unit's last journal lines since a time in seconds of the epoch, or after a cursor, with secrets masked."""
    begin = f"--since=@{since}" if isinstance(since, int) else f"--after-cursor={since}"
    argv = ["journalctl", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", begin]
    outcome = runner.run(*argv, f"{field}={unit}" if field else f"--unit={unit}")
    return redact_log(outcome.out).strip() or "(the journal has nothing about it)"


def build_error(outcome: Outcome) -> NixciError:
    """The error for a configuration that gave no system: the cause first, without the evaluator's trace."""
    text = outcome.err or outcome.out
    if messages.is_build_failure(text):
        return NixciError(
            "The configuration evaluates, but building it failed; nothing was activated:\n"
            + messages.build_error(text),
            reason="build",
        )
    return InvalidError(
        "The configuration is wrong; nothing was activated:\n" + messages.evaluation_error(text), reason="evaluation"
    )


def refused_by_lock(outcome: Outcome) -> bool:
    """Whether another activation has the lock of switch-to-configuration, or the name of our unit."""
    text = outcome.out + outcome.err
    return bool((outcome.rc == LOCKED and messages.LOCKED.search(text)) or (messages.UNIT_EXISTS.search(outcome.err)))


def locked() -> NixciError:
    error = ConflictError(
        "Another activation is running on this host, so this one did not start; run again when it is finished.",
        reason="locked",
    )
    error.plan_again = False  # it may take an hour
    return error


def _units(folder: str) -> set[str]:
    try:
        return {
            name for name in os.listdir(folder) if name.endswith((".service", ".timer", ".socket", ".path", ".mount"))
        }
    except OSError:
        return set()


def _target(link: str) -> str | None:
    return os.path.realpath(link) if os.path.exists(link) else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
