# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_check against programs that print what the test wrote down."""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import check

Program = t.Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script of a name first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(check, "PAUSE", 0.05)

    def write(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)

    write("journalctl", 'echo "AWS_SECRET_ACCESS_KEY=canary-key"; echo "connection refused ($*)"')
    return write


def answer(active: str, sub: str, age: float = 60) -> str:
    """What systemctl shows of a unit that became active so many seconds ago."""
    entered = round((time.clock_gettime(time.CLOCK_MONOTONIC) - age) * 1e6)
    return f'printf "ActiveState={active}\\nSubState={sub}\\nActiveEnterTimestampMonotonic={entered}\\n"'


def test_active_units_pass_at_once(module: t.Any, program: Program) -> None:
    program("systemctl", f"{answer('active', 'running')}; echo; {answer('active', 'waiting')}")
    start = time.monotonic()
    result = module("nixos_check", {"units": ["a.service", "b.timer"], "timeout": 5})
    assert not result["failed"] and not result["changed"]
    assert result["units"] == {"a.service": "active (running)", "b.timer": "active (waiting)"}
    assert time.monotonic() - start < check.SETTLED


def test_a_unit_that_starts_late_is_waited_for(module: t.Any, program: Program) -> None:
    late = f"if [ -e started ]; then {answer('active', 'running')}; else touch started; {answer('activating', 'start')}; fi"
    program("systemctl", late)
    assert not module("nixos_check", {"units": ["a.service"], "timeout": 5})["failed"]


def test_a_restart_loop_is_not_taken_for_running(module: t.Any, program: Program) -> None:
    # Active whenever it is asked, but never for long.
    uptime = "$(cut -d. -f1 /proc/uptime)000000"
    program("systemctl", f'printf "ActiveState=active\\nSubState=running\\nActiveEnterTimestampMonotonic={uptime}\\n"')
    assert module("nixos_check", {"units": ["a.service"], "timeout": 1})["failed"]


def test_a_failed_unit_shows_its_journal_without_secrets(module: t.Any, program: Program) -> None:
    program("systemctl", answer("activating", "auto-restart"))
    result = module("nixos_check", {"units": ["atticd.service"], "timeout": 1})
    assert result["failed"]
    assert "Not steadily active after 1 s: atticd.service" in result["msg"]
    assert "connection refused" in result["msg"] and "--unit=atticd.service" in result["msg"]
    assert "canary" not in str(result)
    assert result["failed_units"][0]["name"] == "atticd.service"


def test_all_problems_are_listed_together(
    module: t.Any, program: Program, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    program("systemctl", answer("failed", "failed"))
    program("runuser", 'printf "atticd=postgres\\nnotes=notes\\n"')
    secret = tmp_path / "secret"
    secret.write_text("canary")
    secret.chmod(0o644)
    result = module(
        "nixos_check",
        {
            "units": ["a.service"],
            "databases": {"atticd": "atticd", "notes": "notes", "absent": "absent"},
            "files": {str(secret): "0400", str(tmp_path / "absent"): "0400"},
            "urls": [{"url": "http://127.0.0.1:9/"}],
            "timeout": 1,
        },
    )
    assert result["failed"]
    for expected in (
        "Not steadily active after 1 s: a.service",
        "no database 'atticd' owned by the user 'atticd' (found: postgres)",
        "no database 'absent' owned by the user 'absent' (found: no such database)",
        f"{secret} has the mode 0644 instead of 0400",
        f"{tmp_path / 'absent'} cannot be found",
        "http://127.0.0.1:9/ does not answer properly",
    ):
        assert expected in result["msg"]
    assert "'notes'" not in result["msg"] and "canary" not in str(result)


def test_everything_may_pass(
    module: t.Any, program: Program, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    def app(environ: t.Any, start: t.Any) -> list[bytes]:
        start("200 OK" if environ["HTTP_HOST"] == "cache.example.com" else "404 Not Found", [])
        return [b""]

    program("runuser", 'echo "atticd=atticd"')
    secret = tmp_path / "secret"
    secret.touch(mode=0o400)
    url = {"url": serve(app), "headers": {"Host": "cache.example.com"}}
    checks = {"databases": {"atticd": "atticd"}, "files": {str(secret): "0400"}, "urls": [url], "timeout": 1}
    for check_mode in (True, False):
        result = module("nixos_check", checks, check=check_mode)
        assert not result["failed"], result
    assert "404" in module("nixos_check", {**checks, "urls": [{"url": url["url"]}]})["msg"]


def test_impossible_options_are_refused(module: t.Any, program: Program) -> None:
    assert "at least one unit" in module("nixos_check", {})["msg"]
    assert "from 1 to 3600" in module("nixos_check", {"units": ["a.service"], "timeout": 0})["msg"]
