# SPDX-License-Identifier: GPL-3.0-or-later
"""The role nixos with the configuration in a checkout on the controller, for one host of the lab."""

from __future__ import annotations

import json
import os
import re
import sys
import typing as t
from collections.abc import Iterator

import pytest

from tests.support.ansible_run import Controller, Played
from tests.support.checkout import GIT, Checkout
from tests.support.controller_nix import ControllerNix
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host

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
OWN = '# canary in the checkout\n{ ... }: { networking.hostName = "web"; environment.etc.mine.text = "%s"; }\n'


def transport(played: Played) -> str:
    return re.findall(r"transport=(\w+)\.", played.out)[0]


def path(played: Played) -> str:
    return re.findall(r"built=(\S+)", played.text)[0]


def missing(played: Played) -> int:
    """The bytes that were known to be missing before the copy."""
    return int(re.findall(r"missing=(\d+)\.", played.out)[0])


class Fleet(Controller):
    def __init__(self, host: Host, nix: ControllerNix) -> None:
        super().__init__(nix.folder / "hosts.yml", nix.folder / "site.yml", **GIT)
        self.env |= {"TMPDIR": str(nix.folder / "tmp"), "PATH": f"{nix.bin}:{os.environ['PATH']}"}
        self.host, self.nix = host, nix
        self.checkout = Checkout(nix.folder / "my fleet", "web", OWN % "one", "./nixci/hosts/web")
        self.root, self.git, self.commit = self.checkout.root, self.checkout.git, self.checkout.commit
        (nix.folder / "site.yml").write_text(PLAYBOOK)
        (nix.folder / "tmp").mkdir()
        there = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {"fleet": {"hosts": {host.id: there}}, "controller": {"hosts": {"localhost": here}}}
        (nix.folder / "hosts.yml").write_text(json.dumps(hosts))

    def argv(self, *args: str, **values: t.Any) -> list[str]:
        fixed = {"nixci_flake_dir": str(self.root), "nixos_configuration": "web", "deploy_grace": 5, "deploy_steady": 2}
        return super().argv("--limit=fleet", *args, **{**fixed, **values})

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
    assert transport(first) == "host"
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
    assert transport(built) == "ssh" and missing(built) > 0
    assert fleet.git("status", "--porcelain") == ""
    head = fleet.git("rev-parse", "HEAD")
    record = json.loads(fleet.host.out("tail -1 /var/log/nixci/deployments.jsonl"))
    assert record["revision"] == head and record["transport"] == "ssh" and record["bytes"] > 0
    fleet.clean()


def test_as_it_is_a_commit_is_what_the_repository_is(fleet: Fleet) -> None:
    fleet.checkout.write(OWN % "two")
    head, before = fleet.commit(), fleet.state()
    built = fleet.play(nixos_as_is=True, deploy_action="build")
    assert built.rc == 0 and transport(built) == "present" and fleet.state() == before, built.out
    assert fleet.host.sh(f"test -e {path(built)}").returncode == 1, "the host does not get it"
    done = fleet.play(nixos_as_is=True)
    assert done.rc == 0 and fleet.host.out("cat /etc/mine") == "two", done.out
    assert path(done) == path(built) == fleet.host.current()
    assert json.loads(fleet.host.out("cat /etc/nixci/manifest.json"))["revision"] == head


def test_a_checkout_behind_the_host_is_refused(fleet: Fleet) -> None:
    fleet.git("reset", "--quiet", "--hard", "HEAD~1")
    before = fleet.state()
    stale = fleet.play(nixos_as_is=True)
    assert stale.rc != 0 and "is behind" in stale.text and fleet.state() == before
    forced = fleet.play(nixos_as_is=True, deploy_force=["stale"])
    assert forced.rc == 0 and fleet.host.out("cat /etc/mine") == "one", forced.out


def test_a_ready_made_system_is_copied(fleet: Fleet) -> None:
    fleet.checkout.write(OWN % "three")
    fleet.commit()
    reference = f"path:{fleet.root.as_posix().replace(' ', '%20')}#nixosConfigurations.web.config.system.build.toplevel"
    path = fleet.nix.out("nix", "build", "--no-link", "--print-out-paths", reference).strip()
    missing = fleet.play(deploy_store_path=path.replace("/nix/store/", "/nix/store/0")[:-1])
    assert missing.rc != 0
    only_cache = fleet.play(deploy_store_path=path, deploy_copy="cache")
    assert only_cache.rc != 0 and "is in no binary cache that this host uses" in only_cache.text
    done = fleet.play(deploy_store_path=path)
    assert done.rc == 0 and transport(done) == "ssh" and fleet.host.current() == path, done.out
    fleet.clean()
