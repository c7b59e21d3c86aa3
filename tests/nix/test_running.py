# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of the modules do their work on a host, beside the host's own PostgreSQL and Caddy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host

from .conftest import ROOT

SITE = "cache.example.net"
SETTINGS = {
    "nixos": {"collectionVersion": "1.2.3"},
    "postgresql": {"databases": ["atticd"]},
    "backup": {"databases": ["atticd"], "startAt": "*-*-* 02:30:00", "location": "/srv/dumps", "keepDays": 30},
    "caddy": {"sites": {SITE: {"upstream": "127.0.0.1:8080"}}, "email": "ours@example.net"},
}
OWN = """
  networking.hostName = "standin";
  services.postgresql = {
    enable = true;
    ensureDatabases = [ "notes" ];
    ensureUsers = [ { name = "notes"; ensureDBOwnership = true; } ];
    settings.port = 5439;
    settings.unix_socket_directories = "/tmp, /run/postgresql";
  };
  services.postgresqlBackup.enable = true;
  systemd.services.postgresqlBackup.environment.PGPORT = "5439";
  services.caddy = { enable = true; globalConfig = "email theirs@example.net"; };
  users.users.atticd = { isSystemUser = true; group = "atticd"; };
  users.groups.atticd = { };
"""
JOINED = f"imports = [ ./nixci/modules ];\n{OWN}"


def sql(host: Host, query: str, user: str = "postgres", database: str = "postgres") -> str:
    return host.out(f'runuser -u {user} -- psql -h /run/postgresql -p 5439 -d {database} -qtA -c "{query}"')


def dumps(host: Host) -> list[str]:
    return host.out("ls -A /srv/dumps").split()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host whose C library was updated: template1 cannot be copied until its administrator refreshes it."""
    host = Host(lab_image())
    try:
        host.wait()
        host.switch(OWN)
        sql(host, "UPDATE pg_database SET datcollversion = '0' WHERE datname = 'template1'")
        assert "collation version" in host.sh("runuser -u postgres -- createdb -h /run/postgresql -p 5439 x").stderr
        host.out("mkdir -p /etc/nixos/nixci")
        host.copy(ROOT / "nix/modules", "/etc/nixos/nixci/modules")
        for role, settings in SETTINGS.items():
            host.put(f"/etc/nixos/nixci/settings/{role}.json", json.dumps({role: settings}))
        host.switch(JOINED)
        yield host
    finally:
        host.remove()


def test_the_database_exists_and_its_owner_can_use_it(host: Host) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS cache (name text)", "atticd", "atticd")
    assert "notes" in sql(host, "SELECT datname FROM pg_database")
    assert host.out("systemctl is-active postgresql postgresql-setup nixci-postgresql").split() == ["active"] * 3


def test_the_database_is_looked_at_again_when_postgresql_returns(host: Host) -> None:
    host.out("systemctl stop postgresql")
    assert host.sh("systemctl is-active nixci-postgresql").stdout.strip() == "inactive"
    host.out("systemctl start postgresql")
    host.out("for _ in $(seq 100); do systemctl is-active -q nixci-postgresql && exit 0; sleep 0.1; done; exit 1")
    assert host.switch(JOINED)


def test_a_database_of_somebody_else_is_not_taken(host: Host) -> None:
    sql(host, "ALTER DATABASE atticd OWNER TO notes")
    assert host.sh("systemctl restart nixci-postgresql").returncode != 0
    assert "The database atticd belongs to notes and not to atticd." in host.out("journalctl -u nixci-postgresql")
    assert host.out("systemctl is-active postgresql") == "active"
    sql(host, "ALTER DATABASE atticd OWNER TO postgres")
    host.out("systemctl restart nixci-postgresql")
    assert sql(host, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'atticd'") == "atticd"


def test_a_dump_is_private_dated_and_can_be_restored(host: Host) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS cache (name text); TRUNCATE cache", "atticd", "atticd")
    sql(host, "INSERT INTO cache VALUES ('main')", "atticd", "atticd")
    host.out("systemctl start nixci-backup-atticd.service")
    [name] = dumps(host)
    assert re.fullmatch(r"atticd-\d{8}T\d{6}Z\.dump", name)
    assert host.out(f"stat -c '%U %a' /srv/dumps /srv/dumps/{name}") == "postgres 700\npostgres 600"

    # What nixci-restore does is in tests/contract/test_backup.py.
    host.out("runuser -u postgres -- dropdb -h /run/postgresql -p 5439 atticd")
    host.out("runuser -u postgres -- createdb -h /run/postgresql -p 5439 --template=template0 --owner=atticd atticd")
    host.out(f"runuser -u postgres -- pg_restore -h /run/postgresql -p 5439 --dbname=atticd /srv/dumps/{name}")
    assert sql(host, "SELECT name FROM cache", "atticd", "atticd") == "main"


def test_old_dumps_go_after_a_successful_one_only(host: Host) -> None:
    old = "/srv/dumps/atticd-20200101T000000Z.dump"
    former = "/var/backup/postgresql/atticd-20200101T000000Z.sql.zstd"
    kept = "/srv/dumps/atticd-20200102T000000Z.dump /srv/dumps/atticd-mine.dump /srv/dumps/notes-20200101T000000Z.dump"
    host.out(f"mkdir -p /var/backup/postgresql; chown postgres /var/backup/postgresql; touch {old} {former} {kept}")
    host.out(f"touch -d '31 days ago' {old} {former} /srv/dumps/*mine* /srv/dumps/notes*")
    sql(host, "ALTER DATABASE atticd RENAME TO away")
    before = dumps(host)
    assert host.sh("systemctl start nixci-backup-atticd.service").returncode != 0
    assert [name for name in dumps(host) if name.endswith(".dump")] == [n for n in before if n.endswith(".dump")]
    sql(host, "ALTER DATABASE away RENAME TO atticd")

    host.out("systemctl start nixci-backup-atticd.service")
    assert host.sh(f"ls {old} {former}").stdout == ""
    host.out(f"ls {kept}")
    assert not [name for name in dumps(host) if "partial" in name]


def test_the_host_dumps_as_before(host: Host) -> None:
    host.out("systemctl start postgresqlBackup.service")
    assert "all.sql.gz" in host.out("ls /var/backup/postgresql")


def test_caddy_uses_the_contact_of_the_host(host: Host) -> None:
    adapted = host.out("caddy adapt --adapter caddyfile --config /etc/caddy/caddy_config 2>/dev/null")
    assert "theirs@example.net" in adapted
    assert "ours@example.net" not in adapted
    assert SITE in adapted


def test_a_site_that_only_caddy_sees_twice_fails_the_build(host: Host) -> None:
    """The address comes from a default inside a placeholder."""
    current = host.current()
    host.configure(JOINED + f'services.caddy.extraConfig = "{{$HOST:{SITE}}} {{\\n  respond mine\\n}}\\n";')
    done = host.rebuild("switch")
    assert done.returncode != 0
    assert "nixci: Caddy has the same site twice" in done.stderr
    assert "services.caddy in the host's own configuration another site" in done.stderr
    assert host.current() == current


def test_a_caddyfile_that_is_complete_on_the_host_only_can_be_built(host: Host) -> None:
    host.put("/etc/caddy-sites/one", "http://one.example.net {\n  respond one\n}\n")
    # The site has a certificate of its own, because this host has no authority.
    host.switch(
        JOINED
        + f"""services.caddy = {{ extraConfig = "import /etc/caddy-sites/one"; virtualHosts."{SITE}".extraConfig = "tls internal"; }};"""
    )


def test_caddy_logs_a_miss_while_nothing_runs_behind_it(host: Host) -> None:
    url = f"--resolve {SITE}:443:127.0.0.1 https://{SITE}/main/0123.narinfo?token=secret"
    host.out(f"for i in $(seq 100); do curl -sk -o /dev/null {url} && exit; sleep 0.1; done; exit 1")
    assert host.out(f"stat -c %U /var/log/caddy/access-{SITE}.log") == "caddy"
    rate = host.out("/run/current-system/sw/bin/nixci-hit-rate").splitlines()
    assert rate[1].split()[1:] == ["main", "-", "0", "0", "1", "0"]
    assert "secret" not in host.out("cat /var/log/caddy/*; journalctl -u caddy")
    assert "caddy_http_requests_total" in host.out("curl -s http://localhost:2019/metrics")


def test_python_is_installed(host: Host) -> None:
    assert host.out("/run/current-system/sw/bin/python3 -c 'print(1)'") == "1"


def test_the_manifest_names_the_host(host: Host) -> None:
    assert json.loads(host.out("cat /etc/nixci/manifest.json"))["hostName"] == "standin"
