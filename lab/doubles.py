# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of the cloud doubles: its credentials, start and end. `lab/clouds/__main__.py` is what runs in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys

from . import state
from .clouds.onepassword import service_account_token
from .names import GATEWAY, PORTS, ROOT, URLS
from .shell import LabError, say, wait

LOG = state.DIR / "clouds.log"
COMMAND = "-m lab.clouds"


def make_credentials() -> None:
    """In the formats of the services, because programs check them."""
    account = secrets.token_hex(6)
    made = {
        "b2-master-key-id": account,
        "b2-master-key": f"003{secrets.token_hex(20)}",
        "b2-key-id": f"003{account}{1:010d}",
        "b2-key": f"K003{secrets.token_urlsafe(24)[:27]}",
        "cloudflare-token": secrets.token_urlsafe(30)[:40],
        "gitlab-token": f"glpat-{secrets.token_urlsafe(15)[:20]}",
        "connect-token": f"eyJhbGciOiJFUzI1NiJ9.{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(64)}",
        "controller-service-account-token": service_account_token(URLS["onepassword"], secrets.token_hex(16)),
        "host-service-account-token": service_account_token(URLS["onepassword"], secrets.token_hex(16)),
    }
    for name, value in made.items():
        state.write_secret(name, value)


def start() -> None:
    say("Starting the doubles: " + ", ".join(PORTS))
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *COMMAND.split()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (state.DIR / "clouds.pid").write_text(str(process.pid))
    wait("The doubles", lambda: answers() or process.poll() is not None, 60, last_line)
    if process.poll() is not None:
        raise LabError(f"The doubles ended at once: {last_line()}")


def alive() -> bool:
    return running() and answers()


def running(folder: pathlib.Path | None = None) -> bool:
    """Whether the process runs, of the lab with this folder, ours unless told."""
    return state.process("clouds", COMMAND, folder) is not None


def answers() -> bool:
    for port in PORTS.values():
        try:
            socket.create_connection((GATEWAY, port), timeout=1).close()
        except OSError:
            return False
    return True


def stop(root: pathlib.Path = ROOT) -> None:
    """Those of a checkout, ours unless told, and those of one that was deleted: they hold the ports as well."""
    for pid in (pids := _of(root)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # its state ends with it, so there is nothing to finish
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    wait("The end of the doubles", lambda: not set(pids) & set(_of(root)), 10)


def _of(root: pathlib.Path) -> list[int]:
    """Found by what they run and where, because the file with the process's number may be gone."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            place = os.readlink(process / "cwd")
            words = (process / "cmdline").read_text().split("\0")
            if words[1:3] == COMMAND.split() and (place == str(root) or place.endswith(" (deleted)")):
                found.append(int(process.name))
    return found


def last_line() -> str:
    return ([line for line in LOG.read_text().splitlines() if line.strip()] or ["no reason given"])[-1]
