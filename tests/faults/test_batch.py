# SPDX-License-Identifier: GPL-3.0-or-later
"""Many hosts at once."""

from __future__ import annotations

import typing as t

from .controller import PATIENT, Controller
from .host import Host
from .outcome import FAILED, OK, Outcome


def test_a_host_disappears_in_a_batch_of_four(new_host: t.Callable[..., Host], controller: Controller) -> None:
    hosts = [new_host(f"web{number}") for number in range(1, 5)]
    lost, *others = hosts
    variables = {**PATIENT, "deploy_store_path": lost.systems["good2"], "deploy_serial": 4}
    lost.hold("activation-good2")
    run = controller.start("playbooks/deploy.yml", hosts, **variables)
    lost.wait_at("activation-good2")
    lost.kill()
    confirmed = ("confirmed", "good", "good2")
    for host in others:
        Outcome(running="good2", records=[confirmed], code=FAILED, message=lost.name).check(host, run)

    lost.start()
    Outcome(running="good", records=[("interrupted", "good", "good2")]).check(lost)
    again = controller.start("playbooks/deploy.yml", hosts, **variables)
    Outcome(running="good2", records=[("interrupted", "good", "good2"), confirmed], code=OK).check(lost, again)
    Outcome(running="good2", records=[confirmed], code=OK).check(others[0], again)
