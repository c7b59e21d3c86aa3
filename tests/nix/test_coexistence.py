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
        (
            '{ services.onepassword-secrets.secrets.atticEnvironment.reference = "op://x/y/z"; }',
            "services.onepassword-secrets.secrets.atticEnvironment.reference",
        ),
    ],
)
def test_a_contradiction_is_refused(host: t.Any, own: str, option: str) -> None:
    host.configure(own)
    message = host.refusal()
    assert f"The option `{option}' has conflicting definition values" in message
    assert "own.nix" in message


# -- a server of the user's own --------------------------------------------------------------------------------


def conflict(message: str) -> str:
    """The one sentence; there is no other conflict beside it."""
    assert "conflicting definition values" not in message, message[-3000:]
    [found] = [line for line in message.splitlines() if "services.atticd differently" in line]
    return found


def test_a_server_of_ones_own_is_one_message_with_every_conflict(host: t.Any) -> None:
    host.configure("""{ services.atticd = {
      enable = true;
      mode = "api-server";
      environmentFile = "/run/secrets/atticd";
      settings = {
        listen = "[::]:8080";
        chunking = { nar-size-threshold = 0; min-size = 1; avg-size = 2; max-size = 3; };
        database.url = "postgresql:///mine";
        jwt.token-bound-issuer = "me";
      };
    }; }""")
    said = conflict(host.refusal())
    assert f"{host.nix_folder}/own.nix and the role attic ({host.nix_folder}/nixci/settings/attic.json)" in said
    names = "mode, environmentFile, settings.listen, settings.database.url, settings.chunking, settings.jwt. "
    assert names in said
    assert "set attic_environment_file, attic_listen, attic_database_url, attic_chunking in the inventory" in said
    assert "modules/attic.nix" not in said


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("enable = false;", "enable"),
        ('settings.listen = "[::]:8080";', "settings.listen"),
        ('settings.storage = { type = "local"; path = "/data"; };', "settings.storage"),
        ('settings.garbage-collection.interval = "1d";', "settings.garbage-collection.interval"),
        ('settings.compression.type = "xz";', "settings.compression"),
        ("settings.database = lib.mkForce { };", "settings.database.url"),
        ('settings.allowed-hosts = lib.mkForce [ "cache.example.org" ];', "settings.allowed-hosts"),
        ('settings.jwt.signing.token-hs256-secret-base64 = "eHg=";', "settings.jwt"),
    ],
)
def test_each_conflict_is_named(host: t.Any, own: str, name: str) -> None:
    host.configure(f"{{ lib, ... }}: {{ services.atticd = {{ {own} }}; }}")
    said = conflict(host.refusal())
    assert f"{host.nix_folder}/own.nix and the role attic" in said
    assert f"define services.atticd differently: {name}. " in said


def test_equal_and_additional_values_are_no_conflict(host: t.Any) -> None:
    host.configure("""{ services.atticd = {
      enable = true;
      settings = { listen = "127.0.0.1:8080"; allowed-hosts = [ "cache.internal" ]; database.heartbeat = true; };
    }; }""")
    got = host.value("builtins.seq config.system.build.toplevel config.services.atticd.settings")
    assert set(got["allowed-hosts"]) == {"cache.hbohlen.systems", "cache.internal"}
    assert got["database"] == {"heartbeat": True, "url": "postgresql://atticd@localhost/atticd?host=/run/postgresql"}


def test_the_servers_user_is_the_hosts(host: t.Any) -> None:
    host.configure('{ services.atticd.user = "attic"; }')
    assert "Set postgresql_databases and backup_databases to [attic]." in host.refusal()
    host.settings("postgresql", databases=["attic"])
    host.settings("backup", databases=["attic"])
    url = host.value("builtins.seq config.system.build.toplevel config.services.atticd.settings.database.url")
    assert url == "postgresql://attic@localhost/attic?host=/run/postgresql"


def test_another_user_than_the_databases_is_refused(host: t.Any) -> None:
    host.settings("attic", databaseUrl="postgresql://other@localhost/atticd?host=/run/postgresql")
    assert "services.atticd.user is atticd, but the server logs in to PostgreSQL as other" in host.refusal()


def test_secrets_of_the_hosts_own_need_no_opnix(host: t.Any) -> None:
    host.without("opnix")
    host.settings("attic", environmentFile="/run/secrets/atticd.env")
    got = host.value("builtins.seq config.system.build.toplevel config.services.atticd.environmentFile")
    assert got == "/run/secrets/atticd.env"


def test_opnix_keeps_the_hosts_folder_and_token_file(host: t.Any) -> None:
    host.configure(
        """{ services.onepassword-secrets = { outputDir = "/run/opnix"; tokenFile = "/persist/opnix-token"; }; }"""
    )
    host.settings("opnix", tokenFile="/etc/opnix-token")
    got = host.value("""{
      inherit (config.services.onepassword-secrets) tokenFile;
      environment = config.services.atticd.environmentFile;
      checked = config.nixci.checks.files;
      manifest = (builtins.fromJSON config.environment.etc."nixci/manifest.json".text).checks.files;
    }""")
    assert got == {
        "tokenFile": "/persist/opnix-token",
        "environment": "/run/opnix/atticEnvironment",
        "checked": {"/run/opnix/atticEnvironment": "0400"},
        "manifest": {"/run/opnix/atticEnvironment": "0400"},
    }


def test_our_token_file_is_used_where_the_host_has_none(host: t.Any) -> None:
    token_file = "config.services.onepassword-secrets.tokenFile"
    assert host.value(token_file) == "/etc/opnix-token"
    host.settings("opnix", tokenFile="/var/lib/opnix/token")
    assert host.value(token_file) == "/var/lib/opnix/token"


def test_checks_follow_the_hosts_own_values(host: t.Any) -> None:
    host.settings("attic", listen="127.0.0.1:8081")
    host.settings("backup", location="/srv/dumps")
    host.configure("{ services.postgresql.settings.port = 5433; }")
    checks = host.value("config.nixci.checks")
    assert list(checks["urls"]) == ["http://127.0.0.1:8081/_api/v1/cache-config/nixci-no-such-cache"]
    assert checks["dumps"]["atticd"].items() >= {"folder": "/srv/dumps", "unit": "nixci-backup-atticd.service"}.items()
    assert checks["postgresql"]["PGPORT"] == "5433"
    assert "atticd.service" in checks["logins"]
