# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs, waiting for conditions, reporting progress."""

from __future__ import annotations

import subprocess
import time
import typing as t

STARTED = time.monotonic()


class LabError(Exception):
    """One sentence for the user: what is wrong and what to do."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def attempt(*argv: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a program and return its outcome. A program that does not exist counts as failed."""
    try:
        return subprocess.run(argv, text=True, capture_output=True, **{"stdin": subprocess.DEVNULL, **options})
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]}: not found")


def run(*argv: str, **options: t.Any) -> str:
    """Run a program and return its output. A failure is an error."""
    if "input" in options:
        options["stdin"] = None
    done = attempt(*argv, **options)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"'{' '.join(argv[:4])} …' failed: {' | '.join(lines[-5:]) or done.returncode}")
    return done.stdout


def wait(what: str, ready: t.Callable[[], bool], seconds: float, why_not: t.Callable[[], str] | None = None) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            reason = why_not() if why_not else ""
            raise LabError(f"{what} did not come up within {seconds:g} s{': ' + reason if reason else ''}.")
        time.sleep(0.1)
