# SPDX-License-Identifier: GPL-3.0-or-later
"""Two things at once, and a clock that jumps."""

from __future__ import annotations

import typing as t

import pytest

from .controller import Controller, Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]
CONFIRMED = ("confirmed", "good", "good2")
REVERTED = ("reverted", "good", "good2")
DAY = 86400


def test_two_deployments(host: Host, deploy: Deploy) -> None:
    """The second one says who is at it, and since when."""
    host.hold("activation-good2")
    first = deploy(host, "good2")
    host.wait_at("activation-good2")
    second = deploy(host, "good3")
    assert second.code == FAILED, second.output
    assert "since" in second.output, second.output
    host.go_on("activation-good2")
    Outcome(running="good2", records=[CONFIRMED], code=OK).check(host, first)


@pytest.mark.parametrize("first", ["confirmation", "revert"])
def test_the_confirmation_and_the_revert_at_the_same_moment(host: Host, controller: Controller, first: str) -> None:
    """Whoever gets the lock first decides; the other one finds nothing to do."""
    assert controller.tasks(host, rebuild(host, "good2", confirm_timeout=900)).code == OK
    with host.locked("/run/nixci/deployment.lock") as waiting:
        if first == "revert":
            host.expire()
            waiting(1)
        confirming = controller.tasks(host, {"pantheros.nixci.nixos_confirm": {"state": "confirmed"}})
        waiting(2 if first == "revert" else 1)
        if first == "confirmation":
            host.expire()
            waiting(2)
    if first == "confirmation":
        Outcome(running="good2", records=[CONFIRMED], code=OK).check(host, confirming)
    else:
        Outcome(running="good", records=[REVERTED], remembered=["good2"], code=FAILED, message="reverted").check(
            host, confirming
        )


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_the_clock_jumps_before_the_confirmation(host: Host, controller: Controller, jump: int) -> None:
    """The timer counts seconds that pass, and what has passed is not computed from the time of day."""
    assert controller.tasks(host, rebuild(host, "good2", confirm_timeout=900)).code == OK
    timer = host.out(
        "systemctl show nixci-revert.timer --property=NextElapseUSecRealtime --property=NextElapseUSecMonotonic"
    )
    elapses = dict(line.split("=", 1) for line in timer.splitlines())
    assert elapses["NextElapseUSecMonotonic"] and not elapses["NextElapseUSecRealtime"], elapses
    host.set_clock(jump)
    confirmed = controller.tasks(host, {"pantheros.nixci.nixos_confirm": {"state": "confirmed"}})
    Outcome(running="good2", records=[CONFIRMED], code=OK).check(host, confirmed)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_the_clock_jumps_during_the_activation(host: Host, controller: Controller, jump: int) -> None:
    """What failed is found in the journal, whose times are not those of the run."""
    host.hold("activation-broken")
    run = controller.tasks(host, rebuild(host, "broken", confirm_timeout=900))
    host.wait_at("activation-broken")
    host.set_clock(jump)
    host.go_on("activation-broken")
    Outcome(
        running="good",
        records=[("reverted", "good", "broken")],
        remembered=["broken"],
        code=FAILED,
        message="app.service",
    ).check(host, run)


def rebuild(host: Host, system: str, **options: t.Any) -> dict[str, t.Any]:
    return {"pantheros.nixci.nixos_rebuild": {"store_path": host.systems[system], "action": "switch", **options}}
