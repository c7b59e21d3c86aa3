# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in builds flakes: nixos-rebuild on the host, and Nix of this machine if there is one."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from lab import fleet
from lab.shell import attempt
from tests.support.nixos_host import Host

FLAKE = """{
  inputs.nixpkgs.url = "path:./nixpkgs";
  outputs = { self, nixpkgs }@inputs: {
    nixosConfigurations = builtins.mapAttrs (name: system: nixpkgs.lib.nixosSystem {
      inherit system;
      specialArgs = { inherit inputs; word = "given"; };
      modules = [ ./configuration.nix ];
    }) { standin = "%s"; other = null; };
  };
}
"""
CONFIGURATION = """{ config, inputs, lib, modulesPath, pkgs, word, ... }: {
  networking.hostName = "standin";
  system.configurationRevision = inputs.self.rev or inputs.self.dirtyRev or null;
  environment.etc.word.text = "${word} ${pkgs.system} ${toString (builtins.pathExists modulesPath)}";
  environment.etc.nixpkgs.text = toString (inputs.nixpkgs.lib ? nixosSystem);
}
"""
ATTRIBUTE = "nixosConfigurations.standin.config.system.build.toplevel"
NIX = ("nix", "--extra-experimental-features", "nix-command", "--extra-experimental-features", "flakes")


@pytest.fixture(scope="module")
def folder(nixos: Host, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The flake on this machine, and a copy of it on the host in /root/flake."""
    folder = tmp_path_factory.mktemp("flake")
    fleet.add_nixpkgs(folder)
    (folder / "flake.nix").write_text(FLAKE % fleet.system())
    (folder / "configuration.nix").write_text(CONFIGURATION)
    nixos.copy(folder, "/root/flake")
    return folder


def test_a_flake_is_built_and_activated_without_a_network(nixos: Host, folder: pathlib.Path) -> None:
    lock = (folder / "flake.lock").read_text()
    done = nixos.rebuild("switch", "--flake", "/root/flake#standin")
    assert done.returncode == 0, done.stderr
    system = done.stdout.strip()
    assert system == nixos.current() == nixos.profile() == nixos.boots()
    assert nixos.out("cat /etc/word") == f"given {fleet.system()} 1"
    assert nixos.out("cat /etc/nixpkgs /root/flake/flake.lock") + "\n" == f"1{lock}"
    assert nixos.generations()[0]["configurationRevision"] == ""  # it comes from no commit


def test_the_name_defaults_to_the_host_name_and_the_flake_to_etc_nixos(nixos: Host, folder: pathlib.Path) -> None:
    nixos.out("hostname standin")
    here = nixos.sh("cd /root/flake && nixos-rebuild build --flake && readlink result && rm result")
    assert here.returncode == 0, here.stderr
    system, link = here.stdout.split()
    assert link == system
    nixos.configure("this is no Nix")
    nixos.out("ln -sfn /root/flake/flake.nix /etc/nixos/flake.nix")
    try:
        assert nixos.rebuild("dry-activate").stdout.strip() == system
        assert "syntax error" in nixos.rebuild("build", "--no-flake").stderr
        assert nixos.rebuild("dry-build").returncode == 0
    finally:
        nixos.out("rm /etc/nixos/flake.nix")


@pytest.mark.parametrize(
    ("flake", "message"),
    [
        ("/root/flake#nobody", "does not provide attribute"),
        ("/root/flake#other", "The option `nixpkgs.hostPlatform' "),
        ("/root/nothing", "No such file or directory"),
        ("/root", "does not contain a 'flake.nix'|does not contain a '/flake.nix' file|No such file or directory"),
    ],
)
def test_a_wrong_flake_changes_nothing(nixos: Host, folder: pathlib.Path, flake: str, message: str) -> None:
    before = (nixos.current(), nixos.profile(), nixos.boots())
    done = nixos.rebuild("switch", "--flake", flake)
    assert done.returncode == 1 and done.stdout == ""
    assert any(text in done.stderr for text in message.split("|")), done.stderr
    assert (nixos.current(), nixos.profile(), nixos.boots()) == before


def test_a_git_repository_gives_its_revision_and_only_what_it_tracks(nixos: Host, folder: pathlib.Path) -> None:
    nixos.out("""rm -rf /root/fleet && mkdir /root/fleet && cp -r /root/flake /root/fleet/sub && cd /root/fleet && git init -q .
        git add --all && git -c user.name=x -c user.email=x@nixci.test commit -qm x""")
    revision = nixos.out("git -C /root/fleet rev-parse HEAD")
    clean = nixos.rebuild("build", "--flake", "'git+file:///root/fleet?dir=sub#standin'")
    assert clean.returncode == 0, clean.stderr
    assert nixos.out(f"cat {clean.stdout.strip()}/configuration-revision") == revision
    nixos.put("/root/fleet/sub/more.nix", '{ environment.etc.more.text = ""; }')
    nixos.out("sed -i 's,^  networking,  imports = [ ./more.nix ];\\n  networking,' /root/fleet/sub/configuration.nix")
    untracked = nixos.rebuild("build", "--flake", "/root/fleet/sub#standin")
    assert untracked.returncode == 1 and "more.nix" in untracked.stderr
    nixos.out("git -C /root/fleet add --intent-to-add sub/more.nix")
    dirty = nixos.rebuild("build", "--flake", "/root/fleet/sub#standin")
    assert dirty.returncode == 0, dirty.stderr
    assert nixos.out(f"cat {dirty.stdout.strip()}/configuration-revision") == f"{revision}-dirty"


def test_lock_file_and_inputs_suit_the_nix_of_this_machine(nixos: Host, folder: pathlib.Path) -> None:
    if shutil.which("nix") is None:
        pytest.skip("there is no Nix on this machine")
    lock = (folder / "flake.lock").read_text()
    fleet.add_to_store(folder)
    here = attempt(*NIX, "eval", "--raw", f"path:{folder}#{ATTRIBUTE}.drvPath")
    assert here.returncode == 0, here.stderr
    assert (folder / "flake.lock").read_text() == lock
    there = nixos.out(f"nix eval --raw path:/root/flake#{ATTRIBUTE}.drvPath")
    assert here.stdout == there
    metadata = json.loads(nixos.out("nix flake metadata --json --no-update-lock-file path:/root/flake"))
    assert metadata["locks"] == json.loads(lock)
