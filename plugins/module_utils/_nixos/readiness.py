# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host is ready for a deployment, and for which system. Reads only. Private: may change without notice.

Nothing here is decisive for safety: nixos_rebuild checks what it relies on again, under its lock. This finds everything at once, on all
hosts, before any host changes.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import typing as t

from .._core.errors import InvalidError
from . import access, caches, deployment, rollback
from .deployment import Deployment
from .host import CURRENT_SYSTEM, PROFILE, UNFINISHED, host_name
from .settings import MANIFEST

if t.TYPE_CHECKING:
    from .command import Runner

BOOTED_SYSTEM = "/run/booted-system"
STORE = "/nix/store"
BOOT = "/boot"
LOCK = "/run/nixci/lock"

# Activation, logs and the Nix database need some room of their own.
RESERVE = 64 << 20
# A store path has some dozens of files; nobody counts them before they are there.
INODES_PER_PATH = 64
# Where boot loaders copy kernels to: systemd-boot, and GRUB with copyKernels.
KERNEL_FOLDERS = ("EFI/nixos", "kernels")
CLOCK_SKEW = 30.0
# What nixos_check reads of a manifest. One of an older version, as after a rollback, may lack some and is not read.
CHECKS = {"units", "databases", "postgresql", "files", "logins", "dumps", "urls"}

Params = dict[str, t.Any]
Result = dict[str, t.Any]


class Readiness:
    """All findings about one host. `params` are the options of nixos_deploy_check."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self.runner = runner
        self.params = params
        self.problems: list[str] = []
        self.notes: list[str] = []

    def look(self) -> Result:
        if not os.path.lexists(CURRENT_SYSTEM):
            raise InvalidError(
                f"This host is not NixOS: it has no {CURRENT_SYSTEM}; install NixOS on it first, or take it out of the group."
            )
        running = read_running()
        path = self._path(running)
        present = path is not None and os.path.exists(os.path.join(path, "bin", "switch-to-configuration"))
        current = path is not None and is_current(running, path, self.params["action"])
        unconfirmed = waiting()
        resume = self._unconfirmed(unconfirmed, running, path)
        current = current and unconfirmed is None
        self._locked()
        self._clock()
        missing = None
        if path and not current:
            self._moved(running)
            self._another_kind(path, present)
            self._failed_before(path)
            self._locks_out(running, path)
            missing = self._missing(path, present)
            if self.params["action"] in ("switch", "boot"):
                self._boot_space(path)
            if not present:
                self._caches(path)
        if not current:
            self._disk(*(missing or (None, 0)))
        return {
            "running": running,
            "store_path": path,
            "present": present,
            "current": current,
            "manifest": path is not None and has_checks(self._manifest(path)),
            "unconfirmed": unconfirmed.returned(pending=True) if unconfirmed else None,
            "resume": resume,
            "missing_bytes": missing[0] if missing else None,
            "problems": self.problems,
            "notes": self.notes,
        }

    def _path(self, running: Result) -> str | None:
        """The system to deploy, as a store path."""
        wanted = self.params["generation"]
        if not wanted:
            given: str | None = self.params["store_path"]
            return os.path.realpath(given) if given and os.path.exists(given) else given
        if wanted == "previous":
            path = rollback.previous(running)
            if path is None:
                self.problems.append(
                    "There is no earlier system to go back to: no deployment before the running one is recorded, and the profile has no "
                    "earlier generation."
                )
            return path
        path = rollback.generation(str(wanted))
        if path is None:
            found = ", ".join(str(number) for number in sorted(rollback.generations())) or "none"
            self.problems.append(f"This host has no generation {wanted}; it has {found}.")
        return path

    def _unconfirmed(self, found: Deployment | None, running: Result, path: str | None) -> str | None:
        """The id of an unconfirmed deployment that this one continues: its system was booted, and waits for its confirmation."""
        if found is None:
            return None
        if found.action == "boot":
            if found.system == path == running["system"]:
                return found.id
        elif found.interrupted():
            self.notes.append(
                f"The deployment {found.id} of {found.system} was interrupted by a reboot; the host went back to the system before it."
            )
            return None
        self.problems.append(unconfirmed_sentence(found, time.time()))
        return None

    def _locked(self) -> None:
        holder = lock_holder()
        if holder is not None:
            self.problems.append(
                f"Another run builds or activates on this host{f' ({holder})' if holder else ''}; run again when it is finished."
            )

    def _clock(self) -> None:
        now = self.params["time"]
        skew = time.time() - now if now else 0.0
        if abs(skew) > CLOCK_SKEW:
            way = "ahead of" if skew > 0 else "behind"
            self.notes.append(
                f"The host's clock is {abs(skew):.0f} s {way} the controller's; certificates and tokens depend on it, so set "
                "services.timesyncd.enable, or correct the controller's clock."
            )

    def _moved(self, running: Result) -> None:
        expected = self.params["expected"]
        if expected and expected != running["system"]:
            self.problems.append(
                f"The plan was made when the host ran {expected}, but it runs {running['system']} now; make a new plan."
            )

    def _another_kind(self, path: str, present: bool) -> None:
        if os.path.exists(path) and not present:
            self.problems.append(f"{path} is not a NixOS system: it has no bin/switch-to-configuration.")

    def _failed_before(self, path: str) -> None:
        reason = deployment.refusal(path)
        if reason and "failed_system" not in self.params["force"]:
            self.problems.append(
                f"{path} was activated on this host before and taken back: {reason}. Deploy another system, or force this "
                "one (deploy_force: [failed_system])."
            )

    def _locks_out(self, running: Result, path: str) -> None:
        """nixos_rebuild reviews the same again. A system that is not here, and was not evaluated, is reviewed by it only."""
        new, wanted = access.of_manifest(self._manifest(path)), self.params["access"]
        if new is None or not wanted:
            return
        review = access.compare(access.of_system(running["system"]) if running["system"] else None, new, wanted)
        if not review.problems:
            return
        what = f"This system would lock out who deploys it. {' '.join(review.problems)}"
        if "lockout" in self.params["force"]:
            self.notes.append(f"{what} It is deployed all the same, as deploy_force demands.")
        else:
            self.problems.append(f"{what} If that is intended, force it (deploy_force: [lockout]).")

    def _manifest(self, path: str) -> dict[str, t.Any]:
        """What the system says of itself, although it may not be here yet."""
        return self.params["manifest"] or _json(os.path.join(path, MANIFEST.lstrip("/")))

    def _missing(self, path: str, present: bool) -> tuple[int, int] | None:
        """Bytes and paths that have to be copied; None if nobody knows."""
        if present:
            return 0, 0
        closure = self.params["closure"]
        if closure:
            sizes = [int(size) for one, size in closure.items() if not os.path.exists(one)]
            return sum(sizes), len(sizes)
        need = self.params["need_bytes"]
        return (int(need), 0) if need is not None else None

    def _disk(self, size: int | None, paths: int) -> None:
        space = os.statvfs(STORE)
        free, need = space.f_bavail * space.f_frsize, (size or 0) + RESERVE
        if free < need:
            what = f"the system needs {human(size)} more" if size else "a deployment needs some"
            self.problems.append(
                f"{STORE} has {human(free)} left, but {what}, beside a reserve of {human(RESERVE)}; run nix-collect-garbage there, or enlarge "
                "the disk."
            )
        # File systems such as Btrfs have no fixed number of them.
        inodes = paths * INODES_PER_PATH + 1000
        if space.f_files and space.f_favail < inodes:
            self.problems.append(
                f"{STORE} has {space.f_favail} inodes left, but about {inodes} are needed; run nix-collect-garbage there, or use a file system "
                "with more."
            )

    def _boot_space(self, path: str) -> None:
        need = kernel_bytes(path)
        if not need:
            return
        space = os.statvfs(BOOT)
        free = space.f_bavail * space.f_frsize
        if free < need + (1 << 20):
            self.problems.append(
                f"{BOOT} has {human(free)} left, but kernel and initrd of the new system need {human(need)}; remove old generations, or lower "
                "the boot loader's configurationLimit."
            )

    def _caches(self, path: str) -> None:
        known = self.params["caches"] or ([] if self.params["copy"] == "ssh" else caches.configured())
        findings = [one for cache in known for one in caches.findings(cache, path)]
        if self.params["copy"] == "cache":
            self.problems += [f"{one}." for one in findings]
        else:
            self.notes += [f"{one}; what it does not deliver goes over SSH." for one in findings]


def read_running() -> Result:
    system = _target(CURRENT_SYSTEM)
    return {
        "system": system,
        "profile": _target(PROFILE),
        "booted": _target(BOOTED_SYSTEM),
        "generation": rollback.profile_generation(),
        "revision": _json(os.path.join(system or "/", MANIFEST.lstrip("/"))).get("revision"),
        "host_name": host_name(CURRENT_SYSTEM) or os.uname().nodename,
        "boot_id": deployment.boot_id() or None,
        "unfinished": _read(UNFINISHED),
    }


def has_checks(manifest: Result) -> bool:
    checks = manifest.get("checks")
    return isinstance(checks, dict) and checks.keys() >= CHECKS


def is_current(running: Result, path: str, action: str) -> bool:
    """Whether the host is already as the action would make it."""
    if action == "boot":
        return bool(running["profile"] == path and running["booted"] == path and running["system"] == path)
    same = running["system"] == path and not running["unfinished"]
    return bool(same and (action != "switch" or running["profile"] == path))


def waiting() -> Deployment | None:
    """The deployment that is not permanent yet."""
    found = deployment.read()
    return None if found is None or found.phase == "confirmed" else found


def unconfirmed_sentence(found: Deployment, now: float) -> str:
    left = max(0, round(found.started + found.confirm_timeout - now))
    if found.action == "boot":
        then = "reboot the host and deploy the same system again, or take it back with nixos_confirm (state: reverted)"
    else:
        then = f"it goes back by itself in about {left} s" if left else "it goes back by itself"
    return (
        f"A deployment of {found.system} was begun by {found.who} at {deployment.rfc3339(found.started)} and is not confirmed "
        f"({found.id}); {then}. Run again afterwards."
    )


def lock_holder() -> str | None:
    """Who holds the lock for builds and activations: a text, possibly empty; None if it is free."""
    try:
        with open(LOCK, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200).strip()
    except OSError:
        pass
    return None


def kernel_bytes(path: str) -> int:
    """What the boot loader has to copy for a system: nothing if it reads the store itself, or has the files already."""
    folders = [folder for name in KERNEL_FOLDERS if os.path.isdir(folder := os.path.join(BOOT, name))]
    there = {name[:32] for folder in folders for name in os.listdir(folder)}
    need = 0
    for name in ("kernel", "initrd") if folders else ():
        file = os.path.realpath(os.path.join(path, name))
        if os.path.isfile(file) and _store_hash(file) not in there:
            need += os.path.getsize(file)
    return need


def human(size: int | None) -> str:
    value = float(size or 0)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _store_hash(file: str) -> str:
    return file.removeprefix(f"{STORE}/")[:32]


def _target(link: str) -> str | None:
    return os.path.realpath(link) if os.path.exists(link) else None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def _json(path: str) -> dict[str, t.Any]:
    try:
        value = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
