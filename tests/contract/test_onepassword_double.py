# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of 1Password itself, as far as the suite for the back ends does not cover it."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import typing as t

import pytest
import requests

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT

OP = ROOT / "lab" / "op" / "op"


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
def test_the_double_responds_like_connect(
    call: t.Callable[..., requests.Response], method: str, path: str, token: str, body: t.Any, status: int
) -> None:
    response = call(method, path, token, json=body)
    assert response.status_code == status, response.text
    if status >= 400:
        assert response.json()["status"] == status
        assert response.json()["message"]


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
def test_references_are_resolved_all_or_none(
    call: t.Callable[..., requests.Response], reference: str, kind: str
) -> None:
    good = "op://pantherOS/Attic/key"
    response = call("POST", "/service-account/v1/resolve", "ops_a", json={"references": [good]})
    assert response.json() == {"values": {good: "v"}}
    response = call("POST", "/service-account/v1/resolve", "ops_a", json={"references": [good, reference]})
    assert (response.status_code, response.json()) == (422, {"error": {"kind": kind, "reference": reference}})


# The stand-in for `op`


@pytest.fixture
def op(serve: t.Callable[[t.Any], str]) -> t.Callable[..., subprocess.CompletedProcess[bytes]]:
    double = OnePasswordDouble(vaults={"V": {"Item": {"a": "1\n"}}})
    [item_id] = double.items[double.vault_id("V")]
    double.attach("V", item_id, "f", b"\xff\n")
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"V": "read"}}

    def run(*argv: str, stdin: t.Any = subprocess.DEVNULL, **variables: str) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": os.environ["PATH"], "OP_SERVICE_ACCOUNT_TOKEN": token, **variables}
        return subprocess.run([OP, *argv], stdin=stdin, capture_output=True, env=environment, timeout=20)

    return run


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["item", "list", "--vault=V"], 97, "does not know these arguments"),
        (["item", "get", "Item", "--vault=V", "--format=json", "--fields=a"], 97, "does not know these arguments"),
        (["read", "--force", "op://V/Item/a"], 97, "does not know these arguments"),
        (["item", "get", "Item", "--format=json"], 1, "a vault query must be provided"),
        (["item", "get", "None", "--vault=V", "--format=json"], 1, 'isn\'t an item in the "V" vault'),
        (["item", "get", "Item", "--vault=W", "--format=json"], 1, "isn't a vault in this account"),
        (["read", "op://V/Item/nothing"], 1, "does not have a field 'nothing'"),
        (["read", "op://V/Item/a?attribute=otp"], 1, "not a one-time password"),
        (["read", "op://V/Item%20/a"], 1, "invalid secret reference"),
    ],
)
def test_op_fails_with_a_dated_line(
    op: t.Callable[..., subprocess.CompletedProcess[bytes]], argv: list[str], code: int, message: str
) -> None:
    done = op(*argv)
    assert (done.returncode, done.stdout) == (code, b"")
    assert re.match(r"\[ERROR\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", done.stderr.decode())
    assert message in done.stderr.decode()


def test_op_read_adds_a_newline_unless_disabled(op: t.Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    assert op("read", "op://V/Item/a").stdout == b"1\n\n"
    assert op("read", "--no-newline", "op://V/Item/a").stdout == b"1\n"
    assert op("read", "--no-newline", "op://V/Item/f").stdout == b"\xff\n"


def test_op_reads_stdin_as_a_template_and_prefers_connect(
    op: t.Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("{}")
    with (tmp_path / "file").open() as file:
        assert (
            b"invalid JSON in piped input" in op("item", "get", "Item", "--vault=V", "--format=json", stdin=file).stderr
        )
    done = op("read", "op://V/Item/a", OP_CONNECT_HOST="http://127.0.0.1:9", OP_CONNECT_TOKEN="x")
    assert b"dial tcp" in done.stderr
