# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a fleet, built from a copy of the fleet's checkout. Private: may change without notice.

Our new files are put into the copy only, so that a refused setting never stays in the checkout.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import tempfile
import typing as t
from collections.abc import Iterator

from .._core.errors import InvalidError, NixciError
from . import staging
from .checkout import Checkout, pack, unpack
from .command import Runner
from .deployment import ROOTS
from .flake import Flake, System
from .host import host_name
from .settings import Layout, Settings

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Params = dict[str, t.Any]
# In the archive, beside the copy: what the host has to know of it.
FACTS = "facts.json"
COPY = "copy"
# Below this, an evaluation of NixOS, which takes 1 to 2 GiB, can starve the services of a host.
SMALL = 3 * 1024
PLACES = ("hosts/{0}/default.nix", "hosts/{0}/configuration.nix", "hosts/{0}.nix", "machines/{0}/default.nix",
          "machines/{0}/configuration.nix", "machines/{0}.nix", "{0}/default.nix", "{0}/configuration.nix", "{0}.nix")  # fmt: skip


class Source:
    """A copy of the checkout with our new files, and what it must turn into."""

    def __init__(self, folder: str, facts: dict[str, t.Any]) -> None:
        self.folder = folder
        self.facts = facts

    @property
    def copy(self) -> str:
        return os.path.join(self.folder, COPY)

    def evaluate(self, runner: Runner, host: str | None, *, bounded: bool) -> System:
        facts = self.facts
        flake = Flake(runner, self.copy, facts["query"], facts["shown"], bounded=bounded)
        system = flake.evaluate(facts["name"])
        refuse_another_host(system.host, host, facts["shown"], facts["name"])
        self._refuse_other_files(system)
        return system

    def discard(self, runner: Runner, known: set[str]) -> None:
        """Remove the copy that Nix made, which everybody on the host could read, unless a system itself refers to it."""
        facts = self.facts
        path = Flake(runner, self.copy, facts["query"], facts["shown"], bounded=False).source()
        if path and path not in known:
            runner.run("nix-store", "--delete", path)

    def _refuse_other_files(self, system: System) -> None:
        name, shown, expected = self.facts["name"], self.facts["shown"], self.facts["files"]
        nothing = "so it was not built and nothing was changed"
        if system.files is None:
            if not expected:
                return
            raise InvalidError(
                f"nixosConfigurations.{name} does not import our modules, {nothing}; add  {self.facts['line']}  {self.facts['where']}.",
                reason="not_imported",
            )
        other = sorted(
            path for path in system.files.keys() | expected.keys() if system.files.get(path) != expected.get(path)
        )
        if other:
            raise InvalidError(
                f"nixosConfigurations.{name} consists of other modules or settings than those in {shown}/nixci ({', '.join(other[:5])}), "
                f"{nothing}; let it import ./nixci/hosts/{name}, and no copy of it.",
                reason="not_imported",
                files=other,
            )


@contextlib.contextmanager
def prepared(module: AnsibleModule, runner: Runner, params: Params) -> Iterator[Source]:
    """A private copy of the checkout with the new files, removed afterwards."""
    checkout = Checkout(runner, params["flake_dir"])
    layout = Layout.of(checkout.folder, params["name"], fleet=True)
    if "stale" not in params["force"]:
        checkout.refuse_stale(params["running_revision"], params["name"], as_is=not params["settings"])
    with tempfile.TemporaryDirectory(prefix="nixci-") as folder:
        copy = os.path.join(folder, COPY)
        os.mkdir(copy)
        with checkout.locked():
            revision = checkout.revision()
            inner = checkout.copy(copy)
        settings = Settings(module, inner, layout)
        nothing = {"store_path": "", "built_from": None, "unfinished": False}
        files = settings.plan(params, settings.read({**params, "system": nothing}))
        if files.write or files.remove:
            settings.apply(files)
            revision = type(revision)(revision.commit, True, revision.time)
        has_settings = any(path.startswith("settings/") for path in files.result["files"])
        line, where = _line(inner, params["name"])
        yield Source(
            folder,
            {
                "name": params["name"],
                "shown": checkout.folder,
                "query": revision.query(checkout.inside),
                "revision": revision.name,
                # Without settings, the modules of other hosts are no part of this one.
                "files": files.result["files"] if has_settings else {},
                "line": line,
                "where": where,
            },
        )


def write_archive(source: Source, archive: str) -> None:
    with open(os.path.join(source.folder, FACTS), "w", encoding="utf-8") as file:
        json.dump(source.facts, file)
    pack(source.folder, archive)


@contextlib.contextmanager
def unpacked(runner: Runner, archive: str) -> Iterator[Source]:
    """On the host: the content of an archive in a folder of root's. Nothing of it stays, nor does the archive."""
    known = set(glob.glob("/nix/store/*-source"))
    staging.clear()
    try:
        os.makedirs(staging.FOLDER, mode=0o700)
        folder = tempfile.mkdtemp(dir=staging.FOLDER)
        unpack(archive, folder)
        with open(os.path.join(folder, FACTS), encoding="utf-8") as file:
            source = Source(folder, json.load(file))
        try:
            yield source
        finally:
            with contextlib.suppress(NixciError):
                source.discard(runner, known)
    finally:
        staging.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(archive)


def refuse_another_host(built: str | None, expected: str | None, shown: str, name: str) -> None:
    if built and expected and built.split(".")[0].lower() != expected.split(".")[0].lower():
        raise InvalidError(
            f"nixosConfigurations.{name} in {shown} is that of the host '{built}', but this is '{expected}'; nothing was built. Name the "
            f"configuration of this host in nixos_configuration, or, to rename the host, set nixos_host_name: {built}.",
            reason="another_host",
        )


def running_name() -> str:
    return host_name("/run/current-system") or os.uname().nodename


def built_root() -> str:
    """Where the host keeps what it has built until it is activated."""
    os.makedirs(ROOTS, exist_ok=True)
    return os.path.join(ROOTS, "built")


def _line(folder: str, name: str) -> tuple[str, str]:
    """What to add, and where: to a file that seems to be the host's own, otherwise to flake.nix."""
    for place in PLACES:
        path = place.format(name)
        if re.fullmatch(r"[\w./+-]+", path) and os.path.isfile(os.path.join(folder, path)):
            up = os.path.relpath(".", os.path.dirname(path) or ".")
            prefix = "." if up == "." else up
            return f"imports = [ {prefix}/nixci/hosts/{name} ];", f"to {path}"
    return f"./nixci/hosts/{name}", f"to the modules of nixosConfigurations.{name} in flake.nix"
