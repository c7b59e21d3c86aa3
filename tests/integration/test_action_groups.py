# SPDX-License-Identifier: GPL-3.0-or-later
"""Defaults that a play sets for a group of modules reach each of them."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.playbook import play


@pytest.mark.parametrize("group", ["gitlab", "all"])
def test_defaults_of_a_group_reach_a_module(
    group: str, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    double = GitLabDouble(["panther/nixos"], {"glpat-canary": Token("nixci", {"panther/nixos": "maintainer"})})
    options = {"url": serve(double.app), "token": "{{ gitlab_token }}", "project": "panther/nixos"}
    task = {"pantheros.nixci.gitlab_variable": {"key": "PLACE", "value": "here"}}
    played = play(
        [task],
        {"gitlab_token": "glpat-canary"},
        tmp_path,
        secrets=["glpat-canary"],
        module_defaults={f"group/pantheros.nixci.{group}": options},
    )
    assert played.returncode == 0, played.output
    assert double.variable("panther/nixos", "PLACE")["value"] == "here"
    assert played.leaks == []
