# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/install with a fake package manager."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tests.support.paths import ROOT

PROGRAMS = {
    "id": "echo $NUMBER",
    "dpkg": "echo locked; exit 2",  # while somebody else installs
    "apt-get": 'echo "$*" >> $LOG; case "$*" in *update) exit 100;; *) exit $CODE;; esac',
}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def install(folder: pathlib.Path, number: int = 0, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(folder), "NUMBER": str(number), "CODE": str(code), "LOG": str(folder / "log")}
    return subprocess.run(["/bin/sh", ROOT / "scripts/install", "jq"], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("code", [0, 100])
def test_it_waits_for_others_and_uses_the_lists_that_are_there(folder: pathlib.Path, code: int) -> None:
    done = install(folder, code=code)
    assert (done.returncode, done.stdout) == (code, "nixci: installing jq\n")
    installed = (folder / "log").read_text().splitlines()[-1]
    assert installed.endswith(" install -y --no-install-recommends jq") and "Lock::Timeout=300" in installed


def test_without_the_right_to_install_the_user_is_asked(folder: pathlib.Path) -> None:
    done = install(folder, number=1000)
    assert (done.returncode, done.stderr) == (1, "nixci: jq is missing; install it.\n")
    (folder / "apt-get").unlink()
    assert install(folder).returncode == 1
    assert not (folder / "log").exists()
