# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contract suite cannot cover: unusual states of a Connect server."""

from __future__ import annotations

import typing as t

import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    InvalidError,
    NixciError,
    UnavailableError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.connect import ConnectBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import ItemNotFoundError

from lab.clouds.onepassword import OnePasswordDouble


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(vaults={"V": {"x": {}}}, tokens={"t": {"vaults": {"V": "write"}}})


@pytest.mark.parametrize("state", ["ARCHIVED", "DELETED"])
def test_an_archived_item_is_missing(double: OnePasswordDouble, serve: t.Callable[[t.Any], str], state: str) -> None:
    [item] = double.items[double.vault_id("V")].values()
    item["state"] = state
    source = ConnectBackend(serve(double.app), "t")
    for name in ("x", item["id"]):
        with pytest.raises(ItemNotFoundError):
            source.fetch("V", name)


def test_a_title_may_look_like_an_id(double: OnePasswordDouble, serve: t.Callable[[t.Any], str]) -> None:
    title = "a" * 26
    made = double.add_item("V", title)
    assert ConnectBackend(serve(double.app), "t").fetch("V", title).id == made


def test_the_server_may_be_below_a_path(double: OnePasswordDouble, serve: t.Callable[[t.Any], str]) -> None:
    seen: list[str] = []

    def proxy(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> t.Any:
        seen.append(environ["PATH_INFO"])
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/connect")
        return double.app(environ, start)

    assert ConnectBackend(serve(proxy) + "/connect/", "t").fetch("V", "x").title == "x"
    assert all(path.startswith("/connect/v1/") for path in seen)


def test_the_address_may_include_the_version(double: OnePasswordDouble, serve: t.Callable[[t.Any], str]) -> None:
    assert ConnectBackend(f"{serve(double.app)}/v1/", "t").fetch("V", "x").title == "x"


@pytest.mark.parametrize("token", ["canary-\ntoken", "canary…token", "", "two words of canary\t"])
def test_a_token_that_cannot_travel_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(InvalidError, match="token is empty or holds") as caught:
        ConnectBackend("http://127.0.0.1:9", token)
    assert "canary" not in str(caught.value)


def test_a_long_pause_is_reported_instead_of_waited_for(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str]
) -> None:
    url = serve(double.app)
    fault = {"status": 429, "headers": {"Retry-After": "600"}, "body": {"message": "slow down"}}
    requests.post(f"{url}/_lab/faults", json=fault, timeout=5)
    with pytest.raises(UnavailableError, match="asks to wait 600 s"):
        ConnectBackend(url, "t").fetch("V", "x")


def test_an_item_deleted_after_the_listing_is_missing(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str]
) -> None:
    source = ConnectBackend(serve(double.app), "t")
    source.fetch("V", "x")
    double.items[double.vault_id("V")].clear()
    with pytest.raises(ItemNotFoundError, match="deleted in the meantime"):
        source.fetch("V", "x")


@pytest.mark.parametrize(
    ("path", "body"),
    [("/vaults$", {"vaults": []}), ("/vaults$", [{"name": "V"}]), ("/items$", ["x"]), ("/items/", []), ("/items/", {})],
)
def test_an_unexpected_response_is_a_clear_error(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], path: str, body: t.Any
) -> None:
    url = serve(double.app)
    requests.post(f"{url}/_lab/faults", json={"status": 200, "body": body, "path": path}, timeout=5)
    with pytest.raises(UnavailableError, match="returned something that is not"):
        ConnectBackend(url, "t").fetch("V", "x")


@pytest.mark.parametrize("body", [{}, []])
def test_an_unexpected_response_to_a_creation_is_a_clear_error(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], body: t.Any
) -> None:
    url = serve(double.app)
    requests.post(f"{url}/_lab/faults", json={"status": 200, "body": body, "method": "POST"}, timeout=5)
    with pytest.raises(UnavailableError, match="POST .* returned something that is not an item"):
        ConnectBackend(url, "t").create("V", {"title": "new", "category": "API_CREDENTIAL", "fields": []})


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_page_of_a_proxy_is_not_shown(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], status: int
) -> None:
    url = serve(double.app)
    requests.post(f"{url}/_lab/faults", json={"status": status, "body": "<html>canary", "path": "/vaults$"}, timeout=5)
    with pytest.raises(NixciError, match=f"answered {status}") as caught:
        ConnectBackend(url, "t", retries=0).fetch("V", "x")
    assert "canary" not in str(caught.value)
