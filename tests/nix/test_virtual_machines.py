# SPDX-License-Identifier: GPL-3.0-or-later
"""The NixOS test in virtual machines can be built. It runs where nixpkgs and KVM are, as nix/tests/flake.nix says.

NIXCI_TEST_NIXPKGS=/path/to/nixpkgs    a whole tree; it takes minutes and some GB of memory
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from .conftest import ROOT

NIXPKGS = os.environ.get("NIXCI_TEST_NIXPKGS")


@pytest.mark.skipif(not NIXPKGS, reason="NIXCI_TEST_NIXPKGS names no nixpkgs")
@pytest.mark.skipif(not shutil.which("nix-instantiate"), reason="this machine has no Nix")
def test_it_is_a_derivation() -> None:
    expression = f"import {ROOT}/nix/tests/deployment.nix {{ pkgs = import {NIXPKGS} {{ }}; }}"
    done = subprocess.run(
        ["nix-instantiate", "--readonly-mode", "--expr", expression], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip().endswith("-vm-test-run-nixci-deployment.drv"), done.stdout
