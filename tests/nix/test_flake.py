# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as an input of the user's flake are the same system as the copy in its repository.

With the Nix of the lab's image, and with that of this machine, if there is one.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from tests.support.lab_image import lab_image
from tests.support.paths import ROOT

from .conftest import EXAMPLE

FLAKE = """{
  inputs.nixpkgs.url = "path:@FOLDER@/nixpkgs";
  inputs.nixci.url = "path:@FOLDER@/nixci";
  outputs = inputs: {
    nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem {
      system = "x86_64-linux";
      modules = [ { networking.hostName = "web"; } @MODULE@ ];
    };
  };
}
"""
COPY = "./nixci/hosts/web"
INPUT = "(inputs.nixci.nixosModules.default ./nixci/hosts/web/settings)"
OPTIONS = ("--offline", "--extra-experimental-features", "nix-command flakes", "--no-write-lock-file")
SYSTEM = 'c: { drv = c.system.build.toplevel.drvPath; manifest = c.environment.etc."nixci/manifest.json".text; }'
Done = subprocess.CompletedProcess[str]


def in_the_image(folder: pathlib.Path, *args: str) -> Done:
    command = ["docker", "run", "--rm", "--network=none", "--memory=4g", f"--volume={folder}:{folder}"]
    return subprocess.run([*command, lab_image(), "nix", *args], capture_output=True, text=True, timeout=300)


def on_this_machine(_folder: pathlib.Path, *args: str) -> Done:
    return subprocess.run(["nix", *args], capture_output=True, text=True, timeout=300)


class Fleet:
    """A user's flake, the collection and the lab's stand-in for nixpkgs, in a folder each."""

    def __init__(self, folder: pathlib.Path, nix: t.Callable[..., Done]) -> None:
        self.folder, self.nix = folder, nix
        shutil.copytree(ROOT / "nix", folder / "nixci/nix")
        shutil.copy(ROOT / "flake.nix", folder / "nixci")
        shutil.copytree(ROOT / "lab/nixos", folder / "nixpkgs")
        ours = folder / "fleet/nixci"
        shutil.copytree(ROOT / "nix/modules", ours / "modules")
        shutil.copytree(EXAMPLE, ours / "hosts/web/settings")
        shutil.copy(ROOT / "nix/host.nix", ours / "hosts/web/default.nix")

    def evaluate(self, module: str) -> Done:
        text = FLAKE.replace("@FOLDER@", str(self.folder)).replace("@MODULE@", module)
        (self.folder / "fleet/flake.nix").write_text(text)
        attribute = f"path:{self.folder}/fleet#nixosConfigurations.web.config"
        return self.nix(self.folder, "eval", "--json", *OPTIONS, attribute, "--apply", SYSTEM)

    def system(self, module: str) -> t.Any:
        done = self.evaluate(module)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)


@pytest.fixture(params=[in_the_image, on_this_machine], ids=["image", "machine"])
def fleet(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Fleet:
    if request.param is on_this_machine and not shutil.which("nix"):
        pytest.skip("this machine has no nix")
    return Fleet(tmp_path, request.param)


def test_the_input_and_the_copy_are_the_same_system(fleet: Fleet) -> None:
    assert fleet.system(INPUT) == fleet.system(COPY)


def test_another_commit_of_the_flake_is_the_same_system(fleet: Fleet) -> None:
    before = fleet.system(COPY)
    (fleet.folder / "fleet/README.md").write_text("nothing that the system depends on\n")
    assert fleet.system(COPY) == before


def test_an_input_without_the_folder_says_how_to_call_it(fleet: Fleet) -> None:
    done = fleet.evaluate("inputs.nixci.nixosModules.default")
    assert done.returncode != 0
    assert "write (inputs.nixci.nixosModules.default ./nixci/hosts/web/settings) in the list" in done.stderr


def test_nix_accepts_the_flake_and_it_brings_no_inputs(fleet: Fleet) -> None:
    flake = f"path:{fleet.folder}/nixci"
    done = fleet.nix(fleet.folder, "flake", "check", *OPTIONS, flake)
    assert done.returncode == 0, done.stderr
    done = fleet.nix(fleet.folder, "flake", "metadata", "--json", *OPTIONS, flake)
    assert json.loads(done.stdout)["locks"]["nodes"] == {"root": {}}
