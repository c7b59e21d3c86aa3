# SPDX-License-Identifier: GPL-3.0-or-later
"""One version everywhere, and an artefact that holds what users need and nothing else."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import typing as t

import pytest
import yaml

from tests.support.paths import ROOT

VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the artefact, built from tracked files only, so that a developer's own files play no part."""
    if not (ROOT / ".git").exists():
        pytest.skip("only a checkout can be built")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={tree}/"], cwd=ROOT, check=True)
    build = [
        str(pathlib.Path(sys.executable).with_name("ansible-galaxy")),
        "collection",
        "build",
        str(tree),
        "--output-path",
        str(out),
    ]
    subprocess.run(build, capture_output=True, check=True)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        return archive.getnames()


def test_every_copy_of_the_version_is_equal() -> None:
    role = yaml.safe_load((ROOT / "roles/nixos/vars/main.yml").read_text())
    assert role["_nixos_collection_version"] == VERSION
    changelog = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())
    assert VERSION in changelog["releases"]


def test_the_artefact_has_what_a_user_needs(files: list[str]) -> None:
    for name in ("plugins/modules/attic_cache.py", "plugins/lookup/onepassword.py", "roles/nixos/tasks/main.yml"):
        assert name in files
    for name in ("nix/modules/default.nix", "playbooks/site.yml", "inventory/example/hosts.yml", "requirements.txt"):
        assert name in files


def test_the_artefact_has_nothing_else(files: list[str]) -> None:
    unwanted = re.compile(
        r"^(lab|molecule|nix/tests|build|scripts/(?!deploy)|tests/(?!config\.yml$)|\.(?!/)|Makefile|ansible\.cfg|noxfile|.*nox\.toml|pyproject)"
        r"|__pycache__|\.tar\.gz$"
    )
    assert [name for name in files if unwanted.match(name)] == []


def test_ansible_test_gets_the_libraries_that_users_need() -> None:
    """It reads one file of requirements only, which therefore repeats those of the collection."""

    def libraries(path: str) -> set[str]:
        lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
        return {line for line in lines if line}

    missing = libraries("requirements.txt") - libraries("tests/unit/requirements.txt")
    assert {line.partition(">")[0] for line in missing} == {"ansible-core"}  # which ansible-test brings itself


# What needs a real service, and actions of the controller, whose code is in plugin_utils.
ELSEWHERE = {
    "attic_stats_info": ROOT / "tests/contract/test_attic_stats.py",
    "inventory_check": ROOT / "tests/integration/test_wrong_input.py",
    "nixos_host_info": ROOT / "tests/integration/test_host_inspection.py",
}


def test_every_module_has_tests_of_its_own() -> None:
    for path in (ROOT / "plugins/modules").glob("*.py"):
        unit = ROOT / "tests/unit/plugins/modules" / f"test_{path.name}"
        assert ELSEWHERE.get(path.stem, unit).exists(), path.name


# -- groups of modules for module_defaults

GROUPS: dict[str, list[t.Any]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
SERVICES = sorted(GROUPS.keys() - {"all"})


@pytest.fixture(scope="module")
def documented() -> dict[str, t.Any]:
    """Module name → its documentation, fragments included."""
    names = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
    command = [str(pathlib.Path(sys.executable).with_name("ansible-doc")), "--json"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}
    command += [f"pantheros.nixci.{name}" for name in names]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {name: json.loads(printed.stdout)[f"pantheros.nixci.{name}"]["doc"] for name in names}


def fragment(service: str) -> set[str]:
    """The options that all modules of a service have."""
    source = (ROOT / f"plugins/doc_fragments/_{service}.py").read_text()
    first = re.search(r'DOCUMENTATION = r?"""\n(.*?)"""', source, re.DOTALL)
    assert first, service
    return set(yaml.safe_load(first[1])["options"])


def test_every_group_is_part_of_all() -> None:
    assert GROUPS["all"] == [{"metadata": {"extend_group": SERVICES}}]


def test_modules_document_the_groups_that_they_are_in(documented: dict[str, t.Any]) -> None:
    documented_groups = {
        name: doc["attributes"].get("action_group", {}).get("membership", []) for name, doc in documented.items()
    }
    expected = {name: [] for name in documented}
    for service in SERVICES:
        for name in GROUPS[service]:
            expected[name] = [f"pantheros.nixci.{service}", "pantheros.nixci.all"]
    assert documented_groups == expected


@pytest.mark.parametrize("service", SERVICES)
def test_a_group_takes_its_services_options(service: str, documented: dict[str, t.Any]) -> None:
    for name in GROUPS[service]:
        assert set(documented[name]["options"]) >= fragment(service) | {"timeout"}, name


def test_every_module_with_a_services_options_is_in_its_group(documented: dict[str, t.Any]) -> None:
    for service in SERVICES:
        modules = [
            name for name in documented if f"nixci._{service}\n" in (ROOT / f"plugins/modules/{name}.py").read_text()
        ]
        assert set(modules) <= set(GROUPS[service])
