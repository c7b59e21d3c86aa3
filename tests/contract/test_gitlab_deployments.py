# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments and deployments of GitLab, with the double and with the service.

GITLAB_TEST_TOKEN and GITLAB_TEST_PROJECT enable the tests with the service. Its project needs a commit. They leave environments and
deployments behind whose names begin with nixci-contract/, because GitLab deletes neither at once.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t
import uuid
from collections.abc import Callable
from urllib.parse import quote

import gitlab
import pytest
import requests

from lab.clouds._gitlab_deployments import Checkout
from lab.clouds.gitlab import GitLabDouble, Token

PROJECT = "panther/hosts/nixos"
SHA = "5f0c3ab9b9e2d1c4a7f8e6d5c4b3a29180706050"
TOKENS = {role: f"glpat-{role}" for role in ("guest", "reporter", "developer", "maintainer", "stranger", "job")}


class Api:
    def __init__(self, url: str, token: str, path: str, sha: str, branch: str) -> None:
        self.url, self.token, self.path, self.sha, self.branch = url, token, path, sha, branch
        self.project = f"/projects/{quote(path, safe='')}"
        self.environment = f"nixci-contract/{uuid.uuid4().hex[:8]}"

    def call(self, method: str, path: str, token: str | None = None, **json: t.Any) -> requests.Response:
        token = token or self.token
        header = "JOB-TOKEN" if token == TOKENS["job"] else "PRIVATE-TOKEN"
        return requests.request(
            method, f"{self.url}/api/v4{self.project}{path}", json=json or None, headers={header: token}, timeout=30
        )

    def deployment(self, **changes: t.Any) -> dict[str, t.Any]:
        fields = {"environment": self.environment, "sha": self.sha, "ref": self.branch, "tag": False}
        sent = {**fields, "status": "running", **changes}
        return {name: value for name, value in sent.items() if value is not None}

    def create(self, **changes: t.Any) -> dict[str, t.Any]:
        response = self.call("POST", "/deployments", **self.deployment(**changes))
        assert response.status_code == 201, response.text
        return response.json()

    def refused(self, method: str, path: str, **more: t.Any) -> tuple[int, t.Any]:
        response = self.call(method, path, **more)
        return response.status_code, response.json().get("message", response.json().get("error"))


def double() -> GitLabDouble:
    tokens = {
        value: Token(role, {PROJECT: "developer" if role == "job" else role}, job=role == "job")
        for role, value in TOKENS.items()
        if role != "stranger"
    }
    double = GitLabDouble([PROJECT], {**tokens, TOKENS["stranger"]: Token("eve", {})})
    double.deployed[PROJECT].repository.push("main", SHA)
    return double


@pytest.fixture(params=["double", "real"])
def api(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Api:
    if request.param == "double":
        return Api(serve(double().app), TOKENS["developer"], PROJECT, SHA, "main")
    token, path = os.environ.get("GITLAB_TEST_TOKEN"), os.environ.get("GITLAB_TEST_PROJECT")
    if not token or not path:
        pytest.skip("GITLAB_TEST_TOKEN and GITLAB_TEST_PROJECT are not set: the real service is not tested")
    service = Api(os.environ.get("GITLAB_TEST_URL", "https://gitlab.com"), token, path, "", "")
    service.branch = service.call("GET", "").json().get("default_branch") or ""
    branch = service.call("GET", f"/repository/branches/{quote(service.branch, safe='')}")
    if branch.status_code != 200:
        pytest.skip("the project of GITLAB_TEST_PROJECT has no commit")
    service.sha = branch.json()["commit"]["id"]
    return service


def test_a_deployment_runs_and_succeeds(api: Api) -> None:
    made = api.create()
    assert (made["status"], made["sha"], made["ref"], made["deployable"]) == ("running", api.sha, api.branch, None)
    assert made["environment"]["name"] == api.environment
    path = f"/deployments/{made['id']}"
    assert api.call("PUT", path, status="success").json()["status"] == "success"
    found = api.call("GET", path).json()
    assert (found["id"], found["iid"], found["status"]) == (made["id"], made["iid"], "success")


def test_the_environment_is_created_with_a_guessed_tier(api: Api) -> None:
    api.environment = f"nixci-contract/production-{uuid.uuid4().hex[:8]}"
    api.create(status="success")
    (environment,) = api.call("GET", f"/environments?name={quote(api.environment, safe='')}").json()
    assert (environment["tier"], environment["state"], environment["external_url"]) == ("production", "available", None)


def test_an_environment_lives_through_create_and_update(api: Api) -> None:
    fields = {"name": api.environment, "tier": "production", "external_url": "https://cache.example.com/"}
    made = api.call("POST", "/environments", **fields)
    assert made.status_code == 201
    assert {name: made.json()[name] for name in fields} == fields
    path = f"/environments/{made.json()['id']}"
    assert api.call("PUT", path, tier="other").json()["tier"] == "other"
    found = api.call("GET", path).json()
    assert (found["tier"], found["external_url"]) == ("other", fields["external_url"])
    status, message = api.refused("POST", "/environments", **fields)
    assert status == 400 and message["name"] == ["has already been taken"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tier": "live"}, "tier does not have a valid value"),
        ({"external_url": "javascript:alert(1)"}, "external_url"),
        ({"name": "/begins-with-a-slash"}, "cannot start or end with '/'"),
        ({"name": "a" * 256}, "is too long (maximum is 255 characters)"),
        ({"name": "with,comma"}, "can contain only letters"),
    ],
)
def test_environments_that_gitlab_rejects(api: Api, fields: dict[str, str], expected: str) -> None:
    status, message = api.refused("POST", "/environments", **{"name": api.environment, **fields})
    assert status == 400 and expected in str(message)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"sha": "0" * 40}, {"sha": ["The commit does not exist"]}),
        ({"sha": "does not exist"}, {"sha": ["The commit does not exist"]}),
        ({"ref": "nixci-no-such-branch"}, {"ref": ["The branch or tag does not exist"]}),
        ({"sha": ""}, "sha is empty"),
        ({"environment": ""}, "environment is empty"),
        ({"ref": None}, "ref is missing"),
        ({"tag": None}, "tag is missing"),
        ({"status": "created"}, "status does not have a valid value"),
        ({"status": "blocked"}, "status does not have a valid value"),
        ({"tag": "perhaps"}, "tag is invalid"),
    ],
)
def test_deployments_that_gitlab_rejects(api: Api, fields: dict[str, t.Any], expected: t.Any) -> None:
    status, message = api.refused("POST", "/deployments", **api.deployment(**fields))
    assert (status, message) == (400, expected)


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        ("running", "failed", True),
        ("running", "canceled", True),
        ("failed", "success", True),
        ("success", "failed", True),
        ("failed", "running", False),
        ("success", "running", False),
        ("running", "running", False),
        ("success", "success", False),
    ],
)
def test_transitions(api: Api, before: str, after: str, accepted: bool) -> None:
    path = f"/deployments/{api.create(status=before)['id']}"
    response = api.call("PUT", path, status=after)
    assert response.status_code == (200 if accepted else 400)
    if not accepted:
        event = {"running": "run", "success": "succeed"}[after]
        assert f'cannot transition via "{event}"' in str(response.json()["message"]["status"])


def test_the_same_success_again_is_the_same_deployment(api: Api) -> None:
    first = api.create(status="success")
    assert api.create(status="success")["id"] == first["id"]
    running = api.create(status="running")
    assert running["id"] != first["id"], "of a running one, GitLab makes another"
    assert api.create(status="running")["id"] != running["id"]


def test_deployments_are_filtered_and_sorted(api: Api) -> None:
    made = [api.create(status=status)["id"] for status in ("failed", "running", "success")]
    query = f"/deployments?environment={quote(api.environment, safe='')}"
    assert [one["id"] for one in api.call("GET", query).json()] == made
    assert [one["id"] for one in api.call("GET", f"{query}&order_by=id&sort=desc&per_page=2").json()] == made[:0:-1]
    assert [one["id"] for one in api.call("GET", f"{query}&status=running").json()] == [made[1]]
    assert api.call("GET", "/deployments?environment=nixci-contract/no-such-one").json() == []
    for wrong in ("order_by=size", "sort=up", "status=done"):
        assert api.call("GET", f"/deployments?{wrong}").status_code == 400


def test_an_unknown_deployment_is_not_found(api: Api) -> None:
    for method, fields in (("GET", {}), ("PUT", {"status": "success"})):
        status, message = api.refused(method, "/deployments/999999999", **fields)
        assert (status, str(message).lower()) == (404, "404 not found")


def test_the_client_library_speaks_to_it(api: Api) -> None:
    project = gitlab.Gitlab(api.url, private_token=api.token).projects.get(api.path, lazy=True)
    made = project.deployments.create(api.deployment())
    made.status = "success"
    made.save()
    (listed,) = project.deployments.list(environment=api.environment, get_all=True)
    assert (listed.id, listed.status) == (made.id, "success")


# -- rights, with the double only


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("stranger", 404, 404),
        ("guest", 403, 403),
        ("reporter", 200, 403),
        ("developer", 200, 201),
        ("maintainer", 200, 201),
        ("job", 200, 201),
    ],
)
def test_rights(serve: Callable[[t.Any], str], role: str, reads: int, writes: int) -> None:
    api = Api(serve(double().app), TOKENS[role], PROJECT, SHA, "main")
    for what in ("deployments", "environments"):
        assert api.call("GET", f"/{what}").status_code == reads
    assert api.call("POST", "/deployments", **api.deployment()).status_code == writes
    assert api.call("POST", "/environments", name="other").status_code == writes


def test_a_job_token_is_unknown_elsewhere_and_in_another_header(serve: Callable[[t.Any], str]) -> None:
    api = Api(serve(double().app), TOKENS["job"], PROJECT, SHA, "main")
    assert api.refused("GET", "/variables") == (401, "401 Unauthorized")
    response = requests.get(
        f"{api.url}/api/v4{api.project}/deployments", headers={"PRIVATE-TOKEN": TOKENS["job"]}, timeout=30
    )
    assert response.status_code == 401
    response = requests.get(
        f"{api.url}/api/v4{api.project}/deployments", headers={"JOB-TOKEN": TOKENS["maintainer"]}, timeout=30
    )
    assert response.status_code == 401


def test_a_protected_environment_is_for_maintainers(serve: Callable[[t.Any], str]) -> None:
    service = double()
    api = Api(serve(service.app), TOKENS["maintainer"], PROJECT, SHA, "main")
    made = api.create()
    service.deployed[PROJECT].protected.add(api.environment)
    developer = TOKENS["developer"]
    assert api.refused("POST", "/deployments", token=developer, **api.deployment())[0] == 403
    assert api.refused("PUT", f"/deployments/{made['id']}", token=developer, status="success")[0] == 403
    assert api.call("PUT", f"/deployments/{made['id']}", status="success").status_code == 200


def test_a_deployment_of_a_job_belongs_to_the_job(serve: Callable[[t.Any], str]) -> None:
    service = double()
    api = Api(serve(service.app), TOKENS["maintainer"], PROJECT, SHA, "main")
    made = api.create()
    service.deployed[PROJECT].deployments[0]["deployable"] = {"id": 7}
    status, message = api.refused("PUT", f"/deployments/{made['id']}", status="success")
    assert status == 403 and "created using GitLab CI can not be updated" in message


def test_a_checkout_stands_for_what_was_pushed(tmp_path: pathlib.Path) -> None:
    def git(*argv: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "--message=one")
    checkout = Checkout(tmp_path)
    sha = git("rev-parse", "HEAD")
    assert all(map(checkout.has, ("main", sha, sha[:8])))
    assert not any(map(checkout.has, ("other", "0" * 40, "--all", "")))
    assert not Checkout(tmp_path / "absent").has("main")
