# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contract suite cannot cover: environment, arguments and stdin of `op`, and its failures."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
import typing as t

import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._core import errors as _errors
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.cli import OpBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import (
    AmbiguousError,
    Item,
    ItemNotFoundError,
    VaultNotFoundError,
)

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT

OP = ROOT / "lab" / "op"


@pytest.fixture
def script(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], None]:
    """Install another `op` for one test."""

    def install(text: str) -> None:
        path = tmp_path / "op"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return install


def test_secrets_are_in_no_argument_and_foreign_variables_do_not_reach_op(
    serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    double = OnePasswordDouble(vaults={"V": {}})
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"V": "write"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("OP_CONNECT_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("OP_CONNECT_TOKEN", "x")
    monkeypatch.setenv("OP_FORMAT", "human")
    source = OpBackend(token)
    new = Item({"title": "t", "category": "API_CREDENTIAL", "fields": []})
    item = source.create("V", new.changed([DesiredField("a", "canary-1")], None, False).document)
    source.replace(item.changed([DesiredField("a", "canary-2")], None, False))
    source.delete(item)
    calls = [json.loads(line) for line in (tmp_path / "lab-op.jsonl").read_text().splitlines()]
    assert [(call["argv"][1], call["stdin"]) for call in calls] == [
        ("create", "fifo"),
        ("get", "none"),
        ("edit", "fifo"),
        ("get", "none"),
        ("delete", "none"),
    ]
    assert "canary" not in json.dumps(calls)
    assert token not in json.dumps(calls)
    assert {tuple(call["variables"]) for call in calls} == {("OP_CACHE", "OP_SERVICE_ACCOUNT_TOKEN")}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('"x" isn\'t an item in the "V" vault. Specify the item with its UUID, name, or domain.', ItemNotFoundError),
        ("could not get item V/x", ItemNotFoundError),
        ('"V" isn\'t a vault in this account. Specify the vault with its ID or name.', VaultNotFoundError),
        (f'More than one item matches "x". Try again:\n\t* x in V: {"a" * 26}', AmbiguousError),
        ("You are not currently signed in. Please run `op signin --help`", _errors.AuthenticationError),
        ("failed to DecodeSACredentials: invalid", _errors.AuthenticationError),
        ("(401) Unauthorized", _errors.AuthenticationError),
        ("(403) Forbidden (Forbidden)", _errors.ForbiddenError),
        ("(429) Too Many Requests: … Please retry in 42 minutes", _errors.UnavailableError),
        ("context deadline exceeded", _errors.UnavailableError),
        ("dial tcp: lookup my.1password.com: no such host", _errors.UnavailableError),
        ("(409) Conflict", _errors.ConflictError),
        ('"Too many requests (401)" isn\'t an item in the "rate limit exceeded" vault.', ItemNotFoundError),
        ("something nobody has seen", _errors.NixciError),
    ],
)
def test_the_message_of_op_decides_the_kind_of_error(
    script: t.Callable[[str], None], tmp_path: pathlib.Path, message: str, kind: type[Exception]
) -> None:
    (tmp_path / "message").write_text(f"[ERROR] 2026/11/23 12:00:00 {message}")
    script(f"cat {tmp_path}/message >&2; exit 1")
    with pytest.raises(kind) as caught:
        OpBackend("ops_token").fetch("V", "x")
    assert type(caught.value) is kind
    assert "2026/11/23" not in str(caught.value)
    if "429" in message:
        assert "run again in 42 minutes" in str(caught.value)


def test_neither_the_token_nor_a_rejected_template_is_shown(script: t.Callable[[str], None]) -> None:
    script('echo "[ERROR] bad: $OP_SERVICE_ACCOUNT_TOKEN" >&2; exit 1')
    with pytest.raises(_errors.NixciError, match="bad: \\*\\*\\*") as caught:
        OpBackend("strange-canary").fetch("V", "x")
    assert "canary" not in str(caught.value)
    script("cat >&2; exit 1")
    with pytest.raises(_errors.NixciError, match="'op item create' for item '-' failed") as caught:
        OpBackend("ops_token").create("V", {"fields": [{"value": "canary"}]})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("output", ["", "{", "[]", '{"id": "x"}'])
def test_output_that_is_not_an_item_is_refused(script: t.Callable[[str], None], output: str) -> None:
    script(f"printf '%s' '{output}'")
    with pytest.raises(_errors.UnavailableError, match="not an item"):
        OpBackend("ops_token").fetch("V", "x")


def test_a_command_that_hangs_is_stopped_with_its_children(script: t.Callable[[str], None]) -> None:
    script("sleep 60 & sleep 60")
    started = time.monotonic()
    with pytest.raises(_errors.UnavailableError, match="did not end within 0.3 s"):
        OpBackend("ops_token", timeout=0.3).fetch("V", "x")
    assert time.monotonic() - started < 10


def test_the_address_of_a_web_site_is_no_title(
    serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    double = OnePasswordDouble(vaults={"V": {}})
    double.add_item("V", "Shop", urls=[{"href": "https://example.com/login"}])
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"V": "read"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    with pytest.raises(ItemNotFoundError):
        OpBackend(token).fetch("V", "example.com")


@pytest.mark.parametrize(
    ("status", "kind"), [(429, _errors.UnavailableError), (409, _errors.ConflictError), (403, _errors.ForbiddenError)]
)
def test_errors_of_the_service_are_recognised(
    serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    double = OnePasswordDouble(vaults={"V": {"x": {}}})
    url = serve(double.app)
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"V": "read"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    requests.post(f"{url}/_lab/faults", json={"status": status, "path": "/items$"}, timeout=5)
    with pytest.raises(kind):
        OpBackend(token).fetch("V", "x")


@pytest.mark.parametrize("output", ["{", "[1]", '[{"title": "x"}]', "{}x", '"x"', "1"])
def test_an_odd_listing_is_refused(script: t.Callable[[str], None], output: str) -> None:
    script(f"printf '%s' '{output}'")
    with pytest.raises(_errors.UnavailableError, match="not a listing"):
        OpBackend("ops_token").fetch("V", "--help")


@pytest.mark.parametrize("output", ["", "[]"])
def test_a_title_that_looks_like_an_option_is_searched_in_the_listing(
    script: t.Callable[[str], None], tmp_path: pathlib.Path, output: str
) -> None:
    script(f"""printf '%s\\n' "$*" >>{tmp_path}/calls; printf '%s' '{output}'""")
    with pytest.raises(ItemNotFoundError, match="no item '--help'"):
        OpBackend("ops_token").fetch("V", "--help")
    assert (tmp_path / "calls").read_text() == "item list --vault=V --format=json\n"


NAMES = [
    'Rack 19" west',
    '"',
    "a\" isn't a vault",
    "(401)",
    "(429) b",
    "two\nlines",
    "C:\\",
    "ä✓",
    "409",
    "x isn't an item",
]


@pytest.mark.parametrize("quote", [lambda name: f'"{name}"', json.dumps], ids=["plain", "escaped"])
@pytest.mark.parametrize("item", NAMES)
@pytest.mark.parametrize("vault", ["V", *NAMES])
def test_names_in_a_message_do_not_decide_its_kind(
    monkeypatch: pytest.MonkeyPatch, quote: t.Callable[[str], str], item: str, vault: str
) -> None:
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    source, named = OpBackend("ops_token"), (vault, item)
    messages = {
        f"{quote(item)} isn't an item in the {quote(vault)} vault. Specify the item with its UUID.": ItemNotFoundError,
        f"{quote(item)} isn't an item. Specify the item with its UUID, name, or domain.": ItemNotFoundError,
        f"could not get item {vault}/{item}": ItemNotFoundError,
        f"could not get item {vault}/{item}: (429) Too Many Requests": _errors.UnavailableError,
        f"{quote(vault)} isn't a vault in this account. Specify the vault with its ID or name.": VaultNotFoundError,
        f"More than one item matches {quote(item)}. Try again and specify the item by its ID:": AmbiguousError,
        f"{quote(item)}: (409) Conflict: Internal server conflict": _errors.ConflictError,
    }
    for message, kind in messages.items():
        found = source._error(*named, ("item", "get", item), f"[ERROR] 2026/11/23 12:00:00 {message}\n")
        if item != vault or kind is not VaultNotFoundError:
            assert type(found) is kind, message


@pytest.mark.parametrize(("version", "calls"), [("2.23.0", 3), ("2.29.3", 3), ("2.30.0", 2)])
def test_an_op_without_reveal_is_asked_once(
    serve: t.Callable[[t.Any], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    script: t.Callable[[str], None],
    version: str,
    calls: int,
) -> None:
    double = OnePasswordDouble(vaults={"V": {"x": {"a": "1"}, "y": {"a": "2"}}})
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"V": "write"}}
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    script(f'LAB_OP_VERSION={version} exec {OP}/op "$@"')
    source = OpBackend(token)
    assert [source.fetch("V", name).value("a") for name in ("x", "y")] == ["1", "2"]
    assert len((tmp_path / "lab-op.jsonl").read_text().splitlines()) == calls
    after = source.replace(source.fetch("V", "x").changed([DesiredField("a", "3")], None, False))
    assert after.value("a") == "3"


@pytest.mark.parametrize(
    "what",
    ["unknown flag: --format", "Usage:  op item get\nunknown flag: --format", 'unknown command "item" for "op"'],
)
def test_an_op_that_is_too_old_is_one_sentence(
    script: t.Callable[[str], None], tmp_path: pathlib.Path, what: str
) -> None:
    (tmp_path / "message").write_text(f"[ERROR] 2026/11/23 12:00:00 {what}")
    script(f"cat {tmp_path}/message >&2; exit 1")
    with pytest.raises(_errors.NixciError, match="^This 'op' does not know .*; install 1Password CLI 2.23 or newer"):
        OpBackend("ops_token").fetch("V", "x")


def test_a_title_that_is_also_an_address_is_the_title(
    serve: t.Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    double = OnePasswordDouble(vaults={"V": {}})
    double.add_item("V", "Shop", urls=[{"href": "https://example.com/login"}])
    titled = double.add_item("V", "example.com")
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"V": "read"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    assert OpBackend(token).fetch("V", "example.com").id == titled


def test_a_missing_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        _errors.NixciError, match="'op' is not on the PATH .* -m pip install onepassword-sdk'.* Connect"
    ) as caught:
        OpBackend("ops_token")
    assert str(caught.value).count(".") == str(caught.value).count("2.23") + sys.executable.count(".") + 1
