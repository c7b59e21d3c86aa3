# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of 1Password itself, as far as the suite for the back ends does not cover it."""

from __future__ import annotations

import json
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
        return requests.request(method, url + path, headers=headers, timeout=30, **more)

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
        ("GET", '/v1/vaults?filter=name eq "pantherOS"', "t", None, 200),
        ("GET", '/v1/vaults?filter=title eq "pantherOS"', "t", None, 200),
        ("GET", '/v1/vaults?filter=tag eq "x"', "t", None, 400),
        ("GET", ITEM + "/files", "t", None, 200),
        ("GET", ITEM + "/files/" + "a" * 26, "t", None, 404),
        ("PATCH", ITEM, "t", {}, 400),
        ("PATCH", ITEM, "t", [], 501),
        ("GET", "/v1/activity", "t", None, 501),
        ("DELETE", "/v1/vaults", "t", None, 501),
        ("GET", "/v2/vaults", "t", None, 501),
        ("POST", ITEMS, "t", GOOD, 200),
        ("POST", ITEMS, "w", GOOD, 200),
        ("POST", ITEMS, "t", [], 400),
        ("POST", ITEMS, "t", {"title": "x", "category": "API_CREDENTIAL"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "category": "CUSTOM"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "fields": [{"label": "a", "section": {"id": "none"}}]}, 400),
        ("PUT", ITEM, "t", SAME, 200),
        ("PUT", ITEM, "t", {**SAME, "category": "SERVER"}, 400),
        ("PUT", ITEM, "t", {**SAME, "title": ""}, 400),
        # The vendor's own clients send back what only the server sets.
        ("PUT", ITEM, "t", {**SAME, "version": 1, "trashed": False, "favorite": False, "lastEditedBy": "x"}, 200),
        ("PUT", ITEM, "t", {**SAME, "fields": [{"id": "a", "totp": "1", "entropy": 1.5, "generate": False}]}, 200),
        ("POST", ITEMS, "t", {key: GOOD[key] for key in GOOD if key != "title"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "category": "PASSWORD"}, 400),
        ("POST", ITEMS, "t", {**GOOD, "category": "PASSWORD", "fields": [{"purpose": "PASSWORD", "value": ""}]}, 400),
        ("POST", ITEMS, "t", {**GOOD, "category": "PASSWORD", "fields": [{"purpose": "PASSWORD", "value": "x"}]}, 200),
        ("POST", ITEMS, "t", {**GOOD, "fields": [{"purpose": "NOTES"}, {"purpose": "NOTES"}]}, 400),
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


OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        *[(kind, "x", True) for kind in ("STRING", "EMAIL", "CONCEALED", "URL", "MENU", None)],
        *[(kind, "x", False) for kind in ("TOTP", "otp", "PHONE", "SSHKEY", "ADDRESS", "PASSWORD", "")],
        *[("OTP", value, True) for value in (OTP, "JBSWY3DPEHPK3PXP", "jbsw y3dp ehpk 3pxp", "")],
        *[("OTP", value, False) for value in ("otpauth://totp/x", "otpauth://totp/x?secret=1", "123456", "not one")],
        *[("DATE", value, True) for value in ("1798718460", "-86400", "2026-12-31", "")],
        *[("DATE", value, False) for value in ("2026-02-30", "31.12.2026", "2026-12-31T00:00:00Z", "soon")],
        *[("MONTH_YEAR", value, True) for value in ("202612", "")],
        *[("MONTH_YEAR", value, False) for value in ("12/2026", "2026-12", "202613", "122026")],
    ],
)
def test_values_must_fit_the_types_of_connect(
    call: t.Callable[..., requests.Response], kind: str | None, value: str, accepted: bool
) -> None:
    field = {"label": "a", "type": kind, "value": value}
    response = call("POST", ITEMS, json={**GOOD, "fields": [field]})
    assert response.status_code == (200 if accepted or kind == "" else 400), response.text
    if kind == "TOTP":
        assert "details.sections[0].fields[0] has unsupported field type: totp" in response.json()["message"]


def test_a_day_is_stored_in_seconds_and_as_text_it_begins_where_the_server_is(
    call: t.Callable[..., requests.Response],
) -> None:
    def stored(value: str) -> str:
        field = {"id": "d", "label": "d", "type": "DATE", "value": value}
        item = call("POST", ITEMS, json={**GOOD, "fields": [field]}).json()
        return next(str(field["value"]) for field in item["fields"] if field["id"] == "d")

    assert stored("1798718460") == "1798718460"
    assert stored("2026-12-31") == "1798642800"  # in UTC the day before


def test_a_value_is_generated_by_a_recipe(call: t.Callable[..., requests.Response]) -> None:
    recipe = {"length": 12, "characterSets": ["DIGITS"], "excludeCharacters": "0"}
    field = {"id": "g", "type": "CONCEALED", "generate": True, "recipe": recipe}
    item = call("POST", ITEMS, json={**GOOD, "fields": [field]}).json()
    assert re.fullmatch("[1-9]{12}", next(field["value"] for field in item["fields"] if field["id"] == "g"))
    for bad in (
        {"length": 65},
        {"characterSets": ["x"]},
        {"characterSets": ["DIGITS"], "excludeCharacters": "0123456789"},
    ):
        assert call("POST", ITEMS, json={**GOOD, "fields": [{**field, "recipe": bad}]}).status_code == 400


@pytest.fixture
def lagging(serve: t.Callable[[t.Any], str]) -> t.Iterator[tuple[OnePasswordDouble, t.Callable[..., t.Any]]]:
    """A Connect server whose copy never follows, until the test sets `lag` to 0."""
    double = OnePasswordDouble(vaults={"V": {"Old": {}}}, tokens={"t": {"vaults": {"V": "write"}}}, lag=3600)
    url, vault = serve(double.app), double.vault_id("V")

    def call(method: str, path: str = "", **more: t.Any) -> t.Any:
        headers = {"Authorization": "Bearer t"}
        response = requests.request(method, f"{url}/v1/vaults/{vault}/items{path}", headers=headers, timeout=30, **more)
        return response.json() if response.content else response.status_code

    yield double, call


def test_connect_shows_a_write_later(lagging: tuple[OnePasswordDouble, t.Callable[..., t.Any]]) -> None:
    double, call = lagging
    vault = {"vault": {"id": double.vault_id("V")}}
    created = call("POST", json={**GOOD, **vault, "title": "New"})
    assert created["version"] == 1
    assert call("GET", f"/{created['id']}")["status"] == 404
    assert call("PUT", f"/{created['id']}", json={**created, "title": "x"})["status"] == 404
    [old] = call("GET")
    changed = call("PUT", f"/{old['id']}", json={**old, "tags": ["t"]})
    # The response has the version from before the write.
    assert (changed["version"], changed["tags"]) == (1, ["t"])
    assert (call("GET", f"/{old['id']}")["version"], call("GET", f"/{old['id']}")["tags"]) == (1, [])
    double.lag = 0
    assert (call("GET", f"/{old['id']}")["version"], call("GET", f"/{old['id']}")["tags"]) == (2, ["t"])
    assert len(call("GET")) == 2
    double.lag = 3600
    assert call("DELETE", f"/{old['id']}") == 204
    assert call("GET", f"/{old['id']}")["version"] == 2
    assert call("DELETE", f"/{old['id']}")["status"] == 404
    double.lag = 0
    assert call("GET", f"/{old['id']}")["status"] == 404


def test_every_answer_names_the_version(call: t.Callable[..., requests.Response]) -> None:
    for path in ("/v1/vaults", ITEM, "/v1/nothing", "/heartbeat"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", call("GET", path).headers["1Password-Connect-Version"])


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
        (["item", "list", "--format=json"], 1, "a vault query must be provided"),
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


@pytest.mark.parametrize(
    ("version", "known"), [("2.23.0", False), ("2.29.3", False), ("2.30.0", True), ("3.0.0", True)]
)
def test_op_has_reveal_since_2_30(
    op: t.Callable[..., subprocess.CompletedProcess[bytes]], version: str, known: bool
) -> None:
    assert op("--version", LAB_OP_VERSION=version).stdout.decode().strip() == version
    done = op("item", "get", "Item", "--vault=V", "--format=json", "--reveal", LAB_OP_VERSION=version)
    assert (done.returncode == 0) == known
    assert (b"unknown flag: --reveal" in done.stderr) == (not known)
    plain = op("item", "get", "Item", "--vault=V", "--format=json", LAB_OP_VERSION=version)
    assert [field.get("value") for field in json.loads(plain.stdout)["fields"]] == ["1\n", None]


def test_op_lists_items_without_fields(op: t.Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    [entry] = json.loads(op("item", "list", "--vault", "V", "--format", "json").stdout)
    assert (entry["title"], entry["vault"]["name"], "fields" in entry) == ("Item", "V", False)


def test_op_gets_an_item_with_an_empty_pipe(op: t.Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    for content, code in ((b"", 0), (b"{}", 1)):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        try:
            done = op("item", "get", "Item", "--vault=V", "--format=json", stdin=reading)
        finally:
            os.close(reading)
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize("template", ["", "[]", "1", "{", '{"fields": [1]}', "[" * 5000, '{"title": 1}'])
def test_op_refuses_any_odd_template_with_a_dated_line(
    op: t.Callable[..., subprocess.CompletedProcess[bytes]], template: str
) -> None:
    reading, writing = os.pipe()
    os.write(writing, template.encode())
    os.close(writing)
    try:
        done = op("item", "create", "-", "--vault=V", "--format=json", stdin=reading)
    finally:
        os.close(reading)
    assert done.returncode == 1
    assert re.match(rb"\[ERROR\] .*", done.stderr)
    assert b"Traceback" not in done.stderr
