# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contract suite cannot cover: environment, arguments and stdin of `op`, and its failures."""

from __future__ import annotations

import json
import os
import pathlib
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


def test_a_title_that_looks_like_an_option_is_refused(script: t.Callable[[str], None]) -> None:
    script("exit 99")
    with pytest.raises(_errors.InvalidError, match="use the item's ID"):
        OpBackend("ops_token").fetch("V", "--help")


def test_a_missing_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(_errors.NixciError, match="'op' is not on the PATH"):
        OpBackend("ops_token")
