# SPDX-License-Identifier: GPL-3.0-or-later
"""The behaviour of GitLab's API on which this collection relies, with the double and with the service.

GITLAB_TEST_TOKEN (scope api; Maintainer of the project, Owner of the group) and GITLAB_TEST_PROJECT (a path) enable the
tests with the service, at GITLAB_TEST_URL (https://gitlab.com by default). GITLAB_TEST_GROUP enables those of group variables.
They change only variables whose key begins with NIXCI_TEST_.
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

PROJECT, GROUP = "panther/hosts/nixos", "panther/hosts"
TOKEN, DEVELOPER, READER, EXPIRED, STRANGER = "glpat-m", "glpat-d", "glpat-r", "glpat-x", "glpat-s"
KEY = "NIXCI_TEST_ONE"
SECRET = "abc$def?ghi"  # maskable with raw only


class Api:
    """A client for the variables of one project or group."""

    def __init__(self, url: str, token: str, path: str, kind: str = "projects") -> None:
        self.url, self.token, self.path, self.kind = url, token, path, kind
        self.variables = f"/{kind}/{quote(path, safe='')}/variables"

    def only(self, key: str, scope: str) -> str:
        return f"{self.variables}/{key}?filter[environment_scope]={quote(scope, safe='')}"

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


def double(premium: bool = True) -> GitLabDouble:
    maintainer = {PROJECT: "maintainer", "panther/other": "maintainer", GROUP: "owner"}
    tokens = {
        TOKEN: Token("pan", maintainer),
        DEVELOPER: Token("dev", {PROJECT: "developer", GROUP: "maintainer"}),
        READER: Token("pan", maintainer, {"read_api"}),
        EXPIRED: Token("pan", maintainer, expired=True),
        STRANGER: Token("eve", {}),
    }
    return GitLabDouble([PROJECT, "panther/other"], tokens, [GROUP], moved={"panther/nixos": PROJECT}, premium=premium)


@pytest.fixture(params=["double", "double-group", "real", "real-group"])
def api(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Iterator[Api]:
    kind = "groups" if request.param.endswith("group") else "projects"
    if request.param.startswith("double"):
        service = Api(serve(double().app), TOKEN, {"projects": PROJECT, "groups": GROUP}[kind], kind)
    else:
        name = {"projects": "GITLAB_TEST_PROJECT", "groups": "GITLAB_TEST_GROUP"}[kind]
        token, path = os.environ.get("GITLAB_TEST_TOKEN"), os.environ.get(name)
        if not token or not path:
            pytest.skip(f"GITLAB_TEST_TOKEN and {name} are not set: the real service is not tested")
        service = Api(os.environ.get("GITLAB_TEST_URL", "https://gitlab.com"), token, path, kind)
    remove_all(service)
    yield service
    remove_all(service)


def remove_all(api: Api) -> None:
    for one in api.call("GET", f"{api.variables}?per_page=100").json():
        if one["key"].startswith("NIXCI_TEST_"):
            api.call("DELETE", api.only(one["key"], one["environment_scope"]))


def needs_scopes(api: Api) -> None:
    """Scopes of group variables need GitLab Premium, which a real group may lack."""
    made = api.create(key="NIXCI_TEST_SCOPE", environment_scope="production")
    if made["environment_scope"] != "production":
        pytest.skip("this group has no environment scopes (GitLab Premium)")


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
    assert api.refused("GET", path) == (404, f"404 {'Group' * (api.kind == 'groups')}Variable Not Found")


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
def test_maskable_values(api: Api, value: str, raw: bool, accepted: bool) -> None:
    response = api.call("POST", api.variables, key=KEY, value=value, masked=True, raw=raw)
    assert response.status_code == (201 if accepted else 400)
    if not accepted:
        assert "value" in response.json()["message"]
        assert api.call("GET", f"{api.variables}/{KEY}").status_code == 404


def test_a_refused_update_leaves_the_old_value(api: Api) -> None:
    api.create(value="long enough".replace(" ", "_"), masked=True, raw=True)
    assert api.refused("PUT", f"{api.variables}/{KEY}", value="short")[0] == 400
    assert api.call("GET", f"{api.variables}/{KEY}").json()["value"] == "long_enough"


def test_a_hidden_value_is_never_returned(api: Api) -> None:
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


def test_a_hidden_variable_can_be_moved_to_another_scope(api: Api) -> None:
    """A replacement is created in another scope first and then moved."""
    needs_scopes(api)
    api.create(value=SECRET, raw=True, masked=True)
    api.create(value="canary?two", raw=True, masked=True, masked_and_hidden=True, environment_scope="aside/one")
    assert api.refused("PUT", api.only(KEY, "aside/one"), environment_scope="*")[0] == 400, "the scope is taken"
    assert api.call("DELETE", api.only(KEY, "*")).status_code == 204
    moved = api.call("PUT", api.only(KEY, "aside/one"), environment_scope="*").json()
    assert (moved["environment_scope"], moved["hidden"], moved["masked"]) == ("*", True, True)
    assert api.call("GET", api.only(KEY, "aside/one")).status_code == 404


def test_the_name_of_another_variable_is_accepted(api: Api) -> None:
    """GitLab's documentation forbids this for masked values, but the server accepts it, so the module checks it."""
    api.create(key="NIXCI_TEST_NAME")
    assert api.create(value="NIXCI_TEST_NAME", masked=True)["masked"]


@pytest.mark.parametrize("text", ["", "x" * 255, "x" * 256])
def test_the_length_of_a_description(api: Api, text: str) -> None:
    response = api.call("POST", api.variables, key=KEY, value="plain", description=text)
    assert response.status_code == (400 if len(text) > 255 else 201)


@pytest.mark.parametrize("scope", ["a,b", "ü"])
def test_invalid_scopes_are_rejected(api: Api, scope: str) -> None:
    needs_scopes(api)
    status, message = api.refused("POST", api.variables, key=KEY, value="x", environment_scope=scope)
    assert status == 400
    assert "environment_scope" in message


def test_blanks_around_a_scope_are_dropped(api: Api) -> None:
    needs_scopes(api)
    assert api.create(environment_scope=" staging ")["environment_scope"] == "staging"
    assert api.call("GET", api.only(KEY, " staging ")).status_code == 404


def test_an_empty_filter_is_ignored(api: Api) -> None:
    needs_scopes(api)
    api.create(environment_scope="staging")
    assert api.call("GET", api.only(KEY, "")).json()["environment_scope"] == "staging"


@pytest.mark.parametrize("key", ["WITH-DASH", "WITH BLANK", "K" * 256])
def test_invalid_keys_are_rejected(api: Api, key: str) -> None:
    status, message = api.refused("POST", api.variables, key=key, value="x")
    assert status == 400
    assert "key" in message


def test_a_key_exists_once_per_scope(api: Api) -> None:
    needs_scopes(api)
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


@pytest.mark.parametrize(("value", "stored"), [(8080, "8080"), (1.5, "1.5"), (True, "true"), ("", "")])
def test_values_are_converted_to_text(api: Api, value: t.Any, stored: str) -> None:
    assert api.create(value=value)["value"] == stored


@pytest.mark.parametrize("value", [[], ["a"], {"a": 1}])
@pytest.mark.parametrize("field", ["value", "description", "environment_scope"])
def test_lists_and_mappings_are_no_text(api: Api, field: str, value: t.Any) -> None:
    status, message = api.refused("POST", api.variables, **{"key": KEY, "value": "plain", field: value})
    assert status == 400
    assert field in str(message)
    assert api.call("GET", f"{api.variables}/{KEY}").status_code == 404


def test_the_length_of_a_value(api: Api) -> None:
    assert api.create(value="k" * 10_000)["value"] == "k" * 10_000
    for method, path in (("POST", api.variables), ("PUT", f"{api.variables}/{KEY}")):
        status, message = api.refused(method, path, key="NIXCI_TEST_LONG", value="k" * 10_001)
        assert status == 400
        assert "value" in message


def test_a_path_is_decoded_once(api: Api) -> None:
    twice = quote(quote(api.path, safe=""), safe="")
    if "%" not in twice:
        pytest.skip("this path has no slash")
    status, message = api.refused("GET", f"/{api.kind}/{twice}/variables")
    assert (status, message) == (404, f"404 {api.kind.title()[:-1]} Not Found")


def test_a_wrong_token_is_refused(api: Api) -> None:
    for path in ("/user", api.variables):
        assert api.refused("GET", path, token="glpat-wrong") == (401, "401 Unauthorized")


def test_an_unknown_owner_is_not_found(api: Api) -> None:
    status, message = api.refused("GET", f"/{api.kind}/{quote(api.path + '-no', safe='')}/variables")
    assert (status, message) == (404, f"404 {api.kind.title()[:-1]} Not Found")


def test_a_slash_in_the_path_must_be_encoded(api: Api) -> None:
    if "/" not in api.path:
        pytest.skip("this path has no slash")
    assert api.call("GET", f"/{api.kind}/{api.path}/variables").status_code == 404


def test_the_client_library_reads_all_pages(api: Api) -> None:
    for number in range(5):
        api.create(key=f"NIXCI_TEST_{number}")
    client = gitlab.Gitlab(api.url, private_token=api.token)
    owners = getattr(client, api.kind)
    owner = owners.get(api.path)
    by_number = owners.get(owner.id, lazy=True)
    for one in (owner, by_number):
        keys = {variable.key for variable in one.variables.list(get_all=True, per_page=2)}
        assert keys >= {f"NIXCI_TEST_{number}" for number in range(5)}


# -- rights, with the double only


@pytest.mark.parametrize(("kind", "path"), [("projects", PROJECT), ("groups", GROUP)])
@pytest.mark.parametrize(
    ("token", "method", "expected"),
    [
        (DEVELOPER, "GET", (403, "403 Forbidden")),
        (DEVELOPER, "POST", (403, "403 Forbidden")),
        (READER, "POST", (403, "insufficient_scope")),
        (EXPIRED, "GET", (401, "invalid_token")),
        (STRANGER, "GET", (404, None)),
    ],
)
def test_rights(
    serve: Callable[[t.Any], str], token: str, method: str, expected: tuple[int, str | None], kind: str, path: str
) -> None:
    """The developer of the project is a maintainer of the group, where only owners manage variables."""
    service = Api(serve(double().app), token, path, kind)
    more = {"key": KEY, "value": "x"} if method == "POST" else {}
    status, message = expected
    assert service.refused(method, service.variables, **more) == (
        status,
        message or f"404 {kind.title()[:-1]} Not Found",
    )


def test_read_api_is_enough_to_read(serve: Callable[[t.Any], str]) -> None:
    service = Api(serve(double().app), READER, PROJECT)
    assert service.call("GET", service.variables).status_code == 200
    assert service.call("GET", "/user").json()["username"] == "pan"


def test_a_group_without_premium_drops_the_scope(serve: Callable[[t.Any], str]) -> None:
    service = Api(serve(double(premium=False).app), TOKEN, GROUP, "groups")
    assert service.create(environment_scope="production")["environment_scope"] == "*"
    assert service.refused("POST", service.variables, key=KEY, value="x", environment_scope="review/*")[0] == 400


def test_other_operations_are_501(serve: Callable[[t.Any], str]) -> None:
    service = Api(serve(double().app), TOKEN, PROJECT)
    path = service.variables.removesuffix("/variables")
    for method, place in (("GET", f"{path}/pipelines"), ("PATCH", service.variables), ("GET", "/version")):
        assert service.call(method, place).status_code == 501


def test_a_moved_project_redirects_reads_and_rejects_changes(serve: Callable[[t.Any], str]) -> None:
    twin = double()
    service = Api(serve(twin.app), TOKEN, "panther/nixos")
    answer = requests.get(
        f"{service.url}/api/v4{service.variables}/{KEY}",
        headers={"PRIVATE-TOKEN": TOKEN},
        allow_redirects=False,
        timeout=5,
    )
    assert answer.status_code == 301
    assert answer.headers["Location"].endswith(f"/api/v4/projects/{twin.projects[PROJECT]}/variables/{KEY}")
    status, message = service.refused("POST", service.variables, key=KEY, value="x")
    assert (status, message) == (405, "Non GET methods are not allowed for moved projects")
