# SPDX-License-Identifier: GPL-3.0-or-later
"""The role nixos with the configuration in a checkout on the controller, for one host of the lab."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t
from collections.abc import Iterator

import pytest

from lab import fleet as lab_fleet
from tests.support.controller_nix import ControllerNix
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: pantheros.nixci.nixos, tasks_from: build, rolespec_validate: false}
    - ansible.builtin.debug: {msg: "transport={{ nixos_build_result.transport | default('none') }}."}
    - ansible.builtin.debug: {msg: "missing={{ (deploy_check_result | default({})).missing_bytes | default('unknown') }}."}
    - ansible.builtin.debug: {msg: "built={{ nixos_build_result.store_path | default('none') }}"}
    - ansible.builtin.import_role: {name: pantheros.nixci.nixos, tasks_from: activate, rolespec_validate: false}
"""
FLAKE = """{
  inputs.nixpkgs.url = "path:./nixpkgs";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem {
      system = "%s";
      modules = [
        { system.configurationRevision = self.rev or null; }
        ./web.nix
        ./nixci/hosts/web
      ];
    };
  };
}
"""
OWN = '# canary in the checkout\n{ ... }: { networking.hostName = "web"; environment.etc.mine.text = "%s"; }\n'
GIT = {
    "GIT_AUTHOR_NAME": "Me",
    "GIT_AUTHOR_EMAIL": "me@nixci.test",
    "GIT_COMMITTER_NAME": "Me",
    "GIT_COMMITTER_EMAIL": "me@nixci.test",
}


class Played(t.NamedTuple):
    rc: int
    out: str

    @property
    def text(self) -> str:
        return " ".join(self.out.split())

    @property
    def transport(self) -> str:
        return re.findall(r"transport=(\w+)\.", self.out)[0]

    @property
    def path(self) -> str:
        return re.findall(r"built=(\S+)", self.text)[0]

    @property
    def missing(self) -> int:
        """The bytes that were known to be missing before the copy."""
        return int(re.findall(r"missing=(\d+)\.", self.out)[0])


class Fleet:
    def __init__(self, host: Host, nix: ControllerNix) -> None:
        self.host, self.nix = host, nix
        self.root = nix.folder / "my fleet"
        self.root.mkdir()
        (nix.folder / "site.yml").write_text(PLAYBOOK)
        (nix.folder / "tmp").mkdir()
        lab_fleet.add_nixpkgs(self.root)
        (self.root / "flake.nix").write_text(FLAKE % lab_fleet.system())
        (self.root / "web.nix").write_text(OWN % "one")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *args: str) -> str:
        command = ["git", "-C", str(self.root), *args]
        return subprocess.run(
            command, env={**os.environ, **GIT}, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=change")
        return self.git("rev-parse", "HEAD")

    def play(self, *args: str, **values: t.Any) -> Played:
        fixed = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "nixci_flake_dir": str(self.root),
            "nixos_configuration": "web",
            "deploy_grace": 5,
            "deploy_steady": 2,
        }
        inventory = self.nix.folder / "hosts.yml"
        connection = {"ansible_connection": "community.docker.docker"}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory.write_text(
            json.dumps({"fleet": {"hosts": {self.host.id: connection}}, "controller": {"hosts": {"localhost": local}}})
        )
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        extra = {key: value for key, value in {**fixed, **values}.items() if key != "ansible_python_interpreter"}
        command = [str(program), f"--inventory={inventory}", "--limit=fleet", str(self.nix.folder / "site.yml"), *args]
        env = {
            **os.environ,
            **GIT,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "TMPDIR": str(self.nix.folder / "tmp"),
            "PATH": f"{self.nix.bin}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            [*command, f"--extra-vars={json.dumps(extra)}"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        return Played(done.returncode, done.stdout + done.stderr)

    def state(self) -> tuple[str, str, str, str]:
        return (
            self.host.current(),
            self.host.profile(),
            self.git("status", "--porcelain"),
            self.git("rev-parse", "HEAD"),
        )

    def clean(self) -> None:
        """Nothing of the checkout stays, neither on the host nor in the folder for temporary files."""
        assert not list((self.nix.folder / "tmp").iterdir())
        left = self.host.sh(
            "ls -d /var/lib/nixci/staging /run/nixci/*.tar.gz /var/lib/nixci/closure-*; "
            "grep -rlsE 'canary (of the user|in the checkout)' /nix/store /var/lib/nixci /run /tmp"
        )
        assert not left.stdout.strip(), left.stdout


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    host = Host(lab_image())
    nix = None
    try:
        nix = ControllerNix(lab_image(), tmp_path_factory.mktemp("controller"))
        host.wait()
        host.switch('networking.hostName = "web"; environment.etc.mine.text = "before";')
        yield Fleet(host, nix)
    finally:
        host.remove()
        if nix:
            nix.remove()


def test_a_preview_on_the_host_changes_nothing(fleet: Fleet) -> None:
    (fleet.root / "secret.txt").write_text("canary of the user")
    before = fleet.state()
    preview = fleet.play("--check", "--diff", deploy_build_on="host")
    assert preview.rc == 0, preview.out
    assert "nixci/hosts/web" not in fleet.state()[2] and fleet.state() == before
    assert "settings/nixos.json" in preview.text and "manifest.json: ∅ → ε" in preview.text, preview.out
    fleet.clean()


def test_refused_settings_do_not_stay_in_the_checkout(fleet: Fleet) -> None:
    before = fleet.state()
    for where in ("host", "controller"):
        refused = fleet.play(deploy_build_on=where, _nixos_collection_version="no version")
        place = f"{fleet.root}/nixci/hosts/web/settings/nixos.json"
        assert refused.rc != 0 and place in refused.text, refused.out
        assert fleet.state() == before
    fleet.clean()


def test_it_is_built_on_the_host_and_the_files_are_in_the_checkout(fleet: Fleet) -> None:
    head = fleet.git("rev-parse", "HEAD")
    first = fleet.play(deploy_build_on="host")
    assert first.rc == 0, first.out
    assert first.transport == "host"
    assert fleet.host.current() == fleet.host.profile() == fleet.host.boots()
    assert "nixci/hosts/web/settings/nixos.json" in fleet.git("ls-files")
    record = json.loads(fleet.host.out("tail -1 /var/log/nixci/deployments.jsonl"))
    assert (record["revision"], record["transport"], record["result"]) == (f"{head}-dirty", "host", "confirmed")
    again = fleet.play(deploy_build_on="host")
    assert again.rc == 0 and "changed=0" in again.text, again.out
    fleet.clean()


def test_it_is_built_on_the_controller_and_copied(fleet: Fleet) -> None:
    fleet.commit()
    built = fleet.play(_nixos_collection_version="1.0.1", nixci_commit=True)
    assert built.rc == 0, built.out
    assert built.transport == "ssh" and built.missing > 0
    assert fleet.git("status", "--porcelain") == ""
    head = fleet.git("rev-parse", "HEAD")
    record = json.loads(fleet.host.out("tail -1 /var/log/nixci/deployments.jsonl"))
    assert record["revision"] == head and record["transport"] == "ssh" and record["bytes"] > 0
    fleet.clean()


def test_as_it_is_a_commit_is_what_the_repository_is(fleet: Fleet) -> None:
    (fleet.root / "web.nix").write_text(OWN % "two")
    head, before = fleet.commit(), fleet.state()
    built = fleet.play(nixos_as_is=True, deploy_action="build")
    assert built.rc == 0 and built.transport == "present" and fleet.state() == before, built.out
    assert fleet.host.sh(f"test -e {built.path}").returncode == 1, "the host does not get it"
    done = fleet.play(nixos_as_is=True)
    assert done.rc == 0 and fleet.host.out("cat /etc/mine") == "two", done.out
    assert done.path == built.path == fleet.host.current()
    assert json.loads(fleet.host.out("cat /etc/nixci/manifest.json"))["revision"] == head


def test_a_checkout_behind_the_host_is_refused(fleet: Fleet) -> None:
    fleet.git("reset", "--quiet", "--hard", "HEAD~1")
    before = fleet.state()
    stale = fleet.play(nixos_as_is=True)
    assert stale.rc != 0 and "is behind" in stale.text and fleet.state() == before
    forced = fleet.play(nixos_as_is=True, deploy_force=["stale"])
    assert forced.rc == 0 and fleet.host.out("cat /etc/mine") == "one", forced.out


def test_a_ready_made_system_is_copied(fleet: Fleet) -> None:
    (fleet.root / "web.nix").write_text(OWN % "three")
    fleet.commit()
    reference = f"path:{fleet.root.as_posix().replace(' ', '%20')}#nixosConfigurations.web.config.system.build.toplevel"
    path = fleet.nix.out("nix", "build", "--no-link", "--print-out-paths", reference).strip()
    missing = fleet.play(deploy_store_path=path.replace("/nix/store/", "/nix/store/0")[:-1])
    assert missing.rc != 0
    only_cache = fleet.play(deploy_store_path=path, deploy_copy="cache")
    assert only_cache.rc != 0 and "is in no binary cache that this host uses" in only_cache.text
    done = fleet.play(deploy_store_path=path)
    assert done.rc == 0 and done.transport == "ssh" and fleet.host.current() == path, done.out
    fleet.clean()
