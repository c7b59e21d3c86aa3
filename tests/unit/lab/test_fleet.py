# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's repository, as the lab makes it."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import subprocess

import pytest

from lab import fleet

KEY = "ssh-ed25519 AAAA deploy"


@pytest.fixture
def checkout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(fleet, "FLEET", tmp_path / "fleet")
    # the user's own settings of git play no part
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    fleet.create(KEY)
    return tmp_path / "fleet"


def git(checkout: pathlib.Path, *argv: str) -> list[str]:
    done = subprocess.run(["git", "-C", checkout, *argv], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_it_begins_without_the_collection_and_gets_its_line_in_a_second_commit(checkout: pathlib.Path) -> None:
    assert "nixci" not in (checkout / "flake.nix").read_text()
    fleet.add_import()
    assert git(checkout, "log", "--format=%s") == ["Use pantheros.nixci", "Describe the hosts"]
    changed = git(checkout, "diff", "--unified=0", "HEAD~1")
    assert [line.split() for line in changed if line.startswith("+ ")] == [
        ["+", "./nixci/hosts/hetzner-vps"],
        ["+", "./nixci/hosts/ovh-vps"],
    ]
    assert git(checkout, "status", "--porcelain", "--ignored") == []


def test_a_new_lab_gets_a_new_repository(checkout: pathlib.Path) -> None:
    fleet.add_import()
    (checkout / "mine").touch()
    fleet.create("ssh-ed25519 BBBB deploy")
    assert git(checkout, "log", "--format=%s") == ["Describe the hosts"]
    assert (checkout / fleet.KEY).read_text() == "ssh-ed25519 BBBB deploy\n"
    assert not (checkout / "mine").exists()


def test_a_user_can_commit_in_it(checkout: pathlib.Path) -> None:
    (checkout / "more").touch()
    git(checkout, "add", "--all")
    git(checkout, "commit", "-m", "More")
    assert git(checkout, "show", "--no-patch", "--format=%an <%ae>") == ["A user <user@nixci.test>"]


def test_the_lock_file_serves_old_and_new_nix(checkout: pathlib.Path) -> None:
    node = json.loads((checkout / "flake.lock").read_text())["nodes"]["nixpkgs"]
    assert node["parent"] == [] and node["locked"]["path"] == node["original"]["path"] == "./nixpkgs"
    assert node["locked"]["narHash"].startswith("sha256-")


def test_the_archive_of_a_folder(tmp_path: pathlib.Path) -> None:
    """As `nix hash path` says of the same folder."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "b").write_text("content\n")
    (tmp_path / "a").write_text("#!/bin/sh\n")
    (tmp_path / "a").chmod(0o755)
    digest = base64.b64encode(hashlib.sha256(fleet._nar(tmp_path)).digest()).decode()
    assert digest == "JNccdpWm6yqfOpohxFMWX41RRR0pTxzC1Eejh0R3x7c="


def test_every_file_of_the_template_is_there(checkout: pathlib.Path) -> None:
    assert {"flake.nix", "hosts", "flake.lock", "keys", "nixpkgs"} <= {path.name for path in checkout.iterdir()}
    assert (checkout / "nixpkgs" / "flake.nix").exists()
    assert not list(checkout.rglob("__pycache__"))
    assert f'system = "{fleet.system()}"' in (checkout / "flake.nix").read_text()
