# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import json
import time
import typing as t
from collections.abc import Callable

import flask
import pytest
import requests

from lab.clouds.gitlab import GitLabDouble, Token

PROJECT = "panther/hosts/nixos"
TOKEN, DEVELOPER, READER, EXPIRED, STRANGER = (f"canary-token-{name}" for name in "mdrxs")
SECRET, OTHER = "canary-$ecret?1", "canary-$ecret?2"

Run = t.Any


@dataclasses.dataclass
class Lab:
    double: GitLabDouble
    url: str
    module: Callable[..., Run]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        requests.delete(self.url + "/_lab/requests", timeout=5)
        defaults = {"token": TOKEN, "url": self.url, "project": PROJECT, "key": "CI_ATTIC_TOKEN", "retries": 1}
        params = {name: value for name, value in {**defaults, **params}.items() if value is not None}
        result = self.module("gitlab_variable", params, check=check)
        assert "canary" not in json.dumps(result), "a secret got into the result"
        return result

    def prove(self, **params: t.Any) -> Run:
        """Check mode writes nothing and predicts the run; a second run has nothing to do, in one request."""
        foreseen = self.run(check=True, **params)
        assert self.methods() == ["GET"]
        done = self.run(**params)
        assert not done["failed"], done
        assert [foreseen[part] for part in ("changed", "diff", "variable")] == [
            done[part] for part in ("changed", "diff", "variable")
        ]
        again = self.nothing_to_do(**params)
        assert again["variable"] == done["variable"]
        assert self.methods() == ["GET"]
        return done

    def nothing_to_do(self, **params: t.Any) -> Run:
        result = self.run(**params)
        assert not result["failed"], result
        assert not result["changed"], result["diff"]
        return result

    def methods(self) -> list[str]:
        return [entry["method"] for entry in requests.get(self.url + "/_lab/requests", timeout=5).json()]

    def fault(self, **fault: t.Any) -> None:
        requests.post(self.url + "/_lab/faults", json=fault, timeout=5)

    def stored(self, key: str = "CI_ATTIC_TOKEN", scope: str = "*") -> t.Any:
        return self.double.variable(PROJECT, key, scope)


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Lab:
    maintainer = {PROJECT: "maintainer"}
    tokens = {
        TOKEN: Token("pan", maintainer),
        DEVELOPER: Token("dev", {PROJECT: "developer"}),
        READER: Token("pan", maintainer, {"read_api"}),
        EXPIRED: Token("pan", maintainer, expired=True),
        STRANGER: Token("eve", {}),
    }
    double = GitLabDouble([PROJECT], tokens)
    return Lab(double, serve(double.app), module)


# -- the variable


def test_a_secret_is_created_with_its_flags(lab: Lab) -> None:
    done = lab.prove(value=SECRET, masked=True, protected=True)
    stored = lab.stored()
    assert stored["value"] == SECRET
    assert done["changed"]
    assert done["variable"] == {
        "key": "CI_ATTIC_TOKEN",
        "environment_scope": "*",
        "variable_type": "env_var",
        "masked": True,
        "hidden": False,
        "protected": True,
        "raw": True,
        "description": "",
    }
    assert all(stored[flag] == done["variable"][flag] for flag in ("masked", "hidden", "protected", "raw"))


def test_a_plain_variable_is_neither_masked_nor_protected(lab: Lab) -> None:
    done = lab.prove(key="ATTIC_SERVER_URL", value="https://cache.example.com/", description="where the cache is")
    assert [done["variable"][flag] for flag in ("masked", "protected", "raw")] == [False, False, True]


def test_a_changed_value_is_an_update_in_place(lab: Lab) -> None:
    lab.run(value=SECRET, masked=True, protected=True, description="note")
    done = lab.run(value=OTHER)
    assert done["changed"]
    assert lab.methods() == ["GET", "PUT"]
    stored = lab.stored()
    assert (stored["value"], stored["masked"], stored["protected"], stored["description"]) == (
        OTHER,
        True,
        True,
        "note",
    )
    lab.prove(value=SECRET)


def test_unset_options_leave_an_existing_variable_alone(lab: Lab) -> None:
    lab.run(value=SECRET, masked=True, protected=True, variable_type="file", description="note")
    lab.nothing_to_do(value=SECRET)


@pytest.mark.parametrize(
    "change", [{"masked": True}, {"protected": True}, {"raw": False}, {"variable_type": "file"}, {"description": "d"}]
)
def test_every_setting_can_be_changed(lab: Lab, change: dict[str, t.Any]) -> None:
    lab.run(value="plain-value")
    done = lab.prove(value="plain-value", **change)
    assert done["changed"]
    assert change.items() <= lab.stored().items()


def test_scopes_are_variables_of_their_own(lab: Lab) -> None:
    lab.prove(value="everywhere")
    lab.prove(value="production", environment_scope="production")
    lab.prove(value="other", environment_scope="review/*")
    assert lab.stored()["value"] == "everywhere"
    lab.prove(state="absent", environment_scope="production")
    assert lab.stored(scope="production") is None
    assert lab.stored(scope="review/*")["value"] == "other"


def test_absent_needs_nothing_but_the_key(lab: Lab) -> None:
    lab.run(value=SECRET, hidden=True, protected=True)
    done = lab.prove(state="absent")
    assert done["changed"]
    assert done["variable"] is None
    assert lab.stored() is None


def test_a_project_can_be_given_by_number(lab: Lab) -> None:
    lab.prove(project=str(lab.double.projects[PROJECT]), value="plain")
    assert lab.stored()["value"] == "plain"


# -- hidden ones


def test_a_hidden_value_is_kept_with_a_warning(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.run(value=SECRET, hidden=True)
    assert lab.stored()["hidden"]
    assert "WARNING" not in capfd.readouterr().err
    lab.nothing_to_do(value=OTHER, hidden=True)
    # In one process with the controller's code the warning goes to the display, once.
    assert "neither compared nor changed" in " ".join(capfd.readouterr().err.split())
    lab.prove(value=OTHER, hidden=True, description="new")
    assert lab.stored()["value"] == SECRET


def test_a_hidden_value_is_written_on_request(lab: Lab) -> None:
    lab.run(value=SECRET, hidden=True)
    result = lab.run(value=OTHER, hidden=True, rewrite_hidden=True)
    assert result["changed"]
    assert lab.stored()["value"] == OTHER
    assert lab.stored()["hidden"]


@pytest.mark.parametrize("hidden", [True, False])
def test_hiding_and_showing_later_is_refused(lab: Lab, hidden: bool) -> None:
    lab.run(value=SECRET, masked=True, hidden=not hidden)
    result = lab.run(value=SECRET, hidden=hidden)
    assert result["failed"]
    assert "recreate: true" in result["msg"]
    assert lab.methods() == ["GET"]
    assert lab.stored()["value"] == SECRET


def test_a_hidden_variable_stays_masked(lab: Lab) -> None:
    lab.run(value=SECRET, hidden=True)
    result = lab.run(value=SECRET, masked=False)
    assert result["failed"]
    assert "does not allow masked: false" in result["msg"]
    assert lab.methods() == ["GET"]


# -- rules that are checked here


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"value": "canary7", "masked": True}, "has 7 characters"),
        ({"value": "canary with blanks", "masked": True}, "white space"),
        ({"value": "canary\nlines\n", "hidden": True}, "line breaks"),
        ({"value": SECRET, "masked": True, "raw": False}, "raw: true only"),
        ({"value": SECRET, "hidden": True, "masked": False}, "without being masked"),
        ({"value": "plain", "key": "CI-TOKEN"}, "digits and underscores"),
        ({"value": "plain", "key": "K" * 256}, "digits and underscores"),
        ({"value": "plain", "url": "gitlab.com"}, "is not a URL"),
        ({"value": "plain", "token": "canary with blank"}, "token is empty or holds blanks"),
        ({}, "value"),
    ],
)
def test_bad_input_is_refused_before_any_request(lab: Lab, params: dict[str, t.Any], words: str) -> None:
    result = lab.run(**params)
    assert result["failed"]
    assert words in result["msg"]
    assert lab.methods() == []


def test_a_masked_variable_keeps_its_value_if_the_new_one_cannot_be_masked(lab: Lab) -> None:
    lab.run(value=SECRET, masked=True)
    result = lab.run(value="short")
    assert result["failed"]
    assert "at least 8" in result["msg"]
    assert lab.methods() == ["GET"]
    assert lab.stored()["value"] == SECRET


def test_a_refused_update_leaves_the_old_value_in_place(lab: Lab) -> None:
    lab.run(value=SECRET, masked=True)
    lab.fault(status=400, body={"message": {"value": ["is invalid"]}}, method="PUT")
    result = lab.run(value=OTHER)
    assert result["failed"]
    assert "value is invalid" in result["msg"]
    assert lab.stored()["value"] == SECRET
    lab.prove(value=OTHER)


# -- credentials


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("glpat-wrong", ["refuses the token", "401 Unauthorized", "another GitLab"]),
        (EXPIRED, ["refuses the token", "invalid_token"]),
        (DEVELOPER, ["403 Forbidden", "Maintainer", PROJECT]),
        (READER, ["insufficient_scope", "scope api"]),
        (STRANGER, ["does not exist or the token has no access", PROJECT]),
    ],
)
def test_a_credential_that_does_not_do_is_one_sentence(lab: Lab, token: str, words: list[str]) -> None:
    for wish in ({"value": "plain"}, {"state": "absent"}):
        result = lab.run(token=token, **wish)
        if token == READER and "state" in wish:
            assert not result["failed"], "nothing to remove, so reading is enough"
            continue
        assert result["failed"]
        for part in words:
            assert part in result["msg"]
    assert lab.stored() is None


def test_an_unknown_project_is_not_an_absent_variable(lab: Lab) -> None:
    result = lab.run(project="panther/none", state="absent")
    assert result["failed"]
    assert "panther/none" in result["msg"]


def test_the_environment_gives_the_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
    assert lab.run(token=None, value="plain")["changed"]


# -- trouble on the way


def test_short_trouble_is_waited_out(lab: Lab) -> None:
    lab.fault(status=502, method="GET")
    lab.fault(status=429, headers={"Retry-After": "1"}, method="POST")
    assert lab.run(value="plain")["changed"]
    assert lab.stored()["value"] == "plain"


def test_a_long_pause_is_reported_not_waited_for(lab: Lab) -> None:
    lab.fault(status=429, headers={"Retry-After": "3600"}, times=9)
    started = time.monotonic()
    result = lab.run(value="plain")
    assert result["failed"]
    assert "3600 s" in result["msg"]
    assert time.monotonic() - started < 5


def test_lasting_trouble_ends(lab: Lab) -> None:
    lab.fault(status=429, headers={"Retry-After": "1"}, times=99)
    result = lab.run(value="plain")
    assert result["failed"]
    assert "429" in result["msg"]
    assert lab.methods() == ["GET", "GET"], "retries is 1, and the client library does not add its own"


@pytest.mark.parametrize("hidden", [True, False])
def test_a_lost_answer_is_read_again(lab: Lab, hidden: bool) -> None:
    inner = lab.double.flask.view_functions["create"]

    def create_and_fail(**args: t.Any) -> tuple[str, int]:
        inner(**args)
        return "<html>bad gateway</html>", 502

    lab.double.flask.view_functions["create"] = create_and_fail
    result = lab.run(value=SECRET, masked=True, hidden=hidden)
    assert not result["failed"], result
    assert lab.stored()["value"] == SECRET
    assert lab.methods() == (["GET", "POST", "GET", "PUT"] if hidden else ["GET", "POST", "GET"])


def test_somebody_faster_is_corrected_not_duplicated(lab: Lab) -> None:
    inner = lab.double.flask.view_functions["create"]

    def taken(**args: str) -> t.Any:
        lab.double.flask.view_functions["create"] = inner
        lab.double.variables[PROJECT].append({**flask.request.get_json(), "value": "theirs", "hidden": False})
        return inner(**args)

    lab.double.flask.view_functions["create"] = taken
    result = lab.run(value="ours")
    assert not result["failed"], result
    assert [one["value"] for one in lab.double.variables[PROJECT]] == ["ours"]


def test_a_redirect_is_not_followed_with_the_token(lab: Lab) -> None:
    lab.fault(status=301, headers={"Location": lab.url + "/elsewhere"})
    result = lab.run(value="plain")
    assert result["failed"]
    assert "redirect" in result["msg"]
    assert lab.methods() == ["GET"]


def test_a_page_instead_of_the_api_is_one_sentence(lab: Lab) -> None:
    lab.fault(status=200, body="<html>welcome</html>")
    result = lab.run(value="plain")
    assert result["failed"]
    assert "check url" in result["msg"]


def test_no_service_is_one_sentence(lab: Lab) -> None:
    result = lab.run(value="plain", url="http://127.0.0.1:9", retries=0)
    assert result["failed"]
    assert "cannot reach http://127.0.0.1:9" in result["msg"]
