# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an interrupted run or a manual change leaves behind, the next run repairs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import typing as t

import pytest

from tests.e2e.conftest import BIN, FLEET, OURS, ROOT, git, play

SETTINGS = OURS / "settings"


def recover() -> None:
    """One run repairs everything (and verifies the way from push to substitution), the next has nothing to do."""
    end = time.monotonic() + 300
    # A host takes back by itself what the run that was killed has not confirmed.
    while "is not confirmed" in (repaired := play()).problem and time.monotonic() < end:
        time.sleep(5)
    assert repaired.rc == 0, repaired.out
    again = play()
    assert (again.rc, again.changed) == (0, 0), again.out


@pytest.mark.parametrize("title", ["Backblaze-B2", "Attic-server"])
def test_a_lost_secret_is_replaced_everywhere(vault: t.Any, cache: t.Any, title: str) -> None:
    """As after an interruption between making a secret and storing it."""
    (item,) = vault.get(f"/{vault.id}/items", filter=f'title eq "{title}"')
    before = vault.item(title)
    vault.session.delete(f"{vault.url}/{vault.id}/items/{item['id']}", timeout=10).raise_for_status()
    recover()
    after = vault.item(title)
    assert set(after) == set(before)
    assert not [label for label, value in before.items() if value and after[label] == value]
    assert cache("/public-cache/nix-cache-info").status_code == 200


@pytest.mark.parametrize(
    "moment",
    ["Manage the restricted key", "Build the system, which", "into the checkout", "Activate the system, which"],
)
def test_a_killed_run_is_finished_by_the_next(demo: t.Any, host: t.Any, moment: str) -> None:
    command = [str(BIN / "ansible-playbook"), "playbooks/site.yml", "--extra-vars", '{"backup_keep_days": 21}']
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    for line in process.stdout or []:
        if moment in line:
            time.sleep(0.5)
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    recover()


def test_files_changed_by_hand_are_restored_and_those_of_another_role_go_only_when_they_are_named(
    demo: t.Any,
) -> None:
    backup, module = SETTINGS / "backup.json", FLEET / "nixci/modules/caddy.nix"
    backup.write_text(backup.read_text().replace("30", "3000"))
    module.write_text(module.read_text() + "# mine\n")
    (SETTINGS / "caddy.json").unlink()
    old = SETTINGS / "old.json"
    old.write_text("{}\n")
    git("add", "--intent-to-add", str(old))
    recover()
    assert "3000" not in backup.read_text() and "# mine" not in module.read_text()
    assert old.exists()
    preview = play("--check", "--diff", nixos_remove_settings=["old"])
    assert preview.rc == 0 and "settings/old.json" in preview.out
    removed = play("--limit", "hetzner-vps", nixos_remove_settings=["old"])
    assert removed.rc == 0, removed.out
    assert not old.exists()
    recover()
