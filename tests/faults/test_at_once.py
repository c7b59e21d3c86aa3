# SPDX-License-Identifier: GPL-3.0-or-later
"""Two things at once, and a clock that jumps."""

from __future__ import annotations

import typing as t

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


def rebuild(host: Host, system: str, **options: t.Any) -> dict[str, t.Any]:
    return {"pantheros.nixci.nixos_rebuild": {"store_path": host.systems[system], "action": "switch", **options}}
