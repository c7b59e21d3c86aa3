# SPDX-License-Identifier: GPL-3.0-or-later
"""The new system changes what a running system cannot replace."""

from __future__ import annotations

import typing as t

from .controller import Run
from .host import Host
from .outcome import FAILED, OK, Outcome

Deploy = t.Callable[..., Run]


def test_refused(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "inhibitor")
    Outcome(running="good", code=FAILED, message="dbus-implementation").check(host, run)


def test_forced_and_back_again(host: Host, deploy: Deploy) -> None:
    """Each direction crosses it."""
    there, back = ("confirmed", "good", "inhibitor"), ("confirmed", "inhibitor", "good")
    run = deploy(host, "inhibitor", deploy_inhibitors="force")
    Outcome(running="inhibitor", records=[there], code=OK).check(host, run)
    run = deploy(host, "good")
    Outcome(running="inhibitor", records=[there], code=FAILED, message="dbus-implementation").check(host, run)
    run = deploy(host, "good", deploy_inhibitors="force")
    Outcome(running="good", records=[there, back], code=OK).check(host, run)


def test_the_revert_crosses_it(host: Host, deploy: Deploy) -> None:
    run = deploy(host, "inhibitor-broken", deploy_inhibitors="force")
    Outcome(
        running="good",
        records=[("reverted", "good", "inhibitor-broken")],
        reason="app.service",
        remembered=["inhibitor-broken"],
        code=FAILED,
        message="app.service",
    ).check(host, run)
