# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/deploy.sh: which command it runs and prints, and with which status it ends."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess

import pytest

from tests.support.paths import ROOT


class Script:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.program = folder / "an ansible"
        self.program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > "$(dirname "$0")/arguments"\nexit ${STATUS:-0}\n')
        self.program.chmod(0o755)
        (folder / "hosts.yml").touch()

    def run(self, *arguments: str, status: int = 0) -> tuple[int, str]:
        (self.folder / "arguments").unlink(missing_ok=True)
        done = subprocess.run(
            [str(ROOT / "scripts/deploy.sh"), *arguments],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_PLAYBOOK": str(self.program), "STATUS": str(status), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().split("\0")[:-1]


@pytest.fixture
def script(tmp_path: pathlib.Path) -> Script:
    return Script(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["web"], ["deploy.yml", "--limit", "web"]),
        (["all"], ["deploy.yml"]),
        (["--dry-run", "web"], ["deploy.yml", "--check", "--diff", "--limit", "web"]),
        (["web", "--rollback"], ["rollback.yml", "--limit", "web"]),
        (["web", "--rollback", "--to", "7"], ["rollback.yml", "-e", "rollback_to=7", "--limit", "web"]),
        (["web", "--list"], ["operate/history.yml", "--limit", "web"]),
        (["web", "--boot", "--", "-K", "-v"], ["deploy.yml", "-e", "deploy_action=boot", "-K", "-v", "--limit", "web"]),
        (["web", "-i", "a,b,"], ["deploy.yml", "-i", "a,b,", "--limit", "web"]),
    ],
)
def test_the_command(script: Script, arguments: list[str], expected: list[str]) -> None:
    status, _text = script.run(*arguments)
    assert status == 0
    assert script.arguments() == [str(ROOT / "playbooks" / expected[0]), *expected[1:]]


def test_files_are_found_from_any_folder(script: Script) -> None:
    assert script.run("web", "-i", "hosts.yml", "--plan", 'my "plan".json')[0] == 0
    arguments = script.arguments()
    assert arguments[arguments.index("-i") + 1] == str(script.folder / "hosts.yml")
    variables = [one for one in arguments if one.startswith("{")]
    assert json.loads(variables[0]) == {"deploy_plan": str(script.folder / 'my "plan".json')}
    assert "deploy_action=plan" in arguments


def test_what_is_printed_is_what_was_run(script: Script) -> None:
    _status, text = script.run("web:it's", "-i", "hosts.yml", "--store-path", "/nix/store/a b")
    printed = [line[2:] for line in text.splitlines() if line.startswith("+ ") and "export" not in line]
    assert shlex.split(printed[0]) == [str(script.program), *script.arguments()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a HOST"),
        (["web", "db"], "one HOST only"),
        (["web", "--fast"], "there is no option --fast"),
        (["web", "--plan"], "--plan needs a value"),
        (["web", "--plan", "x", "--rollback"], "--plan and --rollback exclude each other"),
        (["web", "--apply", "missing.json"], "the plan missing.json cannot be read"),
        (["web", "-i", "missing.yml"], "the inventory missing.yml does not exist"),
        (["web", "--to", "7"], "--to needs --rollback"),
        (["web", "--rollback", "--to", "last"], "--to needs the number of a generation, not 'last'"),
        (["web", "--rollback", "--store-path", "/nix/store/a"], "--store-path and --rollback exclude each other"),
    ],
)
def test_wrong_arguments_run_nothing(script: Script, arguments: list[str], sentence: str) -> None:
    status, text = script.run(*arguments)
    assert status == 1 and sentence in text
    assert not (script.folder / "arguments").exists()


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (99, 130), (250, 4), (137, 137)]
)
def test_the_exit_status(script: Script, status: int, expected: int) -> None:
    assert script.run("web", status=status)[0] == expected


def test_help_and_a_missing_program(script: Script) -> None:
    status, text = script.run("--help")
    assert status == 0 and "Exit status:" in text
    script.program.unlink()
    status, text = script.run("web")
    assert status == 4 and "was not found" in text
