# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running system of a host as a resource. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.change import Change
from .._core.errors import NixciError
from .host import NixosHost

Result = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Build:
    """The host before, the configuration that was built, and what activating it would do."""

    before: dict[str, t.Any]
    path: str
    units: dict[str, list[str]] | None
    closures: list[str]


@dataclasses.dataclass(frozen=True)
class Activation:
    """The configuration runs, is the one that boots, and was activated to the end."""

    build: Build
    change: Change


class RunningSystem:
    """Builds when it reads: what the configuration means is known only then, and a build changes no system."""

    def __init__(self, host: NixosHost) -> None:
        self.host = host

    def read(self, params: dict[str, t.Any]) -> Build:
        before, path = self.host.state(), self.host.build()
        if before == desired(path):
            return Build(before, path, None, [])
        units = self.host.dry_activate(path)
        return Build(before, path, units, self.host.closure_changes(before["system"], path))

    def plan(self, params: dict[str, t.Any], found: Build) -> Activation:
        return Activation(found, Change(found.before, desired(found.path)))

    def predict(self, plan: Activation) -> Result:
        build = plan.build
        result: Result = {"failed_units": [], "system": self._system(build)}
        if build.units is not None:
            result["units"] = build.units
            result["diff"] = {**plan.change.result()["diff"], "prepared": describe(build.closures, build.units)}
        return result

    def apply(self, plan: Activation) -> Result:
        try:
            self.host.switch(plan.build.path)
        except NixciError as exc:
            # The activation may have come halfway, so what it predicted is part of the error.
            moved = self.host.moved(plan.build.before)
            exc.details = {**self.predict(plan), "changed": moved, **exc.details}
            raise
        return self.predict(plan)

    def _system(self, build: Build) -> dict[str, t.Any]:
        return {
            "path": build.path,
            "previous": build.before["system"],
            "generation": self.host.generation(),
            "activated": self.host.state()["system"] == build.path,
        }


def desired(path: str) -> dict[str, t.Any]:
    return {"system": path, "profile": path, "unfinished": None}


def describe(closures: list[str], units: dict[str, list[str]]) -> str:
    """What a reader of the diff wants to know beside two store paths."""
    lines = [*closures, *(f"{verb}: {', '.join(names)}" for verb, names in units.items() if names)]
    return "".join(f"{line}\n" for line in lines)
