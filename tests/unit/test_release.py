# SPDX-License-Identifier: GPL-3.0-or-later
"""One version everywhere, and an artefact that holds what users need and nothing else."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tarfile

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the artefact, built from what git knows, so that a developer's own files play no part."""
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
    assert f"({VERSION})" in (ROOT / "CHANGELOG.md").read_text()


def test_the_artefact_has_what_a_user_needs(files: list[str]) -> None:
    for name in ("plugins/modules/attic_cache.py", "plugins/lookup/onepassword.py", "roles/nixos/tasks/main.yml"):
        assert name in files
    for name in ("nix/modules/default.nix", "playbooks/site.yml", "inventory/example/hosts.yml", "requirements.txt"):
        assert name in files


def test_the_artefact_has_nothing_else(files: list[str]) -> None:
    unwanted = re.compile(
        r"^(lab|tests|molecule|nix/tests|\.(?!/)|Makefile|ansible\.cfg|pyproject)|__pycache__|\.tar\.gz$"
    )
    assert [name for name in files if unwanted.match(name)] == []


def test_every_module_has_a_unit_test() -> None:
    tested = {path.name for path in (ROOT / "tests/unit/plugins/modules").glob("test_*.py")}
    assert {f"test_{path.name}" for path in (ROOT / "plugins/modules").glob("*.py")} <= tested
