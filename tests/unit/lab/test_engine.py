# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine, with a fake docker whose output the test writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Iterator

import pytest

from lab import doubles, engine, runs
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


@pytest.fixture
def doubles_of(docker: pathlib.Path) -> Iterator[t.Callable[[pathlib.Path], subprocess.Popen[str]]]:
    """Starts a process like the doubles of a checkout, which belongs to nobody's session."""
    with contextlib.ExitStack() as stack:

        def start(root: pathlib.Path) -> subprocess.Popen[str]:
            for path, text in (("__init__.py", ""), ("clouds.py", "input()")):
                (root / "lab").mkdir(parents=True, exist_ok=True)
                (root / "lab" / path).write_text(text)
            command = [sys.executable, *doubles.COMMAND.split()]
            process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            (root / ".lab").mkdir()
            (root / ".lab" / "clouds.pid").write_text(str(process.pid))
            wait("the doubles", lambda: doubles.running(root / ".lab"), 5)
            return process

        yield start


def test_a_lab_whose_test_run_was_killed_is_removed(
    docker: pathlib.Path, doubles_of: t.Callable[[pathlib.Path], subprocess.Popen[str]]
) -> None:
    root = docker / "checkout"
    (docker / "containers").write_text(f"abc {root}\n")
    left = doubles_of(root)
    (root / ".lab" / "run").write_text(f"{os.getpid()}-1")  # the number of a process that runs, but not that process
    engine.ensure()
    assert (docker / "removed").read_text().split()[-1] == "abc"
    left.wait(5)


def test_a_lab_whose_test_run_goes_on_is_not_touched(
    docker: pathlib.Path,
    doubles_of: t.Callable[[pathlib.Path], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = docker / "checkout"
    (docker / "containers").write_text(f"abc {root}\n")
    doubles_of(root)
    monkeypatch.delenv(runs.VARIABLE, raising=False)
    (root / ".lab" / "run").write_text(runs.begin())
    with pytest.raises(LabError, match="end it first"):
        engine.ensure()


def test_doubles_of_a_checkout_that_was_deleted_do_not_keep_the_ports(
    docker: pathlib.Path, doubles_of: t.Callable[[pathlib.Path], subprocess.Popen[str]]
) -> None:
    gone, used = doubles_of(docker / "gone"), doubles_of(docker / "used")
    shutil.rmtree(docker / "gone")
    doubles.stop(docker / "mine")
    gone.wait(5)
    assert used.poll() is None


@pytest.mark.parametrize(("content", "stays"), [("4194305", False), ("{}", False), ("no number", True)])
def test_the_file_of_a_dead_engine_does_not_keep_the_next_from_starting(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, content: str, stays: bool
) -> None:
    file = tmp_path / "docker.pid"
    monkeypatch.setattr(engine, "PID_FILE", file)
    engine._forget_dead_engine()
    file.write_text(content.format(os.getpid()))  # a number that another process has by now
    engine._forget_dead_engine()
    assert file.exists() is stays


def test_our_own_containers_stay(docker: pathlib.Path) -> None:
    (docker / "containers").write_text(f"abc {engine.ROOT}\n")
    engine.ensure()
    assert not (docker / "removed").exists()
