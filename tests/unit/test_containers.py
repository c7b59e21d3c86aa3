# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed test run has left is removed by the next one, and what another run uses is not; with a fake docker."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import pytest

from lab import runs
from tests.support import containers
from tests.support.paths import ROOT

DOCKER = """#!/bin/sh
case "$1 $*" in
  ps*label=nixci.tests=*) ;;
  images*label=nixci.tests=*) ;;
  ps*|images*) echo some ;;
  inspect*) cat {folder}/names ;;
esac
echo "$*" >> {folder}/calls
"""


@pytest.fixture
def docker(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "docker").write_text(DOCKER.format(folder=tmp_path))
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(runs.VARIABLE, raising=False)
    return tmp_path


def cleaned(docker: pathlib.Path, *names: str) -> set[str]:
    """The runs whose containers are looked for to be removed."""
    (docker / "names").write_text("".join(f"{name}\n" for name in names))
    containers.remove_left()
    calls = (docker / "calls").read_text().split()
    return {word.rpartition("=")[2] for word in calls if word.startswith(f"--filter=label={containers.LABEL}=")}


def test_only_runs_that_are_over_are_cleaned_up(docker: pathlib.Path) -> None:
    mine = runs.begin()
    pid, start = mine.split("-")
    # Killed; killed before the machine restarted, since when another process has its number; by an older version.
    over = {f"4194305-{start}", f"{pid}-1", pid}
    assert cleaned(docker, mine, *over) == over


def test_the_processes_of_a_run_have_its_name(docker: pathlib.Path) -> None:
    mark = containers.mark()
    code = "from lab import runs; from tests.support import containers; print(containers.mark(), runs.is_first())"
    child = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True)
    assert child.stdout.split() == [mark, "False"]
    assert runs.is_first() and runs.goes_on(mark.rpartition("=")[2])


def test_every_container_that_stays_carries_the_name_of_its_run() -> None:
    found = 0
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            words = node.args if isinstance(node, ast.Call) else getattr(node, "elts", [])
            said = [word.value for word in words if isinstance(word, ast.Constant)]
            if said[:2] == ["docker", "run"] and "--detach" in said:
                found += 1
                assert [word for word in words if "mark()" in ast.unparse(word)], f"{path}:{node.lineno}"
    assert found > 3
