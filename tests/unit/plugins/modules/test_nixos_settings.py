# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_settings in a folder that plays the host's configuration."""

from __future__ import annotations

import hashlib
import json
import pathlib
import stat
import subprocess
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import settings

from tests.support.check_mode import assert_check_mode_contract

MODULES = {"default.nix": "{ }\n", "attic.nix": "{ lib, ... }: { }\n"}
SETTINGS = {"attic": {"listen": "127.0.0.1:8080", "port": 80}, "backup": {"databases": ["atticd"]}}
Run = t.Callable[..., dict[str, t.Any]]


class Host:
    def __init__(self, root: pathlib.Path, module: t.Any) -> None:
        self.root, self.module = root, module
        self.nixci = root / "nixci"

    def run(self, *, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        params = {"config_dir": str(self.root), "modules": MODULES, "settings": SETTINGS, **changes}
        return self.module("nixos_settings", params, check=check)

    def tree(self) -> dict[str, str]:
        return {str(path.relative_to(self.root)): path.read_text() for path in self.root.rglob("*") if path.is_file()}

    def hashes(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.nixci)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.nixci.rglob("*")
            if path.is_file()
        }

    def rebuild(self) -> None:
        """As nix/modules/nixos.nix writes the manifest."""
        pathlib.Path(settings.MANIFEST).write_text(json.dumps({"version": "0.1.0", "files": self.hashes()}))


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: t.Any) -> Host:
    monkeypatch.setattr(settings, "MANIFEST", str(tmp_path / "manifest.json"))
    monkeypatch.setattr(settings, "UNFINISHED", str(tmp_path / "unfinished"))
    (tmp_path / "system").mkdir()
    (tmp_path / "current-system").symlink_to("system")
    monkeypatch.setattr(settings, "CURRENT_SYSTEM", str(tmp_path / "current-system"))
    root = tmp_path / "etc"
    root.mkdir()
    return Host(root, module)


def test_the_first_run_writes_all_files(host: Host) -> None:
    runs = assert_check_mode_contract(host.run, host.tree)
    assert runs.actual["changed"] and runs.actual["rebuild"] and runs.actual["built_from"] is None
    assert json.loads(host.tree()["nixci/settings/attic.json"]) == {"attic": SETTINGS["attic"]}
    assert host.tree()["nixci/modules/attic.nix"] == MODULES["attic.nix"]
    assert runs.actual["files"] == host.hashes()
    assert stat.S_IMODE((host.nixci / "settings/attic.json").stat().st_mode) == 0o644


def test_a_file_has_the_text_of_to_nice_json(host: Host) -> None:
    """So that a host is not rebuilt only because another program writes the same settings."""
    host.run(settings={"a": {"z": "é", "b": [1, 2], "c": None}})
    expected = '{\n    "a": {\n        "b": [\n            1,\n            2\n        ],\n        "c": null,\n        "z": "\\u00e9"\n    }\n}\n'
    assert host.tree()["nixci/settings/a.json"] == expected


def test_changes_by_hand_are_undone(host: Host) -> None:
    host.run()
    expected = host.tree()
    (host.nixci / "settings/attic.json").write_text(json.dumps({"attic": SETTINGS["attic"]}))
    (host.nixci / "modules/attic.nix").write_bytes(b"\xff# mine\n")
    runs = assert_check_mode_contract(host.run, lambda: sorted(path.name for path in host.nixci.rglob("*")))
    assert runs.actual["changed"]
    assert host.tree() == expected


def test_settings_of_a_role_that_is_not_mentioned_stay(host: Host) -> None:
    host.run()
    (host.nixci / "modules/old.nix").write_text("{ }")
    before = host.tree()
    runs = assert_check_mode_contract(lambda *, check=False: host.run(check=check, settings={}), host.tree)
    assert not runs.actual["changed"] and host.tree() == before
    assert set(runs.actual["files"]) >= {"settings/attic.json", "settings/backup.json", "modules/old.nix"}


def test_only_settings_that_are_named_are_removed_and_the_preview_lists_them(host: Host) -> None:
    host.run()
    change = {"settings": {"attic": SETTINGS["attic"]}, "absent": ["backup", "never-there"]}
    runs = assert_check_mode_contract(
        lambda *, check=False: host.run(check=check, **change), lambda: sorted(host.tree().items()), once=["removed"]
    )
    assert runs.predicted["removed"] == runs.actual["removed"] == ["settings/backup.json"]
    diff = runs.predicted["diff"]
    assert "settings/backup.json" in diff["before"] and "settings/backup.json" not in diff["after"]
    assert not (host.nixci / "settings/backup.json").exists() and (host.nixci / "settings/attic.json").exists()


def test_settings_cannot_be_given_and_removed(host: Host) -> None:
    assert "attic are given and to be removed" in host.run(absent=["attic"])["msg"]
    assert "not the name of a role" in host.run(absent=["../modules/default"])["msg"]


def test_data_of_the_modules_is_written_beside_them(host: Host) -> None:
    host.run(modules={**MODULES, "supported.json": "{}\n"})
    assert host.tree()["nixci/modules/supported.json"] == "{}\n"


@pytest.mark.parametrize("place", ["nixci", "nixci/settings", "nixci/settings/attic.json"])
def test_a_link_is_not_followed(host: Host, place: str) -> None:
    """What it points to is somebody else's."""
    target = host.root.parent / "elsewhere"
    target.mkdir()
    link = host.root / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    result = host.run()
    assert "is a symbolic link" in result["msg"] and not list(target.iterdir())


def test_git_learns_of_the_files_of_a_flake_and_of_no_others(host: Host) -> None:
    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(host.root), *args], check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (host.root / "flake.nix").write_text("{ }")
    (host.root / "notes.txt").write_text("of the user")
    (host.root / ".gitignore").write_text("*.json\n")
    runs = assert_check_mode_contract(host.run, lambda: git("ls-files").split())
    known = [f"nixci/modules/{name}" for name in sorted(MODULES)] + [f"nixci/settings/{name}.json" for name in SETTINGS]
    assert git("ls-files").split() == known
    (host.nixci / "settings/notes.txt").write_text("of the user")
    assert "settings/notes.txt" not in host.run()["files"], "a flake does not see it, so no system is made of it"

    # interrupted after the files were written
    git("rm", "--quiet", "--cached", "--force", *known)
    runs = assert_check_mode_contract(host.run, lambda: git("ls-files").split())
    assert runs.actual["changed"] and git("ls-files").split() == known


def test_what_is_not_ours_stays_but_counts_for_the_rebuild(host: Host) -> None:
    host.run()
    host.rebuild()
    (host.nixci / "settings/notes.txt").write_text("of the user")
    (host.root / "configuration.nix").write_text("{ }")
    runs = assert_check_mode_contract(host.run, host.tree)
    assert not runs.actual["changed"]
    assert runs.actual["rebuild"], "Nix hashes every file of the folder"
    assert "nixci/settings/notes.txt" in host.tree() and "configuration.nix" in host.tree()


def test_the_manifest_decides_about_the_rebuild(host: Host) -> None:
    assert host.run()["rebuild"]
    host.rebuild()
    again = host.run()
    assert not again["rebuild"] and again["built_from"] == again["files"]
    assert host.run(check=True, settings={"attic": {}})["rebuild"]
    pathlib.Path(settings.UNFINISHED).touch()
    assert host.run()["rebuild"]


def test_a_damaged_manifest_is_an_error(host: Host) -> None:
    pathlib.Path(settings.MANIFEST).write_text("[]")
    result = host.run()
    assert result["failed"] and "manifest.json cannot be read" in result["msg"]
    assert host.tree() == {}


@pytest.mark.parametrize(
    "wrong", [{"modules": {"../evil.nix": ""}}, {"settings": {"a/b": {}}}, {"modules": {"README.md": ""}}]
)
def test_a_name_cannot_leave_its_folder(host: Host, wrong: dict[str, t.Any]) -> None:
    runs = assert_check_mode_contract(lambda *, check=False: host.run(check=check, **wrong), host.tree)
    assert "is not the name of a file" in runs.actual["msg"]
