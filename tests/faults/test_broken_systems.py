# SPDX-License-Identifier: GPL-3.0-or-later
"""The new system does not do its work, cannot be built, or is not new."""

from __future__ import annotations

import typing as t

import pytest

from .controller import Controller, Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]


def test_a_unit_fails_at_once(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "broken")
    Outcome(
        running="good",
        records=[("reverted", "good", "broken")],
        reason="app.service",
        remembered=["broken"],
        code=FAILED,
        message="as before",
    ).check(host, run)


def test_a_unit_fails_in_the_grace_period(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "ten-seconds", deploy_steady=15)
    Outcome(
        running="good",
        records=[("reverted", "good", "ten-seconds")],
        reason="app.service",
        remembered=["ten-seconds"],
        code=FAILED,
        message="app.service",
    ).check(host, run)


def test_a_unit_fails_after_the_grace_period(host: Host, deploy: Deploy) -> None:
    """The deployment was confirmed; the next one is not blamed for it."""
    run = deploy(host, "fragile", deploy_steady=2)
    confirmed = ("confirmed", "good", "fragile")
    Outcome(running="fragile", records=[confirmed], code=OK).check(host, run)
    host.out("touch /run/faults/break")
    Outcome(running="fragile", app="failed", records=[confirmed]).check(host)
    run = deploy(host, "good2")
    Outcome(running="good2", records=[confirmed, ("confirmed", "fragile", "good2")], code=OK).check(host, run)


def test_a_unit_that_has_nothing_to_do_with_the_change(host: Host, deploy: Deploy) -> None:
    host.out("systemd-run --unit=unrelated false; true")
    host.wait_until("the failure", lambda: host.sh("systemctl is-failed unrelated").returncode == 0)
    run = deploy(host, "good2")
    Outcome(running="good2", records=[("confirmed", "good", "good2")], code=OK).check(host, run)


def test_a_probe_fails(host: Host, deploy: Deploy) -> None:
    probes = {"commands": {"healthy": ["test", "!", "-e", "/etc/faults/sick"]}}
    run = deploy(host, "sick", deploy_probes=probes, deploy_grace=2)
    Outcome(
        running="good",
        records=[("reverted", "good", "sick")],
        reason="healthy",
        remembered=["sick"],
        code=FAILED,
        message="healthy",
    ).check(host, run)


def test_a_system_that_is_known_to_be_bad(host: Host, deploy: Deploy) -> None:
    """It is not tried again until the user insists."""
    reverted = ("reverted", "good", "broken")
    assert deploy(host, "broken").code == FAILED
    refused = deploy(host, "broken")
    Outcome(running="good", records=[reverted], remembered=["broken"], code=FAILED, message="failed_system").check(
        host, refused
    )
    forced = deploy(host, "broken", deploy_force=["failed_system"])
    Outcome(
        running="good", records=[reverted, reverted], remembered=["broken"], code=FAILED, message="app.service"
    ).check(host, forced)


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        pytest.param("{ services.opennssh.enable = true; }", "services.opennssh", id="evaluation"),
        pytest.param(
            '{ pkgs, ... }: { system.checks = [ (pkgs.runCommand "x" { } "echo no compiler; exit 1") ]; }',
            "no compiler",
            id="build",
        ),
    ],
)
def test_a_system_that_cannot_be_built(host: Host, controller: Controller, configuration: str, sentence: str) -> None:
    host.put("/etc/nixos/configuration.nix", configuration)
    run = controller.tasks(host, {"pantheros.nixci.nixos_rebuild": {"confirm_timeout": 900}})
    Outcome(running="good", code=FAILED, message=sentence).check(host, run)


def test_the_running_system(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "good")
    Outcome(running="good", code=OK, message="changed=0").check(host, run)
