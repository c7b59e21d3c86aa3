# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers and their network: the hosts of the fleet, and the test authority for the cache's certificate."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import socket

from .. import fleet, state
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
    SMALL_ADDRESS,
    SMALL_CONTAINER,
    SMALL_NAME,
    SUBNET,
)
from ..shell import attempt, run, say, wait
from . import access

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
CA = state.DIR / "ca" / "root.crt"
SSH = state.DIR / "ssh"
CHECKOUT = "/root/fleet"  # on a host, while it builds its first generation


@dataclasses.dataclass(frozen=True)
class Machine:
    """A host of the fleet that a container plays."""

    name: str
    container: str
    address: str
    options: tuple[str, ...] = ()

    def answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


SERVER = Machine(HOST_NAME, HOST_CONTAINER, HOST_ADDRESS)
SMALL = Machine(SMALL_NAME, SMALL_CONTAINER, SMALL_ADDRESS, ("--memory=1g",))
MACHINES = (SERVER, SMALL)


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


def start_hosts(images: dict[Machine, str]) -> None:
    """Start each host and build it from the user's repository as it was before the collection was used."""
    say(f"Starting the hosts {' and '.join(machine.name for machine in images)}, and building their first generation")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(_start, images.keys(), images.values()))


def _start(machine: Machine, image: str) -> None:
    run("docker", "run", "--detach", MARK, *SYSTEMD, *NAMES, *machine.options, f"--name={machine.container}",
        f"--hostname={machine.name}", f"--network={NETWORK}", f"--ip={machine.address}", image)  # fmt: skip
    inside = ("docker", "exec", machine.container)
    systemd = (*inside, "systemctl", "is-system-running")
    wait(f"systemd on {machine.name}", lambda: attempt(*systemd).stdout.strip() in ("running", "degraded"),
         60, lambda: _last_log(machine.container))  # fmt: skip
    access.put(machine.container, "/usr/local/share/ca-certificates/nixci-lab.crt", CA.read_text())
    run(*inside, "update-ca-certificates")
    access.pin_host_key(machine.container, machine.address, SSH)
    run("docker", "cp", "--quiet", str(fleet.FLEET), f"{machine.container}:{CHECKOUT}")
    run(*inside, "nixos-rebuild", "switch", "--flake", f"{CHECKOUT}#{machine.name}", timeout=300)
    run(*inside, "rm", "-r", CHECKOUT)
    wait(f"SSH on {machine.name}", machine.answers, 20)


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
            # left by an engine that was killed and whose data is gone
            attempt("ip", "link", "delete", NETWORK)
            return True
        return False

    wait("The end of the earlier lab", gone, 60)


def _last_log(container: str) -> str:
    done = attempt("docker", "logs", "--tail=3", container)
    return " | ".join((done.stdout + done.stderr).split("\n"))
