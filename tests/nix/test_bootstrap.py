# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in to a host with settings/bootstrap.json, and what is refused instead of locking somebody out."""

from __future__ import annotations

import json
import typing as t

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBootstrapExampleKeyOfTheDocumentation0000000 you@laptop"
LOGINS = """{
  inherit (config.services.openssh) enable;
  ssh = { inherit (config.services.openssh.settings) PasswordAuthentication KbdInteractiveAuthentication PermitRootLogin; };
  keys = lib.mapAttrs (_: user: user.openssh.authorizedKeys.keys) {
    inherit (config.users.users) root;
    deploy = config.users.users.deploy or config.users.users.root;
  };
  sudo = lib.filter (rule: rule.users == [ "deploy" ]) config.security.sudo.extraRules;
  wheel = config.users.users.deploy.extraGroups or [ ];
  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
}"""


def bootstrap(host: t.Any, own: str = "{ }", **settings: t.Any) -> t.Any:
    host.without("attic", "backup", "caddy", "opnix", "postgresql")
    host.settings("bootstrap", keys=[KEY], **settings)
    host.configure(own)
    return host.value(LOGINS)


def test_a_user_with_a_key_and_nobody_with_a_password(host: t.Any) -> None:
    found = bootstrap(host)
    assert found["failed"] == [] and found["enable"]
    assert found["ssh"] == {
        "PasswordAuthentication": False,
        "KbdInteractiveAuthentication": False,
        "PermitRootLogin": "prohibit-password",
    }
    assert found["keys"] == {"root": [], "deploy": [KEY]} and found["wheel"] == []
    (rule,) = found["sudo"]
    assert json.dumps(rule["commands"]) == '[{"command": "ALL", "options": ["NOPASSWD"]}]'


def test_root_with_a_key(host: t.Any) -> None:
    found = bootstrap(host, user="root")
    assert found["failed"] == [] and found["sudo"] == []
    assert found["keys"] == {"root": [KEY], "deploy": [KEY]}, "deploy stands for root here, as no such user exists"


@pytest.mark.parametrize("own", ["{ users.mutableUsers = false; }", "{ security.sudo.execWheelOnly = true; }"])
def test_what_nixos_demands_of_somebody_who_may_become_root(host: t.Any, own: str) -> None:
    assert bootstrap(host, own)["wheel"] == ["wheel"]


@pytest.mark.parametrize(
    ("own", "settings", "says"),
    [
        ("{ services.openssh.settings.PasswordAuthentication = true; }", {}, "wants services.openssh.settings.PasswordAuthentication to be false"),
        ("{ services.openssh.settings.KbdInteractiveAuthentication = true; }", {}, "KbdInteractiveAuthentication to be false"),
        ('{ services.openssh.settings.PermitRootLogin = "yes"; }', {"rootLogin": "no"}, 'PermitRootLogin to be "no"'),
        ("{ }", {"user": "root", "rootLogin": "no"}, "set bootstrap_root_login to keys"),
    ],
)  # fmt: skip
def test_a_contradiction_is_one_sentence_with_both_files(host: t.Any, own: str, settings: t.Any, says: str) -> None:
    (message,) = bootstrap(host, own, **settings)["failed"]
    assert says in message and "settings/bootstrap.json" in message
    assert own == "{ }" or "own.nix" in message


def test_the_hosts_own_root_login_stays_where_nothing_else_is_said(host: t.Any) -> None:
    """Without passwords, "yes" means keys as well."""
    found = bootstrap(host, '{ services.openssh.settings.PermitRootLogin = "yes"; }')
    assert found["failed"] == [] and found["ssh"]["PermitRootLogin"] == "yes"


@pytest.mark.parametrize(
    "key",
    ["", "AAAAC3NzaC1lZDI1NTE5", 'command="id" ssh-ed25519 AAAA', "ssh-ed25519 AAAA\nssh-ed25519 BBBB", "ssh-dss AAAA"],
)
def test_what_is_no_key_is_refused(host: t.Any, key: str) -> None:
    host.settings("bootstrap", keys=[key])
    assert "nixci.bootstrap.keys" in host.refusal()
