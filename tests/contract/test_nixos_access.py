# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets into the stand-in: SSH, authorized keys, sudo, the firewall, and a network that fails."""

from __future__ import annotations

import pathlib

import pytest

from lab.host import access
from tests.support.nixos_host import Host

SSHD = "services.openssh.enable = true;"
DEPLOY = """
  users.users.deploy = { isNormalUser = true; extraGroups = [ "wheel" ]; openssh.authorizedKeys.keys = [ "%s" ]; };
"""


@pytest.fixture(scope="module")
def key(nixos: Host, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ssh")
    nixos.give_ssh(folder)
    return access.public_key(folder)


def test_root_logs_in_with_the_pinned_key_unless_forbidden(nixos: Host, key: str) -> None:
    nixos.switch(SSHD)
    nixos.wait_for_ssh()
    assert nixos.ssh("hostname").stdout == "nixos\n"
    nixos.switch(SSHD + 'services.openssh.settings.PermitRootLogin = "no";')
    nixos.wait_for_ssh()
    assert "Permission denied" in nixos.ssh("true").stderr


def test_keys_of_the_configuration_and_of_files(nixos: Host, key: str) -> None:
    nixos.switch(SSHD + DEPLOY % key)
    nixos.wait_for_ssh()
    assert nixos.out("cat /etc/ssh/authorized_keys.d/deploy") == key
    assert nixos.ssh("id -un", user="deploy").stdout == "deploy\n"
    nixos.put("/etc/nixos/deploy.pub", key + "\n")
    nixos.switch(
        SSHD + "users.users.deploy = { isNormalUser = true; openssh.authorizedKeys.keyFiles = [ ./deploy.pub ]; };"
    )
    assert nixos.ssh("id -nG", user="deploy").stdout == "users\n"
    nixos.switch(SSHD + "users.users.deploy.isNormalUser = true;")
    assert "Permission denied" in nixos.ssh("true", user="deploy").stderr
    nixos.switch(SSHD)
    assert nixos.sh("id deploy").returncode == 1


def test_allow_users_and_another_port(nixos: Host, key: str) -> None:
    settings = 'services.openssh = { ports = [ 2222 ]; settings.AllowUsers = [ "deploy" ]; };'
    nixos.switch(SSHD + DEPLOY % key + settings)
    nixos.wait_for_ssh(2222)
    assert nixos.ssh("true", user="deploy", port=2222).returncode == 0
    assert "Permission denied" in nixos.ssh("true", port=2222).stderr
    assert nixos.ssh("true", user="deploy").returncode == 255
    assert "--dport 2222 -j nixos-fw-accept" in nixos.out("iptables -S nixos-fw")


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("", False),
        ("security.sudo.wheelNeedsPassword = false;", True),
        ("security.sudo = { enable = false; wheelNeedsPassword = false; };", False),
        (
            'security.sudo.extraRules = [ { users = [ "deploy" ]; commands = [ { command = "ALL"; options = [ "NOPASSWD" ]; } ]; } ];',
            True,
        ),
        (
            'security.sudo.extraRules = [ { users = [ "deploy" ]; commands = [ { command = "/bin/true"; options = [ "NOPASSWD" ]; } ]; } ];',
            False,
        ),
    ],
)
def test_sudo(nixos: Host, key: str, rules: str, allowed: bool) -> None:
    nixos.switch(SSHD + DEPLOY % key + rules)
    nixos.wait_for_ssh()
    done = nixos.ssh("sudo -n id -u", user="deploy")
    assert (done.returncode == 0, done.stdout) == (allowed, "0\n" if allowed else ""), done.stderr


def test_a_closed_port_and_a_stopped_sshd(nixos: Host, key: str) -> None:
    nixos.switch(SSHD + "services.openssh.openFirewall = false;")
    assert nixos.ssh("true").returncode == 255
    nixos.switch(SSHD)
    nixos.wait_for_ssh()
    nixos.switch("services.openssh.enable = false;")
    assert nixos.ssh("true").returncode == 255


def test_packets_are_dropped_until_restored_and_for_a_time(nixos: Host, key: str) -> None:
    nixos.switch(SSHD)
    nixos.wait_for_ssh()
    nixos.drop_packets()
    assert "timed out" in nixos.ssh("true").stderr
    nixos.restore()
    assert nixos.ssh("true").returncode == 0
    nixos.drop_packets(seconds=2)
    nixos.wait_for_ssh()
    assert "nixos-fw" in nixos.out("iptables -S INPUT") and "-j DROP" not in nixos.out("iptables -S INPUT")


def test_a_key_is_for_one_host_only(nixos: Host, key: str, tmp_path: pathlib.Path) -> None:
    nixos.switch(SSHD)
    nixos.wait_for_ssh()
    known = nixos.ssh_folder / access.KNOWN_HOSTS
    right = known.read_text()
    known.write_text(f"{nixos.address} {key}\n")
    try:
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in nixos.ssh("true").stderr
    finally:
        known.write_text(right)
