# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NixOS host, through its own tools. Private: may change without notice.

nixos-rebuild exits with 1 for every failure; its output and the links of the system show what really happened.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
import typing as t

from .._core.errors import ConflictError, InvalidError, NixciError
from .._core.redact import redact_log
from .command import Outcome, Runner

# Tests point these elsewhere; NixOS has no other place for them.
CURRENT_SYSTEM = "/run/current-system"
PROFILE = "/nix/var/nix/profiles/system"
# Holds the path that is being activated. /run/current-system changes before the units do, so without this mark an
# interrupted activation would look finished. A reboot starts all units again and removes the mark.
UNFINISHED = "/run/nixci/unfinished-activation"

JOURNAL_LINES = 15
ERROR_LINES = 25

_TRACE = re.compile(r"^\s*(?:… |\.\.\. while|at (?:/|«|<)|\d*\s*\|( |$)|\(stack trace truncated)")
_COMMAND_FAILED = re.compile(r"^(?:error: )?Command '.*returned non-zero exit status", re.M)
_BUILD_FAILED = re.compile(
    r"builder for '|builder failed|Cannot build '|dependenc(?:y|ies) of derivation|[Bb]uild of '.*failed|"
    r"hash mismatch in fixed-output|unable to download"
)
_STATUS = re.compile(r"switch-to-configuration\b.*exit status (\d+)")
_UNITS_FAILED = re.compile(r"the following units failed: (.+)")
_WOULD = re.compile(r"^would (stop|restart|reload|start) the following units: (.+)$", re.M)
_LOCKED = ("Could not acquire lock", "already loaded")


class NixosHost:
    """Builds and activates the configuration of the host that this code runs on."""

    def __init__(self, runner: Runner, flake: str | None, workdir: str) -> None:
        self.runner = runner
        self.source = ["--flake", flake] if flake else []
        self.workdir = workdir
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

    def closure_changes(self, before: str | None, after: str) -> list[str]:
        """Packages that are added, removed or change their version; empty if Nix cannot compare the two."""
        if not before or before == after or self.runner.find("nix") is None:
            return []
        features = "--extra-experimental-features"
        outcome = self.runner.run("nix", features, "nix-command", "store", "diff-closures", before, after)
        if outcome.rc != 0:
            return []
        return re.sub(r"\x1b\[[0-9;]*m", "", outcome.out).strip().splitlines()

    # Building and activating

    def build(self) -> str:
        """The store path of the configuration; the link in workdir keeps it from being collected."""
        outcome = self.runner.run("nixos-rebuild", "build", *self.source, cwd=self.workdir)
        path = _target(os.path.join(self.workdir, "result"))
        if outcome.rc != 0 or path is None:
            raise build_error(outcome)
        return path

    def dry_activate(self, path: str) -> dict[str, list[str]]:
        """The units that activation would touch. It also takes the lock and runs the host's own pre-switch checks."""
        outcome = self.runner.run(os.path.join(path, "bin", "switch-to-configuration"), "dry-activate")
        text = outcome.out + outcome.err
        if outcome.rc != 0:
            if any(pattern in text for pattern in _LOCKED):
                raise _locked()
            raise NixciError(
                "The new configuration was built, but its checks before activation failed; nothing was changed:\n"
                + _tail(text),
                reason="pre_switch_check",
            )
        found = {verb: _names(units) for verb, units in _WOULD.findall(text)}
        return {verb: found.get(verb, []) for verb in ("stop", "restart", "reload", "start")}

    def switch(self, path: str) -> None:
        """Activate the configuration and make it the one to boot; returns only if all of it worked."""
        os.makedirs(os.path.dirname(UNFINISHED), exist_ok=True)
        with open(UNFINISHED, "w", encoding="utf-8") as mark:
            mark.write(path)
        started = int(time.time())
        try:
            outcome = self.runner.run("nixos-rebuild", "switch", *self.source, cwd=self.workdir)
        except NixciError as exc:
            if exc.details.get("reason") == "timeout":
                raise NixciError(
                    f"{exc} The activation itself may still be running in its own unit: "
                    "see 'journalctl -u nixos-rebuild-switch-to-configuration*'.",
                    **exc.details,
                ) from None
            raise
        if outcome.rc != 0:
            raise self.activation_error(outcome, started)
        os.unlink(UNFINISHED)

    def activation_error(self, outcome: Outcome, started: int) -> NixciError:
        text = outcome.out + outcome.err
        match = _STATUS.search(text)
        status = int(match[1]) if match else 0
        names = [name for units in _UNITS_FAILED.findall(text) for name in _names(units)]
        if any(pattern in text for pattern in _LOCKED):
            return _locked()
        if status == 100 or "won't take effect until you reboot" in text:
            return NixciError(
                "The new system needs a reboot: it is the one that boots next, but it was not activated; "
                "reboot the host, then run again.",
                reason="reboot_required",
            )
        if status == 4 or names:
            names = names or self.failed_units()
            units = [{"name": name, "journal": journal(self.runner, name, started)} for name in names]
            return NixciError(
                f"The new system was activated, but these units failed: {', '.join(names)}.\n"
                + "\n".join(f"{unit['name']}:\n{textwrap.indent(unit['journal'], '  ')}" for unit in units),
                reason="units_failed",
                failed_units=units,
            )
        if status == 2:
            return NixciError(
                "The activation script failed; units were handled, but the system may be incomplete:\n" + _tail(text),
                reason="activation_script",
            )
        if "error:" in text and not match:
            return build_error(outcome)
        suffix = f" with status {status}" if status else ""
        return NixciError(f"The activation ended{suffix}:\n" + _tail(text), reason="activation")

    def failed_units(self) -> list[str]:
        outcome = self.runner.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
        return [line.split()[0] for line in outcome.out.splitlines() if line.strip()]


def journal(runner: Runner, unit: str, since: int = 0) -> str:
    """The unit's last journal lines since a time in seconds of the epoch, with secrets masked."""
    argv = ["journalctl", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--since=@{since}"]
    outcome = runner.run(*argv, f"--unit={unit}")
    return redact_log(outcome.out).strip() or "(the journal has nothing about it)"


def build_error(outcome: Outcome) -> NixciError:
    """The error for a configuration that gave no system: the cause first, without the evaluator's trace."""
    text = outcome.err or outcome.out
    ours = _COMMAND_FAILED.search(text)
    text = text[: ours.start()] if ours else text
    if _BUILD_FAILED.search(text):
        return NixciError(
            "The configuration evaluates, but building it failed; nothing was activated:\n" + _first_error(text),
            reason="build",
        )
    return InvalidError("The configuration is wrong; nothing was activated:\n" + _last_error(text), reason="evaluation")


def _first_error(text: str) -> str:
    """Of several build errors the first is the cause, the others only depend on it."""
    match = re.search(r"^\s*error: .+", text, re.M)
    return _readable(text[match.start() :] if match else _tail(text))


def _last_error(text: str) -> str:
    """The evaluator prints its trace first and the module system's own message after the last 'error:'."""
    starts = [match.start() for match in re.finditer(r"^\s*error:[ \t]*\S", text, re.M)]
    return _readable(text[starts[-1] :] if starts else _tail(text))


def _readable(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not _TRACE.match(line)]
    if lines:
        lines[0] = lines[0].lstrip().removeprefix("error:").lstrip()
        lines[1:] = textwrap.dedent("\n".join(lines[1:])).splitlines()
    if len(lines) > ERROR_LINES:
        lines[ERROR_LINES:] = [f"({len(lines) - ERROR_LINES} more lines)"]
    return redact_log("\n".join(lines))


def _tail(text: str) -> str:
    return redact_log("\n".join([line for line in text.splitlines() if line.strip()][-ERROR_LINES:]))


def _names(units: str) -> list[str]:
    return [name.strip() for name in units.split(",") if name.strip()]


def _locked() -> NixciError:
    error = ConflictError(
        "Another activation is running on this host, so this one did not start; run again when it is finished.",
        reason="locked",
    )
    error.plan_again = False  # it may take an hour
    return error


def _target(link: str) -> str | None:
    return os.path.realpath(link) if os.path.exists(link) else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
