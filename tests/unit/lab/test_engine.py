# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine, with a fake docker whose output the test writes."""

from __future__ import annotations

import pathlib

import pytest

from lab import engine
from lab.shell import LabError


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
    with pytest.raises(LabError, match=f"end it first: cd {docker} && python -m lab down"):
        engine.ensure()
    assert not (docker / "removed").exists()


def test_a_lab_whose_checkout_was_deleted_is_removed(docker: pathlib.Path) -> None:
    (docker / "containers").write_text("abc /nowhere/checkout\n")
    engine.ensure()
    assert (docker / "removed").read_text().split()[-1] == "abc"


def test_our_own_containers_stay(docker: pathlib.Path) -> None:
    (docker / "containers").write_text(f"abc {engine.ROOT}\n")
    engine.ensure()
    assert not (docker / "removed").exists()
