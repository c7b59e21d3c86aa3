# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of nixos_rebuild and nixos_confirm on a NixOS host that knows nothing of this collection."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t
from collections.abc import Iterator

import pytest
import yaml

from tests.integration.examples.test_examples import examples
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

CONFIRMED = ["Activate /etc/nixos for two minutes", "Give up the connection", "Make it permanent over a new connection"]
REVERTED = [*CONFIRMED[:1], "Go back now"]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host(lab_image(), "--memory=1g")
    try:
        host.wait()
        host.switch('environment.etc.name.text = "before";')
        yield host
    finally:
        host.remove()


def play(host: Host, folder: pathlib.Path, names: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
    tasks = [*examples("nixos_rebuild"), *examples("nixos_confirm")]
    chosen = [next(task for task in tasks if task["name"].startswith(name)) for name in names]
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": chosen}]))
    fixed = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
    command = [program, f"--inventory={host.id},", f"--extra-vars={json.dumps(fixed)}", str(folder / "play.yml")]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200, check=False)


def test_a_system_is_activated_for_a_time_and_confirmed(host: Host, tmp_path: pathlib.Path) -> None:
    host.configure('environment.etc.name.text = "after";')
    for changed in (2, 0):
        done = play(host, tmp_path, CONFIRMED)
        assert done.returncode == 0 and f"changed={changed}" in done.stdout, done.stdout + done.stderr
    assert host.out("cat /etc/name") == "after" and host.current() == host.profile() == host.boots()
    assert host.sh("systemctl is-active nixci-revert.timer").stdout.strip() == "inactive"


def test_a_system_that_fails_is_taken_back_and_the_play_fails(host: Host, tmp_path: pathlib.Path) -> None:
    before = host.current()
    host.configure('systemd.services.bad = { wantedBy = [ "multi-user.target" ]; script = "exit 1"; };')
    done = play(host, tmp_path, CONFIRMED)
    assert done.returncode == 2 and "bad.service" in done.stdout, done.stdout + done.stderr
    assert host.current() == host.profile() == host.boots() == before


def test_it_is_taken_back_by_hand(host: Host, tmp_path: pathlib.Path) -> None:
    before = host.current()
    host.configure('environment.etc.name.text = "slow";')
    done = play(host, tmp_path, REVERTED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.current() == host.profile() == host.boots() == before
    assert "The shop does not answer" in host.out("cat /var/lib/nixci/failed/*")
