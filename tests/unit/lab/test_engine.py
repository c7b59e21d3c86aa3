# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine, with a fake docker whose output the test writes."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from lab import doubles, engine
from lab.shell import LabError, wait


@pytest.fixture
def docker(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A running engine; `containers` holds lines of an id and the checkout that it belongs to."""
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\ncase "$1" in ps) cat {tmp_path}/containers;; rm) echo "$*" >> {tmp_path}/removed;; esac\n'
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_lab_of_another_checkout_is_not_touched(docker: pathlib.Path) -> None:
    (docker / "containers").write_text(f"abc {docker}\n")
    with subprocess.Popen([sys.executable, "-c", "input()", *doubles.COMMAND.split()], stdin=subprocess.PIPE) as child:
        (docker / ".lab").mkdir()
        (docker / ".lab" / "clouds.pid").write_text(str(child.pid))
        wait("the doubles", lambda: doubles.running(docker / ".lab"), 5)
        with pytest.raises(LabError, match=f"end it first: cd {docker} && python -m lab down"):
            engine.ensure()
    assert not (docker / "removed").exists()


def test_a_lab_whose_doubles_died_with_the_machine_is_removed(docker: pathlib.Path) -> None:
    (docker / "containers").write_text(f"abc {docker}\n")
    (docker / ".lab").mkdir()
    (docker / ".lab" / "clouds.pid").write_text("4194305")  # above every process id of Linux
    engine.ensure()
    assert (docker / "removed").read_text().split()[-1] == "abc"


def test_a_lab_whose_checkout_was_deleted_is_removed(docker: pathlib.Path) -> None:
    (docker / "containers").write_text("abc /nowhere/checkout\n")
    engine.ensure()
    assert (docker / "removed").read_text().split()[-1] == "abc"


def test_our_own_containers_stay(docker: pathlib.Path) -> None:
    (docker / "containers").write_text(f"abc {engine.ROOT}\n")
    engine.ensure()
    assert not (docker / "removed").exists()
