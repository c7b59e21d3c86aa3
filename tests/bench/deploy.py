# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment costs whose system is on the host already, beside what others do for it.

All of them deploy the same two systems in turns, on the same host, each with connections of its own:
- playbooks/deploy.yml: checks, a revert that is armed, activation, verification over a new connection, confirmation
- as `nixos-rebuild switch --target-host`: sets the profile and activates, over one connection, and verifies nothing
- as deploy-rs: sets the profile, activates and waits for a file to be removed; another connection waits for that file, and a third one
  removes it, which shows that the host can be reached. Neither program is run, only its commands on the host.
- the same, but the file is removed only when the changed service has been active for as long as deploy.yml demands
- Ansible's floor: as many modules as deploy.yml runs, over as many connections, but each of them only answers
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import resource
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
OURS = "playbooks/deploy.yml"
PROFILE = "/nix/var/nix/profiles/system"
RUNS = 5
FLEET, FORKS = 50, 10
STEADY = 5  # the default of deploy_steady
CANARY = "/tmp/deploy-rs-canary-bench"  # noqa: S108 - where deploy-rs has it, too

BASE = """
  services.openssh.enable = true;
  systemd.services.trial = {{ wantedBy = [ "multi-user.target" ]; script = "exec sleep infinity # {version}"; }};
"""
ACTIVATE = (
    "systemd-run --collect --no-ask-password --pipe --quiet --wait --service-type=exec --unit=nixos-rebuild-switch-to-configuration"
    " -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER= {system}/bin/switch-to-configuration switch"
)
# Until the service of BASE has been active for STEADY seconds.
OBSERVE = (
    "for i in $(seq 600); do entered=$(systemctl show --property=ActiveEnterTimestampMonotonic --value trial.service); read up _ </proc/uptime; "
    f"[ $((${{up%.*}}${{up#*.}} * 10000 - entered)) -ge {STEADY}000000 ] && exit 0; sleep 0.05; done; exit 1"
)
# deploy.yml: check, activation; over a new connection verification and confirmation. A look without Python comes before the check.
FLOOR = [
    {"ansible.builtin.raw": "true"},
    *[{"ansible.builtin.ping": {}}] * 2,
    {"ansible.builtin.meta": "reset_connection"},
    *[{"ansible.builtin.ping": {}}] * 2,
]


@dataclasses.dataclass(frozen=True)
class Cost:
    seconds: float
    connections: int
    kib: float
    cpu: float
    """Seconds of the controller's processors; unlike the others, it hardly depends on what else the machine does."""


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
        self.ansible(str(PLAYBOOK), "playbooks/deploy.yml", *options, f"--extra-vars=deploy_store_path={system}")

    def floor(self, _system: str) -> None:
        play = {"hosts": "nixos", "gather_facts": False, "tasks": FLOOR}
        (self.folder / "floor.json").write_text(json.dumps([play]))
        self.ansible(str(PLAYBOOK), str(self.folder / "floor.json"))

    def adhoc(self, module: str, *options: str) -> None:
        program = str(PLAYBOOK.parent / "ansible")
        self.ansible(program, "nixos", f"--module-name=ansible.builtin.{module}", f"--forks={FORKS}", *options)

    def ansible(self, *command: str) -> None:
        with tempfile.TemporaryDirectory() as sockets:
            env = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, "ANSIBLE_NOCOLOR": "1"}
            argv = [*command, f"--inventory={self.folder / 'hosts.json'}"]
            finished(subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL))
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

    def deploy_rs_observing(self, system: str) -> None:
        self.deploy_rs(system, f"({OBSERVE}) && ")

    def deploy_rs(self, system: str, before: str = "") -> None:
        activate = (
            f"rm -f {CANARY}; nix-env --profile {PROFILE} --set {system} && {system}/bin/switch-to-configuration switch && "
            f"touch {CANARY} && for i in $(seq 600); do [ -e {CANARY} ] || exit 0; sleep 0.05; done; exit 1"
        )
        first = subprocess.Popen(self.argv(activate), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        finished(self.ssh(f"for i in $(seq 2400); do [ -e {CANARY} ] && exit 0; sleep 0.05; done; exit 1"))
        finished(self.ssh(f"{before}rm {CANARY}"))
        out, err = first.communicate(timeout=120)
        finished(subprocess.CompletedProcess(first.args, first.returncode, out, err))

    def ssh(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(script, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def argv(self, script: str, *options: str) -> list[str]:
        return ["ssh", *self.host.ssh_options(), *options, f"root@{self.host.address}", script]

    # -- measuring

    def measured(self, deploy: t.Callable[[str], None], system: str) -> Cost:
        connections, size = self.connections(), self.bytes()
        seconds, cpu = timed(lambda: deploy(system))
        if self.host.current() != system or self.host.profile() != system:
            sys.exit(f"{system} was not deployed")
        return Cost(seconds, self.connections() - connections, (self.bytes() - size) / 1024, cpu)

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


def timed(what: t.Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and those of the processors for the processes that it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    what()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, cpu


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
        f"{statistics.median(cost.kib for cost in costs):.0f} KiB, "
        f"{statistics.median(cost.cpu for cost in costs):.1f} s of the controller's processors"
    )


def compare(bench: Bench, first: str, second: str) -> None:
    ours, rebuild, rs = OURS, "the steps of nixos-rebuild switch", "the steps of deploy-rs"
    observing, floor = (
        f"the same, and {STEADY} s of observation as ours",
        "Ansible's floor, as many modules that only answer",
    )
    ways = {ours: bench.ours, rebuild: bench.nixos_rebuild, rs: bench.deploy_rs}
    # Only where there is a change to observe; the floor is the same for both.
    more = {observing: bench.deploy_rs_observing}
    changes: dict[str, list[Cost]] = {name: [] for name in (*ways, *more, floor)}
    nothing: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(RUNS):
        # In turns, so that all of them meet the same machine.
        for name, way in {**ways, **more}.items():
            for system in (first, second):
                changes[name].append(bench.measured(way, system))
            if name in nothing:
                nothing[name].append(bench.measured(way, second))
        changes[floor].append(bench.measured(bench.floor, second))
    for name, costs in changes.items():
        row(f"one service changes, {name}", shown(costs))
    took = {name: statistics.median(cost.seconds for cost in costs) for name, costs in changes.items()}
    row(
        "  aims: below 20 s; at most 1.0 times the steps of deploy-rs",
        f"{took[ours]:.1f} s; {took[ours] / took[rs]:.2f} times",
    )
    row("  Ansible's floor alone, beside the steps of deploy-rs", f"{took[floor] / took[rs]:.2f} times")
    row("  beside these with the same observation", f"{took[ours] / took[observing]:.2f} times")
    for name, costs in nothing.items():
        row(f"nothing changes, {name}", shown(costs))
    row("  aim: below 8 s", f"{statistics.median(cost.seconds for cost in nothing[ours]):.1f} s")


def fleet(bench: Bench, system: str) -> None:
    """Many hosts without changes: each is an address of the one container, which therefore does the work of all."""
    network = bench.host.address.rsplit(".", 2)[0]
    # Others than those of the run before, to which this machine may still remember another way.
    addresses = [f"{network}.{150 + os.getpid() % 100}.{number}" for number in range(1, FLEET + 1)]
    for address in addresses:
        bench.host.out(f"ip address add {address}/17 dev eth0")
    ways = {
        OURS: lambda: bench.ours(system, f"--forks={FORKS}"),
        "Ansible's floor, a shell (module raw)": lambda: bench.adhoc("raw", "--args=true"),
        "Ansible's floor, a module (ping)": lambda: bench.adhoc("ping"),
    }
    for name, way in ways.items():
        took: dict[int, list[tuple[float, float]]] = {1: [], FLEET: []}
        for _ in range(3):
            for number, costs in took.items():
                bench.inventory(*addresses[:number])
                costs.append(timed(way))
        (one, cpu), (many, many_cpu) = (
            tuple(map(statistics.median, zip(*took[number], strict=True))) for number in took
        )
        row(f"{name}, nothing changes, 1 host", f"{one:.1f} s, {cpu:.1f} s of processors")
        aim = " (aim: at most 6)" if name == OURS else ""
        row(
            f"  {FLEET} hosts, {FORKS} forks",
            f"{many:.1f} s, {many_cpu:.1f} s of processors, {many / one:.1f} times{aim}",
        )


def load() -> str:
    return " ".join(f"{average:.1f}" for average in os.getloadavg())


def main() -> None:
    title(f"deployments of a system that is on the host, median of {RUNS} (changes: {2 * RUNS})")
    row("load of the machine before (1, 5, 15 minutes)", load())
    with bench() as one:
        first, second = systems(one.host)
        compare(one, first, second)
        fleet(one, second)
    row("load of the machine after", load())


if __name__ == "__main__":
    main()
