# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary cache does not deliver; the system then comes from the controller."""

from __future__ import annotations

import typing as t

import pytest

from . import cache
from .controller import Controller, Run
from .host import Host
from .image import EXPORT, REMOTE, Prepared
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]
CONFIRMED = ("confirmed", "good", REMOTE)


@pytest.fixture
def builder(new_host: t.Callable[..., Host]) -> Host:
    """Another machine, which has the system in its store."""
    host = new_host("builder")
    host.out(
        f"nix-store --realise {host.systems[REMOTE]} --option substituters file://{EXPORT}/cache --option require-sigs false"
    )
    return host


@pytest.mark.parametrize("fault", ["down", "slow", "502", "wrong signature"])
def test_another_way_is_taken(
    host: Host, builder: Host, deploy: Deploy, controller: Controller, prepared: Prepared, fault: t.Any
) -> None:
    controller.give_nix(builder)
    with cache.serve(prepared.cache, fault if fault != "down" else "") as url:
        host.use_cache("http://172.17.0.1:9" if fault == "down" else url, prepared.public_key)
        run = deploy(host, REMOTE, nixos_cache_timeout=10)
        Outcome(running=REMOTE, records=[CONFIRMED], transport="ssh", code=OK).check(host, run)


@pytest.mark.parametrize("fault", ["502", "wrong signature"])
def test_there_is_no_other_way(host: Host, deploy: Deploy, prepared: Prepared, fault: cache.Fault) -> None:
    """The controller does not have it either."""
    with cache.serve(prepared.cache, fault) as url:
        host.use_cache(url, prepared.public_key)
        run = deploy(host, REMOTE)
        Outcome(running="good", code=FAILED, message={"502": "502", "wrong signature": "not signed"}[fault]).check(
            host, run
        )
