# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a system would lock out who deploys it, from its manifest."""

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos.access import findings, from_environment, review

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGOOD"
SYSTEM: dict[str, t.Any] = {
    "ssh": {
        "enable": True,
        "ports": [22],
        "listenAddresses": [],
        "permitRootLogin": "prohibit-password",
        "allowUsers": None,
        "allowGroups": None,
        "denyUsers": None,
        "denyGroups": None,
        "pubkeyAuthentication": True,
    },
    "firewall": {"enable": True, "tcpPorts": [22], "tcpPortRanges": [], "interfaces": {}, "trustedInterfaces": ["lo"]},
    "users": {
        "root": {"keys": [], "groups": ["root"], "wheel": False, "shell": "/bin/sh"},
        "deploy": {
            "keys": [f'from="192.0.2.0/24" {KEY} laptop'],
            "groups": ["users", "wheel"],
            "wheel": True,
            "shell": "/bin/sh",
        },
    },
    "sudo": {"enable": True, "wheelNeedsPassword": False, "rules": False},
    "authorizedKeysFiles": ["/etc/ssh/authorized_keys.d/%u"],
}
WANTED = {"user": "deploy", "port": 22, "keys": ["ssh-rsa AAAAother", f"{KEY} elsewhere"], "sudo": True}
ROOT = {"user": "root", "port": 22}


def changed(place: str, value: t.Any) -> dict[str, t.Any]:
    system = copy.deepcopy(SYSTEM)
    *path, last = place.split(".")
    inner = system
    for name in path:
        inner = inner[name]
    inner[last] = value
    return system


def test_a_good_system_has_no_findings() -> None:
    assert findings(SYSTEM, WANTED) == findings(SYSTEM, ROOT) == findings(SYSTEM, {**WANTED, "keys": []}) == []


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("ssh.enable", False, "SSH is off"),
        ("ssh.ports", [2222], "does not listen on port 22, but on 2222"),
        ("firewall.tcpPorts", [80], "firewall does not open port 22"),
        ("users", {}, "'deploy' does not exist"),
        ("users.deploy.keys", ["ssh-ed25519 AAAAother"], "None of the keys"),
        ("ssh.pubkeyAuthentication", False, "accepts no public keys"),
        ("ssh.allowUsers", ["alice", "bob"], "AllowUsers"),
        ("ssh.denyUsers", ["dep*"], "DenyUsers"),
        ("ssh.allowGroups", ["ssh"], "AllowGroups"),
        ("ssh.denyGroups", ["wheel"], "DenyGroups"),
        ("sudo.enable", False, "sudo is off"),
        ("sudo.wheelNeedsPassword", True, "for a password"),
        ("users.deploy.wheel", False, "not in the group wheel"),
    ],
)
def test_what_locks_out(place: str, value: t.Any, words: str) -> None:
    [found] = findings(changed(place, value), WANTED)
    assert words in found


@pytest.mark.parametrize("value", ["no", "forced-commands-only"])
def test_root(value: str) -> None:
    [found] = findings(changed("ssh.permitRootLogin", value), ROOT)
    assert value in found


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("ssh.listenAddresses", ["192.0.2.1:22", "[2001:db8::1]:22"]),
        ("firewall.enable", False),
        ("firewall.trustedInterfaces", ["lo", "wg0"]),
        ("ssh.allowUsers", ["deploy@192.0.2.*"]),
        ("ssh.allowGroups", ["wheel"]),
        ("sudo.rules", True),
    ],
)
def test_what_does_not(place: str, value: t.Any) -> None:
    assert findings(changed(place, value), WANTED) == []


def test_the_firewall_by_range_and_by_interface() -> None:
    closed = changed("firewall.tcpPorts", [])
    closed["firewall"]["tcpPortRanges"] = [{"from": 20, "to": 30}]
    assert findings(closed, WANTED) == []
    closed["firewall"]["tcpPortRanges"] = []
    closed["firewall"]["interfaces"] = {"eth1": {"tcpPorts": [22], "tcpPortRanges": []}}
    assert findings(closed, WANTED) == []


def test_keys_at_home_count_where_sshd_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").write_text(f"{KEY}\n")
    entry = type("Entry", (), {"pw_dir": str(tmp_path)})
    monkeypatch.setattr("pwd.getpwnam", lambda _name: entry)
    system = changed("users.deploy.keys", [])
    assert findings(system, WANTED)
    assert findings({**system, "authorizedKeysFiles": ["%h/.ssh/authorized_keys"]}, WANTED) == []
    assert findings({**system, "authorizedKeysFiles": [".ssh/authorized_keys"]}, WANTED) == []


def test_what_holds_for_the_running_system_does_not_stop(tmp_path: pathlib.Path) -> None:
    for name, system in (("old", changed("firewall.tcpPorts", [])), ("new", changed("firewall.tcpPorts", []))):
        (tmp_path / name / "etc/nixci").mkdir(parents=True)
        (tmp_path / name / "etc/nixci/manifest.json").write_text(json.dumps({"access": system}))
    found = review(str(tmp_path / "old"), str(tmp_path / "new"), WANTED)
    assert not found.problems and "So it is with the running system." in found.warnings[0]
    assert review(None, str(tmp_path / "new"), WANTED).problems


def test_the_login_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_USER", "SSH_CONNECTION", "USER"):
        monkeypatch.delenv(name, raising=False)
    assert from_environment() == {}
    monkeypatch.setenv("SUDO_USER", "deploy")
    assert from_environment() == {"user": "deploy", "port": None, "sudo": True}
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 40000 192.0.2.2 2222")
    assert from_environment() == {"user": "root", "port": 2222, "sudo": False}
