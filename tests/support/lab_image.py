# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the lab's hosts, for tests that need Nix or the NixOS stand-in but not the whole lab."""

from __future__ import annotations

import fcntl
import functools
import os
import typing as t

from lab import engine, state
from lab.host import image


@functools.cache
def lab_image() -> str:
    """The server's: the image named by NIXCI_LAB_IMAGE, else the lab's own, built if need be."""
    return os.environ.get("NIXCI_LAB_IMAGE") or _built(image.ensure)


@functools.cache
def small_image() -> str:
    """The small host's, without the server's packages."""
    return os.environ.get("NIXCI_LAB_SMALL_IMAGE") or _built(image.ensure_small)


def _built(build: t.Callable[[], str]) -> str:
    state.DIR.mkdir(mode=0o700, exist_ok=True)
    # The lab refuses a second command; processes of one test run wait for each other.
    with open(state.DIR / "tests.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with state.locked():
            engine.ensure()
            return build()


if __name__ == "__main__":
    print(lab_image())
