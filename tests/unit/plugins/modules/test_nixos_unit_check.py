# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_unit_check against a systemctl that says what the test wrote down."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.modules import nixos_unit_check

Program = t.Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script of a name first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(nixos_unit_check, "SETTLED", 0.2)

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)

    write("journalctl", 'echo "AWS_SECRET_ACCESS_KEY=canary-key"; echo "connection refused ($*)"')
    return write


def answer(active: str, sub: str, invocation: str = "1") -> str:
    return f'printf "ActiveState={active}\\nSubState={sub}\\nInvocationID={invocation}\\n"'


def test_active_units_pass(module: t.Any, program: Program) -> None:
    program("systemctl", f"{answer('active', 'running')}; echo; {answer('active', 'waiting')}")
    result = module("nixos_unit_check", {"units": ["a.service", "b.timer"], "timeout": 2})
    assert not result["failed"] and not result["changed"]
    assert result["units"] == {"a.service": "active (running)", "b.timer": "active (waiting)"}


def test_a_unit_that_starts_late_is_waited_for(module: t.Any, program: Program) -> None:
    late = f"if [ -e started ]; then {answer('active', 'running')}; else touch started; {answer('activating', 'start')}; fi"
    program("systemctl", late)
    assert not module("nixos_unit_check", {"units": ["a.service"], "timeout": 5})["failed"]


def test_a_restart_loop_is_not_taken_for_running(module: t.Any, program: Program) -> None:
    program("systemctl", answer("active", "running", "$(date +%N)"))
    # Each look finds it active, but freshly started.
    assert module("nixos_unit_check", {"units": ["a.service"], "timeout": 1})["failed"]


def test_a_failed_unit_shows_its_journal_without_secrets(module: t.Any, program: Program) -> None:
    program("systemctl", answer("activating", "auto-restart"))
    result = module("nixos_unit_check", {"units": ["atticd.service"], "timeout": 1})
    assert result["failed"]
    assert "Not steadily active after 1 s: atticd.service" in result["msg"]
    assert "connection refused" in result["msg"] and "--unit=atticd.service" in result["msg"]
    assert "canary" not in str(result)
    assert result["failed_units"][0]["name"] == "atticd.service"


def test_an_impossible_wish_is_refused(module: t.Any, program: Program) -> None:
    assert "at least one unit" in module("nixos_unit_check", {"units": []})["msg"]
    assert "from 1 to 3600" in module("nixos_unit_check", {"units": ["a.service"], "timeout": 0})["msg"]
