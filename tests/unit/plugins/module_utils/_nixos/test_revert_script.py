# SPDX-License-Identifier: GPL-3.0-or-later
"""The revert for hosts without our modules is the one of the modules."""

from __future__ import annotations

import subprocess

from ansible_collections.pantheros.nixci.plugins.module_utils._nixos.revert_script import TEXT

from tests.support.paths import ROOT

SOURCE = ROOT / "nix/modules/revert.sh"


def test_it_is_the_same_text() -> None:
    assert SOURCE.read_text() == TEXT, "run 'make docs'"


def test_a_wrong_call_says_how() -> None:
    """Without touching the host."""
    text = TEXT.replace('mkdir -p "$run" "$logs" "$state" "$roots"\n', "")
    for arguments in ([], ["--arm"], ["--help"], ["one"], ["one", "two", "three"]):
        done = subprocess.run(
            ["sh", "-c", text, "nixci-revert", *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr.split()[0]) == (64, "usage:"), arguments
