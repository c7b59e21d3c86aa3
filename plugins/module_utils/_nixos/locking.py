# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a lock within the time of a run. Private: may change without notice."""

from __future__ import annotations

import fcntl
import time
import typing as t

from .._core.errors import ConflictError

if t.TYPE_CHECKING:
    from .command import Runner

PAUSE = 0.1


def acquire(descriptor: int, runner: Runner, held: t.Callable[[], str]) -> None:
    """Lock what is open. The kernel releases it with the descriptor, however the holder ends.

    `held` is the sentence for a lock that others still have when the time is up.
    """
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if runner.left() <= 0:
                error = ConflictError(held(), reason="locked")
                error.plan_again = False
                raise error from None
            time.sleep(PAUSE)
