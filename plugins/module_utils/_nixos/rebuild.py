# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running system of a host as a resource. Private: may change without notice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._core.change import Change
from .._core.errors import InvalidError, NixciError
from . import deployment
from .access import Review, review
from .activation import armed, take_back
from .confirmation import deployed_by, recover, unconfirmed
from .deployment import Deployment
from .host import Look, NixosHost, host_name
from .rollout import Rollout
from .settings import MANIFEST, Layout, Settings
from .staging import copied

# Where earlier versions kept what they had built.
FORMERLY_BUILT = "/nix/var/nix/gcroots/nixci-built"

Params = dict[str, t.Any]
Result = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Build:
    """The host before, the system that was built, and what activating it would do."""

    before: dict[str, t.Any]
    path: str
    action: str
    look: Look
    closures: list[str]
    access: Review
    pending: Deployment | None


@dataclasses.dataclass(frozen=True)
class Activation:
    """The system runs, is the one that boots, and was activated to the end."""

    build: Build
    change: Change


class RunningSystem:
    """Builds when it reads: what the configuration means is known only then, and a build changes no system."""

    def __init__(self, module: AnsibleModule, host: NixosHost) -> None:
        self.module = module
        self.host = host

    def read(self, params: Params) -> Build:
        pending = self._pending()
        before, path = self.host.state(), self._path(params)
        self._refuse_another_host(params, path)
        action = intended(params)
        look, closures, access = Look(None, {}, None), [], Review()
        if differs(before, path, action):
            self._refuse(params, path, pending)
            look, closures = self.host.look(path), self.host.closure_changes(before["system"], path)
            action = self._policy(params, look, path, action)
            access = review(before["system"], path, params["access"])
            if access.problems and "lockout" not in params["force"]:
                raise InvalidError(
                    f"This system would lock out who deploys it; nothing was activated. {' '.join(access.problems)} "
                    "If that is intended, repeat it with force: [lockout].",
                    reason="lockout",
                    access=[*access.problems, *access.warnings],
                )
        return Build(before, path, action, look, closures, access, pending)

    def _pending(self) -> Deployment | None:
        """The deployment that waits for its confirmation, after what was interrupted has been finished."""
        if not self.module.check_mode:
            recover(self.host)
        found = deployment.read()
        if found is None or found.interrupted() or found.phase in ("confirmed", "reverting"):
            return None
        waiting = found.action == "boot" and found.phase == "activated"
        if self.module.check_mode or waiting or _abandoned(found) or armed(self.host):
            return found
        # Killed before its revert was armed, or somebody has stopped the timer.
        take_back(self.host, found.id, "not confirmed in time")
        return None

    def _refuse(self, params: Params, path: str, pending: Deployment | None) -> None:
        if pending and not _abandoned(pending):
            raise unconfirmed(self.host, pending)
        if "failed_system" in params["force"]:
            return
        if why := deployment.refusal(path):
            raise InvalidError(
                f"This system failed on this host before and was taken back, so it was not activated again: {why}. "
                "To try it all the same, repeat it with force: [failed_system].",
                reason="failed_system",
                store_path=path,
            )

    def _policy(self, params: Params, look: Look, path: str, action: str) -> str:
        """What is done about a change that a running system cannot take; the action then."""
        policy = params["inhibitors"]
        if look.reboot is None or action == "boot":
            return action
        if policy in ("boot", "boot_and_reboot") and action == "switch":
            return "boot"
        if policy == "force" and not look.init:
            return action
        reason = "reboot_required" if look.init else "inhibited"
        details = {"reason": reason, "inhibitors": look.inhibitors, "reboot_required": True, "store_path": path}
        what = f"The new system cannot be activated without a reboot, because {look.reboot}; it was not activated. "
        if self.host.state()["profile"] == path:
            raise NixciError(f"{what}It is the one that boots next: reboot the host, then run again.", **details)
        raise NixciError(
            f"{what}Run again with action: boot, or with inhibitors: boot (nixos_rebuild_action: boot, deploy_inhibitors: boot), which makes "
            "it the one that boots next, and reboot the host.",
            **details,
        )

    def plan(self, params: Params, found: Build) -> Activation:
        return Activation(found, Change(found.before, {**found.before, **desired(found.path, found.action)}))

    def predict(self, plan: Activation) -> Result:
        build = plan.build
        result: Result = {
            "failed_units": [],
            "store_path": build.path,
            "system": self._system(build),
            "closures": build.closures,
            "inhibitors": build.look.inhibitors,
            "reboot_required": build.look.reboot is not None or (build.action == "boot" and bool(plan.change)),
            "access": [*build.access.problems, *build.access.warnings],
            "deployment": build.pending.returned(pending=True) if build.pending else self._none(build),
        }
        if build.look.units is not None:
            result["units"] = build.look.units
        if plan.change:
            prepared = describe(build.closures, build.look)
            result["diff"] = {**plan.change.result()["diff"], "prepared": prepared}
        for text in build.access.warnings:
            self.module.warn(text)
        return result

    def _none(self, build: Build) -> Result:
        """No deployment: nothing waits for a confirmation."""
        return {
            "id": None,
            "system": build.path,
            "previous": build.before["system"],
            "pending": False,
            "action": build.action,
            "confirm_timeout": self.module.params["confirm_timeout"],
            "boot_id": deployment.boot_id(),
        }

    def apply(self, plan: Activation) -> Result:
        # Without a terminal it would not come; with one, it must not stop what can still be finished.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        build, params = plan.build, self.module.params
        no_check = build.look.reboot is not None and params["inhibitors"] == "force"
        rollout = Rollout(self.host, params["confirm_timeout"], deployed_by(params["who"]), no_check=no_check)
        try:
            found = rollout.run(build.path, build.action, build.look.units, build.pending)
        except NixciError as exc:
            # The activation may have come halfway, so what it predicted is part of the error.
            moved = self.host.moved(build.before)
            exc.details = {
                **self.predict(plan),
                "changed": moved,
                "failed_units": rollout.failed,
                **exc.details,
            }
            raise
        done = {"deployment": found, "failed_units": rollout.failed}
        return {**self.predict(plan), **done}

    def _path(self, params: Params) -> str:
        if params["store_path"]:
            return _system_in_store(params["store_path"])
        if params["staged"]:
            return self._build_staged(params, params["staged"])
        with tempfile.TemporaryDirectory(prefix="nixci-") as workdir:
            return self._keep(self.host.build(params["flake"], workdir))

    def _build_staged(self, params: Params, staged: Params) -> str:
        with copied(self.host.runner, staged["config_dir"], params["flake"]) as copy:
            layout = Layout.of(copy.config_dir, staged["host"], fleet=False)
            settings = Settings(self.module, copy.config_dir, layout)
            files = settings.plan(staged, settings.read(staged))
            settings.apply(files)
            expected = dict(files.result["files"])
            if repository := copy.repository:
                others = {layout.place(path): path for path in expected if path not in files.ours}
                for place in repository.untracked(staged["config_dir"], list(others)):
                    del expected[others[place]]
                repository.track(staged["config_dir"], [layout.place(path) for path in files.ours], wrap=copy)
            try:
                path = self.host.build(params["flake"], copy.folder, copy)
            except InvalidError as exc:
                raise _with_hint(exc, staged["config_dir"], params["flake"]) from None
            self._refuse_another_host(params, path, staged["config_dir"])
            _refuse_other_files(path, staged["config_dir"], expected, layout.imported)
            return self._keep(path)

    def _keep(self, path: str) -> str:
        if not self.module.check_mode:
            deployment.keep("built", path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(FORMERLY_BUILT)
        return path

    def _refuse_another_host(self, params: Params, path: str, source: str = "") -> None:
        built, expected = host_name(path), params["host_name"] or self.host.name()
        # The name may be that of a network without the configuration saying so, and with its domain.
        if built and built.split(".")[0].lower() != expected.split(".")[0].lower():
            what = f"The configuration in {source}" if source else "This system"
            raise InvalidError(
                f"{what} is that of the host '{built}', but this is '{expected}'; nothing was activated. Name the configuration that "
                f"this host is built from (nixos_config_dir or nixos_flake), or, to rename the host, set nixos_host_name: {built}.",
                reason="another_host",
            )

    def _system(self, build: Build) -> dict[str, t.Any]:
        return {
            "path": build.path,
            "previous": build.before["system"],
            "generation": self.host.generation(),
            "activated": self.host.state()["system"] == build.path,
        }


def intended(params: Params) -> str:
    """How the system is, or is going to be, activated."""
    if params["action"] == "build":
        return str(params["activation"])
    return "switch" if params["action"] == "dry_activate" else str(params["action"])


def desired(path: str, action: str) -> dict[str, t.Any]:
    if action == "boot":
        return {"profile": path}
    if action == "test":
        return {"system": path, "unfinished": None}
    return {"system": path, "profile": path, "unfinished": None}


def differs(before: dict[str, t.Any], path: str, action: str) -> bool:
    return any(before[key] != value for key, value in desired(path, action).items())


def nothing_to_do(host: NixosHost, params: Params) -> bool:
    """Whether a ready-made system runs and boots, so that not even a lock is needed."""
    path = params["store_path"] and os.path.realpath(params["store_path"])
    return bool(path) and deployment.read() is None and not differs(host.state(), path, intended(params))


def describe(closures: list[str], look: Look) -> str:
    """What a reader of the diff wants to know beside two store paths."""
    lines = [*closures, *(f"{verb}: {', '.join(names)}" for verb, names in (look.units or {}).items() if names)]
    lines += [f"cannot change without a reboot: {name}: {old} -> {new}" for name, (old, new) in look.inhibitors.items()]
    return "".join(f"{line}\n" for line in lines)


def _abandoned(found: Deployment) -> bool:
    """A deployment that its own run confirms, and that run is over, since we hold the lock. It is continued."""
    return found.confirm_timeout == 0


def _system_in_store(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.exists(os.path.join(real, "bin", "switch-to-configuration")):
        raise InvalidError(
            f"{path} is not a NixOS system on this host: it has no bin/switch-to-configuration.", reason="invalid"
        )
    return real


def _refuse_other_files(path: str, config_dir: str, expected: dict[str, str], imported: str) -> None:
    """The built system must consist of the staged files: otherwise its configuration does not import them."""
    manifest = os.path.join(path, MANIFEST.lstrip("/"))
    nothing = "so it was not activated and nothing was changed"
    try:
        with open(manifest, encoding="utf-8") as file:
            built = dict(json.load(file)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidError(
            f"The configuration in {config_dir} does not import our modules, {nothing}. If this host is built from {config_dir}, add  "
            f"imports = [ ./{imported} ];  to its configuration there; otherwise name the right folder (nixos_config_dir, nixos_flake).",
            reason="not_imported",
        ) from None
    other = sorted(name for name in built.keys() | expected.keys() if built.get(name) != expected.get(name))
    if other:
        raise InvalidError(
            f"The system that was built contains other modules or settings than those for {config_dir}/nixci ({', '.join(other[:5])}), "
            f"{nothing}. Let the configuration there import ./{imported}, and no copy of it.",
            reason="not_imported",
            files=other,
        )


def _with_hint(error: InvalidError, config_dir: str, flake: str | None) -> InvalidError:
    if flake or any(os.path.exists(os.path.join(config_dir, name)) for name in ("flake.nix", "configuration.nix")):
        return error
    return InvalidError(
        f"{config_dir} has neither flake.nix nor configuration.nix, so this host seems to be built from elsewhere; set nixos_config_dir "
        f"or nixos_flake. {error}",
        **error.details,
    )
