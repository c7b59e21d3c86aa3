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

CACHES = ROOT / "playbooks/caches.yml"
TOKEN, VAULT, ITEM = "connect-canary-token", "pantherOS", "Backblaze-B2"


class Environment:
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

    def run(self, *parts: str, then: t.Sequence[dict[str, t.Any]] = (), **variables: t.Any) -> Played:
        """Plays parts of the role, and then other tasks, in one run."""
        self.runs += 1
        tasks = [{"include_role": {"name": "pantheros.nixci.b2", "tasks_from": part}} for part in parts] + [*then]
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
def environment(serve: Callable[[t.Any], str], tmp_path: pathlib.Path) -> Environment:
    return Environment(serve, tmp_path)


def test_interrupted_rotation_keeps_the_old_key_until_it_is_retired(environment: Environment) -> None:
    assert environment.run("main", "retire").returncode == 0
    old = environment.stored()
    assert environment.keys() == [old]

    # A rotation that stops before the hosts are rebuilt …
    assert environment.run("main", b2_application_key_rotate=True).returncode == 0
    new = environment.stored()
    assert new != old and environment.keys() == sorted([old, new])

    # … and the next run: the old key is there as long as it lasts, and goes at its end.
    again = environment.run("preflight", "main")
    assert (again.returncode, "changed=0" in again.output) == (0, True)
    assert environment.stored() == new and environment.keys() == sorted([old, new])
    assert environment.run("main", "retire").returncode == 0
    assert environment.keys() == [new]


def test_preflight_finds_a_missing_right_and_changes_nothing(environment: Environment) -> None:
    poor = environment.b2.add_key(
        "poor", ["listBuckets", "writeBuckets", "readBucketEncryption", "writeBucketEncryption"]
    )
    played = environment.run("preflight", b2_key_id=poor.id, b2_key=poor.secret)
    assert played.returncode != 0 and "lacks the capability listKeys" in played.output
    assert environment.b2.buckets == {} and environment.keys() == [poor.id]


def test_an_interrupted_rotation_is_retired_after_a_preflight_alone(environment: Environment) -> None:
    """As when the run after it finds nothing to change, so that the playbooks skip the role itself."""
    assert environment.run("main").returncode == 0
    assert environment.run("main", b2_application_key_rotate=True).returncode == 0
    assert len(environment.keys()) == 2
    assert environment.run("preflight", "retire").returncode == 0
    assert environment.keys() == [environment.stored()]


def test_preflight_shows_whether_the_role_would_change_something(environment: Environment) -> None:
    differs = "b2_bucket_result.diff.before != b2_bucket_result.diff.after or b2_key_result.diff.before != b2_key_result.diff.after"
    report = {"ansible.builtin.debug": {"msg": "differs={{ " + differs + " }};"}}

    def compare(**variables: t.Any) -> bool:
        played = environment.run("preflight", then=[report], **variables)
        assert played.returncode == 0 and "changed=0" in played.output
        return "differs=True;" in played.output

    assert compare()
    assert environment.run("main").returncode == 0
    assert not compare()
    assert compare(b2_lifecycle_rules=[])
    assert compare(b2_application_key_rotate=True)


@pytest.mark.parametrize(
    ("verified", "retired"),
    [({"one", "two"}, True), ({"one"}, False), (set(), False)],
    ids=["every server", "one has failed", "none"],
)
def test_keys_are_retired_when_every_server_was_rebuilt_and_verified(verified: set[str], retired: bool) -> None:
    plays = yaml.safe_load(CACHES.read_text())
    (task,) = [task for each in plays for task in each["tasks"] if "were replaced" in task["name"]]
    result = {"nixos_check_result": {"units": {}}}
    variables = {
        "b2_key_result": {"superseded": ["old"]},
        "groups": {"cache_servers": ["one", "two"]},
        "hostvars": {name: result if name in verified else {} for name in ("one", "two")},
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    conditions = [templar.evaluate_conditional(trust_as_template(condition)) for condition in task["when"]]
    assert all(conditions) is retired
