# SPDX-License-Identifier: GPL-3.0-or-later
"""The role b2, played against the doubles: an old key lives until every server has the new one."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from lab.clouds.b2 import B2Double
from lab.clouds.onepassword import OnePasswordDouble
from lab.clouds.s3 import S3Double
from tests.support.paths import ROOT
from tests.support.playbook import Played, play

SITE = ROOT / "playbooks/site.yml"
TOKEN, VAULT, ITEM = "connect-canary-token", "pantherOS", "Backblaze-B2"


class World:
    def __init__(self, serve: Callable[[t.Any], str], folder: pathlib.Path) -> None:
        self.folder, self.runs = folder, 0
        self.b2 = B2Double()
        self.b2.s3_url = serve(S3Double(self.b2).app)
        self.vault = OnePasswordDouble(vaults={VAULT: {}}, tokens={TOKEN: {"vaults": {VAULT: "write"}}})
        self.variables = {
            "b2_key_id": self.b2.account_id,
            "b2_key": self.b2.keys[self.b2.account_id].secret,
            "b2_realm": serve(self.b2.app),
            "b2_region": self.b2.region,
            "b2_bucket_name": "nix-cache",
            "nixci_onepassword_vault": VAULT,
            "nixci_onepassword_connect_host": serve(self.vault.app),
            "nixci_onepassword_connect_token": TOKEN,
        }

    def run(self, *parts: str, **variables: t.Any) -> Played:
        """Plays parts of the role in one run."""
        self.runs += 1
        tasks = [{"include_role": {"name": "pantheros.nixci.b2", "tasks_from": part}} for part in parts]
        secrets = [TOKEN, self.variables["b2_key"], *(key.secret for key in self.b2.keys.values())]
        folder = self.folder / str(self.runs)
        played = play(tasks, {**self.variables, **variables}, folder, secrets=secrets)
        assert played.leaks == []
        return played

    def keys(self) -> list[str]:
        return sorted(key.id for key in self.b2.keys.values() if not key.master)

    def stored(self) -> str:
        values = self.vault.values(VAULT, ITEM)
        assert self.b2.keys[values["application-key-id"]].secret == values["application-key"]
        return values["application-key-id"]


@pytest.fixture
def world(serve: Callable[[t.Any], str], tmp_path: pathlib.Path) -> World:
    return World(serve, tmp_path)


def test_interrupted_rotation_keeps_the_old_key_until_it_is_retired(world: World) -> None:
    assert world.run("main", "retire").returncode == 0
    old = world.stored()
    assert world.keys() == [old]

    # A rotation that stops before the hosts are rebuilt …
    assert world.run("main", b2_application_key_rotate=True).returncode == 0
    new = world.stored()
    assert new != old and world.keys() == sorted([old, new])

    # … and the next run: the old key is there as long as it lasts, and goes at its end.
    again = world.run("preflight", "main")
    assert (again.returncode, "changed=0" in again.output) == (0, True)
    assert world.stored() == new and world.keys() == sorted([old, new])
    assert world.run("main", "retire").returncode == 0
    assert world.keys() == [new]


def test_preflight_finds_a_missing_right_and_changes_nothing(world: World) -> None:
    poor = world.b2.add_key("poor", ["listBuckets", "writeBuckets", "readBucketEncryption", "writeBucketEncryption"])
    played = world.run("preflight", b2_key_id=poor.id, b2_key=poor.secret)
    assert played.returncode != 0 and "lacks the capability listKeys" in played.output
    assert world.b2.buckets == {} and world.keys() == [poor.id]


@pytest.mark.parametrize(
    ("have", "retired"),
    [({"one": "new", "two": "new"}, True), ({"one": "new", "two": "old"}, False), ({"one": "new"}, False)],
    ids=["every server", "one has the old key", "one has failed"],
)
def test_site_retires_when_every_server_has_the_key(have: dict[str, str], retired: bool) -> None:
    plays = yaml.safe_load(SITE.read_text())
    (task,) = [task for each in plays for task in each.get("tasks", []) if "were replaced" in task["name"]]
    variables = {
        "b2_current_key_id": "new",
        "groups": {"cache_servers": ["one", "two"]},
        "hostvars": {name: {"nixci_bucket_key_id": have[name]} if name in have else {} for name in ("one", "two")},
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.evaluate_conditional(trust_as_template(task["when"])) is retired
