# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of one host as a checkout on the controller, which the host builds."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

from lab import fleet
from lab.shell import run
from tests.support.paths import ROOT

from .controller import PATIENT, Controller, Run
from .host import Host
from .image import SETTINGS

FLAKE = """
{
  inputs.nixpkgs.url = "path:./nixpkgs";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      system = "SYSTEM";
      modules = [
        { system.configurationRevision = self.rev or self.dirtyRev or null; }
        ./web.nix
        ./nixci/hosts/web
      ];
    };
  };
}
"""
WEB = """
{ lib, pkgs, ... }:
{
  networking.hostName = "web";
  services.openssh.enable = true;
  users.users.root.openssh.authorizedKeys.keys = [ "KEY" ];
  systemd.services.app = {
    wantedBy = [ "multi-user.target" ];
    environment.SYSTEM = "NAME";
    script = "exec sleep infinity";
  };
  MORE
}
"""


class Checkout:
    """The fleet's repository on the controller."""

    def __init__(self, folder: pathlib.Path, key: str) -> None:
        self.folder = folder
        self.key = key
        folder.mkdir()
        (folder / "flake.nix").write_text(FLAKE.replace("SYSTEM", fleet.system()))
        ours = folder / "nixci" / "hosts" / "web"
        (ours / "settings").mkdir(parents=True)
        (ours / "settings" / "nixos.json").write_text(SETTINGS)
        shutil.copy(ROOT / "nix" / "host.nix", ours / "default.nix")
        shutil.copytree(ROOT / "nix" / "modules", folder / "nixci" / "modules")
        fleet.add_nixpkgs(folder)
        self.git("init", "--quiet", "--initial-branch=main")

    def commit(self, name: str, more: str = "") -> str:
        (self.folder / "web.nix").write_text(WEB.replace("KEY", self.key).replace("NAME", name).replace("MORE", more))
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message={name}")
        return self.git("rev-parse", "HEAD")

    def git(self, *argv: str) -> str:
        who = ("-c", "user.name=A user", "-c", "user.email=user@nixci.test")
        return run("git", "-C", str(self.folder), *who, *argv).strip()


def build_and_deploy(controller: Controller, host: Host, checkout: Checkout, **variables: t.Any) -> Run:
    fleet_mode = {"nixci_flake_dir": str(checkout.folder), "deploy_build_on": "host", "nixos_configuration": "web"}
    return controller.start("playbooks/deploy.yml", [host], **{**PATIENT, **fleet_mode, **variables})
