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

PROJECT, GROUP = "panther/hosts/nixos", "panther/hosts"
TOKEN, DEVELOPER, READER, EXPIRED, STRANGER, OWNER = (f"canary-token-{name}" for name in "mdrxso")
SECRET, OTHER = "canary-$ecret?1", "canary-$ecret?2"

Run = t.Any


@dataclasses.dataclass
class Lab:
    double: GitLabDouble
    url: str
    module: Callable[..., Run]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        requests.delete(self.url + "/_lab/requests", timeout=5)
        owner = {"group": GROUP, "token": OWNER} if "group" in params else {"project": PROJECT, "token": TOKEN}
        defaults = {**owner, "url": self.url, "key": "CI_ATTIC_TOKEN", "retries": 1}
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

    def stored(self, key: str = "CI_ATTIC_TOKEN", scope: str = "*", owner: str = PROJECT) -> t.Any:
        return self.double.variable(owner, key, scope)

    def put(self, **fields: t.Any) -> None:
        """A variable that somebody else has made."""
        new = {"variable_type": "env_var", "description": None, "masked": False, "hidden": False, "protected": False}
        identity = {"key": "CI_ATTIC_TOKEN", "environment_scope": "*", "raw": True, "value": SECRET}
        self.double.variables[PROJECT].append({**new, **identity, **fields})


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Lab:
    maintainer = {PROJECT: "maintainer"}
    tokens = {
        TOKEN: Token("pan", maintainer),
        DEVELOPER: Token("dev", {PROJECT: "developer"}),
        READER: Token("pan", maintainer, {"read_api"}),
        EXPIRED: Token("pan", maintainer, expired=True),
        STRANGER: Token("eve", {}),
        OWNER: Token("pan", {GROUP: "owner"}),
    }
    tokens[TOKEN].roles[GROUP] = "maintainer"
    double = GitLabDouble([PROJECT], tokens, [GROUP], moved={"panther/old": PROJECT})
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


def test_a_group_has_variables_of_its_own(lab: Lab) -> None:
    lab.prove(value=SECRET, masked=True, group=GROUP)
    lab.prove(value="production", group=GROUP, environment_scope="production")
    assert lab.stored(owner=GROUP)["value"] == SECRET
    assert lab.stored() is None
    lab.prove(state="absent", group=str(lab.double.groups[GROUP]))
    assert [one["environment_scope"] for one in lab.double.variables[GROUP]] == ["production"]


def test_a_scope_that_the_licence_lacks_does_not_become_all_environments(lab: Lab) -> None:
    lab.double.premium = False
    result = lab.run(value=SECRET, group=GROUP, environment_scope="production")
    assert result["failed"]
    assert "ignored environment_scope" in result["msg"]
    assert "Premium" in result["msg"]
    assert lab.double.variables[GROUP] == []
    lab.run(value="everywhere", group=GROUP)
    result = lab.run(value=SECRET, group=GROUP, environment_scope="production")
    assert "Premium" in result["msg"]
    assert lab.stored(owner=GROUP)["value"] == "everywhere"


def test_a_gitlab_that_cannot_hide_does_not_keep_a_visible_secret(lab: Lab) -> None:
    inner = lab.double.flask.view_functions["create"]

    def old_gitlab(**args: str) -> t.Any:
        flask.request.get_json().pop("masked_and_hidden", None)
        return inner(**args)

    lab.double.flask.view_functions["create"] = old_gitlab
    result = lab.run(value=SECRET, hidden=True)
    assert result["failed"]
    assert "ignored hidden" in result["msg"]
    assert "17.4" in result["msg"]
    assert lab.stored() is None


# -- files


@pytest.mark.parametrize(
    ("given", "params", "written"),
    [
        ("canary\nlines", {"variable_type": "file"}, "canary\nlines\n"),
        ("canary\nlines\n", {"variable_type": "file"}, "canary\nlines\n"),
        ("canary\nlines", {"variable_type": "file", "final_newline": False}, "canary\nlines"),
        ("canary\nlines", {}, "canary\nlines"),
        ("canary\nlines", {"final_newline": True}, "canary\nlines\n"),
        ("canary-line", {"variable_type": "file", "masked": True}, "canary-line"),
        ("", {"variable_type": "file"}, ""),
    ],
)
def test_the_last_line_of_a_file_ends(lab: Lab, given: str, params: dict[str, t.Any], written: str) -> None:
    lab.prove(value=given, **params)
    assert lab.stored()["value"] == written


def test_what_became_a_file_gets_its_line_end(lab: Lab) -> None:
    lab.put(value="canary", variable_type="file")
    assert lab.prove(value="canary")["changed"]
    assert lab.stored()["value"] == "canary\n"


# -- hidden ones


def test_a_hidden_value_is_kept_with_a_warning(lab: Lab) -> None:
    created = lab.run(value=SECRET, hidden=True)
    assert lab.stored()["hidden"]
    assert created.warnings == []
    kept = lab.nothing_to_do(value=OTHER, hidden=True)
    assert "neither compared nor changed" in " ".join(kept.warnings)
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


@pytest.mark.parametrize("hidden", [True, False])
def test_it_is_replaced_on_request(lab: Lab, hidden: bool) -> None:
    lab.put(masked=True, hidden=not hidden, protected=True, description="note")
    lab.put(environment_scope="production", value="other")
    done = lab.prove(value=OTHER, hidden=hidden, recreate=True)
    assert done["changed"]
    assert lab.stored() == {**lab.stored(), "value": OTHER, "hidden": hidden, "protected": True, "description": "note"}
    assert sorted(one["environment_scope"] for one in lab.double.variables[PROJECT]) == ["*", "production"]


def test_the_old_one_goes_when_the_new_one_is_there(lab: Lab) -> None:
    lab.put(masked=True)
    lab.run(value=OTHER, hidden=True, recreate=True)
    assert lab.methods() == ["GET", "DELETE", "POST", "DELETE", "PUT"]
    lab.put(key="SECOND", masked=True)
    lab.fault(status=400, body={"message": {"value": ["is invalid"]}}, method="POST")
    result = lab.run(key="SECOND", value=OTHER, hidden=True, recreate=True)
    assert result["failed"]
    assert lab.stored("SECOND")["value"] == SECRET


def test_a_lost_answer_to_the_last_step_is_no_failure(lab: Lab) -> None:
    lab.put(masked=True)
    inner, served = lab.double.flask.view_functions["update"], []

    def update_and_fail(**args: str) -> t.Any:
        served.append(inner(**args))
        return ("<html>bad gateway</html>", 502) if len(served) == 1 else served[-1]

    lab.double.flask.view_functions["update"] = update_and_fail
    result = lab.run(value=OTHER, hidden=True, recreate=True)
    assert not result["failed"], result
    assert result["changed"]
    assert [(one["environment_scope"], one["value"]) for one in lab.double.variables[PROJECT]] == [("*", OTHER)]
    assert lab.methods() == ["GET", "DELETE", "POST", "DELETE", "PUT", "PUT", "GET"]


def test_a_replacement_that_somebody_removed_is_a_failure(lab: Lab) -> None:
    lab.put(masked=True)

    def gone(**_args: str) -> t.Any:
        lab.double.variables[PROJECT].clear()
        return {"message": "404 Variable Not Found"}, 404

    lab.double.flask.view_functions["update"] = gone
    result = lab.run(value=OTHER, hidden=True, recreate=True)
    assert result["failed"]
    assert "the variable is not in" in result["msg"]


@pytest.mark.parametrize("killed_after", [2, 3, 4])
def test_a_killed_replacement_heals(lab: Lab, killed_after: int) -> None:
    """The requests are: look, remove an old replacement, make the new one, remove the old one, move the new one."""
    lab.put(masked=True)
    views, served = dict(lab.double.flask.view_functions), []

    def dying(inner: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def view(**args: str) -> t.Any:
            served.append(inner)
            return inner(**args) if len(served) <= killed_after else flask.abort(418)

        return view

    lab.double.flask.view_functions.update({name: dying(view) for name, view in views.items()})
    assert lab.run(value=OTHER, hidden=True, recreate=True)["failed"]
    assert {one["value"] for one in lab.double.variables[PROJECT]} <= {SECRET, OTHER}
    assert lab.double.variables[PROJECT], "the value is lost"
    lab.double.flask.view_functions.update(views)
    lab.run(value=OTHER, hidden=True, recreate=True)
    assert [(one["environment_scope"], one["value"]) for one in lab.double.variables[PROJECT]] == [("*", OTHER)]
    lab.nothing_to_do(value=OTHER, hidden=True, recreate=True)


# -- rules that are checked here


@pytest.mark.parametrize("value", [True, False, {}, [], {"canary_key": "canary_value"}, ["canary_value"], [{"a": 1}]])
def test_what_is_no_text_is_not_written_as_python_shows_it(lab: Lab, value: t.Any) -> None:
    for check in (True, False):
        result = lab.run(check=check, value=value)
        assert result["failed"]
        assert "not text" in result["msg"]
        assert "to_json" in result["msg"]
        assert lab.methods() == []
    assert not lab.run(state="absent", value=value)["failed"]


@pytest.mark.parametrize(
    ("value", "written"), [(8080, "8080"), (1.5, "1.5"), (0, "0"), ("False", "False"), ('{"a": 1}', '{"a": 1}')]
)
def test_numbers_and_texts_are_written_as_they_are(lab: Lab, value: t.Any, written: str) -> None:
    lab.run(value=value)
    assert lab.stored()["value"] == written
    lab.nothing_to_do(value=value)


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
        ({"value": "CI_ATTIC_TOKEN", "masked": True}, "the name of a variable"),
        ({"value": "CI_COMMIT_SHA", "masked": True}, "the name of a variable"),
        ({"value": "plain", "environment_scope": ""}, "is empty"),
        ({"value": "plain", "environment_scope": "production "}, "ends with a blank"),
        ({"state": "absent", "environment_scope": ""}, "is empty"),
        ({"value": "plain", "environment_scope": "a,b"}, "is not made of"),
        ({"value": "plain", "description": "x" * 256}, "255 characters"),
        ({"value": "-----BEGIN X PRIVATE KEY-----\r\ncanary"}, "line ends of Windows"),
        ({"value": "canary_line", "masked": True, "final_newline": True}, "line breaks"),
        ({"value": "canary\0", "key": "K"}, "NUL"),
        ({"value": "plain", "project": ""}, "the option project is empty"),
        ({"value": "plain", "group": GROUP, "project": PROJECT}, "mutually exclusive"),
        ({"value": "plain", "project": None}, "one of the following is required: project, group"),
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


def test_a_masked_value_is_not_the_name_of_another_variable(lab: Lab) -> None:
    lab.put(key="PLACE_OF_CACHE")
    for check in (True, False):
        result = lab.run(value="PLACE_OF_CACHE", masked=True, check=check)
        assert "is the name of another variable" in result["msg"]
        assert lab.methods() == ["GET", "GET"]
        queries = [entry["path"] for entry in requests.get(lab.url + "/_lab/requests", timeout=5).json()]
        assert not any("PLACE_OF_CACHE" in path for path in queries), "the value is in an address"
    assert lab.stored() is None
    assert lab.run(value="PLACE_OF_CACHE")["changed"], "only masked values are restricted"


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


@pytest.mark.parametrize("escaped", [SECRET, json.dumps(SECRET), SECRET.replace("$", "&#36;"), f"x{SECRET}"[:16]])
def test_an_answer_that_repeats_the_value_is_not_shown(lab: Lab, escaped: str) -> None:
    lab.fault(status=400, body={"message": {"value": [f"'{escaped}' is invalid"]}}, method="POST")
    result = lab.run(value=SECRET)
    assert result["failed"]
    assert "repeats a secret" in result["msg"]
    assert "repeats a secret" in result["answer"]


# -- credentials: which right does what


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("glpat-wrong", ["refuses the token", "401 Unauthorized", "another GitLab", "job token", "scope api"]),
        (EXPIRED, ["refuses the token", "Token is expired"]),
        (DEVELOPER, ["403 Forbidden", "role Maintainer", PROJECT]),
        (READER, ["insufficient_scope", "scope api"]),
        (STRANGER, ["does not exist or the token has no access", PROJECT]),
    ],
)
def test_a_credential_that_does_not_do_is_one_sentence(lab: Lab, token: str, words: list[str]) -> None:
    lab.put()
    for wish in ({"value": "plain"}, {"state": "absent"}):
        result = lab.run(token=token, **wish)
        assert result["failed"]
        for part in words:
            assert part in result["msg"]
        assert result["msg"].count(". ") <= 1
    assert lab.stored()["value"] == SECRET


def test_looking_needs_read_api_only(lab: Lab) -> None:
    lab.put()
    assert lab.run(token=READER, value="plain", check=True)["changed"]
    lab.nothing_to_do(token=READER, value=SECRET)
    lab.nothing_to_do(token=READER, key="NOT_THERE", state="absent")


@pytest.mark.parametrize(
    ("owner", "role", "does"),
    [
        ({"project": PROJECT}, "developer", False),
        ({"project": PROJECT}, "maintainer", True),
        ({"project": PROJECT}, "owner", True),
        ({"group": GROUP}, "maintainer", False),
        ({"group": GROUP}, "owner", True),
    ],
)
def test_the_least_role_suffices_and_less_is_told(lab: Lab, owner: dict[str, str], role: str, does: bool) -> None:
    lab.double.tokens["canary-token-n"] = Token("new", {path: role for path in owner.values()})
    steps: list[dict[str, t.Any]] = [
        {"value": SECRET, "masked": True},
        {"value": OTHER},
        {"value": OTHER, "hidden": True, "recreate": True},
        {"state": "absent"},
    ]
    for wish in steps:
        result = lab.run(token="canary-token-n", **owner, **wish)
        assert result["failed"] != does, result
        if not does:
            assert f"needs the role {'Maintainer' if 'project' in owner else 'Owner'}" in result["msg"]
        else:
            assert result["changed"]


def test_an_unknown_project_is_not_an_absent_variable(lab: Lab) -> None:
    result = lab.run(project="panther/none", state="absent")
    assert result["failed"]
    assert "panther/none" in result["msg"]


def test_a_moved_project_is_told_with_its_number(lab: Lab) -> None:
    result = lab.run(project="panther/old", value="plain")
    assert result["failed"]
    assert f"has moved; give its new path, or its number {lab.double.projects[PROJECT]}" in result["msg"]


def test_the_address_may_be_that_of_the_api(lab: Lab) -> None:
    assert lab.run(url=f"{lab.url}/api/v4/", value="plain")["changed"]


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


@pytest.mark.parametrize("body", ["<html>welcome</html>", [SECRET], {"hello": SECRET}, f'"{SECRET}"', "null"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_another_answer_than_the_apis_is_one_sentence(lab: Lab, body: t.Any, method: str) -> None:
    lab.put(value="old", protected=True)
    lab.fault(status=200, body=body, method=method, times=9)
    result = lab.run(value="plain")
    assert result["failed"]
    assert "check url" in result["msg"]


def test_an_empty_value_is_not_a_difference(lab: Lab) -> None:
    lab.put(value=None)
    lab.nothing_to_do(value="")


def test_no_service_is_one_sentence(lab: Lab) -> None:
    result = lab.run(value="plain", url="http://127.0.0.1:9", retries=0)
    assert result["failed"]
    assert "cannot reach http://127.0.0.1:9" in result["msg"]
