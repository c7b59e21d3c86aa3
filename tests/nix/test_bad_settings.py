# SPDX-License-Identifier: GPL-3.0-or-later
"""A mistake in the settings fails the evaluation, and the message names the file and the option."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from .conftest import on_nixos


def assert_names(message: str, role: str, option: str) -> None:
    message = re.sub(r"""\."?\[definition \d+-entry \d+]"?""", "", message)
    assert f"nixci/settings/{role}.json'" in message
    assert f"`nixci.{option}'" in message


@pytest.mark.parametrize(
    ("role", "changes", "option"),
    [
        ("nixos", {"versoin": "1"}, "nixos.versoin"),
        ("opnix", {"token": "ops_x"}, "opnix.token"),
        ("opnix", {"secrets": {"a": {"refrence": "op://x/y/z"}}}, "opnix.secrets.a.refrence"),
        ("postgresql", {"database": "atticd"}, "postgresql.database"),
        ("attic", {"domian": "x.y"}, "attic.domian"),
        ("attic", {"garbageCollection": {"onCalender": "daily"}}, "attic.garbageCollection.onCalender"),
        ("caddy", {"sites": {"x.y": {"upstraem": "x:1"}}}, 'caddy.sites."x.y".upstraem'),
        ("backup", {"keep": 30}, "backup.keep"),
    ],
)
def test_unknown_key(host: t.Any, role: str, changes: dict[str, t.Any], option: str) -> None:
    host.settings(role, **changes)
    message = host.refusal()
    assert "does not exist" in message
    assert_names(message, role, option)


def test_unknown_role(host: t.Any) -> None:
    host.settings("atic", domain="x.y")
    message = host.refusal()
    assert "does not exist" in message
    assert_names(message, "atic", "atic")


@pytest.mark.parametrize(
    ("role", "changes", "option"),
    [
        ("attic", {"chunking": {"avgSize": "65536"}}, "attic.chunking.avgSize"),
        ("attic", {"chunking": {"avgSize": -1}}, "attic.chunking.avgSize"),
        ("attic", {"compression": {"type": "gzip"}}, "attic.compression.type"),
        ("attic", {"listen": "localhost:8080"}, "attic.listen"),
        ("attic", {"defaultRetentionPeriod": 30}, "attic.defaultRetentionPeriod"),
        ("backup", {"keepDays": 0}, "backup.keepDays"),
        ("backup", {"databases": []}, "backup.databases"),
        ("caddy", {"openFirewall": "yes"}, "caddy.openFirewall"),
        ("caddy", {"sites": ["cache.hbohlen.systems"]}, "caddy.sites"),
        ("opnix", {"secrets": {"a": {"reference": "op://x/y/z", "mode": "0666"}}}, "opnix.secrets.a.mode"),
        (
            "opnix",
            {"secrets": {"a": {"reference": "op://x/y/z", "services": ["x.service"]}}},
            "opnix.secrets.a.services",
        ),
        ("opnix", {"secrets": {"not-camel": {"reference": "op://x/y/z"}}}, "opnix.secrets"),
        ("postgresql", {"databases": "atticd"}, "postgresql.databases"),
        ("nixos", {"collectionVersion": 1}, "nixos.collectionVersion"),
    ],
)
def test_wrong_type(host: t.Any, role: str, changes: dict[str, t.Any], option: str) -> None:
    host.settings(role, **changes)
    message = host.refusal()
    assert "is not of type" in message
    assert_names(message, role, option)


@pytest.mark.parametrize(
    ("role", "changes", "option"),
    [
        ("caddy", {"sites": {"a.b": {"upstream": "h:1 }\nimport /etc/shadow {"}}}, 'caddy.sites."a.b".upstream'),
        ("caddy", {"sites": {"a.b {\n": {}}}, "caddy.sites"),
        ("caddy", {"acmeCaRoot": "/etc/x\nadmin off"}, "caddy.acmeCaRoot"),
        ("backup", {"location": "/var/backup; id"}, "backup.location"),
        ("backup", {"databases": ["a$(id)"]}, "backup.databases"),
        ("attic", {"domain": "${builtins.abort 1}"}, "attic.domain"),
        ("attic", {"environmentFile": "/run/x\nExecStartPre=/bin/id"}, "attic.environmentFile"),
    ],
)
def test_a_string_cannot_become_code(host: t.Any, role: str, changes: dict[str, t.Any], option: str) -> None:
    host.settings(role, **changes)
    message = host.refusal()
    assert "is not of type" in message
    assert_names(message, role, option)


# Each type of types.nix with a value it accepts, and what is code to Nix, a shell, a Caddyfile, a unit or TOML.
EXAMPLES = {
    "domain": "cache.example.org",
    "upstream": "backend.example.org:8080",
    "listen": "127.0.0.1:8080",
    "url": "https://s3.example.org:9000/a/b",
    "email": "a.b+c@example.org",
    "path": "/var/lib/.hidden/x.env",
    "fileMode": "0400",
    "user": "atticd",
    "service": "getty@tty1",
    "calendar": "Mon..Fri *-*-* 02:30:00 Europe/Berlin",
    "duration": "30 days 2 h",
    "version": "1.2.3-rc.1",
    "databaseName": "atticd",
    "databaseUrl": "postgresql://u@localhost/d?host=/run/postgresql",
    "bucketName": "pantheros-nix-cache",
    "region": "eu-central-003",
    "secretReference": "op://pantherOS/Attic server/section/field.x",
}
CODE = ['"', "'", "''", "\\", "${x}", "$HOME", "`id`", "\n", "\r", "{", "}", ";", "|", "&", "#", "(", "<", "%n"]


def test_types_leave_no_room_for_code(host: t.Any) -> None:
    cases = {
        name: {
            "good": good,
            "bad": [text for code in CODE for text in (good + code, code + good, good[:1] + code + good[1:])],
        }
        for name, good in EXAMPLES.items()
    }
    # URL encoding, and only TOML reads this one.
    cases["databaseUrl"]["bad"] = [text for text in cases["databaseUrl"]["bad"] if "%" not in text]
    (host.folder / "cases.json").write_text(json.dumps(cases))
    got = host.value(f"""
      let
        t = import {host.nix_folder}/nixci/modules/types.nix {{ inherit lib; }};
        cases = builtins.fromJSON (builtins.readFile {host.nix_folder}/cases.json);
      in
      builtins.mapAttrs (name: case: {{
        good = t.${{name}}.check case.good;
        bad = builtins.filter t.${{name}}.check case.bad;
      }}) cases
    """)
    assert got == {name: {"good": True, "bad": []} for name in EXAMPLES}


def test_every_string_option_has_such_a_type(host: t.Any) -> None:
    names = host.value("""
      let
        below = option: type:
          let options = type.getSubOptions [ ]; in
          if builtins.elem type.name [ "nullOr" "listOf" "nonEmptyListOf" "attrsOf" ] then below option type.nestedTypes.elemType
          else if type.name == "submodule" then lib.concatMap (n: below (option + "." + n) options.${n}.type)
            (builtins.filter (n: n != "_module" && n != "_freeformOptions") (builtins.attrNames options))
          else [ { inherit option; type = type.name; } ];
      in
      # These are no role's: the modules compute them.
      lib.concatMap (role: below role options.nixci.${role}.type) (builtins.attrNames (removeAttrs options.nixci [ "checks" "folders" ]))
    """)
    assert len(names) > 30
    kinds = {entry["type"].split(" ")[0] for entry in names}
    assert kinds == {"strMatching", "bool", "enum", "intBetween", "positiveInt", "unsignedInt"}, names


def test_a_path_cannot_leave_its_folder(host: t.Any) -> None:
    host.settings("backup", location="/var/backup/../../etc")
    assert_names(host.refusal(), "backup", "backup.location")


@pytest.mark.parametrize("url", ["postgresql://u:pw@db.example.org/d", "postgresql://u@db.example.org/d?password=pw"])
def test_a_password_in_the_database_url_is_refused(host: t.Any, url: str) -> None:
    host.settings("attic", databaseUrl=url)
    message = host.refusal()
    assert_names(message, "attic", "attic.databaseUrl")
    assert "without password" in message


def test_contradicting_files_are_refused(host: t.Any) -> None:
    (host.folder / "nixci/settings/other.json").write_text('{"attic": {"domain": "b.example.org"}}')
    message = host.refusal()
    assert "`nixci.attic.domain' has conflicting definition values" in message
    assert "nixci/settings/attic.json'" in message
    assert "nixci/settings/other.json'" in message


def test_broken_json_names_the_file(host: t.Any) -> None:
    (host.folder / "nixci/settings/attic.json").write_text('{"attic": ')
    message = host.refusal()
    assert "while reading" in message
    assert "nixci/settings/attic.json" in message


@pytest.mark.parametrize(
    ("role", "changes", "sentence"),
    [
        ("attic", {"chunking": {"minSize": 65537}}, "minSize <= avgSize <= maxSize does not hold"),
        ("attic", {"environmentFile": "/nix/store/x-env"}, "is in the Nix store"),
    ],
)
def test_incompatible_values_are_refused(host: t.Any, role: str, changes: dict[str, t.Any], sentence: str) -> None:
    host.settings(role, **changes)
    assert sentence in host.refusal()


@pytest.mark.parametrize(
    ("stand_in", "sentence"),
    [
        ("opnix", "settings/opnix.json needs the OpNix module, which this configuration does not import"),
        ("atticd", "settings/attic.json needs services.atticd"),
    ],
)
def test_a_host_without_the_module_that_a_role_needs(host: t.Any, stand_in: str, sentence: str) -> None:
    if host.evaluator is on_nixos:
        pytest.skip("which file brings the module there is not known")
    host.configure(f'{{ disabledModules = [ "/checkout/lab/nixos/options/{stand_in}.nix" ]; }}')
    assert sentence in host.refusal()


@pytest.mark.parametrize("release", ["0.7.0", "0.10.0"])
def test_a_release_of_opnix_that_deadlocks_is_refused(host: t.Any, release: str) -> None:
    if host.evaluator is on_nixos:
        pytest.skip("NIXOS_MODULES has one release of OpNix")
    host.configure(f'{{ lab.opnixVersion = "{release}"; }}')
    message = host.refusal()
    assert f"its program is version {release}" in message
    assert "needs 0.10.1 or newer" in message and "opnix/v0.11.0" in message
