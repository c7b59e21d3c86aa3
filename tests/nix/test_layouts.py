# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files are: beside the modules on a host of its own, or in a folder for each host of a flake."""

from __future__ import annotations

import json
import shutil
import typing as t

import pytest

from .conftest import REBUILD, ROOT, on_nixos

MANIFEST = 'builtins.fromJSON config.environment.etc."nixci/manifest.json".text'
SYSTEM = f"{{ drv = {REBUILD}; manifest = {MANIFEST}; }}"


def fleet(host: t.Any, name: str = "web") -> str:
    """Move the host's settings to where they are in a flake with several hosts, and return its import."""
    folder = host.folder / "nixci/hosts" / name
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "nix/host.nix", folder / "default.nix")
    (host.folder / "nixci/settings").rename(folder / "settings")
    return f"./nixci/hosts/{name}"


def test_both_layouts_are_the_same_system(host: t.Any) -> None:
    before = host.value(SYSTEM)
    # In the same place of the imports, because the order of lists follows it.
    path = host.folder / "configuration.nix"
    path.write_text(path.read_text().replace("./nixci/modules", fleet(host)))
    assert host.value(SYSTEM) == before
    assert {"settings/attic.json", "modules/with-settings.nix", "modules/patterns.json"} <= before["manifest"][
        "files"
    ].keys()


def test_the_modules_from_elsewhere_are_the_same_system(host: t.Any) -> None:
    """As an input of a flake, they are not in the user's repository."""
    line = fleet(host)
    host.configure("{ }", line, alone=True)
    before = host.value(SYSTEM)
    elsewhere = ROOT if host.evaluator is on_nixos else "/checkout"
    shutil.rmtree(host.folder / "nixci/modules")
    function = f"((import {elsewhere}/flake.nix).outputs {{ }}).nixosModules.default"
    host.configure("{ }", f"({function} {line}/settings)", alone=True)
    assert host.value(SYSTEM) == before


def test_each_host_has_its_own_settings(host: t.Any) -> None:
    line = fleet(host)
    other = host.folder / "nixci/hosts/small"
    shutil.copytree(host.folder / "nixci/hosts/web", other)
    for path in (other / "settings").iterdir():
        if path.name != "nixos.json":
            path.unlink()
    host.configure("{ }", line, alone=True)
    assert host.value("config.services.atticd.enable") is True
    host.configure("{ }", "./nixci/hosts/small", alone=True)
    got = host.value(f"{{ attic = config.services.atticd.enable; files = ({MANIFEST}).files; drv = {REBUILD}; }}")
    assert got["attic"] is False
    assert [path for path in got["files"] if path.startswith("settings/")] == ["settings/nixos.json"]


def test_a_host_without_settings_evaluates(host: t.Any) -> None:
    line = fleet(host)
    shutil.rmtree(host.folder / "nixci/hosts/web/settings")
    host.configure("{ }", line, alone=True)
    assert (
        host.value(f'{{ drv = {REBUILD}; manifest = config.environment.etc ? "nixci/manifest.json"; }}')["manifest"]
        is False
    )


def test_messages_name_the_files_of_this_host(host: t.Any) -> None:
    line = fleet(host)
    settings = host.folder / "nixci/hosts/web/settings"
    shown = str(host.nix_folder / "nixci/hosts/web/settings")
    host.configure('{ services.atticd.mode = "api-server"; }', line, alone=True)
    assert f"own.nix and the role attic ({shown}/attic.json) define" in host.refusal()
    host.configure("{ services.caddy.enable = false; }", line, alone=True)
    assert f"nixci: {shown}/caddy.json needs Caddy" in host.refusal()
    host.configure("{ }", line, alone=True)
    before = (settings / "caddy.json").read_text()
    (settings / "caddy.json").write_text(json.dumps({"caddy": {"sitez": {}}}))
    message = host.refusal()
    assert "nixci.caddy.sitez" in message and f"{shown}/caddy.json" in message
    (settings / "caddy.json").write_text(before + "{")
    assert f"while reading {shown}/caddy.json" in host.refusal()


def test_two_folders_of_settings_are_refused(host: t.Any) -> None:
    line = fleet(host)
    shutil.copytree(host.folder / "nixci/hosts/web/settings", host.folder / "nixci/settings")
    host.configure("{ }", line)
    message = host.refusal()
    assert "nixci: this configuration takes the settings of " in message
    assert f"{host.nix_folder}/nixci/settings and {host.nix_folder}/nixci/hosts/web/settings" in message or (
        f"{host.nix_folder}/nixci/hosts/web/settings and {host.nix_folder}/nixci/settings" in message
    )


@pytest.mark.parametrize("twice", ["./nixci/modules", "(import ./nixci/modules/with-settings.nix ./nixci/settings)"])
def test_the_same_folder_twice_is_one_module(host: t.Any, twice: str) -> None:
    before = host.value(SYSTEM)
    host.configure("{ }", twice)
    assert host.value(SYSTEM) == before


def test_the_function_without_a_folder_says_how_to_call_it(host: t.Any) -> None:
    host.configure("{ }", "./nixci/modules/with-settings.nix", alone=True)
    assert "write (inputs.nixci.nixosModules.default ./nixci/hosts/web/settings) in the list" in host.refusal()
