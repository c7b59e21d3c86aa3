# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to a system that was confirmed."""

from __future__ import annotations

import typing as t

from .controller import PATIENT, Controller, Run
from .host import Host
from .outcome import OK, Outcome

Deploy = t.Callable[..., Run]
FORWARD = ("confirmed", "good", "good2")
BACK = ("confirmed", "good2", "good")


def rollback(controller: Controller, host: Host, **variables: t.Any) -> Run:
    return controller.start("playbooks/rollback.yml", [host], **{**PATIENT, **variables})


def test_a_rollback_of_a_rollback(host: Host, deploy: Deploy, controller: Controller) -> None:
    assert deploy(host, "good2").code == OK
    Outcome(running="good", records=[FORWARD, BACK], code=OK).check(host, rollback(controller, host))
    Outcome(running="good2", records=[FORWARD, BACK, FORWARD], code=OK).check(host, rollback(controller, host))


def test_without_the_cache(host: Host, deploy: Deploy, controller: Controller) -> None:
    """Nothing answers at the address of the cache, and GitLab and the checkout are not asked."""
    assert deploy(host, "good2").code == OK
    host.out(
        "cp --remove-destination $(readlink -f /etc/nix/nix.conf) /etc/nix/nix.conf && echo 'substituters = http://172.17.0.1:9' >>/etc/nix/nix.conf"
    )
    Outcome(running="good", records=[FORWARD, BACK], code=OK).check(host, rollback(controller, host))
