# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's host image, for tests that need Nix or the NixOS stand-in but not the whole lab."""

from __future__ import annotations

import fcntl
import functools
import os

from lab import engine, state
from lab.host import image


@functools.cache
def lab_image() -> str:
    """The image named by NIXCI_LAB_IMAGE, else the lab's own, built if need be."""
    if given := os.environ.get("NIXCI_LAB_IMAGE"):
        return given
    state.DIR.mkdir(mode=0o700, exist_ok=True)
    # The lab refuses a second command; processes of one test run wait for each other.
    with open(state.DIR / "tests.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with state.locked():
            engine.ensure()
            return image.ensure()


if __name__ == "__main__":
    print(lab_image())
