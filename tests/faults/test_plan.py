# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan or a checkout that is older than the host."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from .checkout import Checkout, build_and_deploy
from .controller import PATIENT, Controller, Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]


def test_a_stale_checkout(host: Host, controller: Controller, checkout: Checkout) -> None:
    """It is refused unless going back is what the user wants."""
    old = checkout.commit("old")
    checkout.commit("new")
    deployed = build_and_deploy(controller, host, checkout)
    assert deployed.code == OK, deployed.output
    host.names[host.current()] = "new"
    there = ("confirmed", "good", "new")
    Outcome(running="new", records=[there], transport="host", code=OK).check(host, deployed)

    checkout.git("checkout", "--quiet", old)
    refused = build_and_deploy(controller, host, checkout)
    Outcome(running="new", records=[there], code=FAILED, message="stale").check(host, refused)

    forced = build_and_deploy(controller, host, checkout, deploy_force=["stale"])
    assert forced.code == OK, forced.output
    host.names[host.current()] = "old"
    Outcome(running="old", records=[there, ("confirmed", "new", "old")], code=OK).check(host, forced)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        pytest.param("services.opennssh.enable = true;", "services.opennssh", id="evaluation"),
        pytest.param(
            'system.checks = [ (pkgs.runCommand "x" { } "echo no compiler; exit 1") ];', "no compiler", id="build"
        ),
    ],
)
def test_a_checkout_that_cannot_be_built(
    host: Host, controller: Controller, checkout: Checkout, more: str, sentence: str
) -> None:
    checkout.commit("broken", more)
    run = build_and_deploy(controller, host, checkout)
    Outcome(running="good", code=FAILED, message=sentence).check(host, run)


def test_a_stale_plan(host: Host, deploy: Deploy, controller: Controller, tmp_path: pathlib.Path) -> None:
    """Somebody else has deployed since."""
    plan = tmp_path / "plan.json"
    made = deploy(host, "good2", deploy_action="plan", deploy_plan=str(plan))
    Outcome(running="good", code=OK).check(host, made)
    between = ("confirmed", "good", "good3")
    assert deploy(host, "good3").code == OK
    stale = controller.start("playbooks/deploy.yml", [host], **PATIENT, deploy_plan=str(plan))
    Outcome(running="good3", records=[between], code=FAILED, message="make a new plan").check(host, stale)


def test_a_plan_is_applied(host: Host, deploy: Deploy, controller: Controller, tmp_path: pathlib.Path) -> None:
    plan = tmp_path / "plan.json"
    assert deploy(host, "good2", deploy_action="plan", deploy_plan=str(plan)).code == OK
    applied = controller.start("playbooks/deploy.yml", [host], **PATIENT, deploy_plan=str(plan))
    Outcome(running="good2", records=[("confirmed", "good", "good2")], code=OK).check(host, applied)
