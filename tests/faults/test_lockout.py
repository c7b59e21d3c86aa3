# SPDX-License-Identifier: GPL-3.0-or-later
"""The new system would lock out the one who deploys: refused before the activation, and healed if it is forced."""

from __future__ import annotations

import typing as t

import pytest

from .checkout import Checkout, build_and_deploy
from .controller import SHORT, Controller, Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]
CASES = [("sshd-off", "SSH"), ("port-closed", "22"), ("user-removed", "deploy")]


@pytest.mark.parametrize(("system", "sentence"), CASES)
def test_refused(host: Host, deploy: Deploy, system: str, sentence: str) -> None:
    run = deploy(host, system, user="deploy")
    Outcome(running="good", code=FAILED, message=sentence).check(host, run)


@pytest.mark.parametrize("system", [system for system, _ in CASES])
def test_healed_by_the_revert(host: Host, deploy: Deploy, controller: Controller, system: str) -> None:
    run = deploy(host, system, user="deploy", deploy_force=["lockout"], **SHORT)
    Outcome(
        running="good",
        records=[("reverted", "good", system)],
        remembered=[system],
        code=FAILED,
    ).check(host, run)
    assert controller.reaches(host, "deploy")


def test_found_before_the_build(host: Host, controller: Controller, checkout: Checkout) -> None:
    """The evaluation says so already. A build that is forced changes nothing on the host but its store."""
    checkout.commit("closed", "services.openssh.openFirewall = false;")
    before = systems(host)
    refused = build_and_deploy(controller, host, checkout)
    sentence = "Nothing was activated. To be solved first: web: This system would lock out who deploys it. The firewall does not open port 22"
    Outcome(running="good", code=FAILED, message=sentence).check(host, refused)
    assert systems(host) == before, "nothing was built"

    built = build_and_deploy(controller, host, checkout, deploy_action="build", deploy_force=["lockout"])
    Outcome(running="good", code=OK, message="web: built, ").check(host, built)
    assert len(systems(host) - before) == 1


def systems(host: Host) -> set[str]:
    return set(host.out("find /nix/store -maxdepth 1 -name '*-nixos-system-*' -type d").split())
