# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment costs whose system is on the host already, beside what others do for it.

All of them deploy the same two systems in turns, on the same host, each with connections of its own:
- playbooks/deploy.yml: checks, a revert that is armed, activation, verification over a new connection, confirmation
- as `nixos-rebuild switch --target-host`: sets the profile and activates, over one connection, and verifies nothing
- as deploy-rs: sets the profile, activates and waits for a file to be removed; another connection waits for that file, and a third one
  removes it, which shows that the host can be reached. Neither program is run, only its commands on the host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

from lab.host import access
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

from .report import row, title

PLAYBOOK = pathlib.Path(sys.executable).parent / "ansible-playbook"
PROFILE = "/nix/var/nix/profiles/system"
RUNS = 5
FLEET, FORKS = 50, 10
CANARY = "/tmp/deploy-rs-canary-bench"  # noqa: S108 - where deploy-rs has it, too

BASE = """
  services.openssh.enable = true;
  systemd.services.trial = {{ wantedBy = [ "multi-user.target" ]; script = "exec sleep infinity # {version}"; }};
"""
ACTIVATE = (
    "systemd-run --collect --no-ask-password --pipe --quiet --wait --service-type=exec --unit=nixos-rebuild-switch-to-configuration"
    " -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER= {system}/bin/switch-to-configuration switch"
)


@dataclasses.dataclass(frozen=True)
class Cost:
    seconds: float
    connections: int
    kib: float


class Bench:
    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        self.host, self.folder = host, folder
        self.inventory(host.address)

    def inventory(self, *addresses: str) -> None:
        """One host for each address."""
        key = (self.folder / access.KNOWN_HOSTS).read_text().split(maxsplit=1)[1].splitlines()[0]
        (self.folder / access.KNOWN_HOSTS).write_text("".join(f"{address} {key}\n" for address in addresses))
        known = f"-o UserKnownHostsFile='{self.folder / access.KNOWN_HOSTS}' -o StrictHostKeyChecking=yes"
        common = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / access.KEY),
            "ansible_ssh_common_args": known,
        }
        hosts = {f"host-{number}": {"ansible_host": address} for number, address in enumerate(addresses, 1)}
        inventory = {"all": {"children": {"nixos": {"hosts": hosts, "vars": common}}}}
        (self.folder / "hosts.json").write_text(json.dumps(inventory))

    # -- three ways to deploy

    def ours(self, system: str, *options: str) -> None:
        """With an empty folder of control sockets, so that no connection of an earlier run is used."""
        with tempfile.TemporaryDirectory() as sockets:
            env = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, "ANSIBLE_NOCOLOR": "1"}
            command = [str(PLAYBOOK), "playbooks/deploy.yml", f"--inventory={self.folder / 'hosts.json'}", *options]
            finished(
                subprocess.run(
                    [*command, f"--extra-vars=deploy_store_path={system}"],
                    cwd=ROOT,
                    env=env,
                    capture_output=True,
                    text=True,
                    stdin=subprocess.DEVNULL,
                )
            )
            for socket in pathlib.Path(sockets).iterdir():  # so that the next run's connections are counted alone
                subprocess.run(["ssh", f"-oControlPath={socket}", "-Oexit", "host"], capture_output=True)

    def nixos_rebuild(self, system: str) -> None:
        with tempfile.TemporaryDirectory() as sockets:
            master = ["-oControlMaster=auto", "-oControlPersist=60", f"-oControlPath={sockets}/ssh"]
            for script in (
                f"test -e {system}/nixos-version",
                f"nix-env --profile {PROFILE} --set {system}",
                ACTIVATE.format(system=system),
            ):
                finished(self.ssh(script, *master))
            finished(self.ssh("true", *master, "-Oexit"))

    def deploy_rs(self, system: str) -> None:
        activate = (
            f"rm -f {CANARY}; nix-env --profile {PROFILE} --set {system} && {system}/bin/switch-to-configuration switch && "
            f"touch {CANARY} && for i in $(seq 600); do [ -e {CANARY} ] || exit 0; sleep 0.05; done; exit 1"
        )
        first = subprocess.Popen(self.argv(activate), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        finished(self.ssh(f"for i in $(seq 2400); do [ -e {CANARY} ] && exit 0; sleep 0.05; done; exit 1"))
        finished(self.ssh(f"rm {CANARY}"))
        out, err = first.communicate(timeout=120)
        finished(subprocess.CompletedProcess(first.args, first.returncode, out, err))

    def ssh(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(script, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def argv(self, script: str, *options: str) -> list[str]:
        return ["ssh", *self.host.ssh_options(), *options, f"root@{self.host.address}", script]

    # -- measuring

    def measured(self, deploy: t.Callable[[str], None], system: str) -> Cost:
        connections, size = self.connections(), self.bytes()
        start = time.monotonic()
        deploy(system)
        seconds = time.monotonic() - start
        if self.host.current() != system or self.host.profile() != system:
            sys.exit(f"{system} was not deployed")
        return Cost(seconds, self.connections() - connections, (self.bytes() - size) / 1024)

    def connections(self) -> int:
        self.host.out("journalctl --sync")
        return int(
            self.host.out(
                "journalctl --no-pager --output=cat _COMM=sshd + _COMM=sshd-session | grep -c 'Accepted publickey' || true"
            )
        )

    def bytes(self) -> int:
        read = self.host.out("cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes")
        return sum(map(int, read.split()))


def finished(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        sys.exit(f"{done.args} failed:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def bench(name: str = "nixci-bench") -> t.Iterator[Bench]:
    with tempfile.TemporaryDirectory() as place:
        host = Host(lab_image(), f"--name={name}", "--memory=2g")
        try:
            folder = pathlib.Path(place) / "access"
            host.wait()
            host.give_ssh(folder)
            yield Bench(host, folder)
        finally:
            host.remove()


def systems(host: Host) -> list[str]:
    """Two systems that differ in one service; both are on the host, and the second one runs."""
    built = []
    for version in (1, 2):
        host.switch(BASE.format(version=version))
        built.append(host.current())
        host.out(f"ln -sfn {built[-1]} /nix/var/nix/gcroots/bench-{version}")
    host.wait_for_ssh()
    return built


def shown(costs: list[Cost]) -> str:
    seconds = [cost.seconds for cost in costs]
    return (
        f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
        f"{statistics.median(cost.connections for cost in costs):g} connections, "
        f"{statistics.median(cost.kib for cost in costs):.0f} KiB"
    )


def compare(bench: Bench, first: str, second: str) -> None:
    ways = {
        "playbooks/deploy.yml": bench.ours,
        "the steps of nixos-rebuild switch": bench.nixos_rebuild,
        "the steps of deploy-rs": bench.deploy_rs,
    }
    changes: dict[str, list[Cost]] = {name: [] for name in ways}
    nothing: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(RUNS):
        # In turns, so that all of them meet the same machine.
        for name, way in ways.items():
            for system in (first, second):
                changes[name].append(bench.measured(way, system))
            nothing[name].append(bench.measured(way, second))
    for what, costs in (("one service changes", changes), ("nothing changes", nothing)):
        for name in ways:
            row(f"{what}, {name}", shown(costs[name]))
        ours, least = (statistics.median(one.seconds for one in costs[name]) for name in (*ways,)[::2])
        row("  ratio to the steps of deploy-rs", f"{ours / least:.2f}")


def fleet(bench: Bench, system: str) -> None:
    """Many hosts without changes: each is an address of the one container, which therefore does the work of all."""
    network = bench.host.address.rsplit(".", 2)[0]
    addresses = [f"{network}.210.{number}" for number in range(1, FLEET + 1)]
    for address in addresses:
        bench.host.out(f"ip address add {address}/16 dev eth0")
    took: dict[int, list[float]] = {1: [], FLEET: []}
    for _ in range(3):
        for number, seconds in took.items():
            bench.inventory(*addresses[:number])
            start = time.monotonic()
            bench.ours(system, f"--forks={FORKS}")
            seconds.append(time.monotonic() - start)
    one, many = statistics.median(took[1]), statistics.median(took[FLEET])
    row(f"nothing changes, 1 host, {FORKS} forks", f"{one:.1f} s")
    row(f"nothing changes, {FLEET} hosts, {FORKS} forks", f"{many:.1f} s, ratio {many / one:.2f}")


def main() -> None:
    title(f"deployments of a system that is on the host, median of {RUNS} (changes: {2 * RUNS})")
    with bench() as one:
        first, second = systems(one.host)
        compare(one, first, second)
        fleet(one, second)


if __name__ == "__main__":
    main()
