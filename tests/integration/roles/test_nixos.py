# SPDX-License-Identifier: GPL-3.0-or-later
"""The role nixos on one host of the lab: a preview, refusals, interruptions, and a system that needs a reboot."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t
from collections.abc import Iterator

import pytest

from tests.support.ansible_run import Controller
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: pantheros.nixci.nixos, tasks_from: build, rolespec_validate: false}
    - name: Between the two
      ansible.builtin.pause: {seconds: "{{ pause | default(0) }}"}
      when: pause is defined
    - ansible.builtin.import_role: {name: pantheros.nixci.nixos, tasks_from: activate, rolespec_validate: false}
"""
IMPORT = "imports = [ ./nixci/hosts/web ];"
OWN = 'networking.hostName = "web"; environment.etc.mine.text = "the user\'s";'
# Slow enough to be interrupted.
SLOW = 'system.activationScripts.slow = "sleep 3";'


class OneHost(Controller):
    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        super().__init__(f"{host.id},", folder / "site.yml")
        self.host = host
        (folder / "site.yml").write_text(PLAYBOOK)

    def argv(self, *args: str, **values: t.Any) -> list[str]:
        fixed = {
            "ansible_connection": "community.docker.docker",
            "ansible_python_interpreter": "/usr/bin/python3",
            "nixos_configuration": "web",
            "deploy_grace": "5",
            "deploy_steady": "2",
            "deploy_confirm_timeout": "40",
        }
        return super().argv(*args, **{**fixed, **values})

    def state(self) -> tuple[str, str, str]:
        """What runs, what boots, and our files in place."""
        files = self.host.out("cd /etc/nixos; find nixci -type f 2>/dev/null | sort | xargs -r sha256sum")
        return self.host.current(), self.host.profile(), files

    def settled(self, **values: t.Any) -> None:
        """One run completes what is left, and the next has nothing to do. What nobody confirmed is taken back first."""
        end = time.monotonic() + 300
        while "is not confirmed yet" in (first := self.play(**values)).text and time.monotonic() < end:
            time.sleep(2)
        again = self.play(**values)
        assert first.rc == 0, first.out
        assert again.rc == 0 and "changed=0" in again.text, again.out
        assert not self.host.sh("ls -d /var/lib/nixci/staging /run/nixci/unfinished-activation").stdout


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host(lab_image())
    try:
        host.wait()
        host.switch(OWN)
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="module")
def controller(host: Host, tmp_path_factory: pytest.TempPathFactory) -> OneHost:
    return OneHost(host, tmp_path_factory.mktemp("controller"))


def test_a_leftover_that_does_not_import_our_modules_is_refused(host: Host, controller: OneHost) -> None:
    before = controller.state()
    for args in (["--check"], []):
        refused = controller.play(*args)
        assert refused.rc != 0 and IMPORT in refused.text, refused.out
        assert controller.state() == before
    assert not host.sh("ls -d /etc/nixos/nixci /var/lib/nixci/staging").stdout


def test_a_leftover_of_another_host_is_refused(host: Host, controller: OneHost) -> None:
    host.configure(IMPORT + OWN.replace('"web"', '"installer"'))
    before = controller.state()
    refused = controller.play()
    assert refused.rc != 0 and "that of the host 'installer', but this is 'web'" in refused.text
    assert controller.state() == before


def test_a_first_preview_shows_what_the_run_does(host: Host, controller: OneHost) -> None:
    host.configure(IMPORT + OWN + SLOW)
    before = controller.state()
    preview = controller.play("--check", "--diff")
    assert preview.rc == 0, preview.out
    assert "settings/nixos.json" in preview.text and "manifest.json: ∅ → ε" in preview.text
    assert controller.state() == before
    controller.settled()
    assert json.loads(host.out("cat /etc/nixci/manifest.json"))["files"]


def test_refused_settings_do_not_stay(host: Host, controller: OneHost) -> None:
    before = controller.state()
    for args in (["--check"], []):
        refused = controller.play(*args, _nixos_collection_version="no version")
        assert refused.rc != 0 and "/etc/nixos/nixci/hosts/web/settings/nixos.json" in refused.text, refused.out
        assert controller.state() == before
    assert host.rebuild("build").returncode == 0, "the user's own next rebuild works"


@pytest.mark.parametrize(
    ("task", "after", "version"),
    [("Build the configuration", 2.5, "1.0.1"), ("Between the two", 0.5, "1.0.2"),
     ("Activate the system, which", 0.1, "1.0.3"), ("Activate the system, which", 3, "1.0.4")],
    ids=["while it builds", "before the move", "before the activation", "in the activation"],
)  # fmt: skip
def test_an_interrupted_run_is_completed_by_the_next(
    host: Host, controller: OneHost, task: str, after: float, version: str
) -> None:
    before = controller.state()
    values = {"pause": 30} if task.startswith("Between") else {}
    controller.killed_at(task, after, _nixos_collection_version=version, **values)
    if not task.startswith("Activate"):
        assert controller.state() == before, "nothing is in place before it was built"
    controller.settled(_nixos_collection_version=version)
    assert json.loads(host.out("cat /etc/nixci/manifest.json"))["version"] == version


def test_what_needs_a_reboot_is_told_before_anything_moves(host: Host, controller: OneHost) -> None:
    host.configure(IMPORT + OWN + 'system.initInterfaceVersion = "systemd 3";')
    before = controller.state()
    refused = controller.play(_nixos_collection_version="1.1.0")
    assert refused.rc != 0 and "nixos_rebuild_action: boot" in refused.text
    assert controller.state() == before
    values = {"_nixos_collection_version": "1.1.0", "nixos_rebuild_action": "boot"}
    booted = controller.play(**values)
    assert booted.rc == 0, booted.out
    assert host.current() == host.profile() == host.boots() != before[0]
    controller.settled(_nixos_collection_version="1.1.0")
