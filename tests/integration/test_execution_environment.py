# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook with exactly the Python packages that ansible-builder puts into an execution environment.

The container itself is not built: its base image comes from a registry. What the collection decides is the package set.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import typing as t
import venv

import pytest
import yaml

from lab.clouds.gitlab import GitLabDouble, Token
from tests.sanity.artefact import TOOLS, build, unpack

PLACE = pathlib.Path(sys.prefix) / "execution-environment"


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("collections")
    unpack(build(folder), folder)
    return folder


@pytest.fixture(scope="module")
def packages(collections: pathlib.Path) -> dict[str, list[str]]:
    command = [str(TOOLS / "ansible-builder"), "introspect", str(collections)]
    return yaml.safe_load(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@pytest.fixture(scope="module")
def environment(packages: dict[str, list[str]]) -> pathlib.Path:
    """A virtual environment with these packages and the ansible-core that each execution environment has."""
    wanted = [line.partition("#")[0].strip() for line in packages["python"]]
    wanted.append(f"ansible-core=={importlib.metadata.version('ansible-core')}")
    complete = PLACE / "complete"
    if not complete.exists() or complete.read_text() != "\n".join(wanted):
        venv.create(PLACE, clear=True, with_pip=True, symlinks=True)
        install = [str(PLACE / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(install, check=True)
        complete.write_text("\n".join(wanted))
    return PLACE


def test_the_package_set_has_every_library_of_the_controller(packages: dict[str, list[str]]) -> None:
    named = " ".join(packages["python"])
    for library in ("requests", "urllib3", "b2sdk", "boto3", "python-gitlab", "PyJWT", "cryptography"):
        assert library in named
    assert any("openssh" in line for line in packages["system"])


def test_a_playbook_runs_in_it(
    environment: pathlib.Path, collections: pathlib.Path, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    double = GitLabDouble(["panther/nixos"], {"glpat-example": Token("nixci", {"panther/nixos": "maintainer"})})
    options = {"url": serve(double.app), "token": "glpat-example", "project": "panther/nixos"}
    task = {"pantheros.nixci.gitlab_variable": {**options, "key": "PLACE", "value": "here"}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task, {**task, "check_mode": True}]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    run = subprocess.run(
        [str(environment / "bin/ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml"],
        cwd=tmp_path,
        env={
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_PYTHON_INTERPRETER": str(environment / "bin/python"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert "changed=1" in run.stdout  # the task in check mode finds the variable as it should be
    assert double.variable("panther/nixos", "PLACE")["value"] == "here"
