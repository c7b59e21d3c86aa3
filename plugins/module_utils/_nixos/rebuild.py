# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running system of a host as a resource. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._core.change import Change
from .._core.errors import InvalidError, NixciError
from .host import NixosHost, host_name
from .settings import MANIFEST, Layout, Settings
from .staging import copied

Params = dict[str, t.Any]
Result = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Build:
    """The host before, the system that was built, and what activating it would do."""

    before: dict[str, t.Any]
    path: str
    units: dict[str, list[str]] | None
    closures: list[str]


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
        before, path = self.host.state(), self._path(params)
        self._refuse_another_host(params, path)
        units = closures = None
        action = intended(params)
        if any(before[key] != value for key, value in desired(path, action).items()):
            units, closures = self.host.preview(path, action), self.host.closure_changes(before["system"], path)
        return Build(before, path, units, closures or [])

    def plan(self, params: Params, found: Build) -> Activation:
        return Activation(found, Change(found.before, {**found.before, **desired(found.path, intended(params))}))

    def predict(self, plan: Activation) -> Result:
        build = plan.build
        result: Result = {"failed_units": [], "store_path": build.path, "system": self._system(build)}
        if build.units is not None:
            result["units"] = build.units
        if plan.change:
            result["diff"] = {**plan.change.result()["diff"], "prepared": describe(build.closures, build.units or {})}
        return result

    def apply(self, plan: Activation) -> Result:
        try:
            self.host.activate(plan.build.path, intended(self.module.params))
        except NixciError as exc:
            # The activation may have come halfway, so what it predicted is part of the error.
            moved = self.host.moved(plan.build.before)
            exc.details = {**self.predict(plan), "changed": moved, **exc.details}
            raise
        return self.predict(plan)

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
            self.host.keep(path)
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
    action: str = params["activation"] if params["action"] == "build" else params["action"]
    return action


def desired(path: str, action: str) -> dict[str, t.Any]:
    if action == "boot":
        return {"profile": path}
    return {"system": path, "profile": path, "unfinished": None}


def describe(closures: list[str], units: dict[str, list[str]]) -> str:
    """What a reader of the diff wants to know beside two store paths."""
    lines = [*closures, *(f"{verb}: {', '.join(names)}" for verb, names in units.items() if names)]
    return "".join(f"{line}\n" for line in lines)


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
