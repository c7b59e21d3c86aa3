# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of the lookup across tasks, hosts and runs: only a real playbook forks workers."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
import yaml

from lab.clouds.onepassword import OnePasswordDouble
from tests.support.paths import ROOT


@pytest.fixture
def double() -> OnePasswordDouble:
    attic = {"ci-token": "canary-1", "root-token": "canary-2", "template": "{{ 1 + 1 }}"}
    return OnePasswordDouble(
        vaults={"pantherOS": {"Attic": attic}}, tokens={"canary-token": {"vaults": {"pantherOS": "write"}}}
    )


def paths(double: OnePasswordDouble) -> list[str]:
    """The kind of object of each request."""
    names = {key: "item" for items in double.items.values() for key in items}
    return [
        names.get(entry["path"].rsplit("/", 1)[1], entry["path"].rsplit("/", 1)[1]) for entry in double.app.requests
    ]


@pytest.fixture
def play(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> t.Callable[..., dict[str, t.Any]]:
    url = serve(double.app)

    def run(*tasks: dict[str, t.Any], seconds: int = 0, token: str = "canary-token") -> dict[str, t.Any]:
        variables = {
            "nixci_onepassword_connect_host": url,
            "nixci_onepassword_connect_token": f"{{{{ '{token}' }}}}",
            "nixci_onepassword_cache_seconds": f"{{{{ {seconds} }}}}",
            "connect": {"vault": "pantherOS", "connect_host": url, "connect_token": token},
            "ansible_python_interpreter": sys.executable,
        }
        head = {"hosts": "all", "gather_facts": False, "connection": "local", "vars": variables}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([{**head, "tasks": tasks}]))
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "a,b,", "-vvvv", "--diff", str(tmp_path / "play.yml")],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return {"rc": done.returncode, "output": done.stdout + done.stderr}

    return run


def read(reference: str, expected: str) -> dict[str, t.Any]:
    """A task that fails unless it reads the expected value."""
    query = f"lookup('pantheros.nixci.onepassword', '{reference}', default='-')"
    return {"ansible.builtin.assert": {"that": f"{query} == '{expected}'"}, "no_log": True}


def test_tasks_and_hosts_of_one_run_share_an_item_and_a_later_run_fetches_it_again(
    double: OnePasswordDouble, play: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    tasks = [
        read("op://pantherOS/Attic/ci-token", "canary-1"),
        read("op://pantherOS/Attic/root-token", "canary-2"),
        {
            "ansible.builtin.assert": {"that": "lookup('pantheros.nixci.onepassword', template) == braces"},
            "vars": {"template": "op://pantherOS/Attic/template", "braces": "{{ '{' ~ '{ 1 + 1 }' ~ '}' }}"},
        },
        read("op://pantherOS/Nothing/x", "-"),
        read("op://pantherOS/Nothing/x", "-"),
    ]
    run = play(*tasks, seconds=60)
    assert run["rc"] == 0, run["output"]
    # The listing of the vault shows that the other item is missing.
    assert paths(double) == ["vaults", "items", "item"]
    assert play(*tasks, seconds=60)["rc"] == 0
    assert paths(double).count("item") == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "play.yml"]
    assert files
    assert not any(b"canary" in path.read_bytes() for path in files)


def test_without_the_option_every_task_and_host_fetches_and_nothing_is_cached(
    double: OnePasswordDouble, play: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    run = play(*[read("op://pantherOS/Attic/ci-token", "canary-1")] * 2)
    assert run["rc"] == 0, run["output"]
    assert paths(double).count("item") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["play.yml"]


def test_the_next_task_reads_what_the_module_wrote(
    double: OnePasswordDouble, play: t.Callable[..., dict[str, t.Any]]
) -> None:
    def store(title: str, value: str) -> dict[str, t.Any]:
        options = {"title": title, "fields": [{"label": "ci-token", "value": value}]}
        args = {**options, **{key: f"{{{{ connect.{key} }}}}" for key in ("vault", "connect_host", "connect_token")}}
        return {"pantheros.nixci.onepassword_item": args, "run_once": True}

    run = play(
        read("op://pantherOS/Attic/ci-token", "canary-1"),
        read("op://pantherOS/New/ci-token", "-"),
        store("Attic", "canary-new"),
        store("New", "canary-made"),
        read("op://pantherOS/Attic/ci-token", "canary-new"),
        read("op://pantherOS/New/ci-token", "canary-made"),
        store("New", "canary-made"),
        read("op://pantherOS/New/ci-token", "canary-made"),
        seconds=300,
    )
    assert run["rc"] == 0, run["output"]
    assert "canary" not in run["output"]


def test_a_failing_lookup_shows_no_secret_although_ansible_prints_its_message(
    play: t.Callable[..., dict[str, t.Any]],
) -> None:
    task = {"ansible.builtin.debug": {"msg": "{{ lookup('pantheros.nixci.onepassword', secret) }}"}, "no_log": True}
    run = play({**task, "vars": {"secret": "{{ 'cana' ~ 'ry-x' }}"}}, token="wr' ~ 'ong")
    assert run["rc"] != 0
    assert "is not a secret reference" in run["output"]
    assert "canary" not in run["output"]
    task["vars"] = {"secret": "op://pantherOS/Attic/ci-token"}
    run = play(task, token="wr' ~ 'ong")
    assert "does not accept the token; check connect_token" in run["output"]
    assert "wrong" not in run["output"]
