# SPDX-License-Identifier: GPL-3.0-or-later
"""The NixOS options that the settings of the example installation set."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import subprocess
import typing as t

import pytest

from .conftest import EVALUATORS, Host


def test_all_roles_together_make_a_system(host: t.Any) -> None:
    assert host.value("config.system.build.toplevel.drvPath").endswith(".drv")


def test_postgresql_has_a_database_per_role(host: t.Any) -> None:
    unit = "config.systemd.services.nixci-postgresql"
    got = host.value(f"""{{ inherit (config.services.postgresql) enable ensureDatabases ensureUsers;
      inherit ({unit}) wantedBy partOf after before script environment; }}""")
    assert got["enable"] is True
    # A failure must not keep PostgreSQL from starting.
    assert (got["ensureDatabases"], got["ensureUsers"]) == ([], [])
    assert got["wantedBy"] == ["multi-user.target", "postgresql.service"]
    assert got["partOf"] == ["postgresql.service"]
    assert {"postgresql.service", "postgresql.target"} <= set(got["after"])
    assert got["before"] == ["atticd.service"]
    assert "for name in atticd; do" in got["script"]
    assert "TEMPLATE template0" in got["script"]
    assert (got["environment"]["PGHOST"], got["environment"]["PGPORT"]) == ("/run/postgresql", "5432")


@pytest.mark.parametrize(
    ("postgresql", "url"),
    [
        ("settings.port = 5433;", "postgresql://atticd@localhost:5433/atticd?host=/run/postgresql"),
        (
            'settings.unix_socket_directories = "/tmp,/srv/sock , /run/other";',
            "postgresql://atticd@localhost/atticd?host=/srv/sock",
        ),
    ],
)
def test_attic_finds_postgresql_where_the_host_has_it(host: t.Any, postgresql: str, url: str) -> None:
    host.configure(f"{{ services.postgresql = {{ {postgresql} }}; }}")
    assert host.value("config.services.atticd.settings.database.url") == url


def test_attic_listens_on_loopback_and_stores_in_s3(host: t.Any) -> None:
    got = host.value("{ inherit (config.services.atticd) enable mode environmentFile settings; }")
    assert (got["enable"], got["mode"]) == (True, "monolithic")
    assert got["environmentFile"] == "/var/lib/opnix/secrets/atticEnvironment"
    assert got["settings"] == {
        "listen": "127.0.0.1:8080",
        "api-endpoint": "https://cache.hbohlen.systems/",
        "allowed-hosts": ["cache.hbohlen.systems"],
        "require-proof-of-possession": True,
        "soft-delete-caches": False,
        "max-nar-info-size": 1048576,
        "database": {"url": "postgresql://atticd@localhost/atticd?host=/run/postgresql", "heartbeat": False},
        "storage": {
            "type": "s3",
            "endpoint": "https://s3.eu-central-003.backblazeb2.com",
            "region": "eu-central-003",
            "bucket": "pantheros-nix-cache",
        },
        "chunking": {"nar-size-threshold": 65536, "min-size": 16384, "avg-size": 65536, "max-size": 262144},
        "compression": {"type": "zstd", "level": 8},
        "garbage-collection": {"interval": "0s", "default-retention-period": "0s"},
    }


@pytest.mark.parametrize("unit", ["atticd", "atticd-gc"])
def test_attic_units_wait_and_use_plain_s3(host: t.Any, unit: str) -> None:
    got = host.value(f"{{ inherit (config.systemd.services.{unit}) after environment; }}")
    assert {"opnix-secrets.service", "postgresql.service", "postgresql.target"} <= set(got["after"])
    assert got["environment"]["AWS_REQUEST_CHECKSUM_CALCULATION"] == "when_required"
    assert got["environment"]["AWS_RESPONSE_CHECKSUM_VALIDATION"] == "when_required"
    assert got["environment"]["AWS_EC2_METADATA_DISABLED"] == "true"
    assert got["environment"]["AWS_REGION"] == "eu-central-003"
    assert got["environment"]["RUST_LOG"] == "attic_server=info"


def test_the_server_comes_back(host: t.Any) -> None:
    got = host.value("{ inherit (config.systemd.services.atticd) wantedBy startLimitIntervalSec serviceConfig; }")
    assert {"multi-user.target", "postgresql.service", "postgresql.target"} <= set(got["wantedBy"])
    assert got["startLimitIntervalSec"] == 0
    service = got["serviceConfig"]
    assert (service["Restart"], service["RestartSec"], service["TimeoutStopSec"]) == ("always", 2, 300)


def test_the_users_own_service_settings_win(host: t.Any) -> None:
    host.configure("""{ lib, ... }: {
      systemd.services.atticd.serviceConfig.RestartSec = lib.mkForce 30;
      systemd.services.atticd.serviceConfig.TimeoutStopSec = 900;
      systemd.services.atticd.startLimitIntervalSec = 60;
      systemd.services.atticd.environment.RUST_LOG = "debug";
    }""")
    got = host.value("{ inherit (config.systemd.services.atticd) environment serviceConfig startLimitIntervalSec; }")
    assert (got["serviceConfig"]["RestartSec"], got["environment"]["RUST_LOG"]) == (30, "debug")
    assert (got["serviceConfig"]["TimeoutStopSec"], got["startLimitIntervalSec"]) == (900, 60)


def test_a_start_releases_what_interrupted_uploads_hold(host: t.Any) -> None:
    [before] = host.value("config.systemd.services.atticd.serviceConfig.ExecStartPre")
    assert before.startswith("-/nix/store/") and "/bin/psql --no-psqlrc" in before
    assert before.endswith(" postgresql://atticd@localhost/atticd?host=/run/postgresql")
    host.settings("attic", databaseUrl="postgresql://atticd@db.example.org/atticd?sslmode=verify-full")
    assert "ExecStartPre" not in host.value("config.systemd.services.atticd.serviceConfig")


def test_garbage_collector_runs_as_the_server_does(host: t.Any) -> None:
    server = host.value("config.systemd.services.atticd.serviceConfig")
    collector = host.value("config.systemd.services.atticd-gc.serviceConfig")
    for key in ("DynamicUser", "User", "Group", "EnvironmentFile"):
        assert collector[key] == server[key]
    assert collector["DynamicUser"] is True
    assert collector["Type"] == "oneshot"
    assert not {"Restart", "ExecStartPre", "TimeoutStopSec"} & collector.keys()
    assert collector["ExecStart"].endswith("-atticd-gc")


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("echo Deleted 5 orphan chunks", 0, ""),
        ("echo WARN Deletion failed: 503; echo WARN Deletion failed: 503 >&2; echo Deleted 3", 1, "delete 2 chunks"),
        ("echo thread panicked >&2; exit 101", 101, ""),
    ],
)
def test_a_collection_that_leaves_chunks_behind_fails(
    tmp_path: pathlib.Path, program: str, code: int, said: str
) -> None:
    run = collect(tmp_path, program)
    assert run.returncode == code
    assert said in run.stderr and bool(said) == ("the next collection tries them again" in run.stderr)
    assert run.stdout, "what the server logs is shown"


def test_a_collection_repeats_as_long_as_there_may_be_more(tmp_path: pathlib.Path) -> None:
    """One removes at most 65535 chunks."""
    number = f"echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -lt 3 ] && n=65535 || n=7"
    run = collect(tmp_path, f'{number}; echo "2026-01-01 INFO attic_server::gc: Deleted $n orphan chunks"')
    assert run.returncode == 0
    assert run.stdout.count("Deleted 65535") == 2 and run.stdout.count("Deleted 7 ") == 1


def collect(folder: pathlib.Path, program: str) -> subprocess.CompletedProcess[str]:
    """The script of the unit, with another program in the place of atticd."""
    unit = "config.systemd.services.atticd-gc.serviceConfig.ExecStart"
    script = Host(folder, EVALUATORS["lab"]).value(f'builtins.readFile "${{{unit}}}"')
    atticd = folder / "atticd"
    atticd.write_text(f"#!/bin/sh\n{program}\n")
    atticd.chmod(0o755)
    script, replaced = re.subn(r"/nix/store/\S+/bin/atticd(?= )", str(atticd), script)
    assert replaced == 1
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)


def test_garbage_collector_timer(host: t.Any) -> None:
    timer = host.value("{ inherit (config.systemd.timers.atticd-gc) wantedBy timerConfig; }")
    assert timer == {
        "wantedBy": ["timers.target"],
        "timerConfig": {"OnCalendar": "daily", "Persistent": True, "RandomizedDelaySec": "1h"},
    }
    assert host.value("config.systemd.services.atticd-gc.restartIfChanged") is False


def test_attic_programs_are_installed(host: t.Any) -> None:
    names = host.value("map (p: p.pname or (lib.getName p)) config.environment.systemPackages")
    assert {"attic-server", "attic-client"} <= set(names)


def test_opnix_fetches_the_server_environment(host: t.Any) -> None:
    got = host.value("{ inherit (config.services.onepassword-secrets) enable tokenFile secrets; }")
    assert got["enable"] is True
    assert got["tokenFile"] == "/etc/opnix-token"
    secret = got["secrets"]["atticEnvironment"]
    assert secret["reference"] == "op://pantherOS/Attic-server/environment"
    assert (secret["owner"], secret["group"], secret["mode"]) == ("root", "root", "0400")
    assert secret["services"] == ["atticd"]


def test_a_new_version_of_a_secret_changes_the_unit_that_fetches_it(host: t.Any) -> None:
    unit = 'config.systemd.units."opnix-secrets.service".text'
    before = host.value(unit)
    secret = {"reference": "op://pantherOS/Attic-server/environment", "services": ["atticd"], "version": 7}
    host.settings("opnix", secrets={"atticEnvironment": secret})
    assert host.value(unit) != before


def test_caddy_proxies_the_domain(host: t.Any) -> None:
    got = host.value("{ inherit (config.services.caddy) enable globalConfig virtualHosts; }")
    assert got["enable"] is True
    assert got["globalConfig"].startswith("email admin@hbohlen.systems\n")
    assert "acme_ca" not in got["globalConfig"]
    site = got["virtualHosts"]["cache.hbohlen.systems"]
    assert "\nreverse_proxy 127.0.0.1:8080 {\n" in site["extraConfig"]
    assert "response_header_timeout 1h" in site["extraConfig"]
    assert "max_size" not in site["extraConfig"]


def test_caddy_trusts_a_private_acme_authority(host: t.Any) -> None:
    host.settings("caddy", acmeCa="https://acme.test/acme/local/directory", acmeCaRoot="/etc/acme/root.pem")
    lines = host.value("config.services.caddy.globalConfig").split("\n")
    assert {"acme_ca https://acme.test/acme/local/directory", "acme_ca_root /etc/acme/root.pem"} <= set(lines)


def test_firewall_lets_https_in_and_nothing_of_attic(host: t.Any) -> None:
    got = host.value("{ inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts; }")
    assert {80, 443} <= set(got["allowedTCPPorts"])
    assert 443 in got["allowedUDPPorts"]
    assert 8080 not in got["allowedTCPPorts"]

    host.settings("caddy", openFirewall=False)
    assert 443 not in host.value("config.networking.firewall.allowedTCPPorts")


def test_firewall_follows_the_ports_of_caddy(host: t.Any) -> None:
    host.configure('{ services.caddy.globalConfig = "http_port 8081\\nhttps_port 8443"; }')
    got = host.value("{ inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts; }")
    assert {8081, 8443} <= set(got["allowedTCPPorts"])
    assert {80, 443}.isdisjoint(got["allowedTCPPorts"])
    assert 8443 in got["allowedUDPPorts"]


def test_dumps_have_a_unit_and_a_timer_of_their_own(host: t.Any) -> None:
    assert host.value("config.services.postgresqlBackup.enable") is False
    unit = host.value("""{ inherit (config.systemd.services.nixci-backup-atticd)
      after wants script restartIfChanged environment serviceConfig unitConfig; }""")
    assert {"postgresql.service", "postgresql.target", "nixci-postgresql.service"} <= set(unit["after"])
    assert unit["wants"] == ["postgresql.service"]
    assert unit["restartIfChanged"] is False
    assert unit["unitConfig"]["RequiresMountsFor"] == "/var/backup/nixci"
    assert (unit["serviceConfig"]["Type"], unit["serviceConfig"]["User"]) == ("oneshot", "postgres")
    assert unit["environment"]["PGHOST"] == "/run/postgresql"
    assert "cd /var/backup/nixci\n" in unit["script"]
    assert "-mmin +43200" in unit["script"]
    timer = host.value("{ inherit (config.systemd.timers.nixci-backup-atticd) wantedBy timerConfig; }")
    assert timer["wantedBy"] == ["timers.target"]
    assert timer["timerConfig"]["Persistent"] is True
    assert timer["timerConfig"]["OnCalendar"] in ("*-*-* 02:30:00", ["*-*-* 02:30:00"])


def test_copies_off_the_host_run_as_root_with_few_rights_and_without_secrets_in_the_store(host: t.Any) -> None:
    assert host.value("config.systemd.services ? nixci-offsite") is False
    storage = {"endpoint": "https://s3.eu-central-003.backblazeb2.com", "region": "eu-central-003", "bucket": "copies"}
    host.settings("backup", offsite=storage)
    got = host.value("""{ inherit (config.systemd.services.nixci-offsite) after serviceConfig restartIfChanged;
      timer = config.systemd.timers.nixci-offsite.timerConfig;
      inherit (config.nixci.checks) units;
      programs = map (p: p.text)
        (lib.filter (p: lib.elem (p.name or "") [ "nixci-backup" "nixci-restore" ]) config.environment.systemPackages); }""")
    assert {"opnix-secrets.service", "nixci-backup-atticd.service"} <= set(got["after"])
    assert got["restartIfChanged"] is False
    service = got["serviceConfig"]
    assert "User" not in service and service["CapabilityBoundingSet"] == ["CAP_DAC_READ_SEARCH"]
    assert service["ProtectSystem"] == "strict" and service["TimeoutStartSec"] == "2h"
    assert got["timer"]["OnCalendar"] in ("*-*-* 03:30:00", ["*-*-* 03:30:00"]) and got["timer"]["Persistent"] is True
    assert "nixci-offsite.timer" in got["units"]
    backup, restore = got["programs"]
    for text in (each.replace("'", "") for each in (backup, restore)):  # older libraries quote everything
        assert "export NIXCI_OFFSITE=/var/lib/opnix/secrets/backupEnvironment\n" in text
        assert "export RESTIC_REPOSITORY=s3:https://s3.eu-central-003.backblazeb2.com/copies\n" in text
        assert "export NIXCI_ATTIC=atticd\n" in text and "export PGHOST=/run/postgresql\n" in text
    host.settings("backup", offsite={**storage, "environmentFile": "/nix/store/secret.env"})
    assert "offsite.environmentFile is in the Nix store" in host.refusal()


def test_ansible_finds_a_python_that_gives_way_to_the_hosts_own(host: t.Any) -> None:
    got = host.value(
        'map (p: p.meta.priority or 5) (lib.filter (p: lib.getName p == "python3") config.environment.systemPackages)'
    )
    assert got == [100]


def test_a_release_that_is_too_old_is_refused(host: t.Any) -> None:
    supported = json.loads((host.folder / "nixci/modules/supported.json").read_text())
    supported["nixos"]["minimum"] = "99.05"
    (host.folder / "nixci/modules/supported.json").write_text(json.dumps(supported))
    assert "need 99.05 or later" in host.refusal()


def test_a_release_that_is_too_new_is_a_warning(host: t.Any) -> None:
    supported = json.loads((host.folder / "nixci/modules/supported.json").read_text())
    supported["nixos"] |= {"minimum": "20.03", "newest": "20.09"}
    (host.folder / "nixci/modules/supported.json").write_text(json.dumps(supported))
    assert any("is newer than 20.09" in text for text in host.value("config.warnings"))


def test_manifest_names_every_file_by_its_hash(host: t.Any) -> None:
    manifest = json.loads(host.value('config.environment.etc."nixci/manifest.json".text'))
    ours = host.folder / "nixci"
    assert manifest.pop("revision") is None
    assert manifest.pop("access").keys() == {"ssh", "firewall", "users", "sudo", "authorizedKeysFiles"}
    assert manifest == {
        "version": "0.1.0",
        "hostName": "hetzner-vps",
        "checks": host.value("config.nixci.checks"),
        "files": {
            str(path.relative_to(ours)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in ours.rglob("*")
            if path.is_file()
        },
    }
