# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode predicts the run, and GitLab rejects no request, for any existing variables and any task."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as some
import pytest

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.check_mode import assert_check_mode_contract

PROJECT, GROUP, TOKEN = "panther/nixos", "panther", "glpat-canary"
KEYS = ["ONE", "CANARY_LONG_NAME"]
SCOPES = ["*", "production", "review/*"]
MASKABLE = ["canary-value", "canary$value?1", "canary_0123456789"]
UNMASKABLE = ["canary", "canary with blanks", "canary\nlines\n", "CANARY_LONG_NAME", "canary\r\nPRIVATE KEY-----", ""]


def mostly(good: list[t.Any], bad: list[t.Any]) -> t.Any:
    return some.sampled_from(good * 6 + bad)


def maybe(*values: t.Any) -> t.Any:
    return some.sampled_from([None, *values])


@some.composite
def variable(draw: some.DrawFn) -> dict[str, t.Any]:
    masked = draw(some.booleans())
    return {
        "key": draw(some.sampled_from(KEYS)),
        "environment_scope": draw(some.sampled_from(SCOPES)),
        "variable_type": draw(some.sampled_from(["env_var", "file"])),
        "value": draw(some.sampled_from(["canary-value"] if masked else ["canary-value", *UNMASKABLE])),
        "description": draw(maybe("", "note")),
        "masked": masked,
        "hidden": masked and draw(some.booleans()),
        "protected": draw(some.booleans()),
        "raw": draw(some.booleans()),
    }


BEFORE = some.lists(variable(), max_size=4, unique_by=lambda one: (one["key"], one["environment_scope"]))
TASKS = some.fixed_dictionaries(
    {
        "key": mostly(KEYS, ["BAD-KEY"]),
        "value": some.sampled_from(MASKABLE * 2 + UNMASKABLE),
        "environment_scope": mostly(SCOPES, ["", " production", "ü"]),
        "variable_type": maybe("env_var", "file"),
        "final_newline": maybe(True, False),
        "description": mostly([None, "", "note"], ["x" * 256]),
        "masked": maybe(None, True, False),
        "hidden": maybe(None, True, False),
        "protected": maybe(True, False),
        "raw": maybe(True, False),
        "recreate": some.booleans(),
        "state": mostly(["present"], ["absent"]),
    }
)


@pytest.mark.parametrize("owner", ["project", "group"])
def test_check_mode_contract(owner: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    path = {"project": PROJECT, "group": GROUP}[owner]
    double = GitLabDouble([PROJECT], {TOKEN: Token("pan", {PROJECT: "maintainer", GROUP: "owner"})}, [GROUP])
    url = serve(double.app)

    def state() -> dict[tuple[str, str], t.Any]:
        return {(one["key"], one["environment_scope"]): dict(one) for one in double.variables[path]}

    @hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @hypothesis.given(before=BEFORE, task=TASKS)
    def holds(before: list[dict[str, t.Any]], task: dict[str, t.Any]) -> None:
        double.variables[path] = [dict(one) for one in before]
        double.app.requests.clear()
        params = {"url": url, "token": TOKEN, owner: path, **task}
        params = {name: value for name, value in params.items() if value is not None}

        def run(*, check: bool = False) -> t.Any:
            result = module("gitlab_variable", params, check=check)
            # The name of a variable may be the value of another one; the name is no secret.
            shown = json.dumps({name: part for name, part in result.items() if name != "invocation"})
            assert "canary" not in shown.replace(TOKEN, "")
            return result

        old = state()
        runs = assert_check_mode_contract(run, state)
        rejected = [entry for entry in double.app.requests if entry["status"] not in (200, 201, 204, 404)]
        assert rejected == []
        if runs.actual["failed"]:
            return
        here = (task["key"], task["environment_scope"])
        assert {place: one for place, one in state().items() if place != here} == {
            place: one for place, one in old.items() if place != here
        }
        if task["state"] == "absent":
            assert here not in state()
            return
        now = {**state()[here], "description": state()[here]["description"] or ""}
        for name in ("variable_type", "description", "masked", "hidden", "protected", "raw"):
            if task[name] is not None:
                assert now[name] == task[name], name
        if not (now["hidden"] and old.get(here, {}).get("hidden")):
            assert now["value"].removesuffix("\n") == task["value"].removesuffix("\n")

    holds()
