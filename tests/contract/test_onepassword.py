# SPDX-License-Identifier: GPL-3.0-or-later
"""One suite for every way into 1Password: Connect and `op` on the doubles, and a real Connect server when one is given.

A real server: OP_CONNECT_TEST_HOST, OP_CONNECT_TEST_TOKEN (read and write) and OP_CONNECT_TEST_VAULT (its name).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import typing as t
import uuid
from collections.abc import Iterator

import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._errors import AuthenticationError, ForbiddenError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword import Backend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword_connect import ConnectBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword_item import (
    AmbiguousError,
    Item,
    ItemNotFoundError,
    VaultNotFoundError,
    Wish,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword_op import OpBackend

from lab.clouds.onepassword import OnePasswordDouble, service_account_token

OP = pathlib.Path(__file__).resolve().parents[2] / "lab" / "op"
OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"


@dataclasses.dataclass
class Service:
    vault: str
    source: Backend
    read_only: Backend | None = None
    unknown: Backend | None = None
    made: list[Item] = dataclasses.field(default_factory=list)

    def create(self, *wishes: Wish, title: str = "", tags: list[str] | None = None) -> Item:
        title = title or f"nixci-{uuid.uuid4().hex[:12]}"
        empty = Item({"title": title, "category": "API_CREDENTIAL", "fields": []})
        item = self.source.create(self.vault, empty.changed(list(wishes), tags, False).document)
        self.made.append(item)
        return item

    def like(self, other: Backend | None) -> Backend:
        return other or pytest.skip("a real server gives one credential only")


@pytest.fixture(params=["connect", "op", "real Connect"])
def service(
    request: pytest.FixtureRequest, serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    if request.param == "real Connect":
        names = ("OP_CONNECT_TEST_HOST", "OP_CONNECT_TEST_TOKEN", "OP_CONNECT_TEST_VAULT")
        host, token, vault = (os.environ.get(name) for name in names)
        if not (host and token and vault):
            pytest.skip(f"no real Connect server given: {', '.join(names)}")
        real = Service(vault, ConnectBackend(host, token))
        yield real
        for item in real.made:
            real.source.delete(item)
        return
    double = OnePasswordDouble(vaults={"pantherOS": {}, "Private": {"Bank": {"pin": "1"}}})
    url = serve(double.app)
    scopes = {"rw": {"vaults": {"pantherOS": "write"}}, "ro": {"vaults": {"pantherOS": "read"}}}
    if request.param == "connect":
        double.tokens.update(scopes)
        yield Service("pantherOS", *(ConnectBackend(url, token, retries=0) for token in ("rw", "ro", "wrong")))
        return
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    double.service_accounts.update({service_account_token(url, secret): scope for secret, scope in scopes.items()})
    yield Service("pantherOS", *(OpBackend(service_account_token(url, secret)) for secret in ("rw", "ro", "wrong")))


def test_an_item_is_found_by_title_by_id_and_without_case(service: Service) -> None:
    item = service.create(Wish("token", "v"))
    assert service.source.fetch(service.vault, item.title).id == item.id
    assert service.source.fetch(service.vault, item.id).id == item.id
    assert service.source.fetch(service.vault, item.title.upper()).id == item.id
    assert service.source.fetch(item.vault_id, item.title).id == item.id
    assert service.source.fetch(service.vault.upper(), item.title).id == item.id


def test_values_come_back_as_they_were_written(service: Service) -> None:
    text = "A=1\nB='$x' \"y\" \\ ä {{ 1+1 }}\n"
    item = service.create(Wish("env", text), Wish("url", "https://example.com/", "URL"), tags=["b", "a"])
    assert item.find("env") == {**(item.find("env") or {}), "value": text, "type": "CONCEALED"}
    assert item.find("URL", None) == {**(item.find("url") or {}), "type": "URL"}
    assert item.tags == ["a", "b"]
    assert item.version >= 1


def test_sections_are_created_and_found(service: Service) -> None:
    item = service.create(Wish("token", "1"), Wish("token", "2", section="Other one"))
    assert (item.find("token") or {})["value"] == "1"
    assert (item.find("token", "other ONE") or {})["value"] == "2"
    assert item.find("token", "none") is None
    assert sorted(item.values()) == ["Other one/token", "token"]


def test_replace_writes_one_field_and_keeps_the_others(service: Service) -> None:
    item = service.create(Wish("a", "1"), Wish("b", "2", section="s"))
    after = service.source.replace(item.changed([Wish("a", "9")], ["t"], False))
    assert {path: value for path, (_kind, value) in after.values().items()} == {"a": "9", "s/b": "2"}
    assert (after.id, after.tags) == (item.id, ["t"])
    assert after.version > item.version


def test_a_removed_field_is_gone(service: Service) -> None:
    item = service.create(Wish("a", "1"), Wish("b", "2"))
    after = service.source.replace(item.changed([Wish("a", "1")], None, True))
    assert sorted(after.values()) == ["a"]


def test_a_deleted_item_is_missing(service: Service) -> None:
    item = service.create(Wish("a", "1"))
    service.source.delete(item)
    service.made.clear()
    for name in (item.title, item.id):
        with pytest.raises(ItemNotFoundError, match=f"no item '{name}'"):
            service.source.fetch(service.vault, name)


def test_a_missing_vault_is_not_a_missing_item(service: Service) -> None:
    with pytest.raises(VaultNotFoundError, match="no vault 'nowhere'"):
        service.source.fetch("nowhere", "x")
    with pytest.raises(VaultNotFoundError):
        service.source.fetch("a" * 26, "x")


def test_an_ambiguous_title_lists_the_ids(service: Service) -> None:
    title = f"nixci-{uuid.uuid4().hex[:12]}"
    ids = [service.create(Wish("a", "1"), title=title).id for _ in range(2)]
    with pytest.raises(AmbiguousError) as caught:
        service.source.fetch(service.vault, title)
    assert caught.value.details["ids"] == sorted(ids)
    assert service.source.fetch(service.vault, ids[0]).id == ids[0]


def test_an_unusual_title_is_found(service: Service) -> None:
    item = service.create(Wish("a", "1"), title=f'it\'s "{uuid.uuid4().hex[:8]}" \\ä')
    assert service.source.fetch(service.vault, item.title).id == item.id


def test_one_time_codes_are_current(service: Service) -> None:
    item = service.create(Wish("code", OTP, "OTP"))
    code = (item.find("code") or {})["totp"]
    assert len(code) == 6
    assert code.isdigit()


def test_an_unknown_credential_is_named(service: Service) -> None:
    with pytest.raises(AuthenticationError, match="does not accept"):
        service.like(service.unknown).fetch(service.vault, "x")


def test_a_read_only_credential_cannot_write(service: Service) -> None:
    reader = service.like(service.read_only)
    item = service.create(Wish("a", "1"))
    assert reader.fetch(service.vault, item.title).id == item.id
    for attempt in (
        lambda: reader.create(service.vault, {"title": "x", "category": "API_CREDENTIAL", "fields": []}),
        lambda: reader.replace(item.changed([Wish("a", "2")], None, False)),
        lambda: reader.delete(item),
    ):
        with pytest.raises(ForbiddenError, match="right"):
            attempt()
    assert (service.source.fetch(service.vault, item.id).find("a") or {})["value"] == "1"


def test_another_vault_is_out_of_reach(service: Service) -> None:
    service.like(service.read_only)
    with pytest.raises(VaultNotFoundError):
        service.source.fetch("Private", "Bank")


# The double itself, as far as the suite above does not show it


@pytest.fixture
def call(serve: t.Callable[[t.Any], str]) -> t.Callable[..., requests.Response]:
    double = OnePasswordDouble(
        vaults={"pantherOS": {"Attic": {"key": "v"}}, "Private": {}},
        tokens={"t": {"vaults": {"pantherOS": "write"}}, "w": {"vaults": {"pantherOS": "write-only"}}},
        service_accounts={"ops_a": {"vaults": {"pantherOS": "read"}}},
    )
    url = serve(double.app)
    vault, private = double.vault_id("pantherOS"), double.vault_id("Private")
    [item] = double.items[vault]

    def send(method: str, path: str, token: str = "t", **more: t.Any) -> requests.Response:
        path = path.format(vault=vault, private=private, item=item)
        if "json" in more and isinstance(more["json"], dict) and "vault" in more["json"]:
            more["json"] = {**more["json"], "vault": {"id": vault}}
            more["json"] = {key: item if value == "{item}" else value for key, value in more["json"].items()}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, url + path, headers=headers, timeout=5, **more)

    return send


GOOD = {"title": "x", "category": "API_CREDENTIAL", "vault": {}, "fields": []}
SAME = {**GOOD, "id": "{item}"}
ITEMS, ITEM = "/v1/vaults/{vault}/items", "/v1/vaults/{vault}/items/{item}"


@pytest.mark.parametrize(
    ("method", "path", "token", "body", "status"),
    [
        ("GET", "/v1/vaults", "", None, 401),
        ("GET", "/v1/vaults", "ops_a", None, 401),
        ("GET", "/v1/vaults/{private}", "t", None, 403),
        ("GET", "/v1/vaults/UPPER", "t", None, 400),
        ("GET", "/v1/vaults/" + "a" * 26, "t", None, 404),
        ("GET", ITEMS, "w", None, 403),
        ("GET", ITEMS + "/x", "t", None, 400),
        ("GET", ITEMS + "/" + "a" * 26, "t", None, 404),
        ("GET", ITEMS + "?filter=title eq 'x'", "t", None, 400),
        ("GET", ITEMS + '?filter=name eq "x"', "t", None, 400),
        ("PATCH", ITEM, "t", [], 405),
        ("GET", "/v1/activity", "t", None, 404),
        ("POST", ITEMS, "t", GOOD, 200),
        ("POST", ITEMS, "w", GOOD, 200),
        ("POST", ITEMS, "t", [], 400),
        ("POST", ITEMS, "t", {"title": "x", "category": "API_CREDENTIAL"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "category": "CUSTOM"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "fields": [{"label": "a", "section": {"id": "none"}}]}, 400),
        ("PUT", ITEM, "t", SAME, 200),
        ("PUT", ITEM, "t", {**SAME, "category": "SERVER"}, 400),
        ("PUT", ITEM, "t", {**SAME, "version": 1}, 400),
        ("PUT", ITEM, "t", {**SAME, "fields": [{"id": "a", "totp": "1"}]}, 400),
        ("DELETE", ITEM, "t", None, 204),
        ("POST", "/service-account/v1/resolve", "t", {"references": []}, 401),
        ("POST", "/service-account/v1/resolve", "ops_a", {}, 400),
    ],
)
def test_the_double_answers_as_connect_does(
    call: t.Callable[..., requests.Response], method: str, path: str, token: str, body: t.Any, status: int
) -> None:
    answer = call(method, path, token, json=body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.json()["status"] == status
        assert answer.json()["message"]


def test_listings_hold_no_fields_and_vaults_out_of_scope_are_hidden(call: t.Callable[..., requests.Response]) -> None:
    assert [vault["name"] for vault in call("GET", "/v1/vaults").json()] == ["pantherOS"]
    [summary] = call("GET", ITEMS, params={"filter": 'title eq "Attic"'}).json()
    assert not {"fields", "sections"} & summary.keys()
    assert call("GET", ITEMS, params={"filter": 'title eq "attic"'}).json() == []


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("op://pantherOS/Attic/ke%79", "parsing"),
        ("op://Private/Attic/key", "vaultNotFound"),
        ("op://pantherOS/Nothing/key", "itemNotFound"),
        ("op://pantherOS/Attic/nothing", "fieldNotFound"),
        ("op://pantherOS/Attic/section/key", "noMatchingSections"),
    ],
)
def test_the_side_door_resolves_all_or_nothing(
    call: t.Callable[..., requests.Response], reference: str, kind: str
) -> None:
    good = "op://pantherOS/Attic/key"
    answer = call("POST", "/service-account/v1/resolve", "ops_a", json={"references": [good]})
    assert answer.json() == {"values": {good: "v"}}
    answer = call("POST", "/service-account/v1/resolve", "ops_a", json={"references": [good, reference]})
    assert (answer.status_code, answer.json()) == (422, {"error": {"kind": kind, "reference": reference}})
