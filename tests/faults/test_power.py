# SPDX-License-Identifier: GPL-3.0-or-later
"""The host loses its power at each step; what it boots is what its boot loader says."""

from __future__ import annotations

import typing as t

import pytest

from .controller import Run
from .host import Host
from .outcome import OK, Outcome

Deploy = t.Callable[..., Run]
PROBE = {"commands": {"gate": ["sh", "-c", (
    "mkdir -p /run/faults; [ -e /run/faults/hold-probe ] || exit 0; touch /run/faults/at-probe; "
    "while [ -e /run/faults/hold-probe ]; do sleep 0.1; done"
)]}}  # fmt: skip


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("test", id="armed"),
        pytest.param("activation-good2", id="during the activation"),
        pytest.param("probe", id="activated"),
        pytest.param("boot", id="during the confirmation"),
    ],
)
def test_the_power_fails(host: Host, deploy: Deploy, step: str) -> None:
    host.hold(step)
    run = deploy(host, "good2", deploy_probes=PROBE)
    host.wait_at(step)
    host.kill()
    run.kill()
    host.start()
    interrupted = ("interrupted", "good", "good2")
    Outcome(running="good", records=[interrupted]).check(host)
    run = deploy(host, "good2")
    Outcome(running="good2", records=[interrupted, ("confirmed", "good", "good2")], code=OK).check(host, run)
