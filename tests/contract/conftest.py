# SPDX-License-Identifier: GPL-3.0-or-later
"""One container of the lab's host for all contract tests of the NixOS stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host


@pytest.fixture(scope="session")
def nixos() -> Iterator[Host]:
    host = Host(lab_image())
    try:
        host.wait()
        yield host
    finally:
        host.remove()
