# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NixOS host, through its own tools. Private: may change without notice.

What is built is a store path, and exactly that path is activated: nothing is evaluated twice. The activation runs in a
unit of its own, so that it survives the connection and the process that started it; its output is in that unit's journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import textwrap
import time
import typing as t

from .._core.errors import ConflictError, InvalidError, NixciError
from .._core.redact import redact_log
from . import messages
from .command import Outcome, Runner
from .staging import Copy

# Tests point these elsewhere; NixOS has no other place for them.
CURRENT_SYSTEM = "/run/current-system"
PROFILE = "/nix/var/nix/profiles/system"
SYSTEMD = "/run/systemd/system"
# Holds the path that is being activated. /run/current-system changes before the units do, so without this mark an
# interrupted activation would look finished. A reboot starts all units again and removes the mark.
UNFINISHED = "/run/nixci/unfinished-activation"
# Keeps a system that was built from being collected until it is activated, or until another one is built.
BUILT = "/nix/var/nix/gcroots/nixci-built"
UNIT = "nixci-activation"

JOURNAL_LINES = 15
OUTPUT_LINES = 400
INIT_CHANGED = 100


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

    def keep(self, path: str) -> None:
        """Keep a built system until it is activated."""
        os.makedirs(os.path.dirname(BUILT), exist_ok=True)
        new = f"{BUILT}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        os.symlink(path, new)
        os.replace(new, BUILT)

    # Activating

    def preview(self, path: str, action: str) -> dict[str, list[str]] | None:
        """The units that activation would touch; None if only a reboot can bring them about.

        It also takes the lock and runs the host's own pre-switch checks.
        """
        outcome = self.runner.run(os.path.join(path, "bin", "switch-to-configuration"), "dry-activate")
        text = outcome.out + outcome.err
        changed = self._inhibitors(path)
        if outcome.rc == 0 and not changed:
            return {**messages.would(text), **self._new_units(path)}
        if outcome.rc not in (0, INIT_CHANGED) and not messages.INHIBITED.search(text):
            if messages.LOCKED.search(text):
                raise _locked()
            raise NixciError(
                "The new system was built, but its own checks refuse to activate it; nothing was activated:\n"
                + messages.tail(text),
                reason="pre_switch_check",
            )
        if action == "boot":
            return None
        cause = "its init system is incompatible with the running one"
        if outcome.rc != INIT_CHANGED:
            cause = "it changes what cannot be replaced in a running system" + (
                f" ({', '.join(changed)})" if changed else ""
            )
        raise reboot_required(cause, is_next=_target(PROFILE) == path)

    def _new_units(self, path: str) -> dict[str, list[str]]:
        """A dry activation says nothing of units that their targets start, nor of units that do not run."""
        old, new = (_units(os.path.join(system, "etc/systemd/system")) for system in (CURRENT_SYSTEM, path))
        return {"new": sorted(new - old), "gone": sorted(old - new)}

    def activate(self, path: str, action: str) -> None:
        """Make the system the one that boots, and for `switch` the running one too; returns only if all of it worked."""
        generation = self.generation()
        if action == "switch":
            os.makedirs(os.path.dirname(UNFINISHED), exist_ok=True)
            with open(UNFINISHED, "w", encoding="utf-8") as mark:
                mark.write(path)
        done = self.runner.run("nix-env", "--profile", PROFILE, "--set", path)
        if done.rc != 0:
            raise NixciError(
                f"The system profile cannot be set, so nothing was activated: {messages.tail(done.err)}",
                reason="profile",
            )
        started = int(time.time())
        outcome = self._run_in_unit([os.path.join(path, "bin", "switch-to-configuration"), action], started)
        if outcome.rc != 0:
            error = self._activation_error(outcome, started)
            if error.details["reason"] in ("locked", "pre_switch_check", "not_started") and generation:
                # Nothing was activated, so the next boot shall not do it either.
                self.runner.run("nix-env", "--profile", PROFILE, "--switch-generation", str(generation))
            raise error
        with contextlib.suppress(FileNotFoundError):
            os.unlink(BUILT)
        if action == "switch":
            os.unlink(UNFINISHED)

    def wait_for_earlier(self) -> None:
        """An activation survives the run that started it."""
        if not os.path.isdir(SYSTEMD):
            return
        while self.runner.run("systemctl", "is-active", "--quiet", f"{UNIT}.service").rc == 0:
            if self.runner.left() <= 0:
                raise _locked()
            time.sleep(0.5)

    def _run_in_unit(self, argv: list[str], started: int) -> Outcome:
        if not os.path.isdir(SYSTEMD):
            return self.runner.run(*argv)
        passed = [
            f"--setenv={name}" for name in ("LOCALE_ARCHIVE", "NIXOS_NO_CHECK", "NIXOS_NO_SYNC") if name in os.environ
        ]
        # Without --pipe: the activation must not end because nobody reads its output any more.
        unit = ["--collect", "--no-ask-password", "--quiet", "--wait", "--service-type=exec", f"--unit={UNIT}"]
        try:
            done = self.runner.run("systemd-run", *unit, "--setenv=NIXOS_INSTALL_BOOTLOADER=0", *passed, "--", *argv)
        except NixciError as exc:
            if exc.details.get("reason") != "timeout":
                raise
            raise NixciError(
                f"The activation was not finished within {self.runner.timeout:g} s and may still be running in its own unit: "
                f"see 'journalctl --unit={UNIT}'; run again when it is finished.",
                reason="timeout",
            ) from None
        # Not more than one activation has the lock, so the time tells its lines from those of earlier ones.
        self.runner.run("journalctl", "--sync")
        output = self.runner.run(
            *("journalctl", "--no-pager", "--output=cat", f"--lines={OUTPUT_LINES}", f"--since=@{started}"),
            f"_SYSTEMD_UNIT={UNIT}.service",
        )
        return Outcome(done.rc, output.out, done.err)

    def _activation_error(self, outcome: Outcome, started: int) -> NixciError:
        text = outcome.out + outcome.err
        if messages.LOCKED.search(text):
            return _locked()
        if messages.NOT_STARTED.search(outcome.err):
            return NixciError(
                f"The activation could not be started; nothing was activated: {messages.tail(outcome.err)}",
                reason="not_started",
            )
        if messages.INHIBITED.search(text) or messages.CHECK_FAILED.search(text):
            return NixciError(
                "The new system's own checks refused to activate it; nothing was activated:\n" + messages.tail(text),
                reason="pre_switch_check",
            )
        if outcome.rc == INIT_CHANGED:
            return reboot_required("its init system is incompatible with the running one", is_next=True)
        if messages.BOOT_LOADER.search(text):
            return NixciError(
                "The boot loader could not be installed, so the system was not activated; the profile has it already, but what boots is "
                "what the boot loader knows:\n" + messages.tail(text),
                reason="boot_loader",
            )
        return (
            self._failed_units(outcome, text, started)
            or self._failed_script(outcome, text)
            or NixciError(
                f"The activation failed with status {outcome.rc}; it boots next, and parts of it may be active:\n"
                + messages.tail(text),
                reason="activation",
            )
        )

    def _failed_units(self, outcome: Outcome, text: str, started: int) -> NixciError | None:
        names, of_users, users = (
            messages.failed_units(text),
            messages.failed_user_units(text),
            messages.users_not_activated(text),
        )
        if outcome.rc != 4 and not (names or of_users or users):
            return None
        if not (names or of_users or users):
            names = self.failed_units()
        units = [{"name": name, "journal": journal(self.runner, name, started)} for name in names]
        units += [
            {"name": name, "journal": journal(self.runner, name, started, "_SYSTEMD_USER_UNIT")} for name in of_users
        ]
        if not units:
            whose = f" for {', '.join(users)}" if users else ""
            return NixciError(
                f"The new system was activated, but not completely{whose}:\n{messages.tail(text)}",
                reason="units_failed",
                failed_units=[],
            )
        kind = "these units of users failed" if of_users and not names else "these units failed"
        if snippets := messages.failed_snippets(text):
            kind = f"these snippets of the activation script failed: {', '.join(snippets)}; and {kind}"
        return NixciError(
            f"The new system was activated, but {kind}: {', '.join(unit['name'] for unit in units)}.\n"
            + "\n".join(f"{unit['name']}:\n{textwrap.indent(unit['journal'], '  ')}" for unit in units),
            reason="units_failed",
            failed_units=units,
        )

    def _failed_script(self, outcome: Outcome, text: str) -> NixciError | None:
        snippets = messages.failed_snippets(text)
        if outcome.rc != 2 and not snippets:
            return None
        named = f" in {', '.join(snippets)}" if snippets else ""
        return NixciError(
            f"The activation script failed{named}; units were handled, but the system may be incomplete:\n{messages.tail(text)}",
            reason="activation_script",
        )

    def failed_units(self) -> list[str]:
        outcome = self.runner.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
        return [line.split()[0] for line in outcome.out.splitlines() if line.strip()]

    def _inhibitors(self, path: str) -> list[str]:
        """What NixOS from 26.05 on refuses to change without a reboot."""
        old, new = (_inhibitors(os.path.join(system, "switch-inhibitors")) for system in (CURRENT_SYSTEM, path))
        return sorted(name for name in old.keys() & new.keys() if old[name] != new[name])


def host_name(system: str) -> str | None:
    """The host name that a system declares."""
    return (_read(os.path.join(system, "etc", "hostname")) or "").strip() or None


def journal(runner: Runner, unit: str, since: int = 0, field: str = "") -> str:
    """The unit's last journal lines since a time in seconds of the epoch, with secrets masked."""
    argv = ["journalctl", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--since=@{since}"]
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


def reboot_required(cause: str, *, is_next: bool) -> NixciError:
    if is_next:
        how = "It is the one that boots next: reboot the host, then run again."
    else:
        how = "Run again with the action 'boot' (nixos_rebuild_action: boot), which makes it the one that boots next, and reboot the host."
    return NixciError(
        f"The new system cannot be activated without a reboot, because {cause}; it was not activated. {how}",
        reason="reboot_required",
    )


def _locked() -> NixciError:
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


def _inhibitors(path: str) -> dict[str, t.Any]:
    try:
        values = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _target(link: str) -> str | None:
    return os.path.realpath(link) if os.path.exists(link) else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
