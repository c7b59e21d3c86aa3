# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One NixOS system of a flake: evaluated once, then built from its derivation. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import typing as t
import urllib.parse

from .._core.errors import InvalidError, NixciError
from .command import Outcome, Runner, missing_program
from .host import SYSTEMD, build_error

FEATURES = ("--extra-experimental-features", "nix-command flakes")
# Of the memory of a host that evaluates; its services need the rest. An evaluation that needs more is stopped.
MEMORY = "75%"

# The system's own derivation, and what has to be known before it is built.
_EXPRESSION = """
systems:
if !(systems ? %(name)s) then { names = builtins.attrNames systems; }
else let
  inherit (systems.%(name)s) config;
  top = config.system.build.toplevel;
  text = builtins.unsafeDiscardStringContext;
in {
  drv = text top.drvPath;
  path = text top.outPath;
  host = config.networking.hostName or null;
  manifest = config.environment.etc."nixci/manifest.json".text or null;
}
"""
_NO_SYSTEMS = re.compile(r"does not provide attribute .*'nixosConfigurations'")
_PLATFORM = re.compile(r"(?:\b[Aa]|Required system:) '(?P<needed>[\w-]+)' with features")
_MISSING_PATH = re.compile(r"/nix/store/[0-9a-z]{32}-source/(?P<path>[^\s'\"]+)'?(?: does not exist|: No such file)")


@dataclasses.dataclass(frozen=True)
class System:
    """A system that was evaluated."""

    derivation: str
    path: str
    host: str | None
    manifest: dict[str, t.Any] | None

    @property
    def files(self) -> dict[str, str] | None:
        """The files of ours that it consists of; None if it imports none."""
        return dict(self.manifest["files"]) if self.manifest else None


class Flake:
    """A folder with flake.nix that Nix sees as `path:`."""

    def __init__(self, runner: Runner, folder: str, query: str, shown: str, *, bounded: bool) -> None:
        """`folder` is the top of the copy, `shown` what messages call it, `bounded` limits the memory of the evaluation."""
        self.runner = runner
        self.reference = f"path:{urllib.parse.quote(folder)}{'?' if query else ''}{query}"
        self.shown = shown
        self.bounded = bounded
        for program in ("nix", "nix-store"):
            if runner.find(program) is None:
                raise missing_program(program)

    def evaluate(self, name: str) -> System:
        expression = _EXPRESSION % {"name": json.dumps(name)}
        reference = f"{self.reference}#nixosConfigurations"
        argv = ["nix", *FEATURES, "eval", "--json", "--no-write-lock-file", reference, "--apply", expression]
        outcome = self._bounded(argv)
        if outcome.rc != 0:
            if _NO_SYSTEMS.search(outcome.err):
                raise InvalidError(
                    f"The flake in {self.shown} has no nixosConfigurations; it must have nixosConfigurations.{name}.",
                    reason="no_attribute",
                )
            raise self._error(outcome)
        found = json.loads(outcome.out)
        if "names" in found:
            near = difflib.get_close_matches(name, found["names"], 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(found['names']) or 'none'}."
            raise InvalidError(
                f"The flake in {self.shown} has no nixosConfigurations.{name}; {hint} Add it there, or set nixos_configuration.",
                reason="no_attribute",
            )
        manifest = json.loads(found["manifest"]) if found["manifest"] else None
        return System(found["drv"], found["path"], found["host"], manifest)

    def source(self) -> str | None:
        """Where Nix has copied the files of the flake to."""
        outcome = self.runner.run(
            "nix", *FEATURES, "flake", "metadata", "--json", "--no-write-lock-file", self.reference
        )
        try:
            path = json.loads(outcome.out).get("path") if outcome.rc == 0 else None
        except ValueError:
            return None
        return str(path) if path else None

    def _bounded(self, argv: list[str]) -> Outcome:
        if not self.bounded or not os.path.isdir(SYSTEMD) or self.runner.find("systemd-run") is None:
            return self.runner.run(*argv)
        program = self.runner.find(argv[0]) or argv[0]
        scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--property=MemoryMax={MEMORY}", "--"]
        outcome = self.runner.run(*scope, program, *argv[1:])
        if outcome.rc != 0 and outcome.err.startswith("Failed to start transient scope"):
            return self.runner.run(*argv)
        if outcome.rc in (137, -9) and not outcome.err.rstrip().endswith("Killed by user"):
            raise NixciError(
                f"The evaluation needed more than {MEMORY} of this host's memory and was stopped; set deploy_build_on: controller, or give "
                "the host more memory or swap.",
                reason="memory",
            )
        return outcome

    def _error(self, outcome: Outcome) -> NixciError:
        """With the places in the checkout instead of those in the store."""
        error = build_error(outcome)
        text = re.sub(r"/nix/store/[0-9a-z]{32}-source(?=/)", self.shown, str(error))
        missing = _MISSING_PATH.search(str(error))
        if missing and os.path.exists(os.path.join(self.shown, missing["path"])):
            text += (
                f"\n{os.path.join(self.shown, missing['path'])} exists, but git does not know it; run 'git add' on it."
            )
        return type(error)(text, **error.details)


def build(runner: Runner, derivation: str, root: str | None) -> str:
    """The store path of what was evaluated, kept from the garbage collector by the link `root`."""
    outcome = runner.run("nix-store", "--realise", derivation, *(["--add-root", root] if root else []))
    if outcome.rc != 0:
        if match := _PLATFORM.search(outcome.err):
            raise NixciError(
                f"The system is for {match['needed']}, which Nix cannot build here; set deploy_build_on: host, or give Nix a builder for it.",
                reason="platform",
            )
        if runner.run("nix-store", "--check-validity", derivation).rc != 0:
            raise NixciError(
                f"{derivation} is not in the store, so Nix has collected it since the evaluation; run again.",
                reason="collected",
            )
        raise build_error(outcome)
    # With --add-root, Nix prints the link.
    return os.path.realpath(outcome.out.split()[-1])
