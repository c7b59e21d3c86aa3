# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk of the host is full."""

from __future__ import annotations

import typing as t

from . import cache
from .controller import Run
from .host import Host
from .image import REMOTE, Prepared
from .outcome import FAILED, Outcome

Deploy = t.Callable[..., Run]
STORE = "/nix/store"


def test_too_small_for_the_closure(host: Host, deploy: Deploy, prepared: Prepared) -> None:
    host.shrink(STORE, "1M")
    with cache.serve(prepared.cache) as url:
        host.use_cache(url, prepared.public_key)
        run = deploy(host, REMOTE)
        Outcome(running="good", code=FAILED, message="nix-collect-garbage").check(host, run)
