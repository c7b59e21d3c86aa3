# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manifest says about a system before it is activated: its revision, and who can log in."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import on_nixos

MANIFEST = 'builtins.fromJSON config.environment.etc."nixci/manifest.json".text'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5vdEFLZXlCdXRXaXRoVGhlRm9ybUFuZExlbmd0aA"


def access(host: t.Any, own: str, *imports: str) -> t.Any:
    host.configure(f"{{ lib, pkgs, ... }}: {{ {own} }}", *imports)
    return host.value(f"builtins.seq config.system.build.toplevel.drvPath ({MANIFEST}).access")


def test_the_revision_is_that_of_the_flake(host: t.Any) -> None:
    assert host.value(f"({MANIFEST}).revision") is None
    host.configure('{ system.configurationRevision = "4bd1c0ffee"; }')
    assert host.value(f"({MANIFEST}).revision") == "4bd1c0ffee"


def test_a_host_that_says_nothing(host: t.Any) -> None:
    got = access(host, "services.openssh.enable = true;")
    assert got["ssh"] == {
        "enable": True,
        "ports": [22],
        "listenAddresses": [],
        "permitRootLogin": "prohibit-password",
        "allowUsers": None,
        "allowGroups": None,
        "denyUsers": None,
        "denyGroups": None,
        "pubkeyAuthentication": True,
    }
    assert got["firewall"]["enable"] is True
    assert set(got["firewall"]["tcpPorts"]) == {22, 80, 443}
    assert got["firewall"]["tcpPortRanges"] == [] and got["firewall"]["interfaces"] == {}
    assert "lo" in got["firewall"]["trustedInterfaces"]
    assert list(got["users"]) == ["root"]
    assert got["users"]["root"]["keys"] == [] and got["users"]["root"]["wheel"] is False
    assert got["sudo"]["wheelNeedsPassword"] is True and got["sudo"]["rules"] is False
    assert "/etc/ssh/authorized_keys.d/%u" in got["authorizedKeysFiles"]


def test_ssh_is_off(host: t.Any) -> None:
    assert access(host, "services.openssh.enable = lib.mkForce false;")["ssh"]["enable"] is False


def test_limits_of_sshd(host: t.Any) -> None:
    got = access(
        host,
        """services.openssh = { enable = true; ports = [ 2222 ]; openFirewall = false; settings = {
          PermitRootLogin = "no"; AllowUsers = [ "deploy" "admin@192.0.2.*" ]; DenyUsers = [ "old" ]; PubkeyAuthentication = false;
        }; };
        networking.firewall = { interfaces.wg0.allowedTCPPorts = [ 2222 ]; allowedTCPPortRanges = [ { from = 6000; to = 6010; } ];
          trustedInterfaces = [ "tailscale0" ]; };""",
    )
    assert got["ssh"]["ports"] == [2222]
    assert got["ssh"]["permitRootLogin"] == "no"
    assert got["ssh"]["allowUsers"] == ["deploy", "admin@192.0.2.*"]
    assert got["ssh"]["denyUsers"] == ["old"]
    assert got["ssh"]["pubkeyAuthentication"] is False
    assert 2222 not in got["firewall"]["tcpPorts"]
    assert got["firewall"]["interfaces"] == {"wg0": {"tcpPorts": [2222], "tcpPortRanges": []}}
    assert got["firewall"]["tcpPortRanges"] == [{"from": 6000, "to": 6010}]
    assert "tailscale0" in got["firewall"]["trustedInterfaces"]


def test_limits_of_sshd_as_text(host: t.Any) -> None:
    got = access(
        host,
        """services.openssh = { enable = true; settings.PermitRootLogin = "yes"; extraConfig = ''
          # AllowUsers nobody
          allowusers deploy admin # both
          AllowGroups=wheel
          Port 2222
          PermitRootLogin no
          PubkeyAuthentication no
          PubkeyAuthentication yes
            Match User backup
          AllowUsers backup
          DenyGroups all
        ''; };""",
    )
    assert got["ssh"]["allowUsers"] == ["deploy", "admin"]
    assert got["ssh"]["allowGroups"] == ["wheel"]
    assert got["ssh"]["denyGroups"] is None
    assert got["ssh"]["ports"] == [22, 2222]
    # the first one counts, and the settings come before the text
    assert got["ssh"]["permitRootLogin"] == "yes"
    assert got["ssh"]["pubkeyAuthentication"] is False


def test_users_who_can_log_in(host: t.Any) -> None:
    got = access(
        host,
        f"""services.openssh.enable = true;
        users.users = {{
          root.openssh.authorizedKeys.keys = [ "{KEY} root" ];
          deploy = {{ isNormalUser = true; extraGroups = [ "wheel" ]; openssh.authorizedKeys.keys = [ "{KEY} a" "restrict {KEY} b" ]; }};
          guest.isNormalUser = true;
          member.isNormalUser = true;
          locked = {{ isNormalUser = true; shell = "/run/current-system/sw/bin/nologin"; openssh.authorizedKeys.keys = [ "{KEY} c" ]; }};
          builder = {{ isSystemUser = true; group = "builder"; shell = "/bin/sh"; openssh.authorizedKeys.keys = [ "{KEY} d" ]; }};
          daemon = {{ isSystemUser = true; group = "builder"; }};
        }};
        users.groups = {{ builder = {{ }}; wheel.members = [ "member" ]; }};""",
    )["users"]
    assert set(got) == {"root", "deploy", "guest", "member", "builder"}
    assert got["root"]["keys"] == [f"{KEY} root"]
    assert got["deploy"]["keys"] == [f"{KEY} a", f"restrict {KEY} b"]
    assert got["deploy"]["wheel"] is True and set(got["deploy"]["groups"]) == {"users", "wheel"}
    assert got["guest"]["keys"] == [] and got["guest"]["wheel"] is False
    assert got["member"]["wheel"] is True
    assert got["builder"]["groups"] == ["builder"] and got["builder"]["shell"] == "/bin/sh"
    assert got["deploy"]["shell"].endswith("/bash")


def test_keys_in_files(host: t.Any) -> None:
    if host.evaluator is not on_nixos:
        pytest.skip("the lab's options have no keyFiles")
    (host.folder / "admin.pub").write_text(f"# laptop\n{KEY} laptop\n\n{KEY} desktop\n")
    got = access(
        host,
        """services.openssh.enable = true;
        users.users.admin = { isNormalUser = true; openssh.authorizedKeys = { keys = [ "KEY" ]; keyFiles = [ ./admin.pub ]; }; };""",
    )
    assert got["users"]["admin"]["keys"] == ["KEY", f"{KEY} laptop", f"{KEY} desktop"]


def test_sudo(host: t.Any) -> None:
    if host.evaluator is not on_nixos:
        pytest.skip("the lab's options have no sudo")
    assert access(host, "")["sudo"] == {"enable": True, "wheelNeedsPassword": True, "rules": False}
    own = 'security.sudo.extraRules = [ { users = [ "deploy" ]; commands = [ "ALL" ]; } ];'
    assert access(host, own + "security.sudo.wheelNeedsPassword = false;")["sudo"] == {
        "enable": True,
        "wheelNeedsPassword": False,
        "rules": True,
    }
    assert access(host, "security.sudo.enable = false;")["sudo"]["enable"] is False
    rs = access(
        host, "security.sudo.enable = false; security.sudo-rs = { enable = true; wheelNeedsPassword = false; };"
    )
    assert rs["sudo"] == {"enable": True, "wheelNeedsPassword": False, "rules": False}
