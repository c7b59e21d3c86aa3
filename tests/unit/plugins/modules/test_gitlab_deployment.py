# SPDX-License-Identifier: GPL-3.0-or-later
"""gitlab_deployment with a double of GitLab: records, environments, rights, failures."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing as t
from collections.abc import Callable

import pytest

from lab.clouds._gitlab_deployments import Deployments
from lab.clouds.gitlab import GitLabDouble, Token
from tests.support.check_mode import assert_check_mode_contract

PROJECT = "panther/nixos"
SHA, OTHER = "5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050", "0123456789abcdef0123456789abcdef01234567"
TOKENS = {role: f"canary-token-{role}" for role in ("guest", "reporter", "developer", "maintainer", "job", "stranger")}
STATUSES = ("running", "success", "failed", "canceled")

Run = dict[str, t.Any]


@dataclasses.dataclass
class Environment:
    double: GitLabDouble
    url: str
    module: Callable[..., Run]

    @property
    def project(self) -> Deployments:
        return self.double.deployed[PROJECT]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        self.double.app.requests.clear()
        defaults = {
            "project": PROJECT,
            "environment": "web",
            "sha": SHA,
            "ref": "main",
            "status": "running",
            "retries": 1,
        }
        secrets = {"token": TOKENS["developer"], "url": self.url}
        given = {name: value for name, value in {**secrets, **defaults, **params}.items() if value is not None}
        result = self.module("gitlab_deployment", given, check=check)
        assert "canary" not in json.dumps(result), "the result contains a secret"
        if check:
            assert set(self.methods()) <= {"GET"}
        return result

    def verify(self, **params: t.Any) -> Run:
        def state() -> t.Any:
            return [
                [{name: value for name, value in one.items() if not name.endswith("_at")} for one in items]
                for items in copy.deepcopy((self.project.environments, self.project.deployments))
            ]

        unknown = ("deployment.id", "deployment.iid")
        return assert_check_mode_contract(
            lambda *, check=False: self.run(check=check, **params), state, unknown=unknown
        ).actual

    def methods(self) -> list[str]:
        return [entry["method"] for entry in self.double.app.requests]

    def statuses(self) -> list[str]:
        return [one["status"] for one in self.project.deployments]

    def by_a_job(self, status: str) -> None:
        self.run(status=status)
        self.project.deployments[-1]["deployable"] = {"id": 7}


@pytest.fixture
def gitlab(serve: Callable[[t.Any], str], module: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name in ("GITLAB_TOKEN", "CI_JOB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    tokens = {
        value: Token(role, {PROJECT: "developer" if role == "job" else role}, job=role == "job")
        for role, value in TOKENS.items()
        if role != "stranger"
    }
    tokens[TOKENS["stranger"]] = Token("eve", {})
    tokens["canary-read-only"] = Token("pan", {PROJECT: "maintainer"}, {"read_api"})
    double = GitLabDouble([PROJECT], tokens)
    for sha in (OTHER, SHA):
        double.deployed[PROJECT].repository.push("main", sha)
    double.deployed[PROJECT].repository.push("v1.0.0", OTHER)
    return Environment(double, serve(double.app), module)


# -- the record


@pytest.mark.parametrize("status", STATUSES)
def test_a_deployment_is_recorded_once(gitlab: Environment, status: str) -> None:
    done = gitlab.verify(status=status)
    assert done["changed"] and done["diff"]["before"] == {}
    assert done["deployment"] == {
        "id": 1000,
        "iid": 1,
        "environment": "web",
        "sha": SHA,
        "ref": "main",
        "status": status,
    }
    assert gitlab.statuses() == [status]


@pytest.mark.parametrize("status", ["success", "failed", "canceled"])
@pytest.mark.parametrize("by_id", [True, False])
def test_the_running_one_is_finished(gitlab: Environment, status: str, by_id: bool) -> None:
    number = gitlab.run()["deployment"]["id"]
    done = gitlab.verify(status=status, **({"id": number, "sha": None, "ref": None} if by_id else {}))
    assert done["changed"] and done["deployment"]["id"] == number
    assert done["diff"]["before"]["deployment"]["status"] == "running"
    assert gitlab.statuses() == [status]


def test_another_attempt_is_another_record(gitlab: Environment) -> None:
    gitlab.run(status="failed")
    assert gitlab.verify(status="running")["changed"]
    assert gitlab.verify(status="success")["changed"]
    assert gitlab.statuses() == ["failed", "success"]


def test_a_rollback_is_recorded_although_the_commit_was_deployed_before(gitlab: Environment) -> None:
    gitlab.run(status="success", sha=OTHER)
    gitlab.run(status="success")
    assert gitlab.verify(status="success", sha=OTHER)["changed"]
    assert [one["sha"] for one in gitlab.project.deployments] == [OTHER, SHA, OTHER]


def test_deployments_of_other_commits_and_environments_are_left_alone(gitlab: Environment) -> None:
    gitlab.run(sha=OTHER)
    gitlab.run(environment="other")
    gitlab.run()
    assert gitlab.verify(status="success")["changed"]
    assert gitlab.statuses() == ["running", "running", "success"]


def test_a_deployment_of_a_job_is_not_touched(gitlab: Environment) -> None:
    gitlab.by_a_job("running")
    assert not gitlab.verify(status="running")["changed"], "GitLab itself has recorded it"
    assert gitlab.run(status="success")["changed"]
    assert gitlab.statuses() == ["running", "success"]
    result = gitlab.run(status="success", id=1000)
    assert "belongs to a job of a pipeline" in result["msg"]


def test_a_tag_is_recorded_as_one(gitlab: Environment) -> None:
    gitlab.verify(ref="v1.0.0", sha=OTHER, tag=True)
    assert gitlab.project.deployments[0]["tag"] is True


# -- the environment


def test_the_environment_gets_its_settings_first(gitlab: Environment) -> None:
    done = gitlab.verify(tier="production", external_url="https://cache.example.com/")
    (environment,) = gitlab.project.environments
    assert (environment["name"], environment["tier"]) == ("web", "production")
    assert environment["external_url"] == "https://cache.example.com/"
    assert done["diff"]["after"]["environment"] == {"tier": "production", "external_url": "https://cache.example.com/"}


def test_settings_of_an_environment_are_changed_and_otherwise_kept(gitlab: Environment) -> None:
    gitlab.run(tier="staging", external_url="https://cache.example.com/")
    assert not gitlab.verify()["changed"]
    assert gitlab.verify(tier="production")["changed"]
    (environment,) = gitlab.project.environments
    assert (environment["tier"], environment["external_url"]) == ("production", "https://cache.example.com/")
    assert gitlab.verify(external_url="")["changed"]
    assert environment["external_url"] is None
    assert gitlab.statuses() == ["running"]


def test_an_environment_whose_name_only_begins_so_is_another(gitlab: Environment) -> None:
    gitlab.run(environment="web-2", tier="testing")
    gitlab.verify(environment="web", tier="production")
    assert [one["tier"] for one in gitlab.project.environments] == ["testing", "production"]


# -- rules


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"sha": SHA[:8]}, "is not the full hash of a commit"),
        ({"sha": SHA.upper()}, "in small letters"),
        ({"sha": "main"}, "is not the full hash of a commit"),
        ({"ref": " main"}, "begins or ends with a blank"),
        ({"ref": ""}, "The ref is empty"),
        ({"environment": "web/"}, "begins or ends with a slash"),
        ({"environment": "a,b"}, "does not consist of"),
        ({"environment": ""}, "does not consist of"),
        ({"environment": "a" * 256}, "1 to 255"),
        ({"external_url": "cache.example.com"}, "not a URL"),
        ({"external_url": "https://x/" + "a" * 255}, "longer than 255"),
        ({"status": "created"}, "must be one of"),
        ({"sha": None}, "one of the following is required"),
        ({"token": None}, "one of the following is required"),
        ({"url": "gitlab.com"}, "must start with https://"),
        ({"project": "panther%2Fnixos"}, "is URL-encoded"),
        ({"project": ""}, "option project is empty"),
    ],
)
def test_wrong_options_are_refused_without_a_request(gitlab: Environment, params: Run, expected: str) -> None:
    result = gitlab.run(**params)
    assert result["failed"] and expected in result["msg"]
    assert gitlab.methods() == []


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"sha": "0" * 40},
            "does not have the commit or the branch or tag (sha The commit does not exist); push it first",
        ),
        ({"ref": "absent"}, "(ref The branch or tag does not exist); push it first"),
        ({"id": 4711}, "the deployment or environment does not exist in the project 'panther/nixos'; check id"),
        ({"project": "panther/absent"}, "the project 'panther/absent' does not exist"),
    ],
)
def test_what_gitlab_does_not_have_is_named(gitlab: Environment, params: Run, expected: str) -> None:
    result = gitlab.run(**params)
    assert result["failed"] and expected in result["msg"], result["msg"]
    assert gitlab.statuses() == []


def test_a_finished_deployment_does_not_run_again(gitlab: Environment) -> None:
    number = gitlab.run(status="success")["deployment"]["id"]
    for check in (True, False):
        result = gitlab.run(check=check, id=number)
        assert "is success, and GitLab does not let it run again" in result["msg"]
    assert "has the sha" in gitlab.run(id=number, sha=OTHER)["msg"]
    assert "has the environment 'web' instead of 'other'" in gitlab.run(id=number, environment="other")["msg"]
    assert gitlab.run(id=number, status="failed")["changed"], "it may be found to be broken later"


# -- rights


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("guest", "needs the role Developer"),
        ("reporter", "needs the role Developer"),
        ("developer", None),
        ("maintainer", None),
        ("stranger", "the token has no access to it"),
    ],
)
def test_roles(gitlab: Environment, role: str, expected: str | None) -> None:
    result = gitlab.run(token=TOKENS[role])
    assert result["failed"] is (expected is not None)
    assert expected is None or expected in result["msg"]
    if role == "reporter":
        assert not gitlab.run(token=TOKENS[role], check=True)["failed"], "check mode only reads"


def test_the_token_of_a_job_is_sufficient(gitlab: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gitlab.run(token=None, job_token=TOKENS["job"], tier="production")["changed"]
    monkeypatch.setenv("CI_JOB_TOKEN", TOKENS["job"])
    assert gitlab.run(token=None, status="success")["changed"]
    result = gitlab.run(token=None, job_token="canary-token-over")
    assert "GitLab refuses the job token (401 Unauthorized): it is valid only while its job runs" in result["msg"]
    assert "GitLab refuses the token" in gitlab.run(token=TOKENS["job"])["msg"]


def test_a_token_that_only_reads_is_named(gitlab: Environment) -> None:
    assert "writing needs the scope api" in gitlab.run(token="canary-read-only")["msg"]


def test_a_protected_environment_is_named(gitlab: Environment) -> None:
    gitlab.run()
    gitlab.project.protected.add("web")
    result = gitlab.run(status="success")
    assert result["failed"] and "if the environment is protected" in result["msg"]
    assert gitlab.statuses() == ["running"]
    assert gitlab.run(status="success", token=TOKENS["maintainer"])["changed"]


# -- failures of the network and the service


def lose_response(gitlab: Environment, view: str) -> None:
    """The next request of this kind is carried out, but answered by a proxy with 502."""
    views, lost = gitlab.double.flask.view_functions, []
    inner = views[view]

    def lose(**args: t.Any) -> t.Any:
        response = inner(**args)
        lost.append(response)
        return ("<html>bad gateway</html>", 502) if len(lost) == 1 else response

    views[view] = lose


@pytest.mark.parametrize("status", ["running", "success"])
def test_after_a_lost_response_nothing_is_recorded_twice(gitlab: Environment, status: str) -> None:
    lose_response(gitlab, "create_deployments")
    assert gitlab.run(status=status)["changed"]
    assert gitlab.statuses() == [status]
    lose_response(gitlab, "update_deployments")
    assert gitlab.run(status="failed", id=1000)["changed"]
    assert gitlab.statuses() == ["failed"]


def test_somebody_else_finishes_it_meanwhile(gitlab: Environment) -> None:
    number = gitlab.run()["deployment"]["id"]
    views = gitlab.double.flask.view_functions
    inner = views["update_deployments"]

    def meanwhile(**args: t.Any) -> t.Any:
        gitlab.project.deployments[0]["status"] = "success"
        return inner(**args)

    views["update_deployments"] = meanwhile
    result = gitlab.run(status="success", id=number)
    assert not result["failed"], result
    assert gitlab.statuses() == ["success"]


def test_a_short_outage_is_retried(gitlab: Environment, pauses: list[float]) -> None:
    gitlab.double.app.faults.append({"status": 502, "method": "GET"})
    gitlab.double.app.faults.append({"status": 429, "headers": {"Retry-After": "1"}, "method": "POST"})
    assert gitlab.run()["changed"]
    assert gitlab.statuses() == ["running"] and pauses == [1]


def test_an_outage_is_reported(gitlab: Environment, pauses: list[float]) -> None:
    gitlab.double.app.faults.append({"status": 502, "times": 99})
    assert "answered 502" in gitlab.run()["msg"]


@pytest.mark.parametrize(
    "body", ["<html>welcome</html>", [7], {"hello": 1}, "null", [{"id": "x"}], {"id": 1, "status": 2}]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_response_of_another_service_is_reported(gitlab: Environment, body: t.Any, method: str) -> None:
    gitlab.double.app.faults.append({"status": 200, "body": body, "method": method, "times": 9})
    result = gitlab.run(tier="production")
    assert result["failed"] and "GitLab" in result["msg"]
    assert "Traceback" not in result["msg"]
