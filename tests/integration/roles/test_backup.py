# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup on the controller, played against the doubles: a bucket of its own, a key that cannot delete, one password."""

from __future__ import annotations

import base64
import json
import pathlib
import typing as t
from collections.abc import Callable

from lab.clouds.b2 import B2Double
from lab.clouds.onepassword import OnePasswordDouble
from tests.support.playbook import Played, play

TOKEN, VAULT = "connect-canary-token", "pantherOS"
PARTS = ("preflight", "bucket", "secrets")
S3 = {"endpoint": "https://s3.eu-central-003.backblazeb2.com", "region": "eu-central-003"}
# As hosts.yml lets the roles contribute.
SHOWN = "[_backup_nixci_settings, _backup_nixci_checks, opnix_secrets.backupEnvironment]"
HOST: list[dict[str, t.Any]] = [
    {"import_role": {"name": f"pantheros.nixci.{name}", "rolespec_validate": False}} for name in ("opnix", "backup")
]
HOST.append({"debug": {"msg": f"SHOWN{{{{ {SHOWN} | to_json | b64encode }}}}SHOWN"}})


def test_the_host_gets_a_key_that_cannot_delete_and_a_password_that_stays(
    serve: Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    b2 = B2Double()
    vault = OnePasswordDouble(vaults={VAULT: {}}, tokens={TOKEN: {"vaults": {VAULT: "write"}}})
    master = b2.keys[b2.account_id].secret
    variables = {
        "b2_key_id": b2.account_id,
        "b2_key": master,
        "b2_realm": serve(b2.app),
        "b2_bucket_name": "nix-cache",
        "nixci_onepassword_vault": VAULT,
        "nixci_onepassword_connect_host": serve(vault.app),
        "nixci_onepassword_connect_token": TOKEN,
        "backup_offsite": True,
        "nixci_storage": {**S3, "bucket": "nix-cache"},
        "backup_environment_version": "{{ backup_secrets_result.item.version }}",
    }
    access = {name: variables[f"nixci_onepassword_{name}"] for name in ("connect_host", "connect_token")}

    def run(name: str) -> Played:
        role = {"name": "pantheros.nixci.backup", "rolespec_validate": False}
        tasks = [{"include_role": {**role, "tasks_from": part}} for part in PARTS]
        secrets = [TOKEN, master, *(key.secret for key in b2.keys.values())]
        secrets += [vault.values(VAULT, "Backup")["restic-password"]] if b2.buckets else []
        defaults = {"group/pantheros.nixci.onepassword": access}
        played = play(tasks + HOST, variables, tmp_path / name, secrets=secrets, module_defaults=defaults)
        assert played.leaks == []
        return played

    first = run("first")
    assert first.returncode == 0, first.output[-3000:]
    [bucket] = b2.buckets.values()
    assert (bucket["bucketName"], bucket["bucketType"]) == ("nix-cache-backup", "allPrivate")
    [rule] = bucket["lifecycleRules"]
    assert rule["daysFromHidingToDeleting"] == 30 and rule.get("daysFromUploadingToHiding") is None
    [key] = [key for key in b2.keys.values() if not key.master]
    assert set(key.capabilities) == {"listBuckets", "listFiles", "readFiles", "writeFiles"}
    assert list(key.bucket_ids) == [bucket["bucketId"]]
    item = vault.values(VAULT, "Backup")
    assert len(item["restic-password"]) == 48
    assert item["environment"].splitlines() == [
        f"RESTIC_PASSWORD={item['restic-password']}",
        f"AWS_ACCESS_KEY_ID={key.id}",
        f"AWS_SECRET_ACCESS_KEY={key.secret}",
    ]

    settings, checks, secret = json.loads(base64.b64decode(first.output.split("SHOWN")[1]))
    assert settings == {
        "databases": ["atticd"],
        "startAt": "*-*-* 02:30:00",
        "location": "/var/backup/nixci",
        "keepDays": 30,
        "offsite": {**S3, "bucket": "nix-cache-backup", "startAt": "*-*-* 03:30:00", "environmentFile": None},
    }
    assert checks == {"copies": [{"unit": "nixci-offsite.service", "databases": ["atticd"]}]}
    assert secret["reference"] == "op://pantherOS/Backup/environment" and secret["version"] > 0

    again = run("again")
    assert again.returncode == 0 and "changed=0" in again.output
    assert vault.values(VAULT, "Backup") == item
