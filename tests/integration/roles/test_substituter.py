# SPDX-License-Identifier: GPL-3.0-or-later
"""The role caches stores what hosts need in 1Password, and the role substituter contributes it."""

from __future__ import annotations

import base64
import json
import pathlib
import typing as t

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.playbook import Played, play
from tests.support.serving import serving

CONNECT = "canary-connect-token"
TOKEN = "canary-read-token"
KEYS = {
    "public-cache": "public-cache:x8mGHmcDROzZg2lGcLEfrOSYXqf0E5rJvHYkBrbmPsk=",
    "ci-cache": "ci-cache:9kMvkTGvZ5dW7sY1Tq0m1bq1o9aQw8c7h6g5f4d3s2A=",
}
URLS = {name: f"https://cache.example.com/{name}" for name in KEYS}
VARIABLES = {
    "nixci_onepassword_vault": "V",
    "nixci_cache_domain": "cache.example.com",
    "attic_environment_file": "/run/a",
}
MADE = {
    "caches_result": {
        "results": [{"item": {"name": name}, "cache": {"public_key": key}} for name, key in KEYS.items()]
    },
    "caches_tokens_result": {
        "changed": False,
        "results": [{"item": {"key": "read-token"}, "token": TOKEN, "claims": {"nbf": 1794700740}}],
    },
}
STORE = {"ansible.builtin.include_role": {"name": "pantheros.nixci.caches", "tasks_from": "hosts"}}
SHOWN = ["_substituter_nixci_settings", "opnix_secrets", "substituter_known"]
HOST: list[dict[str, t.Any]] = [
    {"ansible.builtin.import_role": {"name": f"pantheros.nixci.{name}"}} for name in ("opnix", "substituter")
]
HOST.append({"ansible.builtin.debug": {"msg": f"SHOWN{{{{ [{', '.join(SHOWN)}] | to_json | b64encode }}}}SHOWN"}})


class Vault:
    def __init__(self, folder: pathlib.Path) -> None:
        item = {"ci-token": "canary-ci"}
        self.folder, self.runs = folder, 0
        self.double = OnePasswordDouble(vaults={"V": {"Attic": item}}, tokens={CONNECT: {"vaults": {"V": "write"}}})

    def play(self, tasks: list[dict[str, t.Any]], **variables: t.Any) -> Played:
        self.runs += 1
        with serving(self.double.app) as url:
            access = {"OP_CONNECT_HOST": url, "OP_CONNECT_TOKEN": CONNECT}
            folder = self.folder / str(self.runs)
            everything = {**VARIABLES, **variables}
            done = play(tasks, everything, folder, secrets=[CONNECT, "canary-ci"], environment=access)
        assert done.leaks == []
        return done

    def host(self, **variables: t.Any) -> tuple[t.Any, t.Any, t.Any]:
        """The settings, the secrets of OpNix and the caches."""
        done = self.play(HOST, **variables)
        assert done.returncode == 0, done.output[-4000:]
        return tuple(json.loads(base64.b64decode(done.output.split("SHOWN")[1])))  # type: ignore[return-value]

    def values(self) -> dict[str, str]:
        return self.double.values("V", "Attic")


def test_hosts_learn_of_the_caches_from_1password(tmp_path: pathlib.Path) -> None:
    vault = Vault(tmp_path)
    private = {"substituter_private_caches": ["ci-cache"]}
    # Before the caches exist, a host is deployed without them.
    assert vault.host(**private) == (None, {}, [])

    done = vault.play([STORE, STORE], **MADE)
    assert done.returncode == 0, done.output[-4000:]
    assert "changed=1 " in done.output
    assert json.loads(vault.values()["hosts"]) == {"public_keys": KEYS, "netrc": 1794700740}
    assert vault.values()["netrc"] == f"machine cache.example.com login attic password {TOKEN}\n"
    assert vault.values()["ci-token"] == "canary-ci"

    public = {"url": URLS["public-cache"], "key": KEYS["public-cache"]}
    ci = {"url": URLS["ci-cache"], "key": KEYS["ci-cache"]}
    ordered = [{**public, "priority": 50}, {**ci, "priority": 60}]
    alone = {"substituters": ordered[:1], "netrcFile": None, "client": {}}
    both = {"substituters": ordered, "netrcFile": None, "client": {}}
    assert vault.host() == (alone, {}, [public])
    secret = {"reference": "op://V/Attic/netrc", "version": 1794700740}
    assert vault.host(**private) == (
        both,
        {"substituterNetrc": secret},
        [public, ci],
    )
    # One variable takes all of it out.
    assert vault.host(**private, substituter_enabled=False) == (None, {}, [])
    own = {**private, "substituter_netrc_file": "/run/secrets/netrc"}
    own_client = {"connect_timeout": 2, "fallback": False}
    settings = {**both, "netrcFile": "/run/secrets/netrc", "client": {"connect-timeout": 2, "fallback": False}}
    assert vault.host(**own, substituter_client=own_client) == (settings, {}, [public, ci])
    wanted = [{"name": "ci-cache", "is_public": True}, {"name": "other", "is_public": True}]
    assert vault.host(caches_wanted=wanted)[2] == [ci]


def test_keys_of_the_inventory_need_no_1password(tmp_path: pathlib.Path) -> None:
    key = KEYS["public-cache"]
    _settings, _secrets, known = Vault(tmp_path).host(substituter_public_keys={"public-cache": key})
    assert known == [{"url": URLS["public-cache"], "key": key}]


def test_a_cache_that_cannot_be_used_yet_is_reported(tmp_path: pathlib.Path) -> None:
    vault = Vault(tmp_path)
    done = vault.play(HOST, substituter_caches=["public-cash"])
    assert done.returncode == 0
    assert "public-cash: not used on this host yet" in done.output
    # Without the token that hosts use, a private cache is left out.
    made = {**MADE, "caches_hosts_token": ""}
    assert vault.play([STORE], **made).returncode == 0
    assert "netrc" not in vault.values()
    assert vault.host(substituter_private_caches=["ci-cache"])[1:] == (
        {},
        [{"url": URLS["public-cache"], "key": KEYS["public-cache"]}],
    )


def test_a_preview_of_a_first_run_stores_nothing(tmp_path: pathlib.Path) -> None:
    vault = Vault(tmp_path)
    unknown = {"results": [{"item": {"name": name}, "cache": {"public_key": None}} for name in KEYS]}
    done = vault.play([STORE], **{**MADE, "caches_result": unknown})
    assert done.returncode == 0, done.output[-4000:]
    assert set(vault.values()) == {"ci-token"}
