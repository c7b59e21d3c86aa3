# SPDX-License-Identifier: GPL-3.0-or-later
"""The two containers and their network: the host that plays the VPS, and the test authority for its certificate."""

from __future__ import annotations

import pathlib
import socket

from .. import state
from ..names import (
    ACME_ADDRESS,
    ACME_CONTAINER,
    ACME_DOMAIN,
    DOMAIN,
    GATEWAY,
    HOST_ADDRESS,
    HOST_CONTAINER,
    HOST_NAME,
    LABEL,
    NETWORK,
    ROOT,
    SUBNET,
)
from ..shell import attempt, run, say, wait
from . import access

HERE = pathlib.Path(__file__).resolve().parent
MARK = f"--label={LABEL}={ROOT}"
NAMES = [f"--add-host={DOMAIN}:{HOST_ADDRESS}", f"--add-host={ACME_DOMAIN}:{ACME_ADDRESS}"]
# What systemd needs to be the first process, and no more: the container has no device of this machine.
SYSTEMD = [
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--tmpfs=/run",
    "--tmpfs=/tmp:exec",
    "--env=container=docker",
    "--stop-signal=SIGRTMIN+3",
    "--restart=on-failure",  # so that `systemctl reboot` inside brings it back
]
IMPORT = "./nixci/modules"
CA = state.DIR / "ca" / "root.crt"
SSH = state.DIR / "ssh"


def create_network() -> None:
    # the bridge gets a name, so that it can be recognized in `ip addr`
    bridge = f"--opt=com.docker.network.bridge.name={NETWORK}"
    run("docker", "network", "create", MARK, bridge, f"--subnet={SUBNET}", f"--gateway={GATEWAY}", NETWORK)


def start_acme(image: str) -> None:
    say("Starting the ACME test authority")
    run("docker", "run", "--detach", MARK, *NAMES, f"--name={ACME_CONTAINER}", f"--network={NETWORK}",
        f"--ip={ACME_ADDRESS}", image, "caddy", "run", "--config", "/etc/acme.Caddyfile", "--adapter", "caddyfile")  # fmt: skip
    made = "/var/lib/acme/pki/authorities/lab/root.crt"
    wait("The ACME test authority", lambda: attempt("docker", "exec", ACME_CONTAINER, "test", "-s", made).returncode == 0,
         30, lambda: _last_log(ACME_CONTAINER))  # fmt: skip
    CA.parent.mkdir(exist_ok=True)
    CA.write_text(run("docker", "exec", ACME_CONTAINER, "cat", made))


def start_host(image: str) -> None:
    say(f"Starting the host {HOST_NAME}")
    run("docker", "run", "--detach", MARK, *SYSTEMD, *NAMES, f"--name={HOST_CONTAINER}", f"--hostname={HOST_NAME}",
        f"--network={NETWORK}", f"--ip={HOST_ADDRESS}", image)  # fmt: skip
    wait("systemd on the host", lambda: _inside("systemctl", "is-system-running").strip() in ("running", "degraded"),
         60, lambda: _last_log(HOST_CONTAINER))  # fmt: skip
    access.put(HOST_CONTAINER, "/usr/local/share/ca-certificates/nixci-lab.crt", CA.read_text())
    run("docker", "exec", HOST_CONTAINER, "update-ca-certificates")
    access.make_key(SSH)
    access.give_access(HOST_CONTAINER, HOST_ADDRESS, SSH)


def first_generation() -> None:
    """Build the user's own configuration without our modules, then add the line that users add."""
    say("Building the host's first generation")
    complete = (HERE / "configuration.nix").read_text().splitlines(keepends=True)
    access.put(HOST_CONTAINER, "/etc/nixos/configuration.nix", "".join(line for line in complete if IMPORT not in line))
    run("docker", "exec", HOST_CONTAINER, "nixos-rebuild", "switch", timeout=300)
    access.put(HOST_CONTAINER, "/etc/nixos/configuration.nix", "".join(complete))
    wait("SSH on the host", host_answers, 20)


def host_answers() -> bool:
    try:
        with socket.create_connection((HOST_ADDRESS, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def running() -> set[str]:
    return set(run("docker", "ps", f"--filter=label={LABEL}={ROOT}", "--format={{.Names}}").split())


def remove() -> None:
    """Remove what exists of an earlier lab, complete or not. An interrupted command may still be removing it."""

    def gone() -> bool:
        containers = run("docker", "ps", "--all", "--quiet", f"--filter=label={LABEL}={ROOT}").split()
        if containers:
            attempt("docker", "rm", "--force", "--volumes", *containers)
        elif attempt("docker", "network", "inspect", NETWORK).returncode == 0:
            attempt("docker", "network", "rm", NETWORK)
        else:
            return True
        return False

    wait("The end of the earlier lab", gone, 60)


def _inside(*argv: str) -> str:
    return attempt("docker", "exec", HOST_CONTAINER, *argv).stdout


def _last_log(container: str) -> str:
    done = attempt("docker", "logs", "--tail=3", container)
    return " | ".join((done.stdout + done.stderr).split("\n"))
