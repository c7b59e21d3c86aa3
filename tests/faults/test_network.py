# SPDX-License-Identifier: GPL-3.0-or-later
"""The network dies during a deployment."""

from __future__ import annotations

import typing as t

from .controller import SHORT, Run
from .host import Host
from .outcome import FAILED, Outcome

Deploy = t.Callable[..., Run]


def test_packets_are_dropped_during_the_activation(host: Host, deploy: Deploy) -> None:
    """Nothing arrives any more, not even the end of the connection, until the host has gone back by itself."""
    host.hold("activation-good2")
    run = deploy(host, "good2", **SHORT)
    host.wait_at("activation-good2")
    host.drop_packets()
    host.go_on("activation-good2")
    host.wait_until("the revert", lambda: host.state()["records"])
    run.wait()
    host.restore()
    Outcome(
        running="good",
        records=[("reverted", "good", "good2")],
        reason="not confirmed",
        remembered=["good2"],
        code=FAILED,
    ).check(host, run)
