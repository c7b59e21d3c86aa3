# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the fault suite: each case has a host of its own, as it was prepared, and a controller."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t
from collections.abc import Iterator

import pytest

from . import image
from .checkout import Checkout
from .controller import PATIENT, Controller, Run
from .host import Host


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        image.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Even after failures and interruptions."""
    if not hasattr(config, "workerinput"):
        image.end()


@pytest.fixture(scope="session")
def prepared() -> image.Prepared:
    return image.prepare()


@pytest.fixture
def new_host(prepared: image.Prepared) -> Iterator[t.Callable[..., Host]]:
    with contextlib.ExitStack() as stack:

        def new(name: str = "web") -> Host:
            host = Host(prepared.image, prepared.systems, name)
            stack.callback(host.remove)
            host.wait()
            return host

        yield new


@pytest.fixture
def host(new_host: t.Callable[..., Host]) -> Host:
    return new_host()


@pytest.fixture
def controller(prepared: image.Prepared, tmp_path: pathlib.Path) -> Iterator[Controller]:
    controller = Controller(tmp_path / "controller", prepared.key, prepared.host_key)
    yield controller
    controller.close()


@pytest.fixture
def checkout(tmp_path: pathlib.Path, prepared: image.Prepared) -> Checkout:
    return Checkout(tmp_path / "fleet", prepared.key.with_suffix(".pub").read_text().strip())


@pytest.fixture
def deploy(controller: Controller) -> t.Callable[..., Run]:
    """Starts playbooks/deploy.yml with a system of systems.nix; keyword arguments are extra variables.

    No timeout matters unless the case sets it.
    """

    def start(host: Host, system: str, *args: str, user: str = "root", **variables: t.Any) -> Run:
        given = {"deploy_store_path": host.systems[system], **PATIENT}
        return controller.start("playbooks/deploy.yml", [host], *args, user=user, **{**given, **variables})

    return start
