# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_rebuild and nixos_confirm on a host with systemd, a boot loader and a store: whatever is killed, the host ends whole.

The systems stop at a gate while a test does its worst: before the activation (`test`), in it (`activation`), and before the boot
loader is written (`boot`).
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import typing as t
from collections.abc import Iterator

import pytest

from lab.shell import wait
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

from .nixos_module import SITE, START, install, module

GATE = r"""
  imports = [ ./nixci/modules ];
  networking.hostName = "standin";
  system.preSwitchChecks.gate = "/etc/nixos/gate $2";
  system.activationScripts.gate = "/etc/nixos/gate activation-NAME";
  environment.etc."name".text = "NAME";
  systemd.services.app = { wantedBy = [ "multi-user.target" ]; script = "SCRIPT"; environment.SYSTEM = "NAME"; };
  services.dbus.implementation = "BUS";
  EXTRA
"""
GATE_SCRIPT = """#!/bin/sh
[ -e "/run/hold-$1" ] || exit 0
touch "/run/at-$1"
while [ -e "/run/hold-$1" ]; do sleep 0.05; done
rm "/run/at-$1"
"""
SYSTEMS = {
    "old": {},
    "new": {},
    "other": {},
    "broken": {"SCRIPT": "exit 1"},
    "inhibited": {"BUS": "dbus"},
    "no-loader": {"EXTRA": 'boot.loader.systemd-boot.extraInstallCommands = "exit 1";'},
}
# Longer than any test; what matters never depends on it.
LONG = 3000
PATIENCE = 180


@dataclasses.dataclass(frozen=True)
class Machine:
    """The host and its systems by name."""

    host: Host
    systems: dict[str, str]

    def rebuild(self, name: str, **params: t.Any) -> dict[str, t.Any]:
        return module(self.host, "nixos_rebuild", store_path=self.systems[name], who="alice", **params)

    def confirm(self, **params: t.Any) -> dict[str, t.Any]:
        return module(self.host, "nixos_confirm", **params)

    def start(self, name: str, **params: t.Any) -> subprocess.Popen[str]:
        """A module in the background, which a test may kill."""
        command = ["docker", "exec", "-i", self.host.id, "python3", "-c", START.format(site=SITE, name=name), "killme"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": params}))
        process.stdin.close()
        process.stdin = None
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        """As the kernel does it, without a word to what the module has started."""
        self.host.out("pkill -9 -f killme")
        process.wait(PATIENCE)

    def hold(self, gate: str) -> None:
        self.host.out(f"rm -f /run/at-{gate}; touch /run/hold-{gate}")

    def arrives(self, gate: str) -> None:
        self.until(f"the gate {gate}", f"test -e /run/at-{gate}")

    def go_on(self, gate: str) -> None:
        self.host.out(f"rm -f /run/hold-{gate}")

    def until(self, what: str, test: str) -> None:
        wait(
            what, lambda: self.host.sh(test).returncode == 0, PATIENCE, lambda: self.host.sh("journalctl -n 50").stdout
        )

    def expire(self) -> None:
        """The timer fires."""
        self.host.out("systemctl start --no-block nixci-revert.service")

    def records(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.host.sh("cat /var/log/nixci/deployments.jsonl").stdout.splitlines()]

    def names(self, *paths: str) -> list[str]:
        known = {path: name for name, path in self.systems.items()}
        return [known.get(path, path) for path in paths]

    def is_at(self, name: str, *results: str) -> None:
        """Nothing is pending, the system runs, is the profile and boots; these are the results of all deployments."""
        self.until("the end of the deployment", "! test -e /var/lib/nixci/deployment")
        host = self.host
        assert self.names(host.current(), host.profile(), host.boots()) == [name] * 3
        assert [record["result"] for record in self.records()] == list(results)
        self.until("the app of the system", f"systemctl show app -p Environment | grep -q SYSTEM={name}")
        assert host.out("cat /etc/name") == name
        self.until("the end of the timer", "! systemctl is-active --quiet nixci-revert.timer")
        assert not host.sh("ls /nix/var/nix/gcroots/nixci | grep -E 'pending|previous'").stdout
        assert not host.sh("cat /run/nixci/unfinished-activation").stdout


@pytest.fixture(scope="module")
def started() -> Iterator[Machine]:
    host = Host(lab_image(), "--memory=1g")
    try:
        host.wait()
        install(host)
        host.out("mkdir -p /etc/nixos/nixci/settings /build")
        host.copy(ROOT / "nix/modules", "/etc/nixos/nixci/modules")
        host.put("/etc/nixos/nixci/settings/nixos.json", '{"nixos": {"collectionVersion": "1.0.0"}}')
        host.put("/etc/nixos/gate", GATE_SCRIPT)
        host.out("chmod +x /etc/nixos/gate")
        systems = {}
        for name, changes in SYSTEMS.items():
            text = GATE.replace("NAME", name)
            for key, default in (("SCRIPT", "exec sleep infinity"), ("BUS", "broker"), ("EXTRA", "")):
                text = text.replace(key, changes.get(key, default))
            host.configure(text)
            systems[name] = host.out(f"cd /build && nixos-rebuild build >&2 && mv result {name} && readlink {name}")
        yield Machine(host, systems)
    finally:
        host.remove()


@pytest.fixture
def machine(started: Machine) -> Machine:
    """The old system runs, is generation and boots; nothing was ever deployed."""
    host = started.host
    host.out(
        "rm -f /run/hold-*; systemctl stop nixci-revert.timer; rm -rf /var/lib/nixci /var/log/nixci /nix/var/nix/gcroots/nixci"
    )
    old = started.systems["old"]
    host.out(
        f"nix-env -p /nix/var/nix/profiles/system --set {old} && NIXOS_NO_CHECK=1 {old}/bin/switch-to-configuration switch"
    )
    started.is_at("old")
    return started


def test_nothing_is_permanent_before_the_confirmation(machine: Machine) -> None:
    host = machine.host
    done = machine.rebuild("new", confirm_timeout=LONG)
    assert done["deployment"]["pending"] and done["changed"], done
    assert machine.names(host.current(), host.profile(), host.boots()) == ["new", "old", "old"]
    assert host.out("readlink /nix/var/nix/gcroots/nixci/pending") == machine.systems["new"]
    refused = machine.rebuild("other")
    assert refused["reason"] == "unconfirmed" and "alice since" in refused["msg"], refused
    confirmed = machine.confirm(id=done["deployment"]["id"], record={"bytes": 7, "durations": {"copy": 1.5}})
    assert confirmed["changed"], confirmed
    machine.is_at("new", "confirmed")
    [record] = machine.records()
    assert record == confirmed["record"]
    assert (record["bytes"], record["who"], record["durations"]) == (7, "alice", {"copy": 1.5})
    assert machine.names(record["from"], record["to"]) == ["old", "new"]
    assert machine.names(host.out("readlink -f /nix/var/nix/gcroots/nixci/confirmed-*")) == ["new"]
    again = machine.confirm(id=done["deployment"]["id"])
    assert not again["changed"] and not again["failed"], again
    assert not machine.rebuild("new", confirm_timeout=LONG)["changed"]
    machine.is_at("new", "confirmed")


def test_it_confirms_by_itself_if_nobody_has_to(machine: Machine) -> None:
    done = machine.rebuild("new")
    assert done["changed"] and not done["deployment"]["pending"], done
    machine.is_at("new", "confirmed")


def test_without_a_confirmation_the_host_goes_back(machine: Machine) -> None:
    """And may try once more, because perhaps only the controller was gone."""
    for results in (["reverted"], ["reverted", "reverted"]):
        done = machine.rebuild("new", confirm_timeout=1)  # it may be back before the module ends
        machine.is_at("old", *results)
    late = machine.confirm(id=done["deployment"]["id"])
    assert late["reason"] == "reverted" and "not confirmed in time" in late["msg"], late
    refused = machine.rebuild("new", confirm_timeout=1)
    assert refused["reason"] == "failed_system" and "not confirmed in time" in refused["msg"], refused
    assert machine.rebuild("new", force=["failed_system"])["changed"]
    machine.is_at("new", "reverted", "reverted", "confirmed")
    assert not machine.host.sh("ls /var/lib/nixci/failed").stdout


def test_a_failed_probe_takes_it_back(machine: Machine) -> None:
    machine.rebuild("new", confirm_timeout=LONG)
    back = machine.confirm(
        state="reverted", reason='The shop\n"does not" answer\\.', record={"controller": 'a "laptop"'}
    )
    assert back["changed"], back
    machine.is_at("old", "reverted")
    [record] = machine.records()
    assert record["reason"] == "The shop 'does not' answer/." and record["controller"] == 'a "laptop"'
    assert machine.rebuild("new")["reason"] == "failed_system"
    assert not machine.confirm(state="reverted")["changed"]


@pytest.mark.parametrize("confirm_timeout", [0, LONG])
def test_a_unit_of_the_change_that_fails_takes_it_back_at_once(machine: Machine, confirm_timeout: int) -> None:
    done = machine.rebuild("broken", confirm_timeout=confirm_timeout)
    assert (done["reason"], done["cause"], done["changed"]) == ("reverted", "units_failed", False), done
    assert [unit["name"] for unit in done["failed_units"] if unit["decisive"]] == ["app.service"]
    machine.is_at("old", "reverted")


def test_a_boot_loader_that_fails_takes_it_back(machine: Machine) -> None:
    done = machine.rebuild("no-loader")
    assert (done["reason"], done["cause"]) == ("reverted", "boot_loader"), done
    machine.is_at("old", "reverted")
    assert machine.host.sh("ls /nix/var/nix/profiles").stdout.count("link") == len(machine.host.generations())


# Killed


@pytest.mark.parametrize("gate", ["test", "activation-new"])
def test_a_run_that_was_killed_is_taken_back(machine: Machine, gate: str) -> None:
    machine.hold(gate)
    run = machine.start("nixos_rebuild", store_path=machine.systems["new"], confirm_timeout=LONG)
    machine.arrives(gate)
    machine.kill(run)
    machine.expire()
    machine.until("the end of the deployment", "! test -e /var/lib/nixci/deployment")
    machine.go_on(gate)
    machine.is_at("old", "reverted")


@pytest.mark.parametrize("gate", ["test", "activation-new"])
@pytest.mark.parametrize("then", ["new", "other"])
def test_a_run_that_confirms_by_itself_and_was_killed_is_continued(machine: Machine, gate: str, then: str) -> None:
    """The way back leads to the last system that was confirmed, not to the one in between."""
    machine.hold(gate)
    run = machine.start("nixos_rebuild", store_path=machine.systems["new"])
    machine.arrives(gate)
    machine.kill(run)
    machine.go_on(gate)
    done = machine.rebuild(then)
    assert machine.names(done["deployment"]["previous"]) == ["old"], done
    machine.is_at(then, "interrupted", "confirmed")


@pytest.mark.parametrize("end", ["again", "timer"])
def test_a_confirmation_that_was_killed_is_completed_or_undone(machine: Machine, end: str) -> None:
    machine.rebuild("new", confirm_timeout=LONG)
    machine.hold("boot")
    run = machine.start("nixos_confirm")
    machine.arrives("boot")
    assert machine.names(machine.host.profile()) == ["new"]
    machine.kill(run)
    machine.go_on("boot")
    if end == "again":
        assert machine.confirm()["changed"]
        machine.is_at("new", "confirmed")
    else:
        machine.expire()
        machine.is_at("old", "reverted")


def test_what_a_killed_confirmation_had_left_to_clean_up_is_done(machine: Machine) -> None:
    """Permanent, but neither recorded nor disarmed."""
    machine.rebuild("new", confirm_timeout=LONG)
    machine.host.out("cp /var/lib/nixci/deployment /root/pending")
    machine.confirm()
    machine.host.out(
        "rm /var/log/nixci/deployments.jsonl; sed s/^phase=.*/phase=confirmed/ /root/pending > /var/lib/nixci/deployment"
    )
    machine.host.out("sh /run/nixci/nixci-revert $(sed -n s/^id=//p /root/pending) late")
    assert not machine.confirm()["failed"]
    machine.is_at("new", "confirmed")


def test_a_revert_that_was_killed_is_repeated(machine: Machine) -> None:
    machine.rebuild("new", confirm_timeout=LONG)
    machine.hold("activation-old")
    machine.expire()
    machine.arrives("activation-old")
    machine.host.out("systemctl kill --signal=KILL nixci-revert.service")
    machine.until("the end of the revert", "! systemctl is-active --quiet nixci-revert.service")
    machine.go_on("activation-old")
    late = machine.confirm()
    assert late["reason"] == "reverted", late
    machine.is_at("old", "reverted")


# At the same moment


@pytest.mark.parametrize("first", ["confirmation", "revert"])
def test_a_confirmation_and_the_revert_at_the_same_moment(machine: Machine, first: str) -> None:
    machine.rebuild("new", confirm_timeout=LONG)
    gate = {"confirmation": "boot", "revert": "activation-old"}[first]
    machine.hold(gate)
    if first == "revert":
        machine.expire()
        machine.arrives(gate)
    confirming = machine.start("nixos_confirm")
    if first == "confirmation":
        machine.arrives(gate)
        machine.expire()
    machine.go_on(gate)
    out = confirming.communicate(timeout=PATIENCE)[0]
    if first == "confirmation":
        machine.is_at("new", "confirmed")
    else:
        assert '"reason": "reverted"' in out, out
        machine.is_at("old", "reverted")


def test_two_runs_at_once(machine: Machine) -> None:
    machine.hold("activation-new")
    run = machine.start("nixos_rebuild", store_path=machine.systems["new"], who="bob")
    machine.arrives("activation-new")
    second = machine.rebuild("other", timeout=1)
    assert second["reason"] == "locked" and "bob since" in second["msg"], second
    machine.go_on("activation-new")
    run.wait(PATIENCE)
    machine.is_at("new", "confirmed")


# Without power


@pytest.mark.parametrize("gate", ["test", "activation-new", "", "boot"])
def test_a_restart_before_the_confirmation_boots_the_old_system(machine: Machine, gate: str) -> None:
    if gate == "boot":
        machine.rebuild("new", confirm_timeout=LONG)
        machine.hold(gate)
        machine.start("nixos_confirm")
    elif gate:
        machine.hold(gate)
        machine.start("nixos_rebuild", store_path=machine.systems["new"], confirm_timeout=LONG)
    else:
        machine.rebuild("new", confirm_timeout=LONG)
    if gate:
        machine.arrives(gate)
    machine.host.kill()
    machine.host.start()
    machine.is_at("old", "interrupted")
    assert machine.rebuild("new")["changed"], "it is not to blame"
    machine.is_at("new", "interrupted", "confirmed")


def test_a_restart_when_the_boot_loader_has_the_new_system_is_a_confirmation(machine: Machine) -> None:
    machine.rebuild("new", confirm_timeout=LONG)
    machine.host.out("cp /var/lib/nixci/deployment /root/pending")
    machine.confirm()
    machine.host.out(
        "sed 's/^phase=.*/phase=confirming/; s/^permanent=.*/permanent=yes/' /root/pending > /var/lib/nixci/deployment; "
        "rm /var/log/nixci/deployments.jsonl"
    )
    machine.host.kill()
    machine.host.start()
    machine.is_at("new", "confirmed")


# What only a reboot brings about


def test_an_inhibitor_is_refused_forced_and_taken_back(machine: Machine) -> None:
    refused = machine.rebuild("inhibited")
    assert refused["reason"] == "inhibited" and refused["inhibitors"] == {"dbus-implementation": ["broker", "dbus"]}
    assert machine.rebuild("inhibited", action="dry_activate", inhibitors="force")["changed"]
    machine.is_at("old")
    assert machine.rebuild("inhibited", inhibitors="force", confirm_timeout=LONG)["deployment"]["pending"]
    machine.expire()
    machine.is_at("old", "reverted")


def test_a_boot_is_confirmed_after_the_reboot(machine: Machine) -> None:
    done = machine.rebuild("inhibited", inhibitors="boot_and_reboot", confirm_timeout=LONG)
    assert done["reboot_required"] and done["deployment"]["action"] == "boot", done
    host = machine.host
    assert machine.names(host.current(), host.profile(), host.boots()) == ["old", "inhibited", "inhibited"]
    host.restart()
    machine.until("the revert", "systemctl is-active --quiet nixci-revert.timer")
    assert machine.confirm(id=done["deployment"]["id"])["changed"]
    machine.is_at("inhibited", "confirmed")


def test_a_boot_without_a_confirmation_ends_in_the_previous_system(machine: Machine) -> None:
    assert machine.rebuild("new", action="boot", confirm_timeout=LONG)["deployment"]["pending"]
    machine.host.restart()
    machine.until("the revert", "systemctl is-active --quiet nixci-revert.timer")
    before = machine.host.out("cat /proc/sys/kernel/random/boot_id")
    machine.expire()
    machine.host.wait_for_boot(before)
    machine.is_at("old", "reverted")


def test_a_test_is_never_permanent(machine: Machine) -> None:
    done = machine.rebuild("new", action="test")
    assert done["changed"], done
    host = machine.host
    assert machine.names(host.current(), host.profile(), host.boots()) == ["new", "old", "old"]
    assert [record["result"] for record in machine.records()] == ["tested"]
