# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_settings in a checkout on the controller: real git, in each state in which a checkout can be."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import settings as settings_module

from tests.support.check_mode import assert_check_mode_contract

MODULES = {"default.nix": "{ }\n", "revert.sh": "#!/bin/sh\n"}
SETTINGS = {"attic": {"port": 80}}
SYSTEM = {"store_path": "/nix/store/0-system", "built_from": None, "unfinished": False}
IDENTITY = {"GIT_AUTHOR_NAME": "Me", "GIT_AUTHOR_EMAIL": "me@nixci.test", "GIT_COMMITTER_NAME": "Me",
            "GIT_COMMITTER_EMAIL": "me@nixci.test"}  # fmt: skip


class Fleet:
    def __init__(self, root: pathlib.Path, module: t.Any) -> None:
        self.root, self.module, self.flake_dir = root, module, root

    def git(self, *args: str, at: pathlib.Path | None = None) -> str:
        done = subprocess.run(["git", "-C", str(at or self.root), *args], capture_output=True, text=True, check=True)
        return done.stdout

    def run(self, *, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        params = {
            "config_dir": str(self.flake_dir),
            "host": "web",
            "host_module": "{ }\n",
            "system": SYSTEM,
            "modules": MODULES,
            "settings": SETTINGS,
            **changes,
        }
        return self.module("nixos_settings", params, check=check)

    def known(self) -> list[str]:
        return self.git("ls-files", "nixci", at=self.flake_dir).split()

    def state(self) -> tuple[str, str, list[tuple[str, str]]]:
        files = [
            (str(one), one.read_text())
            for one in sorted(self.root.rglob("*"))
            if one.is_file() and ".git" not in one.parts
        ]
        return self.git("log", "--format=%H"), self.git("status", "--porcelain"), files


OURS = [
    "nixci/hosts/web/default.nix",
    "nixci/hosts/web/settings/attic.json",
    "nixci/modules/default.nix",
    "nixci/modules/revert.sh",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name, value in {**IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    # This machine may be one that was built from our modules.
    monkeypatch.setattr(settings_module, "MANIFEST", str(tmp_path / "damaged"))
    (tmp_path / "damaged").write_text("[]")


@pytest.fixture
def fleet(tmp_path: pathlib.Path, module: t.Any) -> Fleet:
    root = tmp_path / "my fleet"
    root.mkdir()
    fleet = Fleet(root, module)
    fleet.git("init", "--quiet", "--initial-branch=main")
    (root / "flake.nix").write_text("{ outputs = _: { }; }\n")
    fleet.git("add", "flake.nix")
    fleet.git("commit", "--quiet", "--message=first")
    return fleet


def test_each_host_has_its_own_settings_and_all_share_the_modules(fleet: Fleet) -> None:
    runs = assert_check_mode_contract(fleet.run, fleet.state, unknown=["revision"])
    assert fleet.known() == OURS
    assert runs.actual["imported"] == "./nixci/hosts/web" and runs.actual["rebuild"]
    assert sorted(runs.actual["files"]) == ["modules/default.nix", "modules/revert.sh", "settings/attic.json"]
    assert runs.actual["revision"] == fleet.git("rev-parse", "HEAD").strip() + "-dirty"
    fleet.run(host="db", settings={"postgresql": {}})
    assert json.loads((fleet.root / "nixci/hosts/db/settings/postgresql.json").read_text()) == {"postgresql": {}}
    again = fleet.run(system={**SYSTEM, "built_from": runs.actual["files"]})
    assert not again["changed"] and not again["rebuild"], "settings of another host do not concern this one"


def test_the_checkout_is_not_compared_with_the_controller(fleet: Fleet) -> None:
    """Whose own manifest is damaged here."""
    assert fleet.run()["built_from"] is None


def test_a_single_settings_folder_in_the_checkout_is_not_used(fleet: Fleet) -> None:
    """It is from the time when the host had its own configuration, and would be that of all hosts."""
    (fleet.root / "nixci/settings").mkdir(parents=True)
    fleet.run()
    assert (fleet.root / "nixci/hosts/web/settings/attic.json").exists()
    assert not list((fleet.root / "nixci/settings").iterdir())


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "", "-x"])
def test_a_name_stays_in_its_folder(fleet: Fleet, name: str) -> None:
    before = fleet.state()
    assert "is not the name of a configuration" in fleet.run(host=name)["msg"]
    assert fleet.state() == before


def test_a_commit_has_our_files_and_nothing_that_the_user_has_staged(fleet: Fleet) -> None:
    (fleet.root / "flake.nix").write_text("{ outputs = _: { mine = 1; }; }\n")
    (fleet.root / "staged.nix").write_text("{ }")
    fleet.git("add", "staged.nix", "flake.nix")
    (fleet.root / "untracked.nix").write_text("{ }")
    runs = assert_check_mode_contract(
        lambda *, check=False: fleet.run(check=check, commit=True), fleet.state, unknown=["revision"]
    )
    assert runs.actual["changed"]
    assert fleet.git("show", "--name-only", "--format=%s").split("\n")[2:-1] == OURS
    assert fleet.git("log", "-1", "--format=%s").strip() == "Update the modules and settings of pantheros.nixci for web"
    assert fleet.git("status", "--porcelain").splitlines() == ["M  flake.nix", "A  staged.nix", "?? untracked.nix"]


def test_what_was_written_without_a_commit_is_committed_later(fleet: Fleet) -> None:
    fleet.run()
    assert fleet.run(commit=True)["changed"]
    assert fleet.git("status", "--porcelain") == ""
    assert not fleet.run(commit=True)["changed"]


def test_a_removed_setting_is_committed(fleet: Fleet) -> None:
    fleet.run(commit=True, settings={**SETTINGS, "caddy": {}})
    assert fleet.run(commit=True, absent=["caddy"])["removed"] == ["settings/caddy.json"]
    assert fleet.git("status", "--porcelain") == "" and "caddy" not in fleet.git("ls-files")


def test_a_commit_on_no_branch_is_refused_before_anything_is_written(fleet: Fleet) -> None:
    fleet.git("checkout", "--quiet", "--detach")
    runs = assert_check_mode_contract(lambda *, check=False: fleet.run(check=check, commit=True), fleet.state)
    assert "detached HEAD" in runs.actual["msg"] and "nixci_commit: false" in runs.actual["msg"]
    assert not fleet.run()["failed"], "without a commit, a pipeline's checkout is as good as any"


@pytest.mark.parametrize(("obstacle", "says"), [("identity", "user.name"), ("hook", "the hook says no")])
def test_a_refused_commit_is_one_sentence(
    fleet: Fleet, obstacle: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    if obstacle == "identity":
        for name in IDENTITY:
            monkeypatch.delenv(name)
        fleet.git("config", "user.useConfigOnly", "true")
    else:
        hook = fleet.root / ".git/hooks/pre-commit"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho 'the hook says no' >&2\nexit 1\n")
        hook.chmod(0o755)
    result = fleet.run(commit=True)
    assert says in result["msg"] and "git refuses the commit" in result["msg"], result["msg"]
    assert "\n" not in result["msg"]
    assert fleet.known() == OURS, "the files are in place"


def test_a_worktree_a_submodule_and_a_folder_of_the_repository_work(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "tree"
    fleet.git("worktree", "add", "--quiet", "-b", "other", str(tree))
    fleet.flake_dir = tree
    assert not fleet.run(commit=True)["failed"] and fleet.known() == OURS

    outer = tmp_path / "outer"
    outer.mkdir()
    fleet.git("init", "--quiet", "--initial-branch=main", at=outer)
    fleet.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(fleet.root), "fleet", at=outer)
    fleet.flake_dir = outer / "fleet"
    assert not fleet.run(commit=True)["failed"] and fleet.known() == OURS

    inner = outer / "nix/fleet"
    inner.mkdir(parents=True)
    (inner / "flake.nix").write_text("{ }")
    fleet.flake_dir = inner
    assert not fleet.run(commit=True)["failed"] and fleet.known() == OURS


def test_a_flake_outside_of_git_works_and_cannot_be_committed(fleet: Fleet, tmp_path: pathlib.Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    fleet.flake_dir = plain
    assert "has no flake.nix" in fleet.run()["msg"]
    (plain / "flake.nix").write_text("{ }")
    result = fleet.run()
    assert not result["failed"] and result["revision"] is None
    assert "is not in a git repository" in fleet.run(commit=True)["msg"]
    fleet.flake_dir = tmp_path / "none"
    assert "is not a folder on the controller" in fleet.run()["msg"]


def test_a_run_waits_for_another_one_in_the_same_checkout(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.pantheros.nixci.plugins.modules.nixos_settings.GIT_TIMEOUT", 1)
    descriptor = os.open(fleet.root / ".git", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "Another run still held" in fleet.run()["msg"]
    os.close(descriptor)
    assert not fleet.run()["failed"]
