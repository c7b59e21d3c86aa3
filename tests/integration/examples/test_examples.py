# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every example of the documentation, in its order, against a double. No secret may show up anywhere."""

from __future__ import annotations

import importlib
import pathlib
import re
import typing as t

import pytest
import yaml

from tests.integration.examples.environment import Builder
from tests.support.paths import ROOT
from tests.support.playbook import play

PREFIX = "pantheros.nixci."
# The file beside this one that builds an environment → the plugins whose examples one play runs in it. The modules for
# hosts are run by test_on_a_host.py and the tests of the roles, and those of the preflight by its tests.
ENVIRONMENTS = {
    "attic": ["attic_cache", "attic_token"],
    "attic_stats": ["attic_stats_info"],
    "b2": ["b2_bucket", "b2_application_key"],
    "cloudflare": ["cloudflare_record"],
    "gitlab": ["gitlab_variable"],
    "gitlab_deployment": ["gitlab_deployment"],
    "onepassword": ["onepassword", "onepassword_item"],
}
ELSEWHERE = {
    "attic_roundtrip",
    "inventory_check",
    "nixos_check",
    "nixos_closure",
    "nixos_confirm",
    "nixos_deploy_check",
    "nixos_flake",
    "nixos_generation_info",
    "nixos_host_info",
    "nixos_rebuild",
    "nixos_settings",
    "nixos_system_info",
    "opnix_token",
    "ssh_host_key",
}


def plugin_file(name: str) -> pathlib.Path:
    kind = "lookup" if name == "onepassword" else "modules"
    return ROOT / f"plugins/{kind}/{name}.py"


def examples(name: str) -> list[dict[str, t.Any]]:
    source = plugin_file(name).read_text()
    found = re.search(r'^EXAMPLES = r?"""\n(.*?)^"""', source, re.DOTALL | re.MULTILINE)
    assert found, f"{name} has no examples"
    return yaml.safe_load(found[1])


def redirect(task: dict[str, t.Any], endpoint: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """The same task with the addresses of the doubles, also within blocks."""
    changed = dict(task)
    for key, value in task.items():
        if key in ("block", "rescue", "always"):
            changed[key] = [redirect(one, endpoint) for one in value]
        elif key.removeprefix(PREFIX) in endpoint:
            changed[key] = {**(value or {}), **endpoint[key.removeprefix(PREFIX)]}
    return changed


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_examples_work_and_keep_secrets(name: str, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path) -> None:
    build: Builder = importlib.import_module(f"tests.integration.examples.{name}").environment
    environment = build(serve, tmp_path)
    tasks = [redirect(task, environment.endpoint) for plugin in ENVIRONMENTS[name] for task in examples(plugin)]
    played = play(
        tasks,
        environment.variables,
        tmp_path / "play",
        secrets=environment.secrets,
        environment=environment.environment,
        allowed_files=environment.files,
    )
    assert played.returncode == 0, played.output
    assert played.leaks == []


def test_every_plugin_has_its_examples_run() -> None:
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    lookups = {path.stem for path in (ROOT / "plugins/lookup").glob("*.py")}
    assert modules | lookups == {name for names in ENVIRONMENTS.values() for name in names} | ELSEWHERE
