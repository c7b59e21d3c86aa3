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
CONFIRM = {"pantheros.nixci.nixos_confirm": {"state": "confirmed"}}
LOCK = "/run/nixci/deployment.lock"
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


def test_the_timer_fires_during_the_confirmation(host: Host, controller: Controller) -> None:
    assert controller.tasks(host, rebuild(host, "good2", confirm_timeout=900)).code == OK
    host.hold("boot")
    confirming = controller.tasks(host, CONFIRM)
    host.wait_at("boot")
    host.expire()
    host.wait_until("the revert", lambda: "flock" in host.users(LOCK))
    host.go_on("boot")
    Outcome(running="good2", records=[CONFIRMED], code=OK).check(host, confirming)


def test_the_confirmation_comes_during_the_revert(host: Host, controller: Controller) -> None:
    assert controller.tasks(host, rebuild(host, "good2", confirm_timeout=900)).code == OK
    host.hold("activation-good")
    host.expire()
    host.wait_at("activation-good")
    confirming = controller.tasks(host, CONFIRM)
    host.wait_until("the confirmation", lambda: "python3" in host.users(LOCK))
    host.go_on("activation-good")
    Outcome(
        running="good", records=[REVERTED], remembered=["good2"], code=FAILED, message="not confirmed in time"
    ).check(host, confirming)


def test_the_confirmation_and_the_timer_at_the_same_moment(host: Host, controller: Controller) -> None:
    """Whichever comes first, the other one finds nothing to do, and the host is in one of two states."""
    assert controller.tasks(host, rebuild(host, "good2", confirm_timeout=900)).code == OK
    with host.locked(LOCK):
        host.expire()
        confirming = controller.tasks(host, CONFIRM)
        host.wait_until("both", lambda: {"flock", "python3"} <= set(host.users(LOCK)))
    if confirming.code == OK:
        Outcome(running="good2", records=[CONFIRMED], code=OK).check(host, confirming)
    else:
        Outcome(running="good", records=[REVERTED], remembered=["good2"], code=FAILED).check(host, confirming)


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
    confirmed = controller.tasks(host, CONFIRM)
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
