# SPDX-License-Identifier: GPL-3.0-or-later
"""A test run by the process that began it, so that what it has left can be told from what is in use after it was killed."""

from __future__ import annotations

import os
import pathlib

VARIABLE = "NIXCI_TEST_RUN"


def begin() -> str:
    """The name of the run that this process belongs to; the first process gives it, and the others inherit it."""
    return os.environ.setdefault(VARIABLE, f"{os.getpid()}-{_start(str(os.getpid()))}")


def is_first() -> bool:
    return begin().split("-")[0] == str(os.getpid())


def goes_on(run: str) -> bool:
    """The number of a process can be that of another one by now, so its start counts too."""
    pid, _, start = run.partition("-")
    return bool(start) and _start(pid) == start


def _start(pid: str) -> str:
    """When a process started, in ticks since the machine did; empty if there is none."""
    try:
        return pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
