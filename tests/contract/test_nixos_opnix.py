# SPDX-License-Identifier: GPL-3.0-or-later
"""OpNix on the lab's host, fetching from the 1Password double."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from werkzeug.serving import make_server

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.containers import gateway
from tests.support.nixos_host import Host

CONFIGURATION = """
  services.onepassword-secrets = { enable = true; secrets.greeting = {
    reference = "op://pantherOS/Attic/greeting"; mode = "0400"; services = [ "greeter" ]; }; };
  systemd.services.greeter = { wantedBy = [ "multi-user.target" ]; script = "sleep infinity";
    serviceConfig.LoadCredential = "greeting:/var/lib/opnix/secrets/greeting"; };
"""
FILE = "/var/lib/opnix/secrets/greeting"
RESTART = "systemctl reset-failed opnix-secrets; systemctl restart opnix-secrets"


class Vault:
    def __init__(self, address: str) -> None:
        accounts: dict[str, dict[str, dict[str, str]]] = {}
        self.double = OnePasswordDouble({"pantherOS": {"Attic": {"greeting": "hello"}}}, service_accounts=accounts)
        self.server = make_server(address, 0, self.double.app, threaded=True)
        self.token = service_account_token(f"http://{address}:{self.server.server_port}")
        accounts[self.token] = {"vaults": {"pantherOS": "read"}}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, value: str) -> None:
        [item] = next(iter(self.double.items.values())).values()
        next(field for field in item["fields"] if field["label"] == "greeting")["value"] = value


@pytest.fixture
def vault(nixos: Host) -> Iterator[Vault]:
    vault = Vault(gateway())
    nixos.sh("rm -rf /etc/opnix-token /var/lib/opnix")
    nixos.sh("systemctl stop opnix-secrets greeter; systemctl reset-failed")
    yield vault
    vault.server.shutdown()
    vault.server.server_close()


def test_value_arrives_and_a_new_one_restarts_the_service(nixos: Host, vault: Vault) -> None:
    nixos.put("/etc/opnix-token", vault.token)
    nixos.switch(CONFIGURATION)
    assert nixos.out(f"cat {FILE}") == "hello"
    assert nixos.out(f"stat -c '%U:%G %a' {FILE}") == "root:root 400"
    assert nixos.out("stat -c '%U:%G %a' /etc/opnix-token") == "root:onepassword-secrets 640"
    pid = nixos.out("systemctl show --property=MainPID --value greeter")
    nixos.out(RESTART)
    assert nixos.out("systemctl show --property=MainPID --value greeter") == pid
    vault.put("good evening")
    nixos.out(f"{RESTART}; while systemctl list-jobs | grep -q greeter; do sleep 0.1; done")
    assert nixos.out(f"cat {FILE}") == "good evening"
    assert nixos.out("systemctl show --property=MainPID --value greeter") != pid


def test_absent_token_is_a_warning_and_an_empty_one_an_error(nixos: Host, vault: Vault) -> None:
    body = CONFIGURATION.replace('wantedBy = [ "multi-user.target" ];', "")
    done = nixos.switch(body)
    assert nixos.out("systemctl is-active opnix-secrets") == "active", done.stderr
    assert "WARNING: Token file /etc/opnix-token does not exist!" in nixos.out("journalctl -u opnix-secrets")
    nixos.put("/etc/opnix-token", "")
    assert nixos.sh(RESTART).returncode == 1
    assert "ERROR: Token file is empty!" in nixos.out("journalctl -u opnix-secrets")
    nixos.sh("systemctl stop opnix-secrets; systemctl reset-failed")


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (
            {"reference": "op://pantherOS/Attic/nothing"},
            65,
            "  - missing_reference for op://pantherOS/Attic/nothing: fieldNotFound",
        ),
        ({"reference": "op://pantherOS"}, 65, "invalid reference"),
        ({"owner": "nobody-here"}, 1, "the owner nobody-here of second does not exist"),
        ({"path": "/etc/shadow"}, 1, "the path /etc/shadow is not allowed"),
        ({"mode": "0666"}, 1, "lets everybody write"),
    ],
)
def test_no_secret_is_written_if_one_is_wrong(
    nixos: Host, vault: Vault, change: dict[str, str], status: int, message: str
) -> None:
    good = {"path": "first", "reference": "op://pantherOS/Attic/greeting"}
    nixos.put("/root/config.json", json.dumps({"secrets": [good, {**good, "path": "second", **change}]}))
    nixos.put("/root/token", vault.token)
    done = nixos.sh("opnix secret -token-file /root/token -config /root/config.json -output /root/secrets")
    assert done.returncode == status
    assert message in done.stderr
    assert nixos.sh("test -e /root/secrets/first").returncode == 1


def test_unknown_token_and_rate_limit(nixos: Host, vault: Vault) -> None:
    good = {"path": "first", "reference": "op://pantherOS/Attic/greeting"}
    nixos.put("/root/config.json", json.dumps({"secrets": [good]}))
    ask = "opnix secret -token-file /root/token -config /root/config.json -output /root/secrets"
    nixos.put("/root/token", vault.token)
    vault.double.app.faults.append({"status": 429})
    assert nixos.sh(ask).returncode == 75
    vault.double.service_accounts.clear()
    refused = nixos.sh(ask)
    assert refused.returncode == 1
    assert "Failed to create 1Password SDK client - check token validity" in refused.stderr
    assert vault.token not in refused.stderr


def test_setting_a_token_requires_its_options_first(nixos: Host) -> None:
    assert nixos.sh("echo abc | opnix token -path /root/new set").returncode == 0
    assert nixos.out("cat /root/new; stat -c ' %a' /root/new") == "abc 600"
    assert nixos.sh("printf abc | opnix token -path /root/new set").returncode == 1


def test_all_unreadable_references_are_listed(nixos: Host, vault: Vault) -> None:
    references = ["op://pantherOS/Attic/nothing", "op://pantherOS/Attic/greeting", "op://Private/mail/password"]
    secrets = [{"path": str(number), "reference": reference} for number, reference in enumerate(references)]
    nixos.put("/root/config.json", json.dumps({"secrets": secrets}))
    nixos.put("/root/token", vault.token)
    done = nixos.sh("opnix secret -token-file /root/token -config /root/config.json -output /root/secrets")
    assert done.returncode == 65
    assert "missing references: 2" in done.stderr
    assert "missing_reference for op://Private/mail/password: vaultNotFound" in done.stderr
    assert "greeting" not in done.stderr


@pytest.mark.parametrize(("release", "blocked"), [("0.8.0", True), ("0.11.0", False)])
def test_old_releases_wait_for_the_service_that_waits_for_them(
    nixos: Host, vault: Vault, release: str, blocked: bool
) -> None:
    """brizzbuzz/opnix#44: a service that is ordered after OpNix is restarted while OpNix' own unit is starting."""
    waiting = CONFIGURATION.replace('"greeting:/var/lib/opnix/secrets/greeting"', '"greeting:/etc/hostname"')
    nixos.switch(f'{waiting} lab.opnixVersion = "{release}";')  # there is no token yet
    assert nixos.out("systemctl is-active opnix-secrets greeter") == "active\nactive"
    nixos.put("/etc/opnix-token", vault.token)
    nixos.sh("systemctl reset-failed; systemctl restart --no-block opnix-secrets")
    try:
        finished = nixos.sh(
            f"timeout 4 bash -c 'until [ -e {FILE} ] && ! systemctl list-jobs | grep -q opnix; do sleep 0.1; done'"
        )
        assert (finished.returncode == 124) is blocked
        assert nixos.out(f"cat {FILE}") == "hello"
    finally:
        nixos.sh(
            "systemctl stop --no-block greeter opnix-secrets; systemctl kill --signal=KILL opnix-secrets; systemctl cancel"
        )
        nixos.sh("systemctl reset-failed")
