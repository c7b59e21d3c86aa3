# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever reads the file finds the values that went in: a shell, and systemd itself where it is installed."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import hypothesis
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.env_file import FORBIDDEN, compose, parse
from hypothesis import strategies as st

SYSTEMD = shutil.which("systemd-analyze")
HARD = {
    "EMPTY": "",
    "PLAIN": "abc/+==",
    "SPACES": "a  b  ",
    "LEADING": "  a",
    "QUOTES": """'"`""",
    "SHELL": "$HOME `id` $(id) \\n \\",
    "COMMENT": "#a;b",
    "TAB": "a\tb",
    "UMLAUT": "äß€",
    "EQUALS": "A=b",
    "TILDE": "~",
    "TEMPLATE": "{{ 1 + 1 }} %h !x",
}
one_value = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: not FORBIDDEN.search(text)
)


def test_the_notation_is_as_plain_as_it_can_be() -> None:
    assert compose({"A": "x/y+z==", "B": "", "C": "a b", "D": '$"\\`'}) == 'A=x/y+z==\nB=\nC="a b"\nD="\\$\\"\\\\\\`"'


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(one_value)
def test_what_is_composed_is_understood(value: str) -> None:
    assert parse(compose({"A": value, "B": "b"})) == {"A": value, "B": "b"}


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("A='b c'\nB=\"d\"", {"A": "b c", "B": "d"}),
        ("# note\n\n; note\nA=b\r\n", {"A": "b"}),
        ("A= b", None),
        ("A=1\nA=2", {"A": "2"}),
        ('A=a"b"', {"A": 'a"b"'}),
        ("", {}),
        ("A='two\nlines'", None),
        ("A=b\\\nc", None),
        ("A='it'\\''s'", None),
        ('A="b" c', None),
        ('A="\\n"', None),
        ("A", None),
        ("export A=b", None),
        ("1A=b", None),
    ],
)
def test_other_notations_are_understood_or_left_to_be_composed_anew(text: str, meaning: dict[str, str] | None) -> None:
    assert parse(text) == meaning


def test_a_shell_reads_the_values(tmp_path: pathlib.Path) -> None:
    (tmp_path / "env").write_text(compose(HARD))
    script = f"set -a; . {tmp_path}/env; exec env -0"
    output = subprocess.run(["sh", "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}).stdout
    found = dict(line.split("=", 1) for line in output.decode().split("\0") if "=" in line)
    assert {name: found[name] for name in HARD} == HARD


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_values(tmp_path: pathlib.Path) -> None:
    """ConditionOSRelease= compares with a file that systemd reads with the same parser as an EnvironmentFile."""
    (tmp_path / "env").write_text(compose(HARD))
    for name, value in HARD.items():
        if not value.strip() or value.startswith(" "):
            continue  # a condition cannot ask for that
        wanted = f"{name}={value}".replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        assert holds(tmp_path / "env", wanted), name
        assert not holds(tmp_path / "env", wanted + "x"), name


def holds(path: pathlib.Path, condition: str) -> bool:
    command = [str(SYSTEMD), "condition", f'ConditionOSRelease="{condition}"']
    environment = {"SYSTEMD_OS_RELEASE": str(path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0
