# SPDX-License-Identifier: GPL-3.0-or-later
"""For any variables that are there and any wish: check mode tells the truth, and GitLab is sent nothing it refuses."""

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
WISH = some.fixed_dictionaries(
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
def test_check_run_again(owner: str, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
    path = {"project": PROJECT, "group": GROUP}[owner]
    double = GitLabDouble([PROJECT], {TOKEN: Token("pan", {PROJECT: "maintainer", GROUP: "owner"})}, [GROUP])
    url = serve(double.app)

    def state() -> dict[tuple[str, str], t.Any]:
        return {(one["key"], one["environment_scope"]): dict(one) for one in double.variables[path]}

    @hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @hypothesis.given(before=BEFORE, wish=WISH)
    def prove(before: list[dict[str, t.Any]], wish: dict[str, t.Any]) -> None:
        double.variables[path] = [dict(one) for one in before]
        double.app.requests.clear()
        params = {"url": url, "token": TOKEN, owner: path, **wish}
        params = {name: value for name, value in params.items() if value is not None}

        def run(*, check: bool = False) -> t.Any:
            result = module("gitlab_variable", params, check=check)
            # The name of a variable may be the value of another one; it is no secret.
            told = json.dumps({name: part for name, part in result.items() if name != "invocation"})
            assert "canary" not in told.replace(TOKEN, "")
            return result

        old = state()
        runs = assert_check_mode_contract(run, state)
        refused = [entry for entry in double.app.requests if entry["status"] not in (200, 201, 204, 404)]
        assert refused == []
        if runs.actual["failed"]:
            return
        here = (wish["key"], wish["environment_scope"])
        assert {place: one for place, one in state().items() if place != here} == {
            place: one for place, one in old.items() if place != here
        }
        if wish["state"] == "absent":
            assert here not in state()
            return
        now = {**state()[here], "description": state()[here]["description"] or ""}
        for name in ("variable_type", "description", "masked", "hidden", "protected", "raw"):
            if wish[name] is not None:
                assert now[name] == wish[name], name
        if not (now["hidden"] and old.get(here, {}).get("hidden")):
            assert now["value"].removesuffix("\n") == wish["value"].removesuffix("\n")

    prove()
