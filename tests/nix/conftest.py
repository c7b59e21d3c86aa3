# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder like /etc/nixos with our modules in it, and its evaluation by Nix.

Every test runs on the lab's options with the lab's own `lib`. More ways to evaluate, when given:

NIXPKGS_LIB=/path/to/nixpkgs/lib      the lab's options, nixpkgs' own `lib`
and NIXOS_EVAL=/path/to/nixos-eval    a program that evaluates with a real `nixos/` tree (it reads NIXOS_PATH)
    NIXOS_MODULES=/a.nix:/b.nix       modules that the tree lacks: services.atticd, services.onepassword-secrets
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from tests.support.lab_image import lab_image
from tests.support.paths import ROOT

EXAMPLE = pathlib.Path(__file__).parent / "example"
LIB = os.environ.get("NIXPKGS_LIB")
# Everything that a rebuild would evaluate.
REBUILD = "config.system.build.toplevel.drvPath"


def nix_instantiate(*args: str, folder: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
    """Nix lives in the lab's image only; /checkout is this repository, /etc/nixos the folder."""
    command = ["docker", "run", "--rm", "--network=none", "--memory=4g", f"--volume={ROOT}:/checkout:ro"]
    if folder:
        command.append(f"--volume={folder}:/etc/nixos:ro")
    if LIB:
        command.append(f"--volume={LIB}:/nixpkgs/lib:ro")
    return subprocess.run(
        [*command, lab_image(), "nix-instantiate", *args], capture_output=True, text=True, timeout=300
    )


def on_the_lab(folder: pathlib.Path, expression: str, *flags: str) -> subprocess.CompletedProcess[str]:
    system = "import /checkout/lab/nixos/eval.nix { configuration = /etc/nixos/configuration.nix; }"
    return nix_instantiate(
        "--eval",
        "--strict",
        "--json",
        "--read-write-mode",
        *flags,
        "--expr",
        f"with {system}; {expression}",
        folder=folder,
    )


def on_the_lab_with_nixpkgs_lib(folder: pathlib.Path, expression: str) -> subprocess.CompletedProcess[str]:
    return on_the_lab(folder, expression, "-I", "nixpkgs=/nixpkgs")


def on_nixos(folder: pathlib.Path, expression: str) -> subprocess.CompletedProcess[str]:
    modules = [folder / "configuration.nix", *filter(None, os.environ.get("NIXOS_MODULES", "").split(":"))]
    return subprocess.run(
        [os.environ["NIXOS_EVAL"], *(f"--module={m}" for m in modules), f"--attr={'=' + expression}", "--show-trace"],
        capture_output=True,
        text=True,
        timeout=600,
    )


EVALUATORS = {"lab": on_the_lab}
if LIB:
    EVALUATORS["lab-with-nixpkgs-lib"] = on_the_lab_with_nixpkgs_lib
    if "NIXOS_EVAL" in os.environ:
        EVALUATORS["nixos"] = on_nixos


class Host:
    """/etc/nixos of a host that imports our modules, with the example's settings."""

    def __init__(self, folder: pathlib.Path, evaluator: t.Callable[..., subprocess.CompletedProcess[str]]) -> None:
        self.folder = folder
        self.evaluator = evaluator
        # as the evaluator sees it
        self.nix_folder = folder if evaluator is on_nixos else pathlib.Path("/etc/nixos")
        shutil.copytree(ROOT / "nix/modules", folder / "nixci/modules")
        shutil.copytree(EXAMPLE, folder / "nixci/settings")
        self.configure("{ }")

    def configure(self, module: str, *imports: str, alone: bool = False) -> None:
        """What the user's own configuration says beside the import of our modules, or `alone`."""
        (self.folder / "own.nix").write_text(module)
        # A classic host always has these two; NixOS asserts the first.
        hardware = '{ networking.hostName = "hetzner-vps"; }'
        files = [*imports, "./own.nix", hardware, *([] if alone else ["./nixci/modules"])]
        (self.folder / "configuration.nix").write_text(f"{{ imports = [ {' '.join(files)} ]; }}\n")

    def settings(self, role: str, **changes: t.Any) -> None:
        """Change some of a role's settings in its file."""
        path = self.folder / f"nixci/settings/{role}.json"
        before = json.loads(path.read_text())[role] if path.exists() else {}
        path.write_text(json.dumps({role: {**before, **changes}}))

    def without(self, *roles: str) -> None:
        for role in roles:
            (self.folder / f"nixci/settings/{role}.json").unlink()

    def value(self, expression: str) -> t.Any:
        """An expression over config, options, lib and pkgs."""
        done = self.evaluator(self.folder, expression)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def refusal(self, expression: str = REBUILD) -> str:
        """The message of a rebuild that must not be possible."""
        done = self.evaluator(self.folder, expression)
        assert done.returncode != 0, "this configuration should not evaluate"
        return done.stderr


@pytest.fixture(params=EVALUATORS.values(), ids=EVALUATORS.keys())
def host(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Host:
    return Host(tmp_path, request.param)


@pytest.fixture
def nix() -> t.Callable[..., subprocess.CompletedProcess[str]]:
    return nix_instantiate
