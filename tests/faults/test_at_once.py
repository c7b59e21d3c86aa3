# SPDX-License-Identifier: GPL-3.0-or-later
"""Two things at once, and a clock that jumps."""

from __future__ import annotations

import typing as t

from .controller import Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]


def test_two_deployments(host: Host, deploy: Deploy) -> None:
    host.hold("activation-good2")
    first = deploy(host, "good2")
    host.wait_at("activation-good2")
    second = deploy(host, "good3")
    Outcome(running="good", pending="good2", code=FAILED, message="since")
    assert second.code == FAILED and "since" in second.output, second.output
    host.go_on("activation-good2")
    Outcome(running="good2", records=[("confirmed", "good", "good2")], code=OK).check(host, first)
