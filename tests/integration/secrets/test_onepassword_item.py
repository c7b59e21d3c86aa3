# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to an item, its values and the credentials show up nowhere."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import typing as t
from collections.abc import Iterator
from unittest import mock

import pytest
from ansible.module_utils.basic import AnsibleModule

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.collection import run_module
from tests.support.paths import ROOT
from tests.support.playbook import find
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases, raising
from tests.support.serving import serving

OP = ROOT / "lab" / "op"
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


def case(name: str, error: str | None = None, **options: t.Any) -> Case:
    return Case(name, "onepassword_item", options, error)


CASES = [
    case("a wrong token", "does not accept the token", connect_token=WRONG),
    case("a token to read", "may not write here", connect_token=READER),
    case("a token to write", "write-only credential does not suffice", connect_token=ONLY),
    case("another vault", "no vault", vault="Private"),
    case("nobody listens", "cannot reach", connect_host="http://127.0.0.1:9"),
    case("an answer with the values", "is bad", title="echo"),
    case("a page", "502", title="page"),
    case("a broken server", "boom at", title="boom"),
    case("a write that does nothing", "does not show it", title="mute", timeout=1),
    case("a page instead of an item", "not JSON", title="html"),
    case("a login", "passkey", title="Login"),
    case("a bad date", "is a date", fields=[{"label": "a", "value": GIVEN, "type": "date"}]),
    case("a bad type", "type must be one of", fields=[{"label": "a", "value": GIVEN, "type": "secret"}]),
    case("two sources", "mutually exclusive", fields=[{"label": "a", "value": GIVEN, "generate": {}}]),
    case("lines in a file", "cannot hold K", fields=[{"label": "env", "env": [{"name": "K", "value": f"x\n{LINE}"}]}]),
    case("a wrong account", "does not accept the token", service_account_token=f"ops_{WRONG}"),
    case("an account to read", "service account may not", service_account_token="reader"),
    case("a write that the account cannot do", "failed", service_account_token="writer", title="echo"),
    case("it is created"),
    case("it is kept"),
    case("it is changed", fields=[{"label": "a", "value": STORED}]),
    case("the account changes it", service_account_token="writer", fields=FIELDS, mode="replace"),
    case("it is generated", fields=[{"label": "b", "generate": {"length": 40}}]),
    case(
        "it is composed",
        fields=[{"label": "env", "env": [{"name": "A", "label": "a"}, {"name": "K", "value": GIVEN}]}],
    ),
    case("it is removed", title="Login", state="absent"),
]


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


@dataclasses.dataclass(frozen=True)
class Environment:
    double: OnePasswordDouble
    cases: dict[str, Case]
    secrets: list[str | re.Pattern[str]]


@pytest.fixture
def environment(double: OnePasswordDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    monkeypatch.setenv("PATH", f"{OP}:/usr/bin:/bin")
    with serving(double.app) as url:
        accounts = {name: service_account_token(url, f"canary-account-secret-{name}") for name in ("reader", "writer")}
        double.service_accounts[accounts["reader"]] = {"vaults": {"V": "read"}}
        double.service_accounts[accounts["writer"]] = {"vaults": {"V": "write"}}
        cases = {}
        for case in CASES:
            access = {"connect_host": url, "connect_token": WRITER}
            if account := case.options.get("service_account_token"):
                access = {"service_account_token": accounts.get(account, account)}
            base = {"vault": "V", "title": "Item", "fields": FIELDS, "retries": 0, **access}
            options = {**base, **case.options, **(access if account else {})}
            cases[case.name] = dataclasses.replace(case, options=options)
        yield Environment(double, cases, [*SECRETS, *accounts.values()])


def test_no_secret_in_a_play(environment: Environment, tmp_path: pathlib.Path) -> None:
    output = play_cases(list(environment.cases.values()), tmp_path, secrets=environment.secrets)
    assert find([environment.double.values("V", "Item")["b"]], output) == [], "the generated value"


@pytest.mark.parametrize("name", [case.name for case in raising(CASES)])
def test_no_secret_in_an_exception(name: str, environment: Environment) -> None:
    assert_no_secret_in_exceptions(environment.cases[name], environment.secrets)


def test_no_value_in_a_result(environment: Environment) -> None:
    """Of what the module returns: Ansible's own masking of it is not relied on."""
    fields = [{"label": "a", "value": GIVEN}, {"label": "b", "generate": {}}]
    fields.append({"label": "env", "env": [{"name": "A", "label": "a"}]})
    with mock.patch.object(AnsibleModule, "exit_json", autospec=True, side_effect=AnsibleModule.exit_json) as exit_json:
        run_module("onepassword_item", {**environment.cases["it is created"].options, "fields": fields})
    stored = environment.double.values("V", "Item")
    assert {"a", "b", "env"} <= stored.keys()
    assert find([value for value in stored.values() if value], json.dumps(exit_json.call_args.kwargs)) == []
