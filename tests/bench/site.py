# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fresh demo and a run without changes cost."""

from __future__ import annotations

import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import requests

from lab import names
from tests.support.paths import ROOT

from .report import row, title

BIN = pathlib.Path(sys.executable).parent
RUNS = 3


def timed(*command: str) -> tuple[float, float, str]:
    """Wall seconds, the memory in MiB of the largest process below it, and the output."""
    start = time.monotonic()
    # A folder of its own, else ssh would use the connection that the run before has left open.
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": folder}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, done.stdout


def http_requests() -> dict[str, int]:
    """Requests per service since the last call, as the doubles counted them."""
    counts = {}
    for service, url in names.URLS.items():
        counts[service] = len(requests.get(f"{url}/_lab/requests", timeout=10).json())
        requests.delete(f"{url}/_lab/requests", timeout=10)
    return counts


def on_host(*command: str) -> str:
    argv = ["docker", "exec", names.HOST_CONTAINER, *command]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def connections() -> int:
    return on_host("journalctl", "--no-pager", "--unit=ssh", "--unit=sshd").count("Accepted publickey")


def main() -> None:
    playbook = [str(BIN / "ansible-playbook"), "playbooks/site.yml"]
    title("playbooks/site.yml on the lab")
    timed(sys.executable, "-m", "lab", "down")
    up, up_memory, _ = timed(sys.executable, "-m", "lab", "up")
    site, site_memory, _ = timed(*playbook)
    row("lab up, with the Debian packages that `down` removed", f"{up:.0f} s, {up_memory:.0f} MiB")
    row("site.yml, first run", f"{site:.0f} s, {site_memory:.0f} MiB")

    times = []
    for _ in range(RUNS):
        http_requests()
        before = connections()
        seconds, memory, _out = timed(*playbook)
        times.append(seconds)
    made, opened = http_requests(), connections() - before
    row(f"site.yml without changes, median of {RUNS}", f"{sorted(times)[RUNS // 2]:.1f} s, {memory:.0f} MiB")
    row("  SSH connections", str(opened))
    row("  HTTP requests to the clouds", f"{sum(made.values())}  ({', '.join(f'{k} {v}' for k, v in made.items())})")
    _, _, verbose = timed(*playbook, "-vvv")
    row(
        "  commands over SSH (modules and what prepares them)",
        str(len(re.findall(rf"<{names.HOST_ADDRESS}> SSH: EXEC.*", verbose))),
    )


if __name__ == "__main__":
    main()
