# SPDX-License-Identifier: GPL-3.0-or-later
"""The new system would lock out the one who deploys: refused before the activation, and healed if it is forced."""

from __future__ import annotations

import typing as t

import pytest

from .controller import SHORT, Controller, Run
from .host import Host
from .outcome import FAILED, Outcome

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
