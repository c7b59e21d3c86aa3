# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generations of a host and its record of deployments, from its files. Private: may change without notice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t

from .._core.errors import InvalidError, NixciError
from . import closures
from . import deployment as state
from .command import Runner, missing_program
from .messages import tail

# Tests point these elsewhere.
PROFILES = "/nix/var/nix/profiles"
SYSTEMS = {"running": "/run/current-system", "booted": "/run/booted-system", "profile": f"{PROFILES}/system"}
STORE = "/nix/store"

_LINK = re.compile(r"system-(\d+)-link")

Generation = dict[str, t.Any]


class Generations:
    """What was built, what runs, and what was deployed."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.links = {name: _target(link) for name, link in SYSTEMS.items()}
        if self.links["running"] is None:
            raise InvalidError(
                "This host is not NixOS: it has no /run/current-system; install NixOS on it first, or take it out of the group.",
                reason="not_nixos",
            )
        self.current = _number(os.path.basename(_link(SYSTEMS["profile"]) or ""))

    def all(self, records: list[dict[str, t.Any]]) -> list[Generation]:
        """All of them, the newest first."""
        try:
            links = os.listdir(PROFILES)
        except FileNotFoundError:
            links = []
        numbers = sorted((number for number in map(_number, links) if number is not None), reverse=True)
        return [found for number in numbers if (found := self._generation(number, records)) is not None]

    def _generation(self, number: int, records: list[dict[str, t.Any]]) -> Generation | None:
        link = os.path.join(PROFILES, f"system-{number}-link")
        try:
            made = os.lstat(link).st_mtime
        except FileNotFoundError:
            return None  # removed meanwhile
        path = _target(link)
        pinned = path is not None and _target(os.path.join(state.ROOTS, f"confirmed-{number}")) == path
        return {
            "generation": number,
            "path": path,
            "date": state.rfc3339(made),
            **self.about(path),
            "profile": number == self.current,
            "running": path is not None and path == self.links["running"],
            "booted": path is not None and path == self.links["booted"],
            "confirmed": pinned or any(_confirms(record, number, path) for record in records),
        }

    def about(self, path: str | None) -> dict[str, t.Any]:
        """What a system says about itself."""
        if path is None:  # its store path was removed by force
            return {"nixos_version": None, "revision": None}
        version = (state.read_file(os.path.join(path, "nixos-version")) or "").strip() or None
        return {"nixos_version": version, "revision": self._revision(path)}

    def _revision(self, path: str) -> str | None:
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            revision = json.loads(state.read_file(os.path.join(path, "etc/nixci/manifest.json")) or "{}").get(
                "revision"
            )
            if revision:
                return str(revision)
        # NixOS stores it only in this script.
        program = os.path.join(path, "sw/bin/nixos-version")
        if not os.access(program, os.X_OK):
            return None
        outcome = self.runner.run(program, "--configuration-revision")
        return outcome.out.strip() or None if outcome.rc == 0 else None

    def systems(self) -> dict[str, dict[str, t.Any] | None]:
        """What runs, what was booted and what the profile has; they may differ, and need not be a generation."""
        return {name: path and {"path": path, **self.about(path)} for name, path in self.links.items()}  # type: ignore[misc]

    def compare(self, names: list[str], generations: list[Generation]) -> dict[str, t.Any]:
        before, after = (self._system(name, generations) for name in names)
        nix = self.runner.find("nix")
        if nix is None:
            raise missing_program("nix")
        command = ("nix", "--extra-experimental-features", "nix-command")
        difference = self.runner.run(*command, "store", "diff-closures", before, after)
        sizes = self.runner.run(*command, "path-info", "--closure-size", before, after)
        for outcome in (difference, sizes):
            if outcome.rc != 0:
                raise NixciError(f"Nix cannot compare {before} with {after}: {tail(outcome.err)}", reason="compare")
        size = {path: int(number) for path, number in (line.split() for line in sizes.out.splitlines() if line.strip())}
        return {
            "before": before,
            "after": after,
            "size_before": size.get(before),
            "size_after": size.get(after),
            **closures.parse(difference.out),
        }

    def _system(self, name: str, generations: list[Generation]) -> str:
        if name in SYSTEMS:
            path = self.links[name]
        elif name.isdecimal():
            path = next((one["path"] for one in generations if one["generation"] == int(name)), None)
        elif os.path.isabs(name):
            path = _target(name)
        else:
            raise InvalidError(
                f"compare: '{name}' is neither the number of a generation, nor a store path, nor one of {', '.join(SYSTEMS)}."
            )
        if path is None:
            known = ", ".join(str(one["generation"]) for one in generations) or "none"
            raise InvalidError(f"compare: this host has no system '{name}'; its generations are {known}.")
        return path


# -- deployments


def pending() -> dict[str, t.Any] | None:
    """The deployment that waits for its confirmation."""
    found = state.read()
    if found is None:
        return None
    more = {name: getattr(found, name) for name in ("phase", "previous_generation", "permanent")}
    return {**found.returned(True), **more}


def failed() -> dict[str, str]:
    """Systems that a deployment gave up; why, and when."""
    try:
        names = sorted(os.listdir(state.FAILED))
    except FileNotFoundError:
        return {}
    texts = {
        name: state.read_file(os.path.join(state.FAILED, name)) or "" for name in names if not name.endswith(".new")
    }
    return {os.path.join(STORE, name): _reason(text.splitlines()) for name, text in texts.items() if text}


def _reason(lines: list[str]) -> str:
    return f"{lines[0]} ({lines[1]})" if len(lines) > 1 else lines[0]


def _confirms(record: dict[str, t.Any], number: int, path: str | None) -> bool:
    return record.get("result") == "confirmed" and record.get("to_generation") == number and record.get("to") == path


# -- files


def _number(name: str) -> int | None:
    found = _LINK.fullmatch(name)
    return int(found[1]) if found else None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _target(link: str) -> str | None:
    return os.path.realpath(link) if os.path.exists(link) else None


def not_root(exc: OSError) -> NixciError:
    return NixciError(f"{exc.filename} cannot be read: {exc.strerror}; run this task as root (become: true).")
