# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of the server reaches its configuration, which the server accepts: the double, and the real one where LAB_ATTICD names it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import pytest

from lab.attic import config as double
from tests.contract.atticd import to_toml

URL = "postgresql://atticd@db.example.org/atticd?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem"
LOCAL = {"type": "local", "path": "/var/lib/atticd/storage"}
KEYS = ("ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64", "ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64")


def accepted(settings: dict[str, t.Any], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is never part of the configuration, so HS256 differs from RS256 in the environment only."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(KEYS[0], "YSBzZWNyZXQ=")
    toml = to_toml(settings)
    double.parse(toml)
    if server := os.environ.get("LAB_ATTICD"):
        file = folder / "server.toml"
        file.write_text(toml)
        command = [server, "--mode", "check-config", "-f", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr


def evaluated(host: t.Any) -> tuple[t.Any, t.Any, t.Any]:
    """The server's settings, its unit and what the host checks, of a system that is complete."""
    got = host.value("""builtins.seq config.system.build.toplevel.drvPath {
      inherit (config.services.atticd) settings;
      inherit (config.systemd.services.atticd) serviceConfig environment;
      collector = config.systemd.services.atticd-gc.serviceConfig;
      python = config.environment.etc."nixci/python3".source or null;
      inherit (config.nixci) checks;
    }""")
    return got["settings"], got, got["checks"]


def test_all_options(host: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.settings(
        "attic",
        allowedHosts=["nix.example.org", "cache.example.org:8443"],
        substituterEndpoint="https://cdn.example.org/",
        tokenIssuer="nixci",
        tokenAudiences=["fleet"],
        requireProofOfPossession=False,
        softDeleteCaches=True,
        maxNarInfoSize=4194304,
        databaseHeartbeat=True,
        profile="direct",
        compression={"type": "xz"},
        memoryHigh="1G",
        memoryMax="1500M",
    )
    settings, unit, _ = evaluated(host)
    assert (
        settings.items()
        >= {
            "allowed-hosts": ["cache.hbohlen.systems", "nix.example.org", "cache.example.org:8443"],
            "api-endpoint": "https://cache.hbohlen.systems/",
            "substituter-endpoint": "https://cdn.example.org/",
            "jwt": {"token-bound-issuer": "nixci", "token-bound-audiences": ["fleet"]},
            "require-proof-of-possession": False,
            "soft-delete-caches": True,
            "max-nar-info-size": 4194304,
            "compression": {"type": "xz"},
        }.items()
    )
    assert settings["database"]["heartbeat"] is True
    assert settings["chunking"] == {
        "nar-size-threshold": 0,
        "min-size": 16384,
        "avg-size": 65536,
        "max-size": 262144,
    }
    for name in ("serviceConfig", "collector"):
        assert (unit[name]["MemoryHigh"], unit[name]["MemoryMax"]) == ("1G", "1500M")
    assert unit["python"].endswith("/bin/python3")
    accepted(settings, tmp_path, monkeypatch)


def test_without_bucket_and_postgresql(host: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.without("postgresql", "backup")
    host.settings("attic", storage=LOCAL, databaseUrl="sqlite:///var/lib/atticd/server.db?mode=rwc")
    settings, unit, checks = evaluated(host)
    assert settings["storage"] == LOCAL
    assert settings["database"]["url"].startswith("sqlite:")
    assert "AWS_REGION" not in unit["environment"] and "ExecStartPre" not in unit["serviceConfig"]
    assert unit["python"] is None and checks["logins"] == {}
    assert host.value("config.services.postgresql.enable") is False
    accepted(settings, tmp_path, monkeypatch)


def test_another_postgresql(host: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.without("postgresql", "backup")
    host.settings("attic", databaseUrl=URL)
    settings, unit, checks = evaluated(host)
    assert settings["database"]["url"] == URL
    assert "ExecStartPre" not in unit["serviceConfig"] and checks["logins"] == {}
    accepted(settings, tmp_path, monkeypatch)


def test_a_storage_that_cannot_work_is_refused(host: t.Any) -> None:
    host.settings(
        "attic",
        storage={"type": "local", "bucket": "nars", "path": "/data"},
        compression={"type": "brotli", "level": 12},
        databaseUrl=URL.replace("verify-full", "verify-ca"),
    )
    host.without("postgresql", "backup")
    said = host.refusal()
    file = f"{host.nix_folder}/nixci/settings/attic.json"
    assert f"a storage of the type local has path and nothing else, but {file} sets path, bucket" in said
    assert "/data in" in said and "mount that at /var/lib/private/atticd" in said
    assert "Use sslmode=verify-full" in said
    assert "brotli has no level 12; the highest is 11" in said
    host.settings("attic", storage={}, compression={"type": "zstd"})
    assert f"has endpoint, region, bucket and nothing else, but {file} sets none of it" in host.refusal()


def test_an_own_user_may_have_the_storage_elsewhere(host: t.Any) -> None:
    host.settings("attic", storage={"type": "local", "path": "/data"})
    host.configure('{ users.users.atticd = { isSystemUser = true; group = "atticd"; }; users.groups.atticd = { }; }')
    assert evaluated(host)[1]["serviceConfig"]["ReadWritePaths"] in ("/data", ["/data"])


def test_an_own_value_stays(host: t.Any) -> None:
    host.configure(
        '{ services.atticd.settings.require-proof-of-possession = false; systemd.services.atticd.serviceConfig.MemoryMax = "3G"; }'
    )
    settings, unit, _ = evaluated(host)
    assert settings["require-proof-of-possession"] is False
    assert unit["serviceConfig"]["MemoryMax"] == unit["collector"]["MemoryMax"] == "3G"
