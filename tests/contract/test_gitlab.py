# SPDX-License-Identifier: GPL-3.0-or-later
"""What we rely on of GitLab's API, on the wire: against the double, and against the service when it is given.

GITLAB_TEST_TOKEN (scope api, Maintainer) and GITLAB_TEST_PROJECT (a path) enable the second, at GITLAB_TEST_URL
(https://gitlab.com by default); only variables whose key begins with NIXCI_TEST_ are touched.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Iterator
from urllib.parse import quote

import gitlab
import pytest
import requests

from lab.clouds.gitlab import GitLabDouble, Token

PROJECT = "panther/hosts/nixos"
TOKEN, DEVELOPER, READER, EXPIRED, STRANGER = "glpat-m", "glpat-d", "glpat-r", "glpat-x", "glpat-s"
KEY = "NIXCI_TEST_ONE"
SECRET = "abc$def?ghi"  # maskable with raw only


class Api:
    def __init__(self, url: str, token: str, project: str) -> None:
        self.url, self.token, self.project = url, token, project
        self.variables = f"/projects/{quote(project, safe='')}/variables"

    def call(self, method: str, path: str, token: str | None = None, **json: t.Any) -> requests.Response:
        headers = {"PRIVATE-TOKEN": token or self.token}
        return requests.request(method, f"{self.url}/api/v4{path}", json=json or None, headers=headers, timeout=30)

    def create(self, key: str = KEY, value: str = "plain", **more: t.Any) -> t.Any:
        response = self.call("POST", self.variables, key=key, value=value, **more)
        assert response.status_code == 201, response.text
        return response.json()

    def refused(self, method: str, path: str, **more: t.Any) -> tuple[int, t.Any]:
        response = self.call(method, path, **more)
        return response.status_code, response.json().get("message", response.json().get("error"))


def double() -> GitLabDouble:
    maintainer = {PROJECT: "maintainer", "panther/other": "maintainer"}
    tokens = {
        TOKEN: Token("pan", maintainer),
        DEVELOPER: Token("dev", {PROJECT: "developer"}),
        READER: Token("pan", maintainer, {"read_api"}),
        EXPIRED: Token("pan", maintainer, expired=True),
        STRANGER: Token("eve", {}),
    }
    return GitLabDouble([PROJECT, "panther/other"], tokens)


@pytest.fixture(params=["double", "real"])
def api(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Iterator[Api]:
    if request.param == "double":
        service = Api(serve(double().app), TOKEN, PROJECT)
    else:
        token, project = os.environ.get("GITLAB_TEST_TOKEN"), os.environ.get("GITLAB_TEST_PROJECT")
        if not token or not project:
            pytest.skip("GITLAB_TEST_TOKEN and GITLAB_TEST_PROJECT are not set: the real service is not tested")
        service = Api(os.environ.get("GITLAB_TEST_URL", "https://gitlab.com"), token, project)
    remove_all(service)
    yield service
    remove_all(service)


def remove_all(api: Api) -> None:
    for one in api.call("GET", f"{api.variables}?per_page=100").json():
        if one["key"].startswith("NIXCI_TEST_"):
            scope = quote(one["environment_scope"], safe="")
            api.call("DELETE", f"{api.variables}/{one['key']}?filter[environment_scope]={scope}")


def test_a_variable_lives_through_create_update_and_delete(api: Api) -> None:
    made = api.create(protected=True, raw=True, description="note")
    expected = {
        "key": KEY,
        "value": "plain",
        "variable_type": "env_var",
        "environment_scope": "*",
        "masked": False,
        "hidden": False,
        "protected": True,
        "raw": True,
        "description": "note",
    }
    assert {field: made[field] for field in expected} == expected
    path = f"{api.variables}/{KEY}"
    assert api.call("PUT", path, value="other").json()["value"] == "other"
    found = api.call("GET", path).json()
    assert (found["value"], found["protected"], found["description"]) == ("other", True, "note")
    assert api.call("DELETE", path).status_code == 204
    assert api.refused("GET", path) == (404, "404 Variable Not Found")


def test_a_variable_is_plain_and_expanded_by_default(api: Api) -> None:
    made = api.create()
    assert [made[flag] for flag in ("masked", "hidden", "protected", "raw")] == [False] * 4


@pytest.mark.parametrize(
    ("value", "raw", "accepted"),
    [
        ("short67", True, False),
        ("a blank here", True, False),
        ("two\nlines", True, False),
        (SECRET, False, False),
        (SECRET, True, True),
        ("a+b=c/d@e:f.g~h-i_j", False, True),
    ],
)
def test_what_can_be_masked(api: Api, value: str, raw: bool, accepted: bool) -> None:
    response = api.call("POST", api.variables, key=KEY, value=value, masked=True, raw=raw)
    assert response.status_code == (201 if accepted else 400)
    if not accepted:
        assert "value" in response.json()["message"]
        assert api.call("GET", f"{api.variables}/{KEY}").status_code == 404


def test_a_refused_update_leaves_the_old_value(api: Api) -> None:
    api.create(value="long enough".replace(" ", "_"), masked=True, raw=True)
    assert api.refused("PUT", f"{api.variables}/{KEY}", value="short")[0] == 400
    assert api.call("GET", f"{api.variables}/{KEY}").json()["value"] == "long_enough"


def test_a_hidden_value_is_never_told(api: Api) -> None:
    made = api.create(value=SECRET, raw=True, masked_and_hidden=True)
    assert (made["value"], made["masked"], made["hidden"]) == (None, True, True)
    found = api.call("GET", f"{api.variables}/{KEY}").json()
    assert (found["value"], found["hidden"]) == (None, True)
    assert api.call("PUT", f"{api.variables}/{KEY}", value="another?secret").status_code == 200
    assert api.refused("PUT", f"{api.variables}/{KEY}", masked=False)[0] == 400


def test_hiding_later_is_not_possible(api: Api) -> None:
    api.create(value=SECRET, raw=True, masked=True)
    api.call("PUT", f"{api.variables}/{KEY}", masked_and_hidden=True, value=SECRET)
    assert api.call("GET", f"{api.variables}/{KEY}").json()["hidden"] is False


@pytest.mark.parametrize("key", ["WITH-DASH", "WITH BLANK", "K" * 256])
def test_bad_keys_are_refused(api: Api, key: str) -> None:
    status, message = api.refused("POST", api.variables, key=key, value="x")
    assert status == 400
    assert "key" in message


def test_a_key_exists_once_per_scope(api: Api) -> None:
    api.create()
    status, message = api.refused("POST", api.variables, key=KEY, value="again")
    assert status == 400
    assert message == {"key": [f"({KEY}) has already been taken"]}
    api.create(environment_scope="production", value="p")
    path = f"{api.variables}/{KEY}"
    assert api.refused("GET", path)[0] == 409
    assert api.call("GET", f"{path}?filter[environment_scope]=production").json()["value"] == "p"
    assert api.call("GET", f"{path}?filter[environment_scope]=*").json()["value"] == "plain"


def test_missing_and_wrong_parameters_are_named(api: Api) -> None:
    assert api.refused("POST", api.variables, key=KEY) == (400, "value is missing")
    status, message = api.refused("POST", api.variables, key=KEY, value="x", variable_type="secret")
    assert (status, message) == (400, "variable_type does not have a valid value")


def test_a_wrong_token_is_refused(api: Api) -> None:
    for path in ("/user", api.variables):
        assert api.refused("GET", path, token="glpat-wrong") == (401, "401 Unauthorized")


def test_an_unknown_project_is_not_found(api: Api) -> None:
    status, message = api.refused("GET", f"/projects/{quote(api.project + '-no', safe='')}/variables")
    assert (status, message) == (404, "404 Project Not Found")


def test_a_slash_in_the_path_must_be_encoded(api: Api) -> None:
    assert api.call("GET", f"/projects/{api.project}/variables").status_code == 404


def test_the_client_library_reads_all_pages(api: Api) -> None:
    for number in range(5):
        api.create(key=f"NIXCI_TEST_{number}")
    client = gitlab.Gitlab(api.url, private_token=api.token)
    project = client.projects.get(api.project)
    by_number = client.projects.get(project.id, lazy=True)
    for one in (project, by_number):
        keys = {variable.key for variable in one.variables.list(get_all=True, per_page=2)}
        assert keys >= {f"NIXCI_TEST_{number}" for number in range(5)}


# -- rights that only the double can be asked for


@pytest.mark.parametrize(
    ("token", "method", "expected"),
    [
        (DEVELOPER, "GET", (403, "403 Forbidden")),
        (DEVELOPER, "POST", (403, "403 Forbidden")),
        (READER, "POST", (403, "insufficient_scope")),
        (EXPIRED, "GET", (401, "invalid_token")),
        (STRANGER, "GET", (404, "404 Project Not Found")),
    ],
)
def test_rights(serve: Callable[[t.Any], str], token: str, method: str, expected: tuple[int, str]) -> None:
    service = Api(serve(double().app), token, PROJECT)
    more = {"key": KEY, "value": "x"} if method == "POST" else {}
    assert service.refused(method, service.variables, **more) == expected


def test_read_api_is_enough_to_read(serve: Callable[[t.Any], str]) -> None:
    service = Api(serve(double().app), READER, PROJECT)
    assert service.call("GET", service.variables).status_code == 200
    assert service.call("GET", "/user").json()["username"] == "pan"
