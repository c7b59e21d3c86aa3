# SPDX-License-Identifier: GPL-3.0-or-later
"""gitlab_variable with a double of GitLab: settings, files, hidden variables, GitLab's rules, credentials, failures."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing as t
from collections.abc import Callable

import flask
import pytest

from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.check_mode import assert_check_mode_contract

PROJECT, GROUP = "panther/hosts/nixos", "panther/hosts"
TOKEN, DEVELOPER, READER, EXPIRED, STRANGER, OWNER = (f"canary-token-{name}" for name in "mdrxso")
SECRET, OTHER = "canary-$ecret?1", "canary-$ecret?2"

Run = t.Any


@dataclasses.dataclass
class GitLabEnvironment:
    double: GitLabDouble
    url: str
    module: Callable[..., Run]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        """The variable CI_ATTIC_TOKEN of the project by default; None removes an option."""
        self.double.app.requests.clear()
        owner = {"group": GROUP, "token": OWNER} if "group" in params else {"project": PROJECT, "token": TOKEN}
        defaults = {**owner, "url": self.url, "key": "CI_ATTIC_TOKEN", "retries": 1}
        params = {name: value for name, value in {**defaults, **params}.items() if value is not None}
        result = self.module("gitlab_variable", params, check=check)
        assert "canary" not in json.dumps(result), "the result contains a secret"
        if check:
            assert set(self.methods()) <= {"GET"}
        return result

    def verify(self, **params: t.Any) -> Run:
        """The task succeeds as check mode predicts, and a second run changes nothing with one request."""

        def run(*, check: bool = False) -> Run:
            return self.run(check=check, **params)

        done = assert_check_mode_contract(run, lambda: copy.deepcopy(self.double.variables)).actual
        assert not done["failed"], done
        assert self.methods() == ["GET"]
        return done

    def assert_unchanged(self, **params: t.Any) -> Run:
        result = self.run(**params)
        assert not result["failed"], result
        assert not result["changed"], result["diff"]
        return result

    def methods(self) -> list[str]:
        return [entry["method"] for entry in self.double.app.requests]

    def fault(self, **fault: t.Any) -> None:
        self.double.app.faults.append(fault)

    def lose_response(self, view: str) -> None:
        """The next request of this kind is carried out, but answered by a proxy with 502."""
        inner, lost = self.double.flask.view_functions[view], []

        def lose(**args: str) -> t.Any:
            response = inner(**args)
            lost.append(response)
            return ("<html>bad gateway</html>", 502) if len(lost) == 1 else response

        self.double.flask.view_functions[view] = lose

    def stored(self, key: str = "CI_ATTIC_TOKEN", scope: str = "*", owner: str = PROJECT) -> t.Any:
        return self.double.variable(owner, key, scope)

    def add(self, **fields: t.Any) -> None:
        """A variable that someone else has created."""
        new = {"variable_type": "env_var", "description": None, "masked": False, "hidden": False, "protected": False}
        identity = {"key": "CI_ATTIC_TOKEN", "environment_scope": "*", "raw": True, "value": SECRET}
        self.double.variables[PROJECT].append({**new, **identity, **fields})


@pytest.fixture
def gitlab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> GitLabEnvironment:
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
    return GitLabEnvironment(double, serve(double.app), module)


# -- the variable


def test_a_secret_is_created_with_its_flags(gitlab: GitLabEnvironment) -> None:
    done = gitlab.verify(value=SECRET, masked=True, protected=True)
    stored = gitlab.stored()
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


def test_a_plain_variable_is_neither_masked_nor_protected(gitlab: GitLabEnvironment) -> None:
    done = gitlab.verify(key="ATTIC_SERVER_URL", value="https://cache.example.com/", description="where the cache is")
    assert [done["variable"][flag] for flag in ("masked", "protected", "raw")] == [False, False, True]


def test_a_changed_value_is_an_update_in_place(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, masked=True, protected=True, description="note")
    done = gitlab.run(value=OTHER)
    assert done["changed"]
    assert gitlab.methods() == ["GET", "PUT"]
    stored = gitlab.stored()
    assert (stored["value"], stored["masked"], stored["protected"], stored["description"]) == (
        OTHER,
        True,
        True,
        "note",
    )
    gitlab.verify(value=SECRET)


def test_unset_options_leave_an_existing_variable_alone(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, masked=True, protected=True, variable_type="file", description="note")
    gitlab.assert_unchanged(value=SECRET)


@pytest.mark.parametrize(
    "change", [{"masked": True}, {"protected": True}, {"raw": False}, {"variable_type": "file"}, {"description": "d"}]
)
def test_every_setting_can_be_changed(gitlab: GitLabEnvironment, change: dict[str, t.Any]) -> None:
    gitlab.run(value="plain-value")
    done = gitlab.verify(value="plain-value", **change)
    assert done["changed"]
    assert change.items() <= gitlab.stored().items()


def test_scopes_are_variables_of_their_own(gitlab: GitLabEnvironment) -> None:
    gitlab.verify(value="everywhere")
    gitlab.verify(value="production", environment_scope="production")
    gitlab.verify(value="other", environment_scope="review/*")
    assert gitlab.stored()["value"] == "everywhere"
    gitlab.verify(state="absent", environment_scope="production")
    assert gitlab.stored(scope="production") is None
    assert gitlab.stored(scope="review/*")["value"] == "other"


def test_absent_needs_only_the_key(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, hidden=True, protected=True)
    done = gitlab.verify(state="absent")
    assert done["changed"]
    assert done["variable"] is None
    assert gitlab.stored() is None


def test_a_project_can_be_given_by_number(gitlab: GitLabEnvironment) -> None:
    gitlab.verify(project=str(gitlab.double.projects[PROJECT]), value="plain")
    assert gitlab.stored()["value"] == "plain"


def test_a_group_has_variables_of_its_own(gitlab: GitLabEnvironment) -> None:
    gitlab.verify(value=SECRET, masked=True, group=GROUP)
    gitlab.verify(value="production", group=GROUP, environment_scope="production")
    assert gitlab.stored(owner=GROUP)["value"] == SECRET
    assert gitlab.stored() is None
    gitlab.verify(state="absent", group=str(gitlab.double.groups[GROUP]))
    assert [one["environment_scope"] for one in gitlab.double.variables[GROUP]] == ["production"]


def test_a_scope_that_needs_premium_does_not_become_all_environments(gitlab: GitLabEnvironment) -> None:
    gitlab.double.premium = False
    result = gitlab.run(value=SECRET, group=GROUP, environment_scope="production")
    assert result["failed"]
    assert "ignored environment_scope" in result["msg"]
    assert "Premium" in result["msg"]
    assert gitlab.double.variables[GROUP] == []
    gitlab.run(value="everywhere", group=GROUP)
    result = gitlab.run(value=SECRET, group=GROUP, environment_scope="production")
    assert "Premium" in result["msg"]
    assert gitlab.stored(owner=GROUP)["value"] == "everywhere"


def test_a_gitlab_that_cannot_hide_keeps_no_visible_secret(gitlab: GitLabEnvironment) -> None:
    inner = gitlab.double.flask.view_functions["create"]

    def old_gitlab(**args: str) -> t.Any:
        flask.request.get_json().pop("masked_and_hidden", None)
        return inner(**args)

    gitlab.double.flask.view_functions["create"] = old_gitlab
    result = gitlab.run(value=SECRET, hidden=True)
    assert result["failed"]
    assert "ignored hidden" in result["msg"]
    assert "17.4" in result["msg"]
    assert gitlab.stored() is None


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
def test_a_file_gets_a_final_line_ending(
    gitlab: GitLabEnvironment, given: str, params: dict[str, t.Any], written: str
) -> None:
    gitlab.verify(value=given, **params)
    assert gitlab.stored()["value"] == written


def test_an_existing_file_gets_a_final_line_ending(gitlab: GitLabEnvironment) -> None:
    gitlab.add(value="canary", variable_type="file")
    assert gitlab.verify(value="canary")["changed"]
    assert gitlab.stored()["value"] == "canary\n"


# -- hidden variables


def test_a_hidden_value_is_kept_with_a_warning(gitlab: GitLabEnvironment) -> None:
    assert gitlab.run(value=SECRET, hidden=True).warnings == []
    assert gitlab.stored()["hidden"]
    for check in (True, False):
        (warning,) = gitlab.run(check=check, value=OTHER, hidden=True).warnings
        assert "neither compared nor changed" in warning
    gitlab.assert_unchanged(value=OTHER, hidden=True)
    gitlab.verify(value=OTHER, hidden=True, description="new")
    assert gitlab.stored()["value"] == SECRET


def test_a_hidden_value_is_written_on_request(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, hidden=True)
    result = gitlab.run(value=OTHER, hidden=True, rewrite_hidden=True)
    assert result["changed"]
    assert gitlab.stored()["value"] == OTHER
    assert gitlab.stored()["hidden"]


@pytest.mark.parametrize("hidden", [True, False])
def test_hiding_or_showing_an_existing_variable_is_refused(gitlab: GitLabEnvironment, hidden: bool) -> None:
    gitlab.run(value=SECRET, masked=True, hidden=not hidden)
    result = gitlab.run(value=SECRET, hidden=hidden)
    assert result["failed"]
    assert "recreate: true" in result["msg"]
    assert gitlab.methods() == ["GET"]
    assert gitlab.stored()["value"] == SECRET


def test_a_hidden_variable_stays_masked(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, hidden=True)
    result = gitlab.run(value=SECRET, masked=False)
    assert result["failed"]
    assert "does not allow masked: false" in result["msg"]
    assert gitlab.methods() == ["GET"]


@pytest.mark.parametrize("hidden", [True, False])
def test_a_variable_is_replaced_on_request(gitlab: GitLabEnvironment, hidden: bool) -> None:
    gitlab.add(masked=True, hidden=not hidden, protected=True, description="note")
    gitlab.add(environment_scope="production", value="other")
    done = gitlab.verify(value=OTHER, hidden=hidden, recreate=True)
    assert done["changed"]
    assert gitlab.stored() == {
        **gitlab.stored(),
        "value": OTHER,
        "hidden": hidden,
        "protected": True,
        "description": "note",
    }
    assert sorted(one["environment_scope"] for one in gitlab.double.variables[PROJECT]) == ["*", "production"]


def test_the_old_variable_is_removed_after_the_new_one_is_accepted(gitlab: GitLabEnvironment) -> None:
    gitlab.add(masked=True)
    gitlab.run(value=OTHER, hidden=True, recreate=True)
    assert gitlab.methods() == ["GET", "DELETE", "POST", "DELETE", "PUT"]
    gitlab.add(key="SECOND", masked=True)
    gitlab.fault(status=400, body={"message": {"value": ["is invalid"]}}, method="POST")
    result = gitlab.run(key="SECOND", value=OTHER, hidden=True, recreate=True)
    assert result["failed"]
    assert gitlab.stored("SECOND")["value"] == SECRET


def test_a_lost_response_to_the_last_step_is_no_failure(gitlab: GitLabEnvironment) -> None:
    gitlab.add(masked=True)
    gitlab.lose_response("update")
    result = gitlab.run(value=OTHER, hidden=True, recreate=True)
    assert not result["failed"], result
    assert result["changed"]
    assert [(one["environment_scope"], one["value"]) for one in gitlab.double.variables[PROJECT]] == [("*", OTHER)]
    assert gitlab.methods() == ["GET", "DELETE", "POST", "DELETE", "PUT", "PUT", "GET"]


def test_a_replacement_that_someone_else_removed_is_a_failure(gitlab: GitLabEnvironment) -> None:
    gitlab.add(masked=True)

    def gone(**_args: str) -> t.Any:
        gitlab.double.variables[PROJECT].clear()
        return {"message": "404 Variable Not Found"}, 404

    gitlab.double.flask.view_functions["update"] = gone
    result = gitlab.run(value=OTHER, hidden=True, recreate=True)
    assert result["failed"]
    assert "the variable does not exist in" in result["msg"]


@pytest.mark.parametrize("killed_after", [2, 3, 4])
def test_an_interrupted_replacement_is_completed_by_the_next_run(gitlab: GitLabEnvironment, killed_after: int) -> None:
    """The requests: read, remove an old replacement, create the new variable, remove the old one, move the new one."""
    gitlab.add(masked=True)
    views, served = dict(gitlab.double.flask.view_functions), []

    def dying(inner: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def view(**args: str) -> t.Any:
            served.append(inner)
            return inner(**args) if len(served) <= killed_after else flask.abort(418)

        return view

    gitlab.double.flask.view_functions.update({name: dying(view) for name, view in views.items()})
    assert gitlab.run(value=OTHER, hidden=True, recreate=True)["failed"]
    assert {one["value"] for one in gitlab.double.variables[PROJECT]} <= {SECRET, OTHER}
    assert gitlab.double.variables[PROJECT], "the value is lost"
    gitlab.double.flask.view_functions.update(views)
    gitlab.run(value=OTHER, hidden=True, recreate=True)
    assert [(one["environment_scope"], one["value"]) for one in gitlab.double.variables[PROJECT]] == [("*", OTHER)]
    gitlab.assert_unchanged(value=OTHER, hidden=True, recreate=True)


# -- GitLab's rules


@pytest.mark.parametrize("value", [True, False, {}, [], {"canary_key": "canary_value"}, ["canary_value"], [{"a": 1}]])
def test_other_types_than_text_are_refused(gitlab: GitLabEnvironment, value: t.Any) -> None:
    for check in (True, False):
        result = gitlab.run(check=check, value=value)
        assert result["failed"]
        assert "not text" in result["msg"]
        assert "to_json" in result["msg"]
        assert gitlab.methods() == []
    assert not gitlab.run(state="absent", value=value)["failed"]


@pytest.mark.parametrize(
    ("value", "written"), [(8080, "8080"), (1.5, "1.5"), (0, "0"), ("False", "False"), ('{"a": 1}', '{"a": 1}')]
)
def test_numbers_and_texts_are_written_as_they_are(gitlab: GitLabEnvironment, value: t.Any, written: str) -> None:
    gitlab.run(value=value)
    assert gitlab.stored()["value"] == written
    gitlab.assert_unchanged(value=value)


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"value": "canary7", "masked": True}, "at least 8 characters"),
        ({"value": "k" * 10_001}, "longer than the 10000 characters"),
        ({"value": "plain", "project": "panther%2Fhosts%2Fnixos"}, "is URL-encoded; give 'panther/hosts/nixos'"),
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
        ({"value": "plain", "environment_scope": "a,b"}, "does not consist of"),
        ({"value": "plain", "description": "x" * 256}, "255 characters"),
        ({"value": "-----BEGIN X PRIVATE KEY-----\r\ncanary"}, "Windows line endings"),
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
def test_invalid_input_fails_before_any_request(gitlab: GitLabEnvironment, params: dict[str, t.Any], part: str) -> None:
    result = gitlab.run(**params)
    assert result["failed"]
    assert part in result["msg"]
    assert gitlab.methods() == []


def test_a_masked_value_is_not_the_name_of_another_variable(gitlab: GitLabEnvironment) -> None:
    gitlab.add(key="PLACE_OF_CACHE")
    for check in (True, False):
        result = gitlab.run(value="PLACE_OF_CACHE", masked=True, check=check)
        assert "is the name of another variable" in result["msg"]
        assert gitlab.methods() == ["GET", "GET"]
        queries = [entry["path"] for entry in gitlab.double.app.requests]
        assert not any("PLACE_OF_CACHE" in path for path in queries), "a URL contains the value"
    assert gitlab.stored() is None
    assert gitlab.run(value="PLACE_OF_CACHE")["changed"], "only masked values are restricted"


def test_a_masked_variable_keeps_its_value_if_the_new_one_cannot_be_masked(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, masked=True)
    result = gitlab.run(value="short")
    assert result["failed"]
    assert "at least 8" in result["msg"]
    assert gitlab.methods() == ["GET"]
    assert gitlab.stored()["value"] == SECRET


def test_a_refused_update_leaves_the_old_value_in_place(gitlab: GitLabEnvironment) -> None:
    gitlab.run(value=SECRET, masked=True)
    gitlab.fault(status=400, body={"message": {"value": ["is invalid"]}}, method="PUT")
    result = gitlab.run(value=OTHER)
    assert result["failed"]
    assert "value is invalid" in result["msg"]
    assert gitlab.stored()["value"] == SECRET
    gitlab.verify(value=OTHER)


@pytest.mark.parametrize("escaped", [SECRET, json.dumps(SECRET), SECRET.replace("$", "&#36;"), f"x{SECRET}"[:16]])
def test_a_response_that_repeats_the_value_is_not_shown(gitlab: GitLabEnvironment, escaped: str) -> None:
    gitlab.fault(status=400, body={"message": {"value": [f"'{escaped}' is invalid"]}}, method="POST")
    result = gitlab.run(value=SECRET)
    assert result["failed"]
    assert "repeats a secret" in result["msg"]
    assert "repeats a secret" in result["answer"]


WORDS = ["production", "true", "env_var", "CI_ATTIC_TOKEN", "the", "project", "raw", "False", "1", "0", "not shown"]
LETTERS = [*"aeio10_*", "in", "is", "GitLab", ".", " ", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", "***"]
MASKS = ("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", "********")


def told(result: Run) -> str:
    """The result without the options, in which Ansible before 2.21 shows the secret ones by this name."""
    if "invocation" in result:
        options = result["invocation"]["module_args"]
        assert options.get("value") in (None, MASKS[0])
        assert options["token"] == MASKS[0]
    return json.dumps({name: part for name, part in result.items() if name != "invocation"})


@pytest.mark.parametrize("value", [*WORDS, *LETTERS])
def test_an_ordinary_word_as_value_is_masked_nowhere_else(gitlab: GitLabEnvironment, value: str) -> None:
    """The result is the same for every value, so it says nothing about it."""
    task = {"environment_scope": "production", "description": "Where to deploy the project to, not shown in it"}
    results = []
    for given in ("another-value", value):
        gitlab.double.variables[PROJECT].clear()
        runs = [gitlab.run(value=given, check=check, **task) for check in (True, False, False)]
        runs += [
            gitlab.run(value=given, key="BAD-KEY", **task),
            gitlab.run(value=given, variable_type="secret", **task),
        ]
        runs += [gitlab.run(value="old", **task), gitlab.run(value=given, **task)]
        runs += [gitlab.run(value=[given], **task), gitlab.run(value={"a": given}, **task)]
        results.append([told(one) for one in runs])
    assert results[0] == results[1]
    assert not any(mask in one for mask in MASKS for one in results[1])
    assert '"environment_scope": "production"' in results[1][1]
    assert gitlab.stored(scope="production")["value"] == value


@pytest.mark.parametrize("value", [*WORDS, *LETTERS])
@pytest.mark.parametrize(
    "message",
    [
        {"value": ["is invalid"]},
        "403 Forbidden",
        "'{}' is wrong",
        {"value": ["{} is bad"]},
        "<html>{}</html>",
        "boom at {}",
    ],
)
def test_no_message_repeats_a_short_value(gitlab: GitLabEnvironment, value: str, message: t.Any) -> None:
    """Whether a message of GitLab is shown depends neither on the value nor on what the message says about it."""
    results = []
    for given, said in ((value, value), (value, "something")):
        body = {"message": json.loads(json.dumps(message).replace("{}", said.replace('"', "")))}
        gitlab.fault(status=400, body=body, method="POST", times=9)
        results.append(told(gitlab.run(value=given)))
        gitlab.double.app.faults.clear()
    if len(value) < 8:
        assert results[0] == results[1]
    if message == {"value": ["is invalid"]}:
        assert "value is invalid" in results[0]
    elif "{}" in json.dumps(message) and len(value) >= 8:
        assert value not in results[0] or value in told(gitlab.run(value="another-value"))


def test_a_value_that_is_the_token_stays_hidden(gitlab: GitLabEnvironment) -> None:
    for task in ({}, {"key": "BAD-KEY"}, {"variable_type": "secret"}):
        result = gitlab.run(value=TOKEN, **task)
        assert TOKEN not in json.dumps(result)
    assert gitlab.stored()["value"] == TOKEN


# -- credentials


@pytest.mark.parametrize(
    ("token", "parts"),
    [
        ("glpat-wrong", ["refuses the token", "401 Unauthorized", "another GitLab", "job token", "scope api"]),
        (EXPIRED, ["refuses the token", "Token is expired"]),
        (DEVELOPER, ["403 Forbidden", "role Maintainer", PROJECT]),
        (READER, ["insufficient_scope", "scope api"]),
        (STRANGER, ["does not exist, or the token has no access", PROJECT]),
    ],
)
def test_an_insufficient_credential_is_reported(gitlab: GitLabEnvironment, token: str, parts: list[str]) -> None:
    gitlab.add()
    for task in ({"value": "plain"}, {"state": "absent"}):
        result = gitlab.run(token=token, **task)
        assert result["failed"]
        for part in parts:
            assert part in result["msg"]
        assert result["msg"].count(". ") <= 1
    assert gitlab.stored()["value"] == SECRET


def test_reading_needs_only_read_api(gitlab: GitLabEnvironment) -> None:
    gitlab.add()
    assert gitlab.run(token=READER, value="plain", check=True)["changed"]
    gitlab.assert_unchanged(token=READER, value=SECRET)
    gitlab.assert_unchanged(token=READER, key="NOT_THERE", state="absent")


@pytest.mark.parametrize(
    ("owner", "role", "sufficient"),
    [
        ({"project": PROJECT}, "developer", False),
        ({"project": PROJECT}, "maintainer", True),
        ({"project": PROJECT}, "owner", True),
        ({"group": GROUP}, "maintainer", False),
        ({"group": GROUP}, "owner", True),
    ],
)
def test_the_documented_role_is_sufficient_and_a_lesser_one_is_reported(
    gitlab: GitLabEnvironment, owner: dict[str, str], role: str, sufficient: bool
) -> None:
    gitlab.double.tokens["canary-token-n"] = Token("new", {path: role for path in owner.values()})
    steps: list[dict[str, t.Any]] = [
        {"value": SECRET, "masked": True},
        {"value": OTHER},
        {"value": OTHER, "hidden": True, "recreate": True},
        {"state": "absent"},
    ]
    for task in steps:
        result = gitlab.run(token="canary-token-n", **owner, **task)
        assert result["failed"] != sufficient, result
        if not sufficient:
            assert f"needs the role {'Maintainer' if 'project' in owner else 'Owner'}" in result["msg"]
        else:
            assert result["changed"]


def test_an_unknown_project_is_not_an_absent_variable(gitlab: GitLabEnvironment) -> None:
    result = gitlab.run(project="panther/none", state="absent")
    assert result["failed"]
    assert "panther/none" in result["msg"]


def test_a_moved_project_is_reported_with_its_number(gitlab: GitLabEnvironment) -> None:
    result = gitlab.run(project="panther/old", value="plain")
    assert result["failed"]
    assert f"has moved; give its new path, or its number {gitlab.double.projects[PROJECT]}" in result["msg"]


def test_the_url_may_be_that_of_the_api(gitlab: GitLabEnvironment) -> None:
    assert gitlab.run(url=f"{gitlab.url}/api/v4/", value="plain")["changed"]


def test_the_token_is_read_from_the_environment(gitlab: GitLabEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
    assert gitlab.run(token=None, value="plain")["changed"]


# -- failures of the network and the service


def test_a_short_outage_is_retried(gitlab: GitLabEnvironment, pauses: list[float]) -> None:
    gitlab.fault(status=502, method="GET")
    gitlab.fault(status=429, headers={"Retry-After": "1"}, method="POST")
    assert gitlab.run(value="plain")["changed"]
    assert gitlab.stored()["value"] == "plain"
    assert pauses == [1]


def test_a_longer_pause_than_allowed_fails(gitlab: GitLabEnvironment, pauses: list[float]) -> None:
    gitlab.fault(status=429, headers={"Retry-After": "3600"}, times=9)
    result = gitlab.run(value="plain")
    assert result["failed"]
    for part in ("GitLab answered 429", "3600 s", "longest_pause (30 s)", "raise longest_pause"):
        assert part in result["msg"]
    assert pauses == []


def test_a_long_pause_can_be_allowed(gitlab: GitLabEnvironment, pauses: list[float]) -> None:
    gitlab.fault(status=429, headers={"Retry-After": "300"})
    assert gitlab.run(value="plain", longest_pause=300)["changed"]
    assert pauses == [300]


def test_retries_end(gitlab: GitLabEnvironment, pauses: list[float]) -> None:
    gitlab.fault(status=429, headers={"Retry-After": "1"}, times=99)
    result = gitlab.run(value="plain")
    assert result["failed"]
    assert "429" in result["msg"]
    assert gitlab.methods() == ["GET", "GET"], "retries is 1, and python-gitlab adds none"
    assert pauses == [1]


@pytest.mark.parametrize("hidden", [True, False])
def test_after_a_lost_response_the_variable_is_read_again(gitlab: GitLabEnvironment, hidden: bool) -> None:
    """A hidden value cannot be compared, so it is written once more."""
    gitlab.lose_response("create")
    result = gitlab.run(value=SECRET, masked=True, hidden=hidden)
    assert not result["failed"], result
    assert result["diff"]["before"] == {}
    assert gitlab.stored()["value"] == SECRET
    assert gitlab.methods() == (["GET", "POST", "GET", "PUT"] if hidden else ["GET", "POST", "GET"])


def test_a_hidden_value_that_was_not_sent_stays_after_a_lost_response(gitlab: GitLabEnvironment) -> None:
    gitlab.add(masked=True, hidden=True)
    gitlab.fault(status=502, method="PUT", times=2)
    result = gitlab.run(value=OTHER, hidden=True, description="new")
    assert not result["failed"], result
    assert "neither compared nor changed" in result.warnings[0]
    assert (gitlab.stored()["value"], gitlab.stored()["description"]) == (SECRET, "new")


def test_a_failed_change_is_planned_again_at_most_three_times(gitlab: GitLabEnvironment) -> None:
    gitlab.fault(status=502, method="POST", times=2)
    assert gitlab.run(value=SECRET, hidden=True)["changed"]
    assert gitlab.methods() == ["GET", "POST"] * 3
    gitlab.fault(status=502, method="PUT", times=6)  # each attempt sends it twice, because retries is 1
    result = gitlab.run(value=OTHER, rewrite_hidden=True)
    assert result["failed"]
    assert "502" in result["msg"]
    assert gitlab.stored()["value"] == SECRET


def test_a_variable_that_someone_else_creates_meanwhile_is_changed(gitlab: GitLabEnvironment) -> None:
    inner = gitlab.double.flask.view_functions["create"]

    def taken(**args: str) -> t.Any:
        gitlab.double.flask.view_functions["create"] = inner
        gitlab.double.variables[PROJECT].append({**flask.request.get_json(), "value": "theirs", "hidden": False})
        return inner(**args)

    gitlab.double.flask.view_functions["create"] = taken
    result = gitlab.run(value="ours")
    assert not result["failed"], result
    assert [one["value"] for one in gitlab.double.variables[PROJECT]] == ["ours"]


def test_a_redirect_is_not_followed_with_the_token(gitlab: GitLabEnvironment) -> None:
    gitlab.fault(status=301, headers={"Location": gitlab.url + "/elsewhere"})
    result = gitlab.run(value="plain")
    assert result["failed"]
    assert "redirect" in result["msg"]
    assert gitlab.methods() == ["GET"]


@pytest.mark.parametrize("body", ["<html>welcome</html>", [SECRET], {"hello": SECRET}, f'"{SECRET}"', "null"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_response_of_another_service_is_reported(gitlab: GitLabEnvironment, body: t.Any, method: str) -> None:
    gitlab.add(value="old", protected=True)
    gitlab.fault(status=200, body=body, method=method, times=9)
    result = gitlab.run(value="plain")
    assert result["failed"]
    assert "check url" in result["msg"]


ODD: list[t.Any] = [
    "",
    "null",
    "7",
    "[]",
    "[7]",
    "[[]]",
    "[{}]",
    {},
    {"key": 1},
    {"key": "K", "value": 1},
    {"value": None},
]


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_odd_json_is_no_traceback(gitlab: GitLabEnvironment, body: t.Any, method: str) -> None:
    gitlab.fault(status=200, body=body, method=method, times=9)
    result = gitlab.run(value="UPPER_CASE", masked=True)
    assert not result["failed"] or "GitLab" in result["msg"]


PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"


@pytest.mark.parametrize("status", [400, 403, 404, 500, 502, 530])
@pytest.mark.parametrize("body", [PAGE, "", "null", [], ["boom"], "error code: 1033", {"message": None}, {"error": []}])
def test_a_page_instead_of_an_answer_is_told_in_one_sentence(
    gitlab: GitLabEnvironment, status: int, body: t.Any, pauses: list[float]
) -> None:
    gitlab.fault(status=status, body=body, times=99)
    result = gitlab.run(value="some-longer-value")
    assert result["failed"]
    assert "GitLab" in result["msg"]
    assert str(status) in result["msg"] or status in (403, 404)
    for part in ("<", "\n", "Traceback", "None"):
        assert part not in result["msg"]
    assert result["msg"].count(". ") <= 1


def test_an_empty_value_is_not_a_difference(gitlab: GitLabEnvironment) -> None:
    gitlab.add(value=None)
    gitlab.assert_unchanged(value="")


def test_an_unreachable_service_is_reported(gitlab: GitLabEnvironment) -> None:
    result = gitlab.run(value="plain", url="http://127.0.0.1:9", retries=0)
    assert result["failed"]
    assert "cannot reach http://127.0.0.1:9" in result["msg"]
