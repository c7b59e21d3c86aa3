# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk of the host is full."""

from __future__ import annotations

import typing as t

from . import cache
from .controller import Run
from .host import Host
from .image import REMOTE, Prepared
from .outcome import FAILED, OK, Outcome, flat

Deploy = t.Callable[..., Run]
STORE = "/nix/store"


def test_too_small_for_the_closure(host: Host, deploy: Deploy, prepared: Prepared) -> None:
    host.shrink(STORE, "1M")
    with cache.serve(prepared.cache) as url:
        host.use_cache(url, prepared.public_key)
        run = deploy(host, REMOTE)
        Outcome(running="good", code=FAILED, message="nix-collect-garbage").check(host, run)


def test_full_while_copying(host: Host, deploy: Deploy, prepared: Prepared) -> None:
    host.shrink(STORE, "128M")
    with cache.serve(prepared.cache, on_nar=lambda: host.fill(STORE)) as url:
        host.use_cache(url, prepared.public_key)
        run = deploy(host, REMOTE)
        Outcome(running="good", code=FAILED, message="No space left on device").check(host, run)
    host.out(f"rm {STORE}/fill")
    with cache.serve(prepared.cache) as url:
        host.use_cache(url, prepared.public_key)
        run = deploy(host, REMOTE)
        confirmed = ("confirmed", "good", REMOTE)
        Outcome(running=REMOTE, records=[confirmed], transport="cache", code=OK).check(host, run)


def test_full_while_activating(host: Host, deploy: Deploy) -> None:
    """It goes back even if it cannot write down why."""
    host.shrink("/var/lib/nixci", "64K")
    run = deploy(host, "full")
    assert "as before" in flat(run.wait().output), run.output
    Outcome(
        running="good", records=[("reverted", "good", "full")], code=FAILED, message="No space left on device"
    ).check(host, run)
