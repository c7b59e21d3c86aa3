# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a test run carry its name, so that the next run removes what a killed one has left.

Without that they would come back each time the container engine starts: their hosts restart on failure.
"""

from __future__ import annotations

from lab import runs
from lab.shell import attempt

LABEL = "nixci.tests"


def mark() -> str:
    """As an option of `docker run`."""
    return f"--label={LABEL}={runs.begin()}"


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
