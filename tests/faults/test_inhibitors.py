# SPDX-License-Identifier: GPL-3.0-or-later
"""The new system changes what a running system cannot replace."""

from __future__ import annotations

import typing as t

from .controller import Run
from .host import Host
from .outcome import FAILED, Outcome

Deploy = t.Callable[..., Run]


def test_refused(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "inhibitor")
    Outcome(running="good", code=FAILED, message="dbus-implementation").check(host, run)
