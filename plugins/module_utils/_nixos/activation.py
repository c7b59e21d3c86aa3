# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arming the revert and activating a system. Private: may change without notice.

The activation runs in a unit of its own, so that it survives the connection and the process that started it; its output is in
that unit's journal. The revert is armed before, by a timer that counts the seconds that pass. Until the activation ends, these
are ACTIVATION_LIMIT and the time for the confirmation together; at its end, the unit itself sets the timer to the time for the
confirmation. So an activation may last, and the host is back in time even if the process here was killed meanwhile.
"""

from __future__ import annotations

import os
import textwrap
import time
import typing as t

from .._core.errors import NixciError
from . import deployment as state
from . import host as hosts
from . import messages
from .command import PROGRAM_DIRS, Outcome, Runner
from .deployment import Deployment
from .host import NixosHost
from .revert_script import TEXT
from .unit_watch import UnitWatch

SCRIPT = "/run/nixci/nixci-revert"
REVERT = "nixci-revert"
# An activation that takes longer is taken back.
ACTIVATION_LIMIT = 900
# What a run that confirms by itself may need for that, from the end of the activation.
SELF_CONFIRMATION = 300
REVERT_LIMIT = 1200
OUTPUT_LINES = 400
# So many seconds must a unit of the change have run: the program in Perl does not wait for what fails just after its start.
STEADY = 1.0
# Nothing was activated, so there is nothing to take back.
NOT_ACTIVATED = ("locked", "pre_switch_check", "not_started")

Unit = dict[str, t.Any]

_ACTIVATE = '"$1" test; status=$?; PATH=$2 "$3" "$4" --arm "$5" "$6"; exit $status'


# The revert


def path() -> str:
    """Where the revert finds its programs."""
    return ":".join([*PROGRAM_DIRS, *os.environ.get("PATH", "").split(":")])


def write_script() -> None:
    """The revert that belongs to this version, also on a host without our modules."""
    if state.read_file(SCRIPT) != TEXT:
        state.write_file(SCRIPT, TEXT)
        os.chmod(SCRIPT, 0o700)


def arm(runner: Runner, name: str, seconds: int) -> None:
    """Take the deployment back after some time. For a deployment that is not pending, this does nothing."""
    write_script()
    description = f"--description=Take back deployment {name}"
    disarm(runner)
    done = runner.run(
        *("systemd-run", "--quiet", "--no-ask-password", f"--unit={REVERT}", f"--on-active={seconds}"),
        *("--timer-property=AccuracySec=1s", description, f"--setenv=PATH={path()}"),
        *("--", _shell(runner), SCRIPT, name, "not confirmed in time"),
    )
    if done.rc != 0:
        raise NixciError(
            f"The revert cannot be armed, so nothing was activated: {messages.tail(done.err)}", reason="not_started"
        )


def disarm(runner: Runner) -> None:
    runner.run("systemctl", "stop", f"{REVERT}.timer")
    runner.run("systemctl", "reset-failed", f"{REVERT}.timer", f"{REVERT}.service")


def armed(host: NixosHost) -> bool:
    return any(host.active(f"{REVERT}.{kind}") for kind in ("timer", "service"))


def take_back(host: NixosHost, name: str, reason: str) -> None:
    """Go back now, in a unit of its own: what is started must end, although the connection may break on the way."""
    revert(host, name, state.one_line(reason))


def after_boot(host: NixosHost) -> None:
    """Finish what a restart of the host has interrupted."""
    revert(host, "--after-boot")


def revert(host: NixosHost, *args: str) -> None:
    write_script()
    runner = Runner(host.runner.module, REVERT_LIMIT)
    argv = [_shell(runner), SCRIPT, *args]
    if not os.path.isdir(hosts.SYSTEMD):
        done = runner.run(*argv)
    else:
        unit = ("--quiet", "--no-ask-password", "--collect", "--wait", f"--unit={REVERT}-now-{os.getpid()}")
        done = runner.run("systemd-run", *unit, f"--setenv=PATH={path()}", "--", *argv)
    if done.rc != 0:
        raise NixciError(
            f"Going back failed with status {done.rc}; see /var/log/nixci/revert.log on the host. A reboot boots the previous system: "
            f"{messages.tail(done.err)}",
            reason="revert_failed",
        )


def _shell(runner: Runner) -> str:
    return os.path.realpath(runner.find("sh") or "/bin/sh")


# The activation


class Activation:
    """One run of `switch-to-configuration test`, and what became of the units."""

    def __init__(self, host: NixosHost, deployment: Deployment, units: dict[str, list[str]] | None) -> None:
        self.host = host
        self.runner = host.runner
        self.deployment = deployment
        verbs = ("new", "start", "restart", "reload", "stop")
        self.touched = {name for verb in verbs for name in (units or {}).get(verb, [])} | set(
            _must_run(deployment.system)
        )
        self.failed: list[Unit] = []
        self.cursor = ""
        self.failed_before: set[str] = set()

    def run(self, limit: int) -> NixciError | None:
        """Activate the system; the error if it must not stay. `failed` lists every unit that failed."""
        self.failed_before = set(self.host.failed_units())
        self.cursor = self._cursor()
        try:
            outcome = self._in_unit(limit)
        except NixciError as exc:
            return exc
        return self._judge(outcome)

    def _in_unit(self, limit: int) -> Outcome:
        program = os.path.join(self.deployment.system, "bin/switch-to-configuration")
        if not os.path.isdir(hosts.SYSTEMD):
            return self.runner.run(program, "test")
        names = ("LOCALE_ARCHIVE", "NIXOS_NO_SYNC")
        passed = [f"--setenv={name}={os.environ[name]}" for name in names if name in os.environ]
        if self.deployment.no_check:
            passed.append("--setenv=NIXOS_NO_CHECK=1")
        # Without --pipe: the activation must not end because nobody reads its output any more.
        unit = ["--collect", "--no-ask-password", "--quiet", "--wait", "--service-type=exec", f"--unit={hosts.UNIT}"]
        unit += [f"--property=RuntimeMaxSec={limit}", "--property=TimeoutStopSec=20"]
        shell = _shell(self.runner)
        wait = self.deployment.confirm_timeout or SELF_CONFIRMATION
        then = (path(), shell, SCRIPT, self.deployment.id, str(wait))
        done = self.runner.run(
            "systemd-run", *unit, *passed, "--", shell, "-c", _ACTIVATE, "nixci-activation", program, *then
        )
        # Not more than one activation has the lock, so all lines after the cursor are its own.
        self.runner.run("journalctl", "--sync")
        begin = [f"--after-cursor={self.cursor}"] if self.cursor else []
        output = self.runner.run(
            *("journalctl", "--no-pager", "--output=cat", f"--lines={OUTPUT_LINES}", *begin),
            f"_SYSTEMD_UNIT={hosts.UNIT}.service",
        )
        return Outcome(done.rc, output.out, done.err)

    def _cursor(self) -> str:
        """A place in the journal, which no jump of the clock moves."""
        text = self.runner.run("journalctl", "--no-pager", "--lines=0", "--show-cursor").out
        return next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("-- cursor: ")), "")

    def _judge(self, outcome: Outcome) -> NixciError | None:
        text = outcome.out + outcome.err
        if hosts.refused_by_lock(outcome):
            return hosts.locked()
        if messages.NOT_STARTED.search(outcome.err):
            return NixciError(
                f"The activation could not be started; nothing was activated: {messages.tail(outcome.err)}",
                reason="not_started",
            )
        if outcome.rc == 1 and messages.CHECK_FAILED.search(text) and not messages.BEGUN.search(text):
            return NixciError(
                "The new system's own checks refused to activate it; nothing was activated:\n" + messages.tail(text),
                reason="pre_switch_check",
            )
        if outcome.rc == hosts.INIT_CHANGED:
            return NixciError(
                "The new system cannot be activated without a reboot, because its init system is incompatible with the running one.",
                reason="reboot_required",
            )
        self._read_failed(outcome, text)
        if outcome.rc == 0 and not self.failed:
            return None
        return self._failed_units(text) or self._failed_script(outcome, text) or self._failed_otherwise(outcome, text)

    def _read_failed(self, outcome: Outcome, text: str) -> None:
        # Of what succeeded, such lines are those of the activation script.
        names = messages.failed_units(text) if outcome.rc not in (0, 2) else []
        of_users = messages.failed_user_units(text)
        if outcome.rc not in (0, 2) and not (names or of_users or messages.users_not_activated(text)):
            names = self.host.failed_units()
        names = list(dict.fromkeys([*names, *self._broken()]))
        for name in names:
            self.failed.append(self._unit(name, decisive=name in self.touched))
        for name in of_users:
            self.failed.append(self._unit(name, decisive=False, field="_SYSTEMD_USER_UNIT"))
        listed = {unit["name"] for unit in self.failed}
        for name in sorted(self.failed_before - listed):
            if name in self.host.failed_units():
                self.failed.append(self._unit(name, decisive=False))

    def _broken(self) -> list[str]:
        """Units of the change that have failed by now, whatever the status said."""
        if not os.path.isdir(hosts.SYSTEMD):
            return []
        watch = UnitWatch(self.runner, [], sorted(self.touched), [], STEADY)
        seen = watch.look()
        if seen.settling:
            time.sleep(seen.settling)
            seen = watch.look()
        return [name for name, unit in seen.units.items() if unit.crashed]

    def _unit(self, name: str, *, decisive: bool, field: str = "") -> Unit:
        journal = hosts.journal(self.runner, name, self.cursor or 0, field)
        return {"name": name, "journal": journal, "decisive": decisive, "failed_before": name in self.failed_before}

    def _failed_units(self, text: str) -> NixciError | None:
        units = [unit for unit in self.failed if unit["decisive"]]
        if not units:
            return None
        kind = "these units failed"
        if snippets := messages.failed_snippets(text):
            kind = f"these snippets of the activation script failed: {', '.join(snippets)}; and {kind}"
        return NixciError(
            f"The new system was activated, but {kind}: {', '.join(unit['name'] for unit in units)}.\n"
            + "\n".join(f"{unit['name']}:\n{textwrap.indent(unit['journal'], '  ')}" for unit in units),
            reason="units_failed",
        )

    def _failed_script(self, outcome: Outcome, text: str) -> NixciError | None:
        snippets = messages.failed_snippets(text)
        if outcome.rc != 2 and not snippets and not messages.SCRIPT_FAILED.search(text):
            return None
        named = f" in {', '.join(snippets)}" if snippets else ""
        return NixciError(f"The activation script failed{named}:\n{messages.tail(text)}", reason="activation_script")

    def _failed_otherwise(self, outcome: Outcome, text: str) -> NixciError | None:
        if outcome.rc == 0:
            return None
        if outcome.rc == 4 and self.failed:
            return None  # nothing that this system is responsible for
        if users := messages.users_not_activated(text):
            return NixciError(
                f"The new system was activated, but not completely for {', '.join(users)}:\n{messages.tail(text)}",
                reason="units_failed",
            )
        return NixciError(
            f"The activation failed with status {outcome.rc}:\n{messages.tail(text)}", reason="activation"
        )


def _must_run(system: str) -> list[str]:
    """Units that the system's own manifest checks."""
    checks = hosts.manifest(system).get("checks")
    units = checks.get("units") if isinstance(checks, dict) else None
    return [str(name) for name in units] if isinstance(units, list) else []
