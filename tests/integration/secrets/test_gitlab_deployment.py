# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a deployment in GitLab, the tokens show up nowhere."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest
import requests

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases, raising
from tests.support.serving import serving

TOKEN, WRONG, GUEST, READER = (f"glpat-canary{name}CANARYcanary" for name in ("M", "W", "G", "R"))
JOB, OVER = "glcbt-canaryJCANARYcanary", "glcbt-canaryOCANARYcanary"
SECRETS = [TOKEN, WRONG, GUEST, READER, JOB, OVER]
SHA = "5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050"
PROJECTS = ["works", "echo", "page", "strange"]
FAULTS: list[dict[str, t.Any]] = [
    {"path": "p/echo", "method": "POST", "status": 400, "body": {"message": {"sha": [f"{TOKEN} is invalid"]}}},
    {"path": "p/page", "status": 502, "body": f"<html>{TOKEN}</html>"},
    {"path": "p/strange", "status": 200, "body": [{"status": TOKEN}]},
]


def case(name: str, error: str | None = None, **options: t.Any) -> Case:
    return Case(name, "gitlab_deployment", options, error)


CASES = [
    case("a wrong token", "refuses the token", token=WRONG),
    case("a token of two lines", "holds blanks, line breaks", token=f"{TOKEN}\n{WRONG}"),
    case("a job that is over", "refuses the job token", token=None, job_token=OVER),
    case("no scope to write", "scope api", token=READER),
    case("no role", "role Developer", token=GUEST),
    case("no such project", "does not exist", project="p/none"),
    case("no such commit", "push it first", sha="0" * 40),
    case("an answer with the token", "repeats a secret", project="p/echo"),
    case("a page", "502", project="p/page"),
    case("a strange GitLab", "check url", project="p/strange"),
    case("nobody listens", "cannot reach", url="http://127.0.0.1:9"),
    Case("a broken library", "gitlab_deployment", {}, "no attribute", broken_library=("gitlab", "")),
    case("it is recorded", tier="production"),
    case("it is kept"),
    case("it is finished", status="success"),
    case("a job records one", token=None, job_token=JOB, environment="other"),
]


def double() -> GitLabDouble:
    paths = [f"p/{name}" for name in PROJECTS]
    developer = dict.fromkeys(paths, "developer")
    tokens = {
        TOKEN: Token("nixci", developer),
        READER: Token("nixci", developer, {"read_api"}),
        GUEST: Token("nixci", dict.fromkeys(paths, "guest")),
        JOB: Token("pan", developer, job=True),
    }
    gitlab = GitLabDouble(paths, tokens)
    for path in paths:
        gitlab.deployed[path].repository.push("main", SHA)
    return gitlab


@pytest.fixture(scope="module")
def cases() -> t.Iterator[dict[str, Case]]:
    with serving(double().app) as url:
        for fault in FAULTS:
            requests.post(f"{url}/_lab/faults", json={"times": 99, **fault}, timeout=5)
        base = {"url": url, "project": "p/works", "token": TOKEN, "retries": 0, "environment": "web", "sha": SHA}
        base |= {"ref": "main", "status": "running"}
        made = {case.name: {**base, **case.options} for case in CASES}
        options = {name: {key: value for key, value in one.items() if value is not None} for name, one in made.items()}
        yield {case.name: dataclasses.replace(case, options=options[case.name]) for case in CASES}


def test_no_secret_in_a_play(cases: dict[str, Case], tmp_path: pathlib.Path) -> None:
    play_cases(list(cases.values()), tmp_path, secrets=SECRETS)


@pytest.mark.parametrize("name", [case.name for case in raising(CASES)])
def test_no_secret_in_an_exception(name: str, cases: dict[str, Case]) -> None:
    assert_no_secret_in_exceptions(cases[name], SECRETS)
