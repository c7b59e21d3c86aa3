# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine: whether the lab can run here, the Debian packages it lacks, and the line in /etc/hosts."""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import platform
import re
import shutil
import socket

from . import state
from .names import DOMAIN, GATEWAY, HOST_ADDRESS, NETWORK, PORTS, SUBNET
from .shell import LabError, attempt, run, say

HOSTS = pathlib.Path("/etc/hosts")
HOSTS_LINE = f"{HOST_ADDRESS} {DOMAIN} # {NETWORK}\n"
APT = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def check_platform() -> None:
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise LabError(f"The lab runs on Linux on x86_64 or aarch64, not on {platform.system()} {platform.machine()}.")
    if shutil.which("apt-get") is None:
        raise LabError("The lab needs a Debian-like system: it builds its host from Debian packages with apt.")
    if os.geteuid() != 0:
        raise LabError(
            "The lab needs root: it installs Debian packages, runs containers and adds a line to /etc/hosts."
        )


def check_network() -> None:
    """Nothing else may use these addresses and ports."""
    ours = ipaddress.ip_network(SUBNET)
    for route in json.loads(attempt("ip", "-json", "route").stdout or "[]"):
        if route["dst"] != "default" and ours.overlaps(ipaddress.ip_network(route["dst"], strict=False)):
            raise LabError(f"The lab's network {SUBNET} is in use here (device {route.get('dev')}); free it first.")
    for service, port in PORTS.items():
        with socket.socket() as probe:
            try:
                probe.bind(("127.213.87.1", port))  # fails where something listens on all addresses
            except OSError:
                raise LabError(f"Port {port} is taken; the lab's {service} double needs it on {GATEWAY}.") from None


def install(*packages: str) -> None:
    """Install what is missing and record every package that comes with it, so that `down` can remove it again."""
    missing = [name for name in packages if "ok installed" not in attempt("dpkg-query", "-Wf${Status}", name).stdout]
    if not missing:
        return
    say(f"Installing {', '.join(missing)}")
    wait_for_lock = ("-o", "DPkg::Lock::Timeout=300")
    # An interrupted installation must be finished first. This fails while another one runs, which apt-get then waits for.
    attempt("dpkg", "--configure", "-a", env=APT)
    command = ("apt-get", *wait_for_lock, "install", "--yes", "--no-install-recommends", *missing)
    planned = attempt(*command, "--simulate", env=APT)
    if planned.returncode != 0:
        update_lists()
        planned = attempt(*command, "--simulate", env=APT)
    # "Inst name (version …)" is new, "Inst name [version] (version …)" an upgrade
    brought = re.findall(r"^Inst (\S+) \(", planned.stdout, re.M)
    state.remember(packages=sorted({*state.read(state.MACHINE).get("packages", []), *brought}))
    if attempt(*command, env=APT).returncode != 0:
        update_lists()  # the lists may name versions that the mirror no longer has
        run(*command, env=APT)


def update_lists() -> None:
    run("apt-get", "-o", "DPkg::Lock::Timeout=300", "update", env=APT)


def uninstall() -> None:
    """Remove what `install` has installed, unless other packages need it now."""
    packages = state.read(state.MACHINE).get("packages", [])
    if not packages:
        return
    run("dpkg", "--configure", "-a", env=APT)
    present = [name for name in packages if attempt("dpkg-query", "-W", name).returncode == 0]
    command = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "purge", "--yes", *present)
    simulated = run(*command, "--simulate", env=APT).splitlines()
    others = {line.split()[1] for line in simulated if line.startswith(("Remv ", "Purg "))} - set(packages)
    if others:
        say(f"Kept {', '.join(present)}: {', '.join(sorted(others))} need them now")
    elif present:
        say(f"Removing {', '.join(present)}")
        run(*command, env=APT)


def add_hosts_line() -> None:
    if HOSTS_LINE not in HOSTS.read_text():
        remove_hosts_line()
        with HOSTS.open("a") as file:
            file.write(HOSTS_LINE)


def remove_hosts_line() -> None:
    """In place, because /etc/hosts may be a mount. The lines before ours never leave the file."""
    before = HOSTS.read_text()
    after = "".join(line for line in before.splitlines(keepends=True) if not line.endswith(f"# {NETWORK}\n"))
    if after != before:
        with HOSTS.open("r+") as file:
            file.write(after)
            file.truncate()
