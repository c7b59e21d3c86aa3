# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan is applied as it was written, or refused in one sentence."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._deploy import plan, who


def write(folder: pathlib.Path, value: t.Any) -> str:
    file = folder / "plan.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(file)


def test_the_entry_of_a_host(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path, {"version": 1, "hosts": {"web": {"from": "/nix/store/a", "to": "/nix/store/b", "units": {}}}}
    )
    assert plan.entry(path, "web") == ({"store_path": "/nix/store/b", "expected": "/nix/store/a"}, [])
    entry, (problem,) = plan.entry(path, "db")
    assert not entry and "nothing for this host, only for web" in problem


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("{", "is not JSON"),
        ({"version": 2, "hosts": {}}, "has version 2"),
        ({"hosts": {}}, "was not written by deploy_action=plan"),
        ([], "was not written by deploy_action=plan"),
        ({"version": 1, "hosts": {"web": {}}}, "was not written by deploy_action=plan"),
        (
            {"version": 1, "hosts": {"web": {"from": "rm -rf /", "to": "/nix/store/b"}}},
            "was not written by deploy_action=plan",
        ),
    ],
)
def test_what_is_no_plan(tmp_path: pathlib.Path, value: t.Any, sentence: str) -> None:
    entry, (problem,) = plan.entry(write(tmp_path, value), "web")
    assert not entry and sentence in problem


def test_a_missing_plan() -> None:
    assert "cannot be read: No such file" in plan.entry("/nonexistent/plan.json", "web")[1][0]


def test_who_deploys_in_a_job_is_the_user_of_gitlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI_JOB_ID", raising=False)
    assert "@" in str(who.deploys()["who"]) and who.deploys()["pipeline"] is None
    monkeypatch.setenv("CI_JOB_ID", "7")
    monkeypatch.setenv("GITLAB_USER_LOGIN", "ada")
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.example/-/jobs/7")
    assert who.deploys()["who"] == "ada" and who.deploys()["pipeline"] == "https://gitlab.example/-/jobs/7"
