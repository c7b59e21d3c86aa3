# SPDX-License-Identifier: GPL-3.0-or-later
"""One container of the lab's host for all contract tests of the NixOS stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.shell import LabError

from .nixos_host import Host, host_image


@pytest.fixture(scope="session")
def nixos() -> Iterator[Host]:
    try:
        tag = host_image()
    except LabError as exc:
        pytest.skip(str(exc))
    host = Host(tag)
    try:
        host.wait()
        yield host
    finally:
        host.remove()
