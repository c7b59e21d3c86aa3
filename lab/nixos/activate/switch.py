# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a switch, in order, and its exit status: 0 success, 1 refused, 2 activation failed, 4 some units failed, 100 reboot needed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from . import etc, units, users

ACTIONS = ("switch", "boot", "test", "check", "dry-activate")
RUN = Path("/run/nixos")
CURRENT = Path("/run/current-system")
BOOTED = Path("/run/booted-system")
INIT_VERSION = "init-interface-version"
# Exists to restart what comes before sysinit.target.
REACTIVATION = "sysinit-reactivation.target"
OLD_UNITS = Path("/etc/static/systemd/system")
# For units that fail at once. The program waits until systemd has been silent for a quarter of a second.
SETTLE = 0.5
USAGE = """\
Usage: switch-to-configuration [check|switch|boot|test|dry-activate]
check:        run pre-switch checks and exit
switch:       make the configuration the boot default and activate now
boot:         make the configuration the boot default
test:         activate the configuration, but don't make it the boot default
dry-activate: show what would be done if this configuration were activated
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def say_units(text: str, names: list[str]) -> None:
    if names:
        say(f"{text} the following units: {', '.join(sorted(names, key=str.lower))}")


def main(toplevel: Path, args: list[str]) -> int:
    if len(args) != 1 or args[0] not in ACTIONS:
        say(USAGE)
        return 1
    action = args[0]
    if os.geteuid() != 0:
        say("Error: switch-to-configuration must be run as the root user")
        return 1
    if not Path("/etc/NIXOS").exists():
        say("This is not a NixOS installation!")
        return errno.ENOENT
    RUN.mkdir(parents=True, exist_ok=True)
    with (RUN / "switch-to-configuration.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Could not acquire lock")
            return errno.EAGAIN
        os.environ["NIXOS_ACTION"] = action
        return _locked(toplevel, json.loads((toplevel / "activation.json").read_text()), action)


def _locked(toplevel: Path, data: dict[str, t.Any], action: str) -> int:
    if os.environ.get("NIXOS_NO_CHECK") != "1" and not _checks_pass(toplevel, data["checks"], action):
        return 1
    if action == "check":
        return 0
    if action in ("switch", "boot") and not _boot_loader(toplevel, data["installBootLoader"]):
        return 1
    if action == "boot":
        return 0
    if not Path("/run/systemd/system").exists():
        return 0 if activate(toplevel, data) else 2

    # The container of the lab starts without a system; NixOS never does.
    if CURRENT.exists() and _content(toplevel / INIT_VERSION) != _content(CURRENT / INIT_VERSION):
        say("Warning: the new NixOS configuration has an ‘init’ that is")
        say("incompatible with the current configuration.  The new configuration")
        say("won't take effect until you reboot the system.\n")
        return 100

    new = units.read(toplevel / units.UNITS)
    plan = units.compare(units.read(OLD_UNITS), new, units.active())
    if action == "dry-activate":
        say_units("would stop", plan.stop)
        if plan.skip:
            say(f"would NOT stop the following changed units: {', '.join(plan.skip)}")
        say("would activate the configuration...")
        say_units("would reload", plan.reload)
        say_units("would restart", plan.restart)
        say_units("would start", plan.start)
        return 0
    return _switch(toplevel, data, plan)


def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _checks_pass(toplevel: Path, checks: dict[str, str], action: str) -> bool:
    for name, script in sorted(checks.items()):
        if subprocess.run([script, str(toplevel), action], stdout=sys.stderr, check=False).returncode != 0:
            say(f"Pre-switch check '{name}' failed")
            say("Pre-switch checks failed")
            return False
    return True


def _boot_loader(toplevel: Path, installer: str) -> bool:
    try:
        done = subprocess.run([installer, str(toplevel)], check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        say("Failed to install bootloader")
    return done


def activate(toplevel: Path, data: dict[str, t.Any]) -> bool:
    """Files, accounts and scripts of the generation: everything except units."""
    say("setting up /etc...")
    complete = _snippet("users", lambda: users.apply(data["users"], data["groups"]))
    complete &= _snippet("etc", lambda: etc.populate(toplevel / "etc", data["copies"]))
    with contextlib.suppress(OSError):  # a container may not have the right
        socket.sethostname(data["hostName"])
    for name, script in sorted(data["scripts"].items()):
        complete &= _snippet(name, functools.partial(subprocess.run, [script], check=True))
    etc.replace_link(CURRENT, toplevel)
    if not BOOTED.exists():  # at boot; or the first system of the container, which starts without one
        etc.replace_link(BOOTED, toplevel)
    return complete


def _snippet(name: str, step: t.Callable[[], t.Any]) -> bool:
    try:
        step()
    except (OSError, subprocess.CalledProcessError) as exc:
        status = exc.returncode if isinstance(exc, subprocess.CalledProcessError) else 1
        if isinstance(exc, OSError):
            say(str(exc))
        print(f"Activation script snippet '{name}' failed ({status})", flush=True)  # on standard output, as there
        return False
    return True


def _switch(toplevel: Path, data: dict[str, t.Any], plan: units.Plan) -> int:
    status = 0
    # Includes what an interrupted run has stopped, or had still to do.
    todo = {kind: _Todo(RUN / f"{kind}-list", getattr(plan, kind)) for kind in ("start", "restart", "reload")}
    before = units.active()

    if plan.stop:
        say_units("stopping", plan.stop)
        units.systemctl("stop", *plan.stop)
    if plan.skip:
        say(f"NOT restarting the following changed units: {', '.join(plan.skip)}")
    say("activating the configuration...")
    if not activate(toplevel, data):
        say("Failed to run activate script")
        status = 2
    units.systemctl("reset-failed")
    if units.systemctl("daemon-reload").returncode != 0:
        say("Error: systemd could not reload its configuration")
        status = 4
    subprocess.run(["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/00-nixos.conf"], check=False)

    say(f"restarting {REACTIVATION}")
    if (toplevel / units.UNITS / REACTIVATION).exists() and units.systemctl("restart", REACTIVATION).returncode != 0:
        status = 4
    now = units.active()
    # What was stopped meanwhile, by a dependency, is started instead of reloaded.
    todo["start"].add([name for name in todo["reload"].names if name not in now])
    todo["reload"].names = [name for name in todo["reload"].names if name in now]
    broken: list[str] = []
    for kind, verb in (("reload", "reloading"), ("restart", "restarting"), ("start", "starting")):
        names = todo[kind].names
        say_units(verb, names)
        # Starting an active target again starts the units that it newly wants.
        refused, failed_jobs = units.jobs(kind, [*names, *(_targets(toplevel, before) if kind == "start" else [])])
        for line in refused:
            say(line)
            status = 4
        broken += [f"Failed to {kind} {name}" for name in failed_jobs]
        todo[kind].done()
    for line in broken:
        say(line)
        status = 4
    time.sleep(SETTLE)

    failed = units.failed()
    new = units.active() - before - set(todo["start"].names) - failed
    started = sorted(name for name in new if (toplevel / units.UNITS / name).exists())
    if started:
        say(f"the following new units were started: {', '.join(started)}")
    if failed:
        say(f"warning: the following units failed: {', '.join(sorted(failed, key=str.lower))}")
        subprocess.run(["systemctl", "status", "--no-pager", "--full", *sorted(failed)], stdout=sys.stderr, check=False)
        status = 4
    return status


class _Todo:
    """Units to act on, kept in a file until that is done."""

    def __init__(self, file: Path, names: list[str]) -> None:
        self.file = file
        left = file.read_text().split() if file.exists() else []
        self.names = sorted({*left, *names})
        if self.names:
            file.write_text("".join(f"{name}\n" for name in self.names))

    def add(self, names: list[str]) -> None:
        self.names = sorted({*self.names, *names})

    def done(self) -> None:
        self.file.unlink(missing_ok=True)


def _targets(toplevel: Path, before: set[str]) -> list[str]:
    directory = toplevel / units.UNITS
    wanted = {path.name.removesuffix(".wants") for path in directory.glob("*.target.wants")}
    wanted |= {path.name.removesuffix(".requires") for path in directory.glob("*.target.requires")}
    return sorted(wanted & before)
