# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a GitLab variable, its value and the token are seen nowhere."""

from __future__ import annotations

import json
import pathlib
import typing as t
from collections.abc import Callable

import pytest
import requests

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.playbook import find, play
from tests.support.serving import serving

MODULE = "pantheros.nixci.gitlab_variable"
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

# What fails, and the words that must be told.
FAILS: dict[str, tuple[dict[str, t.Any], str]] = {
    "a wrong token": ({"token": WRONG}, "refuses the token"),
    "an expired token": ({"token": EXPIRED}, "Token is expired"),
    "a token of two lines": ({"token": f"{TOKEN}\n{WRONG}"}, "holds blanks, line breaks"),
    "no scope to write": ({"token": READER}, "scope api"),
    "no role": ({"token": DEVELOPER}, "role Maintainer"),
    "no such project": ({"project": "p/none"}, "does not exist"),
    "too short to be masked": ({"value": SHORT, "masked": True}, "at least 8"),
    "a file to be masked": ({"value": LINES, "masked": True}, "line breaks"),
    "not expandable": ({"masked": True, "raw": False}, "raw: true only"),
    "a key of Windows": ({"value": LINES.replace("\n", "\r\n")}, "line ends of Windows"),
    "a mapping": ({"value": {"canaryKEYcanary": {"inner": [SECRET]}}}, "is not text"),
    "a list": ({"value": [SECRET, LINES]}, "is not text"),
    "a wrong type": ({"variable_type": "secret"}, "variable_type"),
    "it cannot be hidden": ({"key": "OLD", "hidden": True}, "recreate"),
    "an answer with the value": ({"project": "p/echo", "key": "OLD", "value": OTHER}, "repeats a secret"),
    "an answer with the token": ({"project": "p/echo"}, "repeats a secret"),
    "a page": ({"project": "p/page"}, "502"),
    "a broken GitLab": ({"project": "p/broken"}, "500"),
    "a strange GitLab": ({"project": "p/strange"}, "check url"),
    "nobody listens": ({"url": "http://127.0.0.1:9"}, "cannot reach"),
    "a library that fails": ({}, "no attribute"),
}
WORKS: dict[str, dict[str, t.Any]] = {
    "it is created": {"masked": True},
    "it is kept": {"masked": True},
    "it is changed": {"value": OTHER},
    "it becomes hidden": {"hidden": True, "recreate": True},
    "it is hidden and kept": {"hidden": True},
    "it is hidden and written": {"hidden": True, "rewrite_hidden": True},
    "a file": {"key": "FILE", "value": LINES, "variable_type": "file"},
    "a number": {"key": "NUMBER", "value": NUMBER},
    "it goes": {"state": "absent"},
    "it is gone, whatever its value": {"state": "absent", "value": {"canaryKEYcanary": SECRET}},
}


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
def url() -> t.Iterator[str]:
    with serving(double().app) as address:
        for fault in FAULTS:
            requests.post(f"{address}/_lab/faults", json={"times": 99, **fault}, timeout=5)
        yield address


def test_nothing_is_seen_in_a_playbook(url: str, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken"
    (broken / "gitlab").mkdir(parents=True)
    (broken / "gitlab/__init__.py").write_text("")
    variables: dict[str, t.Any] = {}
    tasks: list[dict[str, t.Any]] = []
    reasons: list[str] = []
    for name, options in {**{name: options for name, (options, _) in FAILS.items()}, **WORKS}.items():
        given, told = f"given{len(tasks)}", f"told{len(tasks)}"
        variables[given] = {
            "url": url,
            "project": "p/works",
            "key": "NEW",
            "value": SECRET,
            "token": TOKEN,
            "retries": 0,
        }
        variables[given] |= options
        task: dict[str, t.Any] = {"name": name, "register": told}
        task[MODULE] = {option: f"{{{{ {given}.{option} }}}}" for option in variables[given]}
        if name in FAILS:
            task["ignore_errors"] = True
            reasons += [f"{told} is failed", f"{told}.msg is search('{FAILS[name][1]}')"]
        if name == "a library that fails":
            task["environment"] = {"PYTHONPATH": str(broken)}
        tasks.append(task)
    tasks.append({"ansible.builtin.assert": {"that": reasons}})
    played = play(tasks, variables, tmp_path / "play", secrets=SECRETS)
    assert played.returncode == 0, played.output[-4000:]
    assert played.leaks == []


@pytest.mark.parametrize("name", [name for name in FAILS if name not in ("a library that fails", "a wrong type")])
def test_no_message_holds_a_secret(name: str, url: str, module: Callable[..., t.Any]) -> None:
    """Of the exception itself: Ansible's own masking of the result is not relied on."""
    from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError
    from ansible_collections.pantheros.nixci.plugins.module_utils._gitlab.client import GitLabClient
    from ansible_collections.pantheros.nixci.plugins.modules import gitlab_variable

    options, words = FAILS[name]
    params: dict[str, t.Any] = {"url": url, "project": "p/works", "key": "NEW", "value": SECRET, "token": TOKEN}
    params |= {"group": None, "timeout": 5, "retries": 0, "ca_path": None, "state": "present", "environment_scope": "*"}
    params |= dict.fromkeys(("final_newline", "masked", "hidden", "protected", "variable_type", "description"))
    params |= {"raw": True, "recreate": False, "rewrite_hidden": False, **options}

    class Module:
        check_mode = False

        def __init__(self) -> None:
            self.params = params

    with pytest.raises(NixciError, match=words) as caught:
        gitlab_variable.read_value(params)
        gitlab_variable.run(Module(), GitLabClient(params))
    assert find(SECRETS, f"{caught.value} {caught.value.details!r} {caught.value.__cause__!r}") == []
