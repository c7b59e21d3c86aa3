# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
import requests

from lab.clouds.onepassword import OnePasswordDouble, service_account_token

OP = pathlib.Path(__file__).resolve().parents[4] / "lab" / "op"
Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(
        vaults={"pantherOS": {"Attic": {"signing-key": "canary-key", "empty": ""}}, "Other": {}},
        tokens={
            "canary-rw": {"vaults": {"pantherOS": "write"}},
            "canary-ro": {"vaults": {"pantherOS": "read"}},
            "canary-wo": {"vaults": {"pantherOS": "write-only"}},
        },
    )


@pytest.fixture
def url(
    double: OnePasswordDouble,
    serve: t.Callable[[t.Any], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> str:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return serve(double.app)


@pytest.fixture
def run(module: Run, url: str) -> Run:
    connect = {"connect_host": url, "connect_token": "canary-rw", "vault": "pantherOS", "title": "Attic"}

    def call(*fields: dict[str, t.Any], check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        result = module("onepassword_item", {**connect, "fields": list(fields), **params}, check=check)
        if not params.get("return_values"):
            assert "canary" not in json.dumps({key: value for key, value in result.items() if key != "invocation"})
        return result

    return call


def field(label: str, value: str, **more: t.Any) -> dict[str, t.Any]:
    return {"label": label, "value": value, **more}


def methods(double: OnePasswordDouble) -> list[str]:
    return [entry["method"] for entry in double.app.requests]


CASES: list[tuple[str, list[dict[str, t.Any]], dict[str, t.Any]]] = [
    ("new item", [field("a", "canary-1"), field("b", "x\ny\n", type="string", section="S")], {"title": "New"}),
    ("new tagged item", [], {"title": "New", "tags": ["b", "a"], "category": "SECURE_NOTE"}),
    ("new field", [field("a", "canary-1")], {}),
    ("changed value", [field("signing-key", "canary-2")], {}),
    ("changed type", [field("signing-key", "canary-key", type="string")], {}),
    ("filled field", [field("empty", "canary-1", on_create=True)], {}),
    ("replaced fields", [field("a", "canary-1")], {"mode": "replace"}),
    ("tags", [], {"tags": ["t"]}),
    ("deleted item", [], {"state": "absent"}),
]


@pytest.mark.parametrize(("fields", "params"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_check_predicts_the_run_and_the_second_run_changes_nothing(
    double: OnePasswordDouble, run: Run, fields: list[dict[str, t.Any]], params: dict[str, t.Any]
) -> None:
    predicted = run(*fields, check=True, **params)
    assert set(methods(double)) == {"GET"}
    done = run(*fields, **params)
    assert predicted["changed"] and done["changed"], done
    assert predicted["diff"] == done["diff"]
    if done["item"]:
        unpredictable = {"id": "", "vault_id": ""}
        assert {**predicted["item"], **unpredictable} == {**done["item"], **unpredictable}
    double.app.requests.clear()
    again = run(*fields, **params)
    assert not again["changed"], again
    assert set(methods(double)) == {"GET"}
    assert again["item"] == (done["item"] and {**done["item"], "changed_labels": []})
    assert again["diff"]["before"] == again["diff"]["after"]


def test_a_new_item_holds_what_was_asked_for(double: OnePasswordDouble, run: Run) -> None:
    result = run(field("a", "canary-1"), field("b", "canary\n2\n", section="S"), title="New", tags=["t"])
    assert double.values("pantherOS", "New") == {"a": "canary-1", "b": "canary\n2\n"}
    assert result["item"]["labels"] == result["item"]["changed_labels"] == ["S/b", "a"]
    assert result["item"]["version"] == 1
    assert result["item"]["vault_id"] == double.vault_id("pantherOS")
    assert result["diff"]["after"]["fields"]["a"] == {"type": "CONCEALED", "value": "(secret)"}
    assert "field_values" not in result


def test_no_op_costs_three_requests_or_two_with_the_id_of_the_vault(double: OnePasswordDouble, run: Run) -> None:
    assert not run(field("signing-key", "canary-key"))["changed"]
    assert len(double.app.requests) == 3
    double.app.requests.clear()
    assert not run(field("signing-key", "canary-key"), vault=double.vault_id("pantherOS"))["changed"]
    assert len(double.app.requests) == 2


def test_other_fields_survive_unless_replaced(double: OnePasswordDouble, run: Run) -> None:
    result = run(field("a", "canary-1"))
    assert double.values("pantherOS", "Attic") == {"signing-key": "canary-key", "a": "canary-1"}
    assert result["item"]["changed_labels"] == ["a"]
    result = run(field("a", "canary-1"), mode="replace")
    assert double.values("pantherOS", "Attic") == {"a": "canary-1"}
    assert result["item"]["changed_labels"] == ["signing-key"]


def test_a_generated_value_is_kept_for_ever_and_can_be_returned(double: OnePasswordDouble, run: Run) -> None:
    made = run(field("password", "canary-1", on_create=True), return_values=True)
    again = run(field("password", "canary-2", on_create=True), return_values=True)
    assert (made["changed"], again["changed"]) == (True, False)
    assert made["field_values"] == again["field_values"] == {"password": "canary-1"}
    assert double.values("pantherOS", "Attic")["password"] == "canary-1"
    assert "canary" not in json.dumps(made.get("invocation", {}))
    empty = run(field("other", "", on_create=True))
    assert empty["msg"] == "Field 'other' of item 'Attic' is still empty; give it a value."


def test_the_diff_tells_that_a_value_changed_and_no_more(run: Run) -> None:
    result = run(field("signing-key", "canary-2"))
    assert result["diff"]["before"]["fields"] == {"signing-key": {"type": "CONCEALED", "value": "(old secret)"}}
    assert result["diff"]["after"]["fields"] == {"signing-key": {"type": "CONCEALED", "value": "(secret)"}}


def test_an_item_given_by_id_is_found_and_keeps_its_title_and_category(double: OnePasswordDouble, run: Run) -> None:
    [item] = double.items[double.vault_id("pantherOS")].values()
    result = run(field("a", "canary-1"), title=item["id"])
    assert (result["item"]["title"], result["item"]["id"]) == ("Attic", item["id"])
    assert result["diff"]["after"]["category"] == "API_CREDENTIAL"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"connect_token": "canary-wrong"}, "does not accept the token; check connect_token"),
        ({"connect_token": "canary-ro"}, "may not write here"),
        ({"connect_token": "canary-wo"}, "may not read here"),
        ({"connect_token": None}, "needs connect_token (OP_CONNECT_TOKEN) too"),
        ({"connect_host": None, "connect_token": None}, "No credential for 1Password"),
        ({"vault": "Other"}, "no vault 'Other'"),
        ({"vault": "nowhere"}, "no vault 'nowhere'"),
        ({"title": "Twice"}, "Item 'Twice' in vault 'pantherOS' is ambiguous: use the ID of one of"),
        ({"title": "Login"}, "is a login: a change would destroy its passkey"),
    ],
)
def test_a_refusal_is_one_sentence_and_leaves_everything_as_it_was(
    double: OnePasswordDouble, run: Run, params: dict[str, t.Any], words: str
) -> None:
    double.add_item("pantherOS", "Twice")
    double.add_item("pantherOS", "Twice")
    double.add_item("pantherOS", "Login", category="LOGIN")
    before = json.dumps(double.items)
    result = run(field("a", "canary-1"), **params)
    assert result["failed"]
    assert words in result["msg"]
    assert json.dumps(double.items) == before


def test_a_login_changes_only_when_confirmed(double: OnePasswordDouble, run: Run) -> None:
    double.add_item("pantherOS", "Login", {"password": "canary"}, category="LOGIN")
    assert not run(field("password", "canary"), title="Login")["failed"]  # no change, no loss
    assert run(field("password", "canary-2"), title="Login", check=True)["failed"]
    assert run(field("password", "canary-2"), title="Login", may_replace_passkey=True)["changed"]


def test_labels_must_differ(run: Run) -> None:
    result = run(field("a", "canary-1"), field("A", "canary-2"))
    assert result["msg"] == "The fields of item 'Attic' need labels that differ; name each field once."


def test_a_conflict_is_met_with_another_look(double: OnePasswordDouble, run: Run, url: str) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 409, "method": "PUT", "times": 2}, timeout=5)
    assert run(field("a", "canary-1"))["changed"]
    assert methods(double).count("PUT") == 3
    requests.post(f"{url}/_lab/faults", json={"status": 409, "method": "PUT", "times": 9}, timeout=5)
    assert "answered 409" in run(field("a", "canary-2"))["msg"]


def test_a_write_that_did_not_arrive_is_noticed_and_the_next_run_repairs_it(
    double: OnePasswordDouble, run: Run, url: str
) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 200, "body": {}, "method": "PUT"}, timeout=5)
    result = run(field("a", "canary-1"), field("signing-key", "canary-key"))
    assert "took the change of item 'Attic'" in result["msg"]
    assert "look at its fields a and run again" in result["msg"]
    assert run(field("a", "canary-1"))["changed"]
    assert double.values("pantherOS", "Attic")["a"] == "canary-1"


def test_an_interrupted_creation_is_not_repeated(double: OnePasswordDouble, run: Run, url: str) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 500, "method": "POST"}, timeout=5)
    assert "answered 500" in run(field("a", "canary-1"), title="New")["msg"]
    assert methods(double).count("POST") == 1
    assert run(field("a", "canary-1"), title="New")["changed"]
    assert not run(field("a", "canary-1"), title="New")["changed"]


def test_a_service_account_works_the_same(
    double: OnePasswordDouble, run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"pantherOS": "write"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    account = {"connect_host": None, "connect_token": None, "service_account_token": token}
    for title in ("Attic", "New"):
        wanted = field("a", "canary-1\n", section="S")
        predicted = run(wanted, title=title, check=True, **account)
        done = run(wanted, title=title, **account)
        assert done["changed"]
        assert predicted["diff"] == done["diff"]
        assert not run(wanted, title=title, **account)["changed"]
        assert double.values("pantherOS", title)["a"] == "canary-1\n"
    assert double.values("pantherOS", "Attic")["signing-key"] == "canary-key"
    assert run(title="New", state="absent", **account)["changed"]
    assert not run(title="New", state="absent", **account)["changed"]
