# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's own configuration keeps working next to ours."""

from __future__ import annotations

import typing as t

import pytest

ROLES = ["attic", "backup", "caddy", "nixos", "opnix", "postgresql"]


def test_nothing_is_on_without_settings(host: t.Any) -> None:
    host.without(*ROLES)
    got = host.value("""{
      postgresql = config.services.postgresql.enable;
      backup = config.services.postgresqlBackup.enable || config.systemd.services ? nixci-backup-atticd;
      caddy = config.services.caddy.enable;
      atticd = config.services.atticd.enable;
      opnix = config.services.onepassword-secrets.enable;
      manifest = config.environment.etc ? "nixci/manifest.json";
      collector = config.systemd.services ? atticd-gc;
      ports = config.networking.firewall.allowedTCPPorts;
    }""")
    assert 443 not in got.pop("ports")
    assert not any(got.values()), got


@pytest.mark.parametrize("role", ROLES)
def test_each_role_can_be_left_out(host: t.Any, role: str) -> None:
    host.without(role)
    if role == "postgresql":
        assert "dumps databases of this host, but services.postgresql.enable is false" in host.refusal()
        host.configure("{ services.postgresql.enable = true; }")
    assert host.value("config.system.build.toplevel.drvPath")


def test_the_users_own_services_survive(host: t.Any) -> None:
    host.configure("""{
      services.caddy.virtualHosts."www.example.org".extraConfig = "respond hello";
      services.caddy.globalConfig = "grace_period 10s";
      services.postgresql.ensureDatabases = [ "mine" ];
      services.postgresql.ensureUsers = [ { name = "mine"; ensureDBOwnership = true; } ];
      services.postgresqlBackup = { enable = true; databases = [ "mine" ]; };
      networking.firewall.allowedTCPPorts = [ 25 ];
      services.onepassword-secrets.secrets.own.reference = "op://x/y/z";
      services.atticd.settings.max-nar-info-size = 2097152;
    }""")
    host.settings("caddy", acmeCaRoot="/etc/acme/root.pem")
    got = host.value("""{
      sites = builtins.attrNames config.services.caddy.virtualHosts;
      own = config.services.caddy.virtualHosts."www.example.org".extraConfig;
      global = config.services.caddy.globalConfig;
      databases = config.services.postgresql.ensureDatabases;
      users = map (u: u.name) config.services.postgresql.ensureUsers;
      dumps = config.services.postgresqlBackup.databases;
      ports = config.networking.firewall.allowedTCPPorts;
      secrets = builtins.attrNames config.services.onepassword-secrets.secrets;
      attic = config.services.atticd.settings;
    }""")
    assert got["sites"] == ["cache.hbohlen.systems", "www.example.org"]
    assert got["own"].strip() == "respond hello"
    assert "grace_period 10s" in got["global"]
    assert "acme_ca_root" in got["global"]
    assert got["databases"] == got["users"] == got["dumps"] == ["mine"]
    assert {25, 80, 443} <= set(got["ports"])
    assert got["secrets"] == ["atticEnvironment", "own"]
    assert got["attic"]["max-nar-info-size"] == 2097152
    assert got["attic"]["listen"] == "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("own", "option"),
    [
        ('{ services.onepassword-secrets.tokenFile = "/run/other"; }', "services.onepassword-secrets.tokenFile"),
        (
            '{ services.onepassword-secrets.secrets.atticEnvironment.reference = "op://x/y/z"; }',
            "services.onepassword-secrets.secrets.atticEnvironment.reference",
        ),
        ('{ services.atticd.settings.listen = "[::]:8080"; }', "services.atticd.settings.listen"),
    ],
)
def test_a_contradiction_is_refused(host: t.Any, own: str, option: str) -> None:
    host.configure(own)
    message = host.refusal()
    assert f"The option `{option}' has conflicting definition values" in message
    assert "own.nix" in message
