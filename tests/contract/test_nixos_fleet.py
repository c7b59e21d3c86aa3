# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's fleet: a repository as a user has it, which each host of the lab builds."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from lab import fleet
from tests.support.lab_image import small_image
from tests.support.nixos_host import Host

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPT0bqTRVmUDQx5XCIbbgTrtvCIYqO8xAbcqCPGZMwwS deploy"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "FLEET", tmp_path_factory.mktemp("lab") / "fleet")
        fleet.create(KEY)
        yield fleet.FLEET


@pytest.fixture(scope="module")
def small() -> Iterator[Host]:
    host = Host(small_image(), "--hostname=ovh-vps", "--memory=1g")
    try:
        host.wait()
        yield host
    finally:
        host.remove()


def git(checkout: pathlib.Path, *argv: str) -> str:
    return subprocess.run(["git", "-C", checkout, *argv], check=True, capture_output=True, text=True).stdout.strip()


def test_the_hash_in_the_lock_file_is_that_of_nix(nixos: Host, checkout: pathlib.Path) -> None:
    nixos.copy(checkout / "nixpkgs", "/root/hashed")
    assert f'"narHash": "{nixos.out("nix hash path /root/hashed")}"' in (checkout / "flake.lock").read_text()


def test_every_host_builds_before_the_collection_is_used(nixos: Host, checkout: pathlib.Path) -> None:
    nixos.copy(checkout, "/root/before")
    for name in ("hetzner-vps", "ovh-vps", "yoga", "zephyrus"):
        built = nixos.rebuild("dry-build" if name == "zephyrus" else "build", "--flake", f"/root/before#{name}")
        assert built.returncode == 0, built.stderr
        if name != "zephyrus":
            system = built.stdout.strip()
            assert nixos.out(f"cat {system}/etc/hostname") == name
            assert nixos.out(f"cat {system}/configuration-revision") == git(checkout, "rev-parse", "HEAD")
            assert nixos.out(f"cat {system}/etc/ssh/authorized_keys.d/root") == KEY


def test_the_small_host_builds_itself_and_nothing_of_the_server(small: Host, checkout: pathlib.Path) -> None:
    small.copy(checkout, "/root/fleet")
    done = small.rebuild("switch", "--flake", "/root/fleet")  # its name is its host name
    assert done.returncode == 0, done.stderr
    assert "hostname" in small.out("curl --fail --silent http://127.0.0.1:8000/")
    assert small.sh("command -v psql caddy restic attic").stdout == ""
    server = small.rebuild("build", "--flake", "/root/fleet#hetzner-vps")
    assert server.returncode == 1 and "the lab's machine lacks Debian's package" in server.stderr


def test_the_line_of_the_collection_is_a_commit_of_its_own(nixos: Host, checkout: pathlib.Path) -> None:
    fleet.add_import()
    assert git(checkout, "log", "--format=%s").splitlines() == ["Use pantheros.nixci", "Describe the hosts"]
    assert git(checkout, "status", "--porcelain") == ""
    added = [line[1:].strip() for line in git(checkout, "show", "--format=", "-U0").splitlines() if line[:2] == "+ "]
    assert added == ["./nixci/hosts/hetzner-vps", "./nixci/hosts/ovh-vps"]
    nixos.copy(checkout, "/root/after")
    missing = nixos.rebuild("build", "--flake", "/root/after#ovh-vps")
    assert missing.returncode == 1 and "nixci" in missing.stderr
    assert nixos.rebuild("dry-build", "--flake", "/root/after#yoga").returncode == 0
