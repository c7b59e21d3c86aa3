# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to an item, its values and the credentials are seen nowhere."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import NixciError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword import write as writing
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.connect import ConnectBackend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField, Recipe, Variable

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT
from tests.support.playbook import find, play
from tests.support.serving import serving

OP = ROOT / "lab" / "op"
MODULE = "pantheros.nixci.onepassword_item"
WRITER, READER, ONLY, WRONG = (f"canary-connect-{name}-0123456789" for name in ("rw", "ro", "wo", "no"))
GIVEN, STORED, LINE = "canary$given?0123456789", "canary$stored?0123456789", "canaryLINEcanaryLINEcanary"
SECRETS: list[str | re.Pattern[str]] = [WRITER, READER, ONLY, WRONG, GIVEN, STORED, LINE, "canary-account-secret"]
FAULTS: list[dict[str, t.Any]] = [
    {"path": "/items/echo", "method": "PUT", "status": 400, "body": {"message": f"'{GIVEN}' for '{STORED}' is bad"}},
    {"path": "/items/page", "method": "PUT", "status": 502, "body": f"<html>{GIVEN} {STORED} {LINE}</html>"},
    {"path": "/items/boom", "method": "PUT", "status": 500, "body": {"message": f"boom at {STORED}"}},
    {"path": "/items/mute", "method": "PUT", "status": 200, "body": {}},
    {"path": "/items/html", "method": "PUT", "status": 200, "body": f"<html>{GIVEN}</html>"},
]
FIELDS = [{"label": "a", "value": GIVEN}, {"label": "lines", "value": f"first\n{LINE}"}]

# What fails, and the words that must be told.
FAILS: dict[str, tuple[dict[str, t.Any], str]] = {
    "a wrong token": ({"connect_token": WRONG}, "does not accept the token"),
    "a token to read": ({"connect_token": READER}, "may not write here"),
    "a token to write": ({"connect_token": ONLY}, "write-only credential does not suffice"),
    "another vault": ({"vault": "Private"}, "no vault"),
    "nobody listens": ({"connect_host": "http://127.0.0.1:9"}, "cannot reach"),
    "an answer with the values": ({"title": "echo"}, "is bad"),
    "a page": ({"title": "page"}, "502"),
    "a broken server": ({"title": "boom"}, "boom at"),
    "a write that does nothing": ({"title": "mute"}, "does not show it"),
    "a page instead of an item": ({"title": "html"}, "not JSON"),
    "a login": ({"title": "Login"}, "passkey"),
    "a bad date": ({"fields": [{"label": "a", "value": GIVEN, "type": "date"}]}, "is a date"),
    "a bad type": ({"fields": [{"label": "a", "value": GIVEN, "type": "secret"}]}, "type must be one of"),
    "two sources": ({"fields": [{"label": "a", "value": GIVEN, "generate": {}}]}, "mutually exclusive"),
    "lines in a file": (
        {"fields": [{"label": "env", "env": [{"name": "K", "value": f"x\n{LINE}"}]}]},
        "cannot hold K",
    ),
    "a wrong account": ({"service_account_token": f"ops_{WRONG}"}, "does not accept the token"),
    "an account to read": ({"service_account_token": "reader"}, "service account may not"),
    "an account that is throttled": ({"service_account_token": "writer", "title": "echo"}, "failed"),
}
WORKS: dict[str, dict[str, t.Any]] = {
    "it is created": {},
    "it is kept": {},
    "it is changed": {"fields": [{"label": "a", "value": STORED}]},
    "the account changes it": {"service_account_token": "writer", "fields": FIELDS, "mode": "replace"},
    "it is generated": {"fields": [{"label": "b", "generate": {"length": 40}}]},
    "it is composed": {
        "fields": [{"label": "env", "env": [{"name": "A", "label": "a"}, {"name": "K", "value": GIVEN}]}]
    },
    "it goes": {"title": "Login", "state": "absent"},
}


@pytest.fixture
def double() -> OnePasswordDouble:
    items = {name: {"a": STORED} for name in ("echo", "page", "boom", "mute", "html")}
    vault = OnePasswordDouble(
        vaults={"V": {}, "Private": {}},
        tokens={
            WRITER: {"vaults": {"V": "write"}},
            READER: {"vaults": {"V": "read"}},
            ONLY: {"vaults": {"V": "write-only"}},
        },
    )
    for name, fields in items.items():
        item_id = vault.add_item("V", name, fields)
        for fault in FAULTS:
            if fault["path"] == f"/items/{name}":
                vault.app.faults.append({"times": 99, **fault, "path": f"/items/{item_id}"})
    vault.add_item("V", "Login", {"a": STORED}, category="LOGIN")
    return vault


def test_nothing_is_seen_in_a_playbook(double: OnePasswordDouble, tmp_path: pathlib.Path) -> None:
    variables: dict[str, t.Any] = {}
    tasks: list[dict[str, t.Any]] = []
    reasons: list[str] = []
    with serving(double.app) as url:
        accounts = {name: service_account_token(url, f"canary-account-secret-{name}") for name in ("reader", "writer")}
        double.service_accounts[accounts["reader"]] = {"vaults": {"V": "read"}}
        double.service_accounts[accounts["writer"]] = {"vaults": {"V": "write"}}
        for name, options in {**{name: options for name, (options, _) in FAILS.items()}, **WORKS}.items():
            given, told = f"given{len(tasks)}", f"told{len(tasks)}"
            access = {"connect_host": url, "connect_token": WRITER}
            if "service_account_token" in options:
                token = options["service_account_token"]
                access = {"service_account_token": accounts.get(token, token)}
            variables[given] = {"vault": "V", "title": "Item", "fields": FIELDS, "retries": 0} | options | access
            if "connect_token" in options or "connect_host" in options:
                variables[given] |= options
            task: dict[str, t.Any] = {"name": name, "register": told}
            task[MODULE] = {option: f"{{{{ {given}.{option} }}}}" for option in variables[given]}
            if name in FAILS:
                task["ignore_errors"] = True
                reasons += [f"{told} is failed", f"{told}.msg is search('{FAILS[name][1]}')"]
            tasks.append(task)
        tasks.append({"ansible.builtin.assert": {"that": reasons}})
        played = play(
            tasks,
            variables,
            tmp_path / "play",
            secrets=[*SECRETS, *accounts.values()],
            environment={"PATH": f"{OP}:/usr/bin:/bin"},
        )
    assert played.returncode == 0, played.output[-6000:]
    assert played.leaks == []
    assert find([double.values("V", "Item")["b"]], played.output) == []


@pytest.mark.parametrize("title", ["echo", "page", "boom", "mute", "html"])
def test_no_message_holds_a_secret(double: OnePasswordDouble, title: str) -> None:
    """Of the exception itself: Ansible's own masking of the result is not relied on."""
    fields = [
        DesiredField("a", GIVEN),
        DesiredField("b", generate=Recipe()),
        DesiredField("env", env=(Variable("L", value=LINE),)),
    ]
    with serving(double.app) as url, pytest.raises(NixciError) as caught:
        writing.store(ConnectBackend(url, WRITER, retries=0), "V", title, fields)
    assert find(SECRETS, f"{caught.value} {caught.value.details!r} {caught.value.__cause__!r}") == []


def test_a_result_holds_no_value(double: OnePasswordDouble) -> None:
    """Of the returned objects: what a module returns is made of them."""
    fields = [
        DesiredField("a", GIVEN),
        DesiredField("b", generate=Recipe()),
        DesiredField("env", env=(Variable("A", label="a"),)),
    ]
    with serving(double.app) as url:
        backend = ConnectBackend(url, WRITER, retries=0)
        result = writing.manage(backend, {"vault": "V", "title": "New"}, fields, False)
    stored = list(double.values("V", "New").values())
    assert len(stored) == 3
    assert find(stored, json.dumps(result)) == []
