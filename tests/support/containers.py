# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a test run carry its name, so that the next run removes what a killed one has left.

Without that they would come back each time the container engine starts: their hosts restart on failure.
"""

from __future__ import annotations

import ipaddress
import random

from lab import runs
from lab.shell import LabError, attempt

LABEL = "nixci.tests"
NETWORK = "nixci-tests"
SUBNET = ipaddress.ip_network("10.213.128.0/17")  # beside the lab's


def mark() -> str:
    """As an option of `docker run`."""
    return f"--label={LABEL}={runs.begin()}"


def own_address() -> tuple[str, str]:
    """As options of `docker run`: an address that stays while the container is down.

    Docker gives those of its own choice away, and a host that reboots would come back under another one than that of the
    inventory. Drawn by lot, because the processes of the tests do not know of each other.
    """
    _make_network()
    return f"--network={NETWORK}", f"--ip={SUBNET[random.randrange(2, SUBNET.num_addresses - 1)]}"  # noqa: S311 - no secret


def gateway() -> str:
    """This machine, as these containers see it."""
    _make_network()
    return str(SUBNET[1])


def _make_network() -> None:
    there = ("docker", "network", "inspect", NETWORK)
    if attempt(*there).returncode == 0:
        return
    made = attempt("docker", "network", "create", f"--subnet={SUBNET}", f"--gateway={SUBNET[1]}", NETWORK)
    if made.returncode != 0 and attempt(*there).returncode != 0:  # unless another process was faster
        raise LabError(f"The network of the tests, {SUBNET}, could not be made: {made.stderr.strip()}")


def remove_left() -> None:
    """What runs have left that are over."""
    ours = f"--filter=label={LABEL}"
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    found = attempt("docker", "ps", "--all", "--quiet", ours).stdout.split()
    found += attempt("docker", "images", "--quiet", ours).stdout.split()
    names = attempt("docker", "inspect", f"--format={form}", *found).stdout.split() if found else []
    for run in set(names):
        if not runs.goes_on(run):
            remove(run)


def remove(run: str) -> None:
    """Containers and images of a run."""
    ours = f"--filter=label={LABEL}={run}"
    for container in attempt("docker", "ps", "--all", "--quiet", ours).stdout.split():
        attempt("docker", "rm", "--force", "--volumes", container)
    for image in attempt("docker", "images", "--quiet", ours).stdout.split():
        attempt("docker", "image", "rm", "--force", image)


def remove_network() -> None:
    """Unless another run uses it."""
    attempt("docker", "network", "rm", NETWORK)
