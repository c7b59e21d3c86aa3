# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/deploy.sh on two hosts over SSH: what runs, what boots, the record and the exit status. tests/faults has the failures."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
import typing as t
from collections.abc import Iterator

import pytest

from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

NAMES = ["web", "db"]


class Fleet:
    """Two hosts and a controller without any checkout of a flake."""

    def __init__(self, folder: pathlib.Path, hosts: dict[str, Host]) -> None:
        self.folder, self.hosts = folder, hosts
        self.systems: dict[tuple[str, str], str] = {}
        entries = {name: self.entry(name) for name in hosts}
        inventory = {"all": {"children": {"nixos": {"hosts": entries}}}}
        (folder / "hosts.json").write_text(json.dumps(inventory))

    def entry(self, name: str) -> dict[str, t.Any]:
        host = self.hosts[name]
        return {
            "ansible_host": host.address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(host.ssh_folder / "id_ed25519"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={host.ssh_folder / 'known_hosts'} -o StrictHostKeyChecking=yes",
        }

    def system(self, name: str, version: str, body: str = "") -> str:
        """Builds a system on the host, without activating it."""
        if (name, version) not in self.systems:
            host = self.hosts[name]
            host.configure(configuration(name, version, body))
            root = f"/nix/var/nix/gcroots/{version}"
            host.out(f"cd /tmp && nixos-rebuild build && ln -sfn $(readlink -f result) {root} && rm result")
            self.systems[name, version] = host.out(f"readlink -f {root}")
        return self.systems[name, version]

    def deploy(self, name: str, *args: str, **values: t.Any) -> tuple[int, str]:
        variables = {"deploy_grace": 10, "deploy_steady": 2, **values}
        done = subprocess.run(
            [
                str(ROOT / "scripts/deploy.sh"),
                name,
                *("-i", "hosts.json"),
                *args,
                *("--", "-e", json.dumps(variables)),
            ],
            cwd=self.folder,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "CI_"))},
                "ANSIBLE_NOCOLOR": "1",
                "HOME": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def state(self, name: str) -> tuple[str, str, str]:
        """What runs, what the profile has and what boots."""
        host = self.hosts[name]
        return host.current(), host.profile(), host.boots()

    def records(self, name: str) -> list[dict[str, t.Any]]:
        text = self.hosts[name].sh("cat /var/log/nixci/deployments.jsonl").stdout
        return [json.loads(line) for line in text.splitlines()]


def configuration(name: str, version: str, body: str = "") -> str:
    return f'networking.hostName = "{name}"; services.openssh.enable = true; environment.etc.version.text = "{version}"; {body}'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("controller")
    hosts: dict[str, Host] = {}
    try:
        for name in NAMES:
            hosts[name] = Host(lab_image(), f"--hostname={name}")
        for name, host in hosts.items():
            host.wait()
            host.switch(configuration(name, "first"))
            host.give_ssh(folder / name)
            host.sh("systemctl restart sshd")
            host.wait_for_ssh()
        yield Fleet(folder, hosts)
    finally:
        for host in hosts.values():
            host.remove()


def test_a_preview_a_deployment_and_nothing_to_do(fleet: Fleet) -> None:
    service = 'wantedBy = [ "multi-user.target" ]; serviceConfig.ExecStart = "/bin/sleep infinity";'
    before, system = fleet.state("web"), fleet.system("web", "second", f"systemd.services.hello = {{ {service} }};")
    status, text = fleet.deploy("web", "--store-path", system, "--dry-run")
    assert status == 0 and "web: previewed" in text and "new: hello.service" in text, text
    assert fleet.state("web") == before
    status, text = fleet.deploy("web", "--store-path", system)
    assert status == 0 and "web: confirmed" in text, text
    assert fleet.state("web") == (system, system, system)
    record = fleet.records("web")[-1]
    assert (record["result"], record["from"], record["to"]) == ("confirmed", before[0], system)
    assert record["transport"] == "present" and record["durations"].keys() == {"activate", "verify"}
    assert "@" in record["who"] and record["pipeline"] is None
    status, text = fleet.deploy("web", "--store-path", system)
    assert status == 0 and "web: unchanged" in text and "changed=0" in text, text
    status, text = fleet.deploy("web", "--list")
    assert status == 0 and "running, profile, confirmed" in text and "confirmed: " in text, text


def test_a_probe_from_the_controller_takes_the_system_back(fleet: Fleet) -> None:
    before, system = fleet.state("db"), fleet.system("db", "closed")
    values = {"deploy_probes": {"controller": {"ports": [22, 9]}}, "deploy_grace": 2}
    status, text = fleet.deploy("db", "--store-path", system, **values)
    assert status == 2 and f"port 9 of {fleet.hosts['db'].address}" in text and "db: reverted" in text, text
    assert fleet.state("db") == before
    record = fleet.records("db")[-1]
    assert record["result"] == "reverted" and "port 9 of" in record["reason"]
    status, text = fleet.deploy("db", "--store-path", system)
    assert status == 2 and "was activated on this host before and taken back" in text, text


def test_a_system_that_needs_a_reboot_is_booted_and_confirmed(fleet: Fleet) -> None:
    host, system = fleet.hosts["db"], fleet.system("db", "booted")
    boot_id = host.out("cat /proc/sys/kernel/random/boot_id")
    status, text = fleet.deploy("db", "--boot", "--store-path", system, deploy_reboot_timeout=120)
    assert status == 0 and "db: confirmed" in text, text
    assert fleet.state("db") == (system, system, system) and host.booted() == system
    assert host.out("cat /proc/sys/kernel/random/boot_id") != boot_id
    assert fleet.records("db")[-1]["action"] == "boot"


def test_every_problem_of_every_host_is_one_message(fleet: Fleet) -> None:
    web, db = fleet.hosts["web"], fleet.hosts["db"]
    known = web.ssh_folder / "known_hosts"
    pinned = known.read_text()
    before = [fleet.state(name) for name in NAMES]
    try:
        known.write_text("")
        db.put("/run/nixci/lock", "")
        holder = "exec 8>/run/nixci/lock; flock 8; echo ada since noon > /run/nixci/lock; sleep 300"
        subprocess.Popen(["docker", "exec", db.id, "bash", "-c", holder])
        for _ in range(100):
            if "ada" in db.sh("cat /run/nixci/lock").stdout:
                break
            time.sleep(0.3)
        status, text = fleet.deploy("web:db", deploy_store_path="/nix/store/00000000000000000000000000000000-none")
    finally:
        known.write_text(pinned)
        db.sh("pkill -f 'sleep 300'")
    assert status == 2
    message = text[text.index("Nothing was activated") :]
    assert f"web: The SSH host key of {web.address} is not in" in message
    assert "db: Another run builds or activates on this host (ada since noon)" in message
    assert [fleet.state(name) for name in NAMES] == before
