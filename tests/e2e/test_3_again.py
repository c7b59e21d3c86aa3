# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the playbook again changes nothing: from the checkout, as a preview, and from the installed collection."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
import testinfra

from lab import names
from tests.e2e.conftest import BIN, FLEET, ROOT, PlaybookRun, play

# The roles whose work is done on the controller.
CONTROLLER = {f"pantheros.nixci.{role}" for role in ("b2", "dns", "caches", "gitlab")}


@pytest.fixture(scope="module")
def again(demo: t.Any) -> PlaybookRun:
    run = play()
    assert run.rc == 0, run.out
    return run


def test_the_second_run_changes_nothing(again: PlaybookRun) -> None:
    assert again.changed == 0, again.out


def test_it_costs_few_tasks(again: PlaybookRun) -> None:
    assert len(again.tasks) <= 64


def test_a_limit_leaves_nothing_of_the_controller_out(again: PlaybookRun) -> None:
    limited = play("--limit", names.HOST_NAME)
    assert limited.rc == 0, limited.out
    first, second = ([task for task in run.tasks if task.split(" : ")[0] in CONTROLLER] for run in (limited, again))
    assert first == second != []


@pytest.mark.parametrize("playbook", ["preflight", "cloud", "hosts", "caches", "gitlab"])
def test_each_part_runs_alone(demo: t.Any, playbook: str) -> None:
    run = play("--limit", names.HOST_NAME, playbook=f"playbooks/{playbook}.yml")
    assert run.rc == 0, run.out
    assert run.changed == 0, run.out


CREDENTIALS = {"dns": "dns_token", "gitlab": "gitlab_token", "b2": "b2_key"}


@pytest.mark.parametrize("tag", CREDENTIALS)
def test_a_tag_selects_one_part_and_needs_no_other_credential(demo: t.Any, tag: str) -> None:
    run = play("--tags", tag, **{name: "wrong" for other, name in CREDENTIALS.items() if other != tag})
    assert run.rc == 0, run.out
    assert {task.split(" : ")[0] for task in run.tasks if " : " in task} == {f"pantheros.nixci.{tag}"}


def test_a_user_s_own_storage_takes_the_place_of_backblaze(demo: t.Any) -> None:
    storage = {"endpoint": names.URLS["s3"], "region": names.B2_REGION, "bucket": "pantheros-nix-cache"}
    run = play(attic_storage=storage, b2_key="wrong")  # noqa: S106
    assert run.rc == 0, run.out
    assert not [task for task in run.tasks if task.startswith("pantheros.nixci.b2")]
    assert run.changed == 0, run.out


def test_a_preview_changes_nothing(demo: t.Any) -> None:
    preview = play("--check", "--diff")
    assert preview.rc == 0, preview.out
    assert preview.changed == 0, preview.out


def test_the_installed_collection_does_the_same(demo: t.Any, tmp_path: pathlib.Path) -> None:
    """Built from what git knows, installed away from the checkout, run by its name."""
    tree = tmp_path / "tree"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={tree}/"], cwd=ROOT, check=True)
    galaxy, home = str(BIN / "ansible-galaxy"), tmp_path / "collections"
    env = {"ANSIBLE_COLLECTIONS_PATH": str(home), "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg")}
    (tmp_path / "ansible.cfg").write_text("[defaults]\ninterpreter_python = auto_silent\n")
    for command in (
        [galaxy, "collection", "build", str(tree), "--output-path", str(tmp_path)],
        [galaxy, "collection", "install", "--no-deps", "-p", str(home), *map(str, tmp_path.glob("*.tar.gz"))],
    ):
        if "install" in command:
            command += [str(path) for path in tmp_path.glob("*.tar.gz")]
        subprocess.run(command, cwd=tmp_path, env={**os.environ, **env}, check=True, capture_output=True)
    run = play("-i", str(ROOT / "inventory/lab"), playbook="pantheros.nixci.site", cwd=tmp_path, env=env)
    assert run.rc == 0, run.out
    assert run.changed == 0, run.out


def test_a_change_in_the_checkout_is_planned_applied_and_taken_back(demo: t.Any, tmp_path: pathlib.Path) -> None:
    """deploy.yml and rollback.yml, on the small host alone; in the end it runs what site.yml has made."""
    small = testinfra.get_host(f"docker://{names.SMALL_CONTAINER}")
    own, plan, limit = (
        FLEET / "hosts" / f"{names.SMALL_NAME}.nix",
        tmp_path / "plan.json",
        ("--limit", names.SMALL_NAME),
    )

    def running() -> str:
        return str(small.check_output("readlink -f /run/current-system"))

    before, text = running(), own.read_text()
    try:
        own.write_text(text.replace("imports =", 'environment.etc.release.text = "new";\n  imports =', 1))
        planned = play(*limit, playbook="playbooks/deploy.yml", deploy_action="plan", deploy_plan=str(plan))
        assert planned.rc == 0 and running() == before, planned.out
        entry = json.loads(plan.read_text())["hosts"][names.SMALL_NAME]
        assert (entry["from"], entry["transport"]) == (before, "host") and entry["to"] != before
        applied = play(*limit, playbook="playbooks/deploy.yml", deploy_plan=str(plan))
        assert applied.rc == 0 and f"{names.SMALL_NAME}: confirmed" in applied.problem, applied.out
        assert running() == entry["to"] and small.file("/etc/release").content_string == "new"
    finally:
        own.write_text(text)
    back = play(*limit, playbook="playbooks/rollback.yml")
    assert back.rc == 0 and running() == before, back.out
