# SPDX-License-Identifier: GPL-3.0-or-later
"""The role attic keeps the signing key and the server's environment file in 1Password."""

from __future__ import annotations

import base64
import pathlib
import typing as t

import jwt
from ansible_collections.pantheros.nixci.plugins.module_utils._core.env_file import parse

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.playbook import play
from tests.support.serving import serving

TOKEN = "canary-connect-token"
NAMES = ["ATTIC_SERVER_TOKEN_RS256_SECRET_BASE64", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]


def test_the_key_is_made_once_and_the_environment_follows_the_bucket_s_key(tmp_path: pathlib.Path) -> None:
    bucket_key = {"application-key-id": "0051234", "application-key": "canary-K005/old+key="}
    double = OnePasswordDouble(vaults={"V": {"Backblaze-B2": bucket_key}}, tokens={TOKEN: {"vaults": {"V": "write"}}})
    versions: list[int] = []

    def run(name: str) -> dict[str, str]:
        role = {"name": "pantheros.nixci.attic", "tasks_from": "secrets"}
        tasks: list[dict[str, t.Any]] = [
            {"ansible.builtin.include_role": role},
            {"ansible.builtin.debug": {"msg": "version={{ attic_secrets_result.item.version }};"}},
        ]
        variables = {"nixci_onepassword_vault": "V", "nixci_cache_domain": "cache.example.com"}
        with serving(double.app) as url:
            access = {"OP_CONNECT_HOST": url, "OP_CONNECT_TOKEN": TOKEN}
            played = play(tasks, variables, tmp_path / name, secrets=[TOKEN, "canary-K005"], environment=access)
        assert played.returncode == 0, played.output[-4000:]
        values = double.values("V", "Attic-server")
        assert played.leaks == []
        assert values["signing-key"] not in played.output
        versions.append(int(played.output.partition("version=")[2].partition(";")[0]))
        return values

    first = run("first")
    expected = [first["signing-key"], *bucket_key.values()]
    assert first["environment"] == "\n".join(f"{name}={value}" for name, value in zip(NAMES, expected, strict=True))

    # Somebody has written the same by hand in another way.
    [item] = [item for item in double.items[double.vault_id("V")].values() if item["title"] == "Attic-server"]
    [field] = [field for field in item["fields"] if field["label"] == "environment"]
    field["value"] = "\n".join(f"{name}='{value}'" for name, value in zip(NAMES, expected, strict=True)) + "\n"
    assert run("again") == {**first, "environment": field["value"]}

    [other] = [item for item in double.items[double.vault_id("V")].values() if item["title"] == "Backblaze-B2"]
    other["fields"][1]["value"] = "canary-K005/new+key="
    after = run("new bucket key")
    assert after["signing-key"] == first["signing-key"]
    assert parse(after["environment"]) == dict(
        zip(NAMES, [first["signing-key"], "0051234", "canary-K005/new+key="], strict=True)
    )
    assert versions == [1, 1, 2]


def test_a_working_environment_is_not_overwritten_without_the_bucket_s_key(tmp_path: pathlib.Path) -> None:
    """As when only one of the two roles has another title."""
    working = {"signing-key": "canary-signing-key", "environment": "canary-environment"}
    double = OnePasswordDouble(vaults={"V": {"Attic-server": working}}, tokens={TOKEN: {"vaults": {"V": "write"}}})
    variables = {"nixci_onepassword_vault": "V", "nixci_cache_domain": "cache.example.com"}
    role = {"name": "pantheros.nixci.attic", "tasks_from": "secrets"}
    with serving(double.app) as url:
        access = {"OP_CONNECT_HOST": url, "OP_CONNECT_TOKEN": TOKEN}
        tasks = [{"ansible.builtin.include_role": role}]
        played = play(tasks, variables, tmp_path / "play", secrets=[TOKEN, *working.values()], environment=access)
    assert played.returncode != 0
    assert "The item 'Backblaze-B2' of the vault 'V' holds no application-key-id" in played.output
    assert played.leaks == []
    assert double.values("V", "Attic-server") == working


def test_a_host_with_a_file_of_its_own_needs_neither_item_nor_opnix(tmp_path: pathlib.Path) -> None:
    double = OnePasswordDouble(vaults={"V": {}}, tokens={TOKEN: {"vaults": {"V": "write"}}})
    variables = {
        "nixci_onepassword_vault": "V",
        "nixci_cache_domain": "cache.example.com",
        "nixci_storage": {"endpoint": "https://s3.example.com", "region": "r", "bucket": "nars"},
        "attic_environment_file": "/run/secrets/atticd",
    }
    tasks: list[dict[str, t.Any]] = [
        {"ansible.builtin.import_role": {"name": "pantheros.nixci.opnix"}},
        {"ansible.builtin.import_role": {"name": "pantheros.nixci.attic", "tasks_from": "secrets"}},
        {"ansible.builtin.debug": {"msg": "file={{ _attic_nixci_settings.environmentFile }};"}},
        {"ansible.builtin.debug": {"msg": "opnix={{ _opnix_nixci_settings is none }};"}},
    ]
    with serving(double.app) as url:
        access = {"OP_CONNECT_HOST": url, "OP_CONNECT_TOKEN": TOKEN}
        played = play(tasks, variables, tmp_path / "play", secrets=[TOKEN], environment=access)
    assert played.returncode == 0, played.output[-4000:]
    assert "file=/run/secrets/atticd;" in played.output
    assert "opnix=True;" in played.output
    assert list(double.items[double.vault_id("V")]) == []


def test_a_shared_secret_a_local_storage_and_a_database_with_a_password(tmp_path: pathlib.Path) -> None:
    """No bucket is needed, and the tokens are those that the server accepts."""
    password = "canary-database"
    double = OnePasswordDouble(vaults={"V": {"DB": {"password": password}}}, tokens={TOKEN: {"vaults": {"V": "write"}}})
    variables = {
        "nixci_onepassword_vault": "V",
        "nixci_cache_domain": "cache.example.com",
        "attic_storage": {"type": "local", "path": "/var/lib/atticd/storage"},
        "attic_database_url": "postgresql://atticd@db.example.com/atticd?sslmode=verify-full",
        "attic_onepassword_database_item": "DB",
        "attic_signing_algorithm": "HS256",
        "attic_token_issuer": "nixci",
        "attic_token_audiences": ["fleet"],
        "caches_tokens": {
            "root-token": {"subject": "root", "validity": "90d", "permissions": [{"caches": "*", "pull": True}]}
        },
    }

    def run(name: str, **changes: t.Any) -> t.Any:
        tasks = [
            {"ansible.builtin.include_role": {"name": "pantheros.nixci.attic", "tasks_from": "secrets"}},
            {"ansible.builtin.include_role": {"name": "pantheros.nixci.caches", "tasks_from": "tokens"}},
        ]
        with serving(double.app) as url:
            access = {"OP_CONNECT_HOST": url, "OP_CONNECT_TOKEN": TOKEN}
            played = play(
                tasks, {**variables, **changes}, tmp_path / name, secrets=[TOKEN, password], environment=access
            )
        assert played.leaks == []
        return played

    assert (played := run("first")).returncode == 0, played.output[-4000:]
    made = double.values("V", "Attic-server")
    assert parse(made["environment"]) == {
        "ATTIC_SERVER_TOKEN_HS256_SECRET_BASE64": made["signing-key"],
        "PGPASSWORD": password,
    }
    assert made["signing-key"] not in played.output
    key = base64.b64decode(made["signing-key"])
    assert len(key) == 64
    token = double.values("V", "Attic")["root-token"]
    assert jwt.decode(token, key, algorithms=["HS256"], audience="fleet")["iss"] == "nixci"

    assert "changed=0 " in run("again").output
    other = run("another kind", attic_signing_algorithm="RS256")
    assert other.returncode != 0 and "is not a key for RS256. Set attic_signing_algorithm to HS256" in " ".join(
        other.output.split()
    )
    assert made["signing-key"] not in other.output
    assert double.values("V", "Attic-server") == made
