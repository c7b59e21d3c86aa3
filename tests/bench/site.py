# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fresh demo and a run without changes cost, beside the same number of tasks that do nothing."""

from __future__ import annotations

import json
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
SITE = [str(BIN / "ansible-playbook"), "playbooks/site.yml"]
RUNS = 3


def timed(*command: str) -> tuple[float, float, str]:
    """Wall seconds, the memory in MiB of the largest process below it, and the output."""
    start = time.monotonic()
    # A folder of its own, else ssh would use the connection that the run before has left open.
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": folder, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, done.stdout


def http_requests() -> dict[str, dict[str, int]]:
    """Per service, the requests per method and path since the last call, as the doubles counted them."""
    counts: dict[str, dict[str, int]] = {}
    for service, url in names.URLS.items():
        per_object = counts.setdefault(service, {})
        for entry in requests.get(f"{url}/_lab/requests", timeout=10).json():
            what = f"{entry['method']} {entry['path']}"
            per_object[what] = per_object.get(what, 0) + 1
        requests.delete(f"{url}/_lab/requests", timeout=10)
    return counts


def on_host(*command: str) -> str:
    argv = ["docker", "exec", names.HOST_CONTAINER, *command]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def connections() -> int:
    return on_host("journalctl", "--no-pager", "--unit=ssh", "--unit=sshd").count("Accepted publickey")


def places(output: str) -> list[bool]:
    """Of each task, whether it ran on the controller; a loop counts once, and a skipped task counts as well."""
    tasks = re.split(r"^TASK \[", output, flags=re.M)[1:]
    return ["-> localhost" in task for task in tasks]


def floor(controller: list[bool], folder: pathlib.Path) -> list[str]:
    """A playbook with as many tasks in the same places, which only show that Python runs there."""
    ping = {"name": "Ping", "ansible.builtin.ping": {}}
    tasks = [{**ping, "delegate_to": "localhost"} if local else ping for local in controller]
    file = folder / "floor.json"
    file.write_text(json.dumps([{"hosts": "cache_servers", "gather_facts": False, "tasks": tasks}]))
    return [SITE[0], str(file)]


def unchanged() -> None:
    """A run without changes and its floor, in turns, so that both meet the same machine."""
    _, _, output = timed(*SITE)
    controller = places(output)
    site, empty = [], []
    with tempfile.TemporaryDirectory() as folder:
        pings = floor(controller, pathlib.Path(folder))
        for _ in range(RUNS):
            http_requests()
            before = connections()
            seconds, memory, _out = timed(*SITE)
            site.append(seconds)
            made, opened = http_requests(), connections() - before
            empty.append(timed(*pings)[0])
    took, least = sorted(site)[RUNS // 2], sorted(empty)[RUNS // 2]
    row(f"site.yml without changes, median of {RUNS}", f"{took:.1f} s, {memory:.0f} MiB")
    row("  tasks", str(len(controller)))
    row("  Ansible's floor: as many pings in the same places", f"{least:.1f} s, ratio {took / least:.2f}")
    row("  SSH connections", str(opened))
    totals = {service: sum(per_object.values()) for service, per_object in made.items()}
    listed = ", ".join(f"{service} {total}" for service, total in totals.items())
    row("  HTTP requests to the clouds", f"{sum(totals.values())}  ({listed})")
    most, what = max((count, what) for per_object in made.values() for what, count in per_object.items())
    row("  most requests for one object", f"{most}  ({what})")


def main() -> None:
    title("playbooks/site.yml on the lab")
    timed(sys.executable, "-m", "lab", "down")
    up, up_memory, _ = timed(sys.executable, "-m", "lab", "up")
    site, site_memory, _ = timed(*SITE)
    row("lab up, with the Debian packages that `down` removed", f"{up:.0f} s, {up_memory:.0f} MiB")
    row("site.yml, first run", f"{site:.0f} s, {site_memory:.0f} MiB")
    unchanged()
    _, _, verbose = timed(*SITE, "-vvv")
    row(
        "  commands over SSH (modules and what prepares them)",
        str(len(re.findall(rf"<{names.HOST_ADDRESS}> SSH: EXEC.*", verbose))),
    )


if __name__ == "__main__":
    main()
