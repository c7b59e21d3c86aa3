# SPDX-License-Identifier: GPL-3.0-or-later
"""The role backup on the controller, played against the doubles: a bucket of its own, a key that cannot delete, one password."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable

from lab.clouds.b2 import B2Double
from lab.clouds.onepassword import OnePasswordDouble
from tests.support.playbook import Played, play

TOKEN, VAULT = "connect-canary-token", "pantherOS"
PARTS = ("preflight", "bucket", "secrets")


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
    }
    access = {name: variables[f"nixci_onepassword_{name}"] for name in ("connect_host", "connect_token")}

    def run(name: str) -> Played:
        role = {"name": "pantheros.nixci.backup", "rolespec_validate": False}
        tasks = [{"include_role": {**role, "tasks_from": part}} for part in PARTS]
        secrets = [TOKEN, master, *(key.secret for key in b2.keys.values())]
        secrets += [vault.values(VAULT, "Backup")["restic-password"]] if b2.buckets else []
        defaults = {"group/pantheros.nixci.onepassword": access}
        played = play(tasks, variables, tmp_path / name, secrets=secrets, module_defaults=defaults)
        assert played.leaks == []
        return played

    assert run("first").returncode == 0
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

    again = run("again")
    assert again.returncode == 0 and "changed=0" in again.output
    assert vault.values(VAULT, "Backup") == item
