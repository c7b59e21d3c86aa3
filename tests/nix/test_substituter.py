# SPDX-License-Identifier: GPL-3.0-or-later
"""The caches beside what a host fetches from already."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import REBUILD, on_nixos

URL = "https://cache.example.org/public-cache"
KEY = "public-cache:x8mGHmcDROzZg2lGcLEfrOSYXqf0E5rJvHYkBrbmPsk="
CACHE = {"url": URL, "key": KEY}
SETTINGS = "config.nix.settings"
SECRET = {"reference": "op://vault/Attic/netrc", "version": 1}


def evaluated(host: t.Any, expression: str, own: str = "") -> t.Any:
    host.configure(f"{{ lib, ... }}: {{ {own} }}")
    return host.value(f"builtins.seq {REBUILD} ({expression})")


def warnings(host: t.Any, own: str) -> list[str]:
    found: list[str] = evaluated(host, "config.warnings", own)
    return [text for text in found if "nixci: " in text and "substituter.json" in text]


def test_the_hosts_own_caches_stay(host: t.Any) -> None:
    host.settings("substituter", substituters=[CACHE, {"url": f"{URL}2", "key": KEY, "priority": 30}])
    got = evaluated(
        host,
        f"{{ inherit ({SETTINGS}) substituters trusted-public-keys; }}",
        'nix.settings = { substituters = [ "https://own.example.net" ]; trusted-public-keys = [ "own:AAAA" ]; };',
    )
    assert {"https://own.example.net", URL, f"{URL}2?priority=30"} <= set(got["substituters"])
    assert {"own:AAAA", KEY} <= set(got["trusted-public-keys"])
    assert got["trusted-public-keys"].count(KEY) == 1
    if host.evaluator is on_nixos:
        assert "https://cache.nixos.org/" in got["substituters"]


def test_nothing_changes_without_the_role(host: t.Any) -> None:
    before = evaluated(host, SETTINGS, "")
    assert URL not in before["substituters"] and "fallback" not in before
    if host.evaluator is not on_nixos:
        assert "netrc-file" not in before


def test_a_broken_cache_does_not_hold_up_a_build(host: t.Any) -> None:
    host.settings("substituter", substituters=[CACHE])
    got = evaluated(host, SETTINGS, "nix.settings = { fallback = lib.mkDefault false; connect-timeout = 20; };")
    assert got["connect-timeout"] == 20 and got["fallback"] is False  # the host decides
    assert got["stalled-download-timeout"] == 30 and got["download-attempts"] == 2
    assert got["narinfo-cache-positive-ttl"] == 432000


def test_opnix_writes_the_tokens_of_private_caches(host: t.Any) -> None:
    host.settings("substituter", substituters=[CACHE])
    assert "netrc-file" not in evaluated(host, SETTINGS)
    host.settings("opnix", secrets={"substituterNetrc": SECRET, "atticEnvironment": {"reference": "op://v/i/f"}})
    got = evaluated(
        host,
        f'{{ file = {SETTINGS}.netrc-file; etc = config.environment.etc ? "nix/netrc"; files = config.nixci.checks.files; }}',
        'services.onepassword-secrets.outputDir = "/run/opnix";',
    )
    assert got == {
        "file": "/run/opnix/substituterNetrc",
        "etc": False,
        "files": {"/run/opnix/substituterNetrc": "0400", "/run/opnix/atticEnvironment": "0400"},
    }


def test_a_netrc_of_the_hosts_own(host: t.Any) -> None:
    own = 'nix.settings.netrc-file = "/run/secrets/netrc";'
    host.settings("substituter", substituters=[CACHE])
    assert evaluated(host, f"{SETTINGS}.netrc-file", own) == "/run/secrets/netrc"
    host.settings("opnix", secrets={"substituterNetrc": SECRET, "atticEnvironment": {"reference": "op://v/i/f"}})
    host.configure(f"{{ {own} }}")
    message = host.refusal()
    assert (
        f"Nix reads one netrc file, and {host.nix_folder}/own.nix sets nix.settings.netrc-file to /run/secrets/netrc"
        in message
    )
    assert f"{host.nix_folder}/nixci/settings/substituter.json need /var/lib/opnix/secrets/substituterNetrc" in message
    host.settings("substituter", netrcFile="/run/secrets/netrc")
    assert evaluated(host, f"{SETTINGS}.netrc-file", own) == "/run/secrets/netrc"
    assert evaluated(host, f"{SETTINGS}.netrc-file") == "/run/secrets/netrc"


def test_a_netrc_in_etc(host: t.Any) -> None:
    own = 'environment.etc."nix/netrc".text = "machine own.example.net password x";'
    host.settings("substituter", substituters=[CACHE])
    assert "netrc-file" not in evaluated(host, SETTINGS, own)
    host.settings("substituter", netrcFile="/run/secrets/netrc")
    host.configure(f"{{ {own} }}")
    assert f"{host.nix_folder}/own.nix makes /etc/nix/netrc" in host.refusal()
    host.settings("substituter", netrcFile="/etc/nix/netrc")
    assert evaluated(host, f"{SETTINGS}.netrc-file", own) == "/etc/nix/netrc"


@pytest.mark.parametrize("name", ["substituters", "trusted-public-keys"])
def test_a_forced_list_stays_and_is_reported(host: t.Any, name: str) -> None:
    host.settings("substituter", substituters=[CACHE])
    own = (
        f'imports = [ {{ nix.settings.{name} = [ "not forced" ]; }} ]; nix.settings.{name} = lib.mkForce [ "forced" ];'
    )
    assert evaluated(host, f"{SETTINGS}.{name}", own) == ["forced"]
    [text] = warnings(host, own)
    assert f"because {host.nix_folder}/own.nix forces nix.settings.{name}" in text
    assert warnings(host, "") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"substituters": [{"url": "ftp://x", "key": KEY}]}, "http or https URL"),
        ({"substituters": [{"url": URL, "key": "none"}]}, "public key of a binary cache"),
        ({"substituters": [{"url": URL}]}, "key"),
        ({"substituters": []}, "non-empty"),
        (
            {"substituters": [CACHE], "netrcFile": "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-netrc"},
            "everybody can read",
        ),
    ],
)
def test_wrong_settings_are_refused(host: t.Any, change: dict[str, t.Any], message: str) -> None:
    host.settings("substituter", **change)
    said = host.refusal()
    assert message in said and "substituter" in said
