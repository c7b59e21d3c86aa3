# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies at each of the five steps."""

from __future__ import annotations

import typing as t

import pytest

from .controller import Run
from .host import Host
from .outcome import OK, Outcome
from .test_power import PROBE

Deploy = t.Callable[..., Run]


@pytest.mark.parametrize(
    "step",
    [
        # What runs on the host by then goes on, but nobody is going to confirm it.
        pytest.param("dry-activate", id="while it looks"),
        pytest.param("test", id="armed"),
        pytest.param("activation-good2", id="during the activation"),
        pytest.param("probe", id="while it verifies"),
    ],
)
def test_before_the_confirmation(host: Host, deploy: Deploy, step: str) -> None:
    host.hold(step)
    run = deploy(host, "good2", deploy_probes=PROBE)
    host.wait_at(step)
    run.kill()
    host.go_on(step)
    host.wait_until("the revert to be armed", lambda: host.state()["timer"] == "active")
    host.expire()
    reverted = ("reverted", "good", "good2")
    Outcome(running="good", records=[reverted], remembered=["good2"], reason="not confirmed").check(host)
    again(host, deploy, [reverted])


def test_while_it_confirms(host: Host, deploy: Deploy) -> None:
    """What was verified is completed: the confirmation does not need the controller."""
    host.hold("boot")
    run = deploy(host, "good2")
    host.wait_at("boot")
    run.kill()
    host.go_on("boot")
    Outcome(running="good2", records=[("confirmed", "good", "good2")]).check(host)


def again(host: Host, deploy: Deploy, before: list[tuple[str, str, str]]) -> None:
    run = deploy(host, "good2")
    Outcome(running="good2", records=[*before, ("confirmed", "good", "good2")], code=OK).check(host, run)
