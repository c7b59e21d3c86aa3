# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_check and opnix_token on the lab's host: PostgreSQL, systemd, sockets and OpNix are there, the user's mistakes too."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import pytest

from tests.support.nixos_host import Host

from .nixos_module import install, module
from .test_nixos_opnix import Vault, vault

__all__ = ["vault"]

# A server of our kind (dynamic user, a database of its own, a port), its dump, and what the user's own configuration adds.
SERVER = """
  services.postgresql = { enable = true; ensureDatabases = [ "atticd" ]; ensureUsers = [ { name = "atticd"; ensureDBOwnership = true; } ];
    AUTHENTICATION };
  systemd.services.atticd = { wantedBy = [ "multi-user.target" ]; after = [ "postgresql.service" ]; path = [ pkgs.python3 ];
    script = "exec COMMAND";
    serviceConfig = { DynamicUser = true; User = "atticd"; WorkingDirectory = "/"; }; };
  systemd.services.nixci-backup-atticd = { after = [ "postgresql.service" ]; path = [ config.services.postgresql.package ];
    script = ''
      mkdir -p -m 0700 /var/lib/postgresql/dumps; cd /var/lib/postgresql/dumps
      pg_dump --no-password --format=custom --file=partial atticd
      mv partial "atticd-$(date --utc +%Y%m%dT%H%M%SZ).dump"
    ''; serviceConfig = { Type = "oneshot"; User = "postgres"; }; };
"""
P1 = r"""identMap = lib.mkForce "m root postgres\nm postgres postgres\nm /^(.*)$ \\1";
  authentication = lib.mkForce "local sameuser all peer map=m";"""
P2 = r"""identMap = lib.mkForce "site api api\nsite postgres postgres"; authentication = lib.mkForce "local all all peer map=site";"""
CHECKS: dict[str, t.Any] = {
    "units": ["atticd.service"],
    "databases": {"atticd": "atticd"},
    "logins": {"atticd.service": "postgresql://atticd@localhost/atticd?host=/run/postgresql"},
    "urls": [{"url": "http://127.0.0.1:8080/", "unit": "atticd.service"}],
    "dumps": [
        {
            "database": "atticd",
            "unit": "nixci-backup-atticd.service",
            "folder": "/var/lib/postgresql/dumps",
            "timeout": 60,
        }
    ],
    "timeout": 8,
}


@pytest.fixture(scope="module")
def server(nixos: Host) -> Iterator[Host]:
    install(nixos)
    nixos.sh("rm -rf /var/lib/postgresql/dumps")
    yield nixos
    nixos.switch("")


LISTEN = "python3 -m http.server --bind 127.0.0.1 8080"


def switch(host: Host, authentication: str = "", command: str = LISTEN, more: str = "") -> None:
    # Long enough after the last dump for another name, and for the second that the file system may round down.
    host.out("sleep 1.1")
    host.switch(SERVER.replace("AUTHENTICATION", authentication).replace("COMMAND", command) + more)


def test_a_server_that_works_passes_and_is_dumped_once(server: Host) -> None:
    switch(server)
    first = module(server, "nixos_check", **CHECKS)
    assert not first["failed"], first
    assert first["dumps"]["atticd"]["made"]
    again = module(server, "nixos_check", **CHECKS)
    assert again["dumps"] == {"atticd": {**first["dumps"]["atticd"], "made": False}}


def test_a_dump_that_pg_hba_refuses_is_seen_at_once(server: Host) -> None:
    """`sameuser` lets atticd in, and nobody else into its database."""
    switch(server)
    assert not module(server, "nixos_check", **CHECKS)["failed"]
    switch(server, P1)
    refused = module(server, "nixos_check", **CHECKS)
    assert "nixci-backup-atticd.service cannot dump the database 'atticd'" in refused["msg"], refused
    assert "pg_hba.conf" in refused["msg"]


def test_a_login_that_the_map_of_users_refuses_is_seen(server: Host) -> None:
    switch(server, P2)
    refused = module(server, "nixos_check", **CHECKS)
    assert "The user of atticd.service cannot log in to PostgreSQL" in refused["msg"], refused
    assert "cannot dump" not in refused["msg"]


def test_a_container_on_the_port_is_not_taken_for_the_server(server: Host) -> None:
    other = """systemd.services.docker-app = { wantedBy = [ "multi-user.target" ]; path = [ pkgs.python3 ];
        script = "exec python3 -m http.server --bind 0.0.0.0 8080"; };"""
    switch(server, command="sleep infinity", more=other)
    server.out("until curl --silent --fail http://127.0.0.1:8080/ >/dev/null; do sleep 0.1; done")
    refused = module(server, "nixos_check", **CHECKS)
    assert "127.0.0.1:8080 belongs to python3 (process " in refused["msg"], refused
    assert "docker-app.service) instead of atticd.service" in refused["msg"]


def test_a_damaged_dump_is_told(server: Host) -> None:
    switch(server)
    path = module(server, "nixos_check", **CHECKS)["dumps"]["atticd"]["path"]
    server.out(f"truncate --size=10 {path}; touch {path}")
    assert f"The dump {path} cannot be read: pg_restore: error" in module(server, "nixos_check", **CHECKS)["msg"]


OWN = """services.onepassword-secrets = { enable = true; tokenFile = "/persist/opnix-token"; outputDir = "/run/opnix";
  secrets.mail.reference = "op://pantherOS/Attic/SECOND"; secrets.greeting.reference = "op://pantherOS/Attic/greeting"; };"""


def test_a_token_is_tested_with_the_built_systems_own_opnix(server: Host, vault: Vault) -> None:
    """Before the switch, where the host says, and never in place of another one."""
    server.out("rm -rf /persist /run/opnix; mkdir /persist")
    server.configure(OWN.replace("SECOND", "nothing"))
    server.out("cd /root && nixos-rebuild build")
    system = server.out("readlink -f /root/result")
    refused = module(server, "opnix_token", token=vault.token, system=system)
    assert refused["unreadable"] == ["op://pantherOS/Attic/nothing"], refused
    assert server.sh("ls /persist/* /run/nixci-opnix-*").stdout == ""

    server.configure(OWN.replace("SECOND", "greeting"))
    server.out("cd /root && nixos-rebuild build")
    system = server.out("readlink -f /root/result")
    written = module(server, "opnix_token", token=f"{vault.token}\n", system=system)
    assert written["changed"] and written["token_file"] == "/persist/opnix-token", written
    server.out("nixos-rebuild switch")
    assert server.out("cat /run/opnix/greeting /run/opnix/mail") == "hellohello"
    assert server.out("stat -c '%U:%G %a' /persist/opnix-token") == "root:onepassword-secrets 640"
    assert not module(server, "opnix_token", token=vault.token, system=system)["changed"]

    other = module(server, "opnix_token", token="ops_another", system=system)
    assert "holds another token" in other["msg"]
    server.put("/persist/opnix-token", "ops_of-the-user")
    replaced = module(server, "opnix_token", token=vault.token, system=system, replace=True)
    assert replaced["changed"] and replaced["refresh"], replaced
    assert server.out("cat /persist/opnix-token.previous") == "ops_of-the-user"
    assert server.out("stat -c '%U:%G %a' /persist/opnix-token") == "root:onepassword-secrets 640"
    vault.put("good evening")
    assert module(server, "opnix_token", refresh=True)["changed"]
    assert server.out("cat /run/opnix/greeting") == "good evening"
    assert not module(server, "opnix_token", refresh=True)["changed"]


# Each fails in its own way.
TRIAL = """
  systemd.services.trial = { wantedBy = [ "multi-user.target" ]; script = "COMMAND"; serviceConfig = { MORE }; };
"""


@pytest.mark.parametrize(
    ("command", "more", "decisive"),
    [
        ("sleep 600", "", []),
        ("exit 1", "", ["unit trial.service"]),
        ("sleep 0.5; exit 1", 'Restart = "always"; RestartSec = "1";', ["unit trial.service"]),
        ("sleep 3; exit 1", 'Restart = "always"; RestartSec = "1";', ["unit trial.service"]),
        ("true", 'Type = "oneshot";', []),
        ("exit 1", 'Type = "oneshot";', ["unit trial.service"]),
    ],
)
def test_a_change_that_does_not_come_up_is_seen(server: Host, command: str, more: str, decisive: list[str]) -> None:
    """As systemd itself reports it: failed for good, in a loop of restarts, or a task that has ended."""
    server.configure(TRIAL.replace("COMMAND", command).replace("MORE", more))
    server.rebuild("switch")  # ends with 1 for some of them
    result = module(server, "nixos_check", changed_units=["trial.service"], steady=5, grace=4)
    assert [one["check"] for one in result["failures"] if one["decisive"]] == decisive, result
    assert result["failed"] is bool(decisive)


def test_a_unit_that_failed_for_good_is_not_waited_for(server: Host) -> None:
    server.configure(TRIAL.replace("COMMAND", "exit 1").replace("MORE", ""))
    server.rebuild("switch")
    result = module(server, "nixos_check", changed_units=["trial.service"], grace=600)
    assert "Failed, and nothing starts them again: trial.service" in result["msg"]
    ignored = module(server, "nixos_check", changed_units=[], grace=600)
    assert not ignored["failed"] and "trial.service" in ignored["ignored"]
