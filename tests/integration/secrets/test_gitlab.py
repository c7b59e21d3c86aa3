# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a GitLab variable, its value and the token show up nowhere."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing as t

import pytest
import requests

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases, raising
from tests.support.serving import serving

TOKEN, WRONG, EXPIRED, READER, DEVELOPER = (f"glpat-canary{name}CANARYcanary" for name in ("M", "W", "X", "R", "D"))
SECRET, OTHER, SHORT = "canary$ecret?0123456789", "canary$other?9876543210", "cAn4ry"
LINES = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanaryLINEcanaryLINEcanaryLINE\n-----END OPENSSH PRIVATE KEY-----"
NUMBER = 7263548190263
SECRETS = [TOKEN, WRONG, EXPIRED, READER, DEVELOPER, SECRET, OTHER, SHORT, "canaryLINEcanaryLINEcanaryLINE"]
SECRETS += ["canaryKEYcanary", str(NUMBER)]
PROJECTS = ["works", "echo", "page", "broken", "strange"]
FAULTS: list[dict[str, t.Any]] = [
    {"path": "p/echo", "method": "PUT", "status": 400, "body": {"message": {"value": [f"'{OTHER}' is invalid"]}}},
    {
        "path": "p/echo",
        "method": "POST",
        "status": 400,
        "body": {"error": json.dumps({"token": TOKEN, "value": SECRET})},
    },
    {"path": "p/page", "status": 502, "body": f"<html>{SECRET} {TOKEN}</html>"},
    {"path": "p/broken", "status": 500, "body": {"message": f"boom at {SECRET}"}},
    {"path": "p/strange", "status": 200, "body": [{"value": SECRET}]},
]


def case(name: str, error: str | None = None, **options: t.Any) -> Case:
    return Case(name, "gitlab_variable", options, error)


CASES = [
    case("a wrong token", "refuses the token", token=WRONG),
    case("an expired token", "Token is expired", token=EXPIRED),
    case("a token of two lines", "holds blanks, line breaks", token=f"{TOKEN}\n{WRONG}"),
    case("no scope to write", "scope api", token=READER),
    case("no role", "role Maintainer", token=DEVELOPER),
    case("no such project", "does not exist", project="p/none"),
    case("too short to be masked", "at least 8", value=SHORT, masked=True),
    case("a file to be masked", "line breaks", value=LINES, masked=True),
    case("not expandable", "raw: true only", masked=True, raw=False),
    case("a key of Windows", "Windows line endings", value=LINES.replace("\n", "\r\n")),
    case("a mapping", "is not text", value={"canaryKEYcanary": {"inner": [SECRET]}}),
    case("a list", "is not text", value=[SECRET, LINES]),
    case("a wrong type", "variable_type", variable_type="secret"),
    case("it cannot be hidden", "recreate", key="OLD", hidden=True),
    case("an answer with the value", "repeats a secret", project="p/echo", key="OLD", value=OTHER),
    case("an answer with the token", "repeats a secret", project="p/echo"),
    case("a page", "502", project="p/page"),
    case("a broken GitLab", "500", project="p/broken"),
    case("a strange GitLab", "check url", project="p/strange"),
    case("nobody listens", "cannot reach", url="http://127.0.0.1:9"),
    Case("a broken library", "gitlab_variable", {}, "no attribute", broken_library=("gitlab", "")),
    case("it is created", masked=True),
    case("it is kept", masked=True),
    case("it is changed", value=OTHER),
    case("it becomes hidden", hidden=True, recreate=True),
    case("it is hidden and kept", hidden=True),
    case("it is hidden and written", hidden=True, rewrite_hidden=True),
    case("a file", key="FILE", value=LINES, variable_type="file"),
    case("a number", key="NUMBER", value=NUMBER),
    case("it is removed", state="absent"),
    case("it is gone, whatever its value", state="absent", value={"canaryKEYcanary": SECRET}),
]


def double() -> GitLabDouble:
    paths = [f"p/{name}" for name in PROJECTS]
    maintainer = dict.fromkeys(paths, "maintainer")
    tokens = {
        TOKEN: Token("nixci", maintainer),
        EXPIRED: Token("nixci", maintainer, expired=True),
        READER: Token("nixci", maintainer, {"read_api"}),
        DEVELOPER: Token("nixci", dict.fromkeys(paths, "developer")),
    }
    gitlab = GitLabDouble(paths, tokens)
    old = {"key": "OLD", "environment_scope": "*", "value": SECRET, "variable_type": "env_var", "description": None}
    flags = {"masked": False, "hidden": False, "protected": False, "raw": True}
    for path in paths:
        gitlab.variables[path].append({**old, **flags})
    return gitlab


@pytest.fixture(scope="module")
def cases() -> t.Iterator[dict[str, Case]]:
    with serving(double().app) as url:
        for fault in FAULTS:
            requests.post(f"{url}/_lab/faults", json={"times": 99, **fault}, timeout=5)
        base = {"url": url, "project": "p/works", "key": "NEW", "value": SECRET, "token": TOKEN, "retries": 0}
        yield {case.name: dataclasses.replace(case, options={**base, **case.options}) for case in CASES}


def test_no_secret_in_a_play(cases: dict[str, Case], tmp_path: pathlib.Path) -> None:
    play_cases(list(cases.values()), tmp_path, secrets=SECRETS)


@pytest.mark.parametrize("name", [case.name for case in raising(CASES)])
def test_no_secret_in_an_exception(name: str, cases: dict[str, Case]) -> None:
    assert_no_secret_in_exceptions(cases[name], SECRETS)
