# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
import requests

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT

OP = ROOT / "lab" / "op"
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
        lag=0.01,
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
def test_check_mode_predicts_the_run_and_a_second_run_changes_nothing(
    double: OnePasswordDouble, run: Run, fields: list[dict[str, t.Any]], params: dict[str, t.Any]
) -> None:
    predicted = run(*fields, check=True, **params)
    assert set(methods(double)) == {"GET"}
    done = run(*fields, **params)
    assert predicted["changed"] and done["changed"], done
    assert predicted["diff"] == done["diff"]
    if done["item"]:
        unknown = {"id": "", "vault_id": ""}
        assert {**predicted["item"], **unknown} == {**done["item"], **unknown}
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


def test_a_run_without_a_change_costs_three_requests_or_two_with_the_id_of_the_vault(
    double: OnePasswordDouble, run: Run
) -> None:
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


def test_a_value_for_creation_is_kept_and_can_be_returned(double: OnePasswordDouble, run: Run) -> None:
    made = run(field("password", "canary-1", on_create=True), return_values=True)
    again = run(field("password", "canary-2", on_create=True), return_values=True)
    assert (made["changed"], again["changed"]) == (True, False)
    assert made["field_values"] == again["field_values"] == {"password": "canary-1"}
    assert double.values("pantherOS", "Attic")["password"] == "canary-1"
    assert "canary" not in json.dumps(made.get("invocation", {}))
    empty = run(field("other", "", on_create=True))
    assert empty["msg"] == "Field 'other' of item 'Attic' is still empty; give it a value."


def test_the_diff_shows_that_a_value_changed_and_no_more(run: Run) -> None:
    result = run(field("signing-key", "canary-2"))
    assert result["diff"]["before"]["fields"] == {"signing-key": {"type": "CONCEALED", "value": "(old secret)"}}
    assert result["diff"]["after"]["fields"] == {"signing-key": {"type": "CONCEALED", "value": "(secret)"}}


def test_an_item_given_by_id_is_found_and_keeps_its_title_and_category(double: OnePasswordDouble, run: Run) -> None:
    [item] = double.items[double.vault_id("pantherOS")].values()
    result = run(field("a", "canary-1"), title=item["id"])
    assert (result["item"]["title"], result["item"]["id"]) == ("Attic", item["id"])
    assert result["diff"]["after"]["category"] == "API_CREDENTIAL"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"connect_token": "canary-wrong"}, "does not accept the token; check connect_token"),
        ({"connect_token": "canary-ro"}, "may not write here"),
        ({"connect_token": "canary-wo"}, "may not read here"),
        ({"connect_token": None}, "needs connect_token (OP_CONNECT_TOKEN)"),
        ({"connect_host": None, "connect_token": None}, "No credential for 1Password"),
        ({"vault": "Other"}, "no vault 'Other'"),
        ({"vault": "nowhere"}, "no vault 'nowhere'"),
        ({"title": "Twice"}, "Item 'Twice' in vault 'pantherOS' is ambiguous: use the ID of one of"),
        ({"title": "Login"}, "is a login: a change would destroy its passkey"),
    ],
)
def test_a_failed_task_explains_itself_and_changes_nothing(
    double: OnePasswordDouble, run: Run, params: dict[str, t.Any], message: str
) -> None:
    double.add_item("pantherOS", "Twice")
    double.add_item("pantherOS", "Twice")
    double.add_item("pantherOS", "Login", category="LOGIN")
    before = json.dumps(double.items)
    result = run(field("a", "canary-1"), **params)
    assert result["failed"]
    assert message in result["msg"]
    assert json.dumps(double.items) == before


def test_a_change_of_a_login_must_be_confirmed(double: OnePasswordDouble, run: Run) -> None:
    double.add_item("pantherOS", "Login", {"password": "canary"}, category="LOGIN")
    assert not run(field("password", "canary"), title="Login")["failed"]  # no change, no loss
    assert run(field("password", "canary-2"), title="Login", check=True)["failed"]
    assert run(field("password", "canary-2"), title="Login", may_replace_passkey=True)["changed"]


def test_labels_must_differ(run: Run) -> None:
    result = run(field("a", "canary-1"), field("A", "canary-2"))
    assert result["msg"] == "The fields of item 'Attic' need labels that differ; name each field once."


def test_an_item_is_read_again_after_a_conflict(double: OnePasswordDouble, run: Run, url: str) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 409, "method": "PUT", "times": 2}, timeout=5)
    assert run(field("a", "canary-1"))["changed"]
    assert methods(double).count("PUT") == 3
    requests.post(f"{url}/_lab/faults", json={"status": 409, "method": "PUT", "times": 9}, timeout=5)
    assert "answered 409" in run(field("a", "canary-2"))["msg"]


def test_a_write_without_effect_is_an_error_and_the_next_run_repairs_it(
    double: OnePasswordDouble, run: Run, url: str
) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 200, "body": {}, "method": "PUT"}, timeout=5)
    result = run(field("a", "canary-1"), field("signing-key", "canary-key"), timeout=1)
    assert "accepted the change of item 'Attic'" in result["msg"]
    assert "but does not show it after 1 s" in result["msg"]
    assert run(field("a", "canary-1"))["changed"]
    assert double.values("pantherOS", "Attic")["a"] == "canary-1"


def test_a_failed_creation_is_not_repeated(double: OnePasswordDouble, run: Run, url: str) -> None:
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
        desired = field("a", "canary-1\n", section="S")
        predicted = run(desired, title=title, check=True, **account)
        done = run(desired, title=title, **account)
        assert done["changed"]
        assert predicted["diff"] == done["diff"]
        assert not run(desired, title=title, **account)["changed"]
        assert double.values("pantherOS", title)["a"] == "canary-1\n"
    assert double.values("pantherOS", "Attic")["signing-key"] == "canary-key"
    assert run(title="New", state="absent", **account)["changed"]
    assert not run(title="New", state="absent", **account)["changed"]


# Generated values


def random_field(label: str = "password", **recipe: t.Any) -> dict[str, t.Any]:
    return {"label": label, "generate": recipe}


def test_a_value_is_generated_once(double: OnePasswordDouble, run: Run) -> None:
    predicted = run(random_field(length=40), title="New", check=True, return_values=True)
    assert (predicted["generated"], predicted["field_values"]) == (["password"], {"password": None})
    made = run(random_field(length=40), title="New", return_values=True)
    value = made["field_values"]["password"]
    assert (made["generated"], len(value), value.isalnum()) == (["password"], 40, True)
    assert double.values("pantherOS", "New") == {"password": value}
    again = run(random_field(length=12, symbols=True), title="New", return_values=True)
    assert (again["changed"], again["generated"], again["field_values"]) == (False, [], {"password": value})


def test_an_empty_field_gets_a_value_and_a_lost_item_a_new_one(double: OnePasswordDouble, run: Run) -> None:
    assert run(random_field("empty"))["generated"] == ["empty"]
    first = double.values("pantherOS", "Attic")["empty"]
    double.items[double.vault_id("pantherOS")].clear()
    assert run(random_field("empty"))["generated"] == ["empty"]
    assert double.values("pantherOS", "Attic")["empty"] != first


def test_a_new_generation_is_made_once(double: OnePasswordDouble, run: Run) -> None:
    values = [double.values("pantherOS", "Attic")["signing-key"]]
    for generation, expected in [(1, []), (2, ["signing-key"]), (2, []), (1, []), (4, ["signing-key"]), (3, [])]:
        result = run(random_field("signing-key", generation=generation))
        assert result["generated"] == expected, generation
        assert result["changed"] == bool(expected)
        values.append(double.values("pantherOS", "Attic")["signing-key"])
    assert [one == other for one, other in zip(values, values[1:], strict=False)] == [
        True,
        False,
        True,
        True,
        False,
        True,
    ]
    assert double.values("pantherOS", "Attic")["signing-key generation"] == "4"
    assert not run(random_field("signing-key"), random_field("empty"), mode="replace")["failed"]
    assert double.values("pantherOS", "Attic")["signing-key generation"] == "4"


def test_a_generation_must_be_a_number(double: OnePasswordDouble, run: Run) -> None:
    double.add_item("pantherOS", "Odd", {"a": "canary", "a generation": "canary-second"})
    result = run(random_field("a"), title="Odd")
    assert result["msg"] == ("Field 'a generation' of item 'Odd' must hold a number; write the correct one into it.")


def test_the_first_of_two_concurrent_runs_generates_the_value(double: OnePasswordDouble, run: Run, url: str) -> None:
    requests.post(f"{url}/_lab/faults", json={"status": 409, "method": "PUT"}, timeout=5)
    take_fault = double.app._take_fault

    def change_first(method: str, path: str) -> t.Any:
        if method == "PUT":
            [item] = double.items[double.vault_id("pantherOS")].values()
            item["fields"][1]["value"] = "canary-theirs"
        return take_fault(method, path)

    double.app._take_fault = change_first  # type: ignore[method-assign]
    result = run(random_field("empty"))
    # The item differs from what the task read first, though it was not the task that changed it.
    assert (result["changed"], result["generated"]) == (True, [])
    assert double.values("pantherOS", "Attic")["empty"] == "canary-theirs"
    assert not run(random_field("empty"))["changed"]


# An environment file


def env(*variables: tuple[str, str], label: str = "environment") -> dict[str, t.Any]:
    """Variables given as (name, "label:…") or (name, value)."""
    return {
        "label": label,
        "env": [
            {"name": name, "label": text.removeprefix("label:")}
            if text.startswith("label:")
            else {"name": name, "value": text}
            for name, text in variables
        ],
    }


def test_an_environment_file_follows_its_fields(double: OnePasswordDouble, run: Run) -> None:
    desired = env(("KEY", "label:signing-key"), ("PASSWORD", "label:password"), ("REALM", "a $b"))
    assert run(random_field(), desired)["item"]["changed_labels"] == ["environment", "password"]
    password = double.values("pantherOS", "Attic")["password"]
    text = double.values("pantherOS", "Attic")["environment"]
    assert text == f'KEY=canary-key\nPASSWORD={password}\nREALM="a \\$b"'
    assert not run(random_field(), desired)["changed"]
    changed = run(field("signing-key", "canary-2"), desired)
    assert changed["item"]["changed_labels"] == ["environment", "signing-key"]
    assert double.values("pantherOS", "Attic")["environment"] == text.replace("canary-key", "canary-2")


@pytest.mark.parametrize(
    "text",
    [
        "KEY=canary-key\nREALM='a $b'",
        'REALM="a \\$b"\nKEY="canary-key"\n',
        "# made by hand\r\nKEY=canary-key\r\nREALM='a $b'\r\n",
    ],
)
def test_another_notation_of_the_same_variables_is_kept(double: OnePasswordDouble, run: Run, text: str) -> None:
    double.add_item("pantherOS", "Old", {"signing-key": "canary-key", "environment": text})
    desired = env(("KEY", "label:signing-key"), ("REALM", "a $b"))
    assert not run(desired, title="Old")["changed"]
    assert run(desired, field("signing-key", "canary-2"), title="Old")["changed"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ([("KEY", "label:nothing")], "takes KEY from 'nothing', which is missing or empty"),
        ([("KEY", "label:empty")], "takes KEY from 'empty', which is missing or empty"),
        ([("KEY", "label:Environment")], "cannot take KEY from 'Environment', which is composed itself"),
        ([("KEY", "canary\nLD_PRELOAD=x")], "has a newline or another control character"),
        ([("1KEY", "canary")], "different names made of ASCII letters"),
        ([("KEY", "canary"), ("KEY", "canary")], "different names"),
        ([], "needs variables"),
    ],
)
def test_what_an_environment_file_cannot_hold_is_refused(
    double: OnePasswordDouble, run: Run, variables: list[tuple[str, str]], message: str
) -> None:
    before = json.dumps(double.items)
    result = run(env(*variables))
    assert message in result["msg"]
    assert json.dumps(double.items) == before


def test_labels_refer_to_the_same_fields_before_and_after_the_change(double: OnePasswordDouble, run: Run) -> None:
    """Otherwise the second run would fail or confuse two fields."""
    double.add_item("pantherOS", "Old", {"key": "canary-key"})
    result = run(env(("KEY", "label:key")), title="Old", mode="replace")
    assert "takes KEY from 'key', which is missing or empty" in result["msg"]
    inside = {**env(("KEY", "label:a"), label="a"), "section": "S"}
    assert (
        "is ambiguous: give its section too." in run(field("a", "canary-1", section="Two"), inside, title="New")["msg"]
    )


def test_equal_labels_in_two_sections_are_not_confused(double: OnePasswordDouble, run: Run) -> None:
    run(field("a", "canary-1", section="S"))
    result = run({**random_field("a", generation=2), "section": ""}, field("a", "canary-1", section="S"))
    assert result["generated"] == ["a"]
    assert result["item"]["changed_labels"] == ["a", "a generation"]
    result = run({**random_field("a", generation=2), "section": "S"})
    assert (result["generated"], result["item"]["changed_labels"]) == (["S/a"], ["S/a", "S/a generation"])


def test_each_section_has_its_own_generation(double: OnePasswordDouble, run: Run) -> None:
    run({**random_field("signing-key", generation=2), "section": "S"})
    result = run(random_field("signing-key", generation=2))
    assert result["generated"] == ["signing-key"]
    assert "signing-key generation" in result["item"]["changed_labels"]
    assert not run(random_field("signing-key", generation=2))["changed"]


# Types of fields and items


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("otp", "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP", "JBSWY3DPEHPK3PXP"),
        ("otp", "otpauth://totp/A:b@c.d?issuer=A&secret=JBSWY3DPEHPK3PXP&digits=8", "otpauth://totp/x?secret=canary!"),
        ("otp", "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP", "otpauth://[canary"),
        ("date", "2026-02-28", "2026-02-30"),
        ("date", "1969-12-31", "1798718460"),
        ("date", "2026-12-31", "31.12.2026"),
        ("month_year", "202612", "202613"),
        ("month_year", "202612", "12/2026"),
        ("month_year", "202612", "2026-12"),
        ("email", "a@example.com", None),
        ("url", "https://example.com/", None),
    ],
)
def test_a_field_of_every_kind(double: OnePasswordDouble, run: Run, kind: str, good: str, bad: str | None) -> None:
    assert run(field("a", good, type=kind))["changed"]
    assert not run(field("a", good, type=kind))["changed"]
    if bad:
        before = double.values("pantherOS", "Attic")["a"]
        for check in (True, False):
            result = run(field("a", bad, type=kind), check=check)
            assert "Field 'a' of item 'Attic'" in result["msg"]
            assert " needs a " in result["msg"]
            assert bad not in result["msg"]
        assert double.values("pantherOS", "Attic")["a"] == before


def test_a_stored_day_is_compared_as_a_day(double: OnePasswordDouble, run: Run) -> None:
    """The apps store other times of the same day, and those stay when another field changes."""
    stored = [
        {"label": "expires", "type": "DATE", "value": "1798675200"},
        {"label": "month", "type": "MONTH_YEAR", "value": "202612"},
    ]
    double.add_item("pantherOS", "Card", more_fields=stored)
    desired = [field("expires", "2026-12-31", type="date"), field("month", "202612", type="month_year")]
    result = run(*desired, title="Card", return_values=True)
    assert (result["changed"], result["field_values"]) == (False, {"expires": "2026-12-31", "month": "202612"})
    result = run(*desired, field("a", "canary"), title="Card")
    assert result["item"]["changed_labels"] == ["a"]
    assert double.values("pantherOS", "Card") == {"expires": "1798675200", "month": "202612", "a": "canary"}
    assert run(field("expires", "2027-01-01"), title="Card")["item"]["changed_labels"] == ["expires"]
    assert double.values("pantherOS", "Card")["expires"] == "1798804860"


def test_a_phone_number_can_be_kept_by_op_and_not_by_connect(
    double: OnePasswordDouble, run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.add_item("pantherOS", "Phone", more_fields=[{"label": "phone", "type": "PHONE", "value": "+1 canary"}])
    assert (
        "has a field of the type PHONE, which programs cannot write back" in run(field("a", "x"), title="Phone")["msg"]
    )
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"pantherOS": "write"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    account = {"connect_host": None, "connect_token": None, "service_account_token": token}
    assert run(field("a", "x"), title="Phone", **account)["changed"]
    assert double.values("pantherOS", "Phone") == {"phone": "+1 canary", "a": "x"}


def test_an_item_for_a_password_needs_one(double: OnePasswordDouble, run: Run) -> None:
    for check in (True, False):
        result = run(field("a", "canary"), title="New", category="PASSWORD", check=check)
        assert (
            "is of the category PASSWORD, which 1Password stores only with a value in the field 'password'"
            in result["msg"]
        )
    fields = [field("password", "canary")]
    assert run(*fields, title="New", category="PASSWORD")["changed"]
    assert not run(*fields, title="New", category="PASSWORD")["changed"]
    assert "stores only with a value" in run(field("a", "canary"), title="New", mode="replace")["msg"]
    assert run(random_field(), title="Made", category="PASSWORD")["generated"] == ["password"]


# What comes out of files and secret stores


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t\n\n"])
def test_blanks_around_credentials_and_the_vault_do_not_matter(
    double: OnePasswordDouble, run: Run, url: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    connect = {"connect_host": f"{end}{url}/{end}", "connect_token": f"canary-rw{end}", "vault": f"pantherOS{end}"}
    assert not run(field("signing-key", "canary-key"), **connect)["failed"]
    account = {"connect_host": end, "connect_token": end, "vault": f"{end}pantherOS{end}"}
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"pantherOS": "write"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    assert not run(field("signing-key", "canary-key"), service_account_token=token + end, **account)["failed"]
    assert "The vault is empty; give its name or ID." in run(vault=end)["msg"]
    assert "No credential for 1Password" in run(service_account_token=end, **account)["msg"]


@pytest.mark.parametrize("token", ["canary\ntoken", "two canary words", "canary\u2026", "\ufeffcanary"])
@pytest.mark.parametrize("name", ["connect_token", "service_account_token"])
def test_a_token_that_cannot_be_one_is_one_sentence(run: Run, name: str, token: str) -> None:
    account = {"connect_host": None, "connect_token": None} if name == "service_account_token" else {}
    result = run(field("signing-key", "canary-key"), **{**account, name: token})
    assert "is empty or holds blanks, line breaks or characters that are not ASCII." in result["msg"]
    assert "oken" in result["msg"]


def test_built_in_fields_are_used_and_keep_their_kind(double: OnePasswordDouble, run: Run) -> None:
    fields = [
        field("username", "ci"),
        field("Password", "canary-1"),
        field("notesPlain", "two\nlines"),
        field("a", "x"),
    ]
    assert run(*fields, title="Web", category="LOGIN")["changed"]
    assert not run(*fields, title="Web", category="LOGIN")["changed"]
    [item] = [item for item in double.items[double.vault_id("pantherOS")].values() if item["title"] == "Web"]
    purposes = {one["id"]: one["purpose"] for one in item["fields"] if "purpose" in one}
    assert purposes == {"username": "USERNAME", "password": "PASSWORD", "notesPlain": "NOTES"}
    result = run(field("notesPlain", "x", type="concealed"))
    assert result["msg"] == (
        "Field 'notesPlain' of item 'Attic' is built in and cannot become concealed; leave its type out."
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"category": "SSH_KEY"}, "is of the category SSH_KEY"),
        ({"category": "DOCUMENT"}, "is of the category DOCUMENT"),
        ({"files": [{"id": "f", "name": "x", "size": 1}]}, "has files"),
        ({"more_fields": [{"label": "key", "type": "SSHKEY", "value": "canary"}]}, "has a field of the type SSHKEY"),
    ],
)
def test_what_programs_cannot_write_back_is_refused(
    double: OnePasswordDouble, run: Run, more: dict[str, t.Any], message: str
) -> None:
    double.add_item("pantherOS", "Odd", {"a": "canary"}, **more)
    before = json.dumps(double.items)
    assert not run(field("a", "canary"), title="Odd")["failed"]
    result = run(field("a", "canary-2"), title="Odd", may_replace_passkey=True)
    assert f"{message}, which programs cannot write back; change it in the 1Password app" in result["msg"]
    assert json.dumps(double.items) == before
    assert run(title="Odd", state="absent")["changed"]


def test_another_category_is_refused(double: OnePasswordDouble, run: Run) -> None:
    assert not run(field("signing-key", "canary-key"), category="API_CREDENTIAL")["changed"]
    for check in (True, False):
        result = run(category="SERVER", check=check)
        assert (
            "is of the category API_CREDENTIAL, which 1Password cannot change to SERVER; leave category"
            in result["msg"]
        )


def test_titles_and_labels_like_ids(double: OnePasswordDouble, run: Run) -> None:
    like = "a" * 26
    result = run(field("a", "canary"), title=like)
    assert f"has no item with the ID '{like}'" in result["msg"]
    assert not run(title=like, state="absent")["changed"]
    double.add_item("pantherOS", like, {"a": "canary"})
    assert run(field("a", "canary-2"), title=like)["changed"]
    assert f"has no field with the ID '{like}'" in run(field(like, "canary"))["msg"]


def test_fields_with_the_same_label_are_distinguished_by_id(double: OnePasswordDouble, run: Run) -> None:
    twins = [{"id": name, "label": "twin", "value": f"canary-{name}", "type": "CONCEALED"} for name in ("one", "two")]
    double.add_item("pantherOS", "Twins", more_fields=twins)
    assert "is ambiguous: use the ID of one of one, two" in run(field("twin", "canary"), title="Twins")["msg"]
    result = run(field("one", "canary-3"), title="Twins")
    assert result["item"]["changed_labels"] == ["twin (one)"]
    assert run(field("one", "canary-3"), title="Twins", mode="replace")["changed"]
    assert double.values("pantherOS", "Twins") == {"twin": "canary-3"}


def test_two_names_of_one_field_are_refused(double: OnePasswordDouble, run: Run) -> None:
    double.add_item("pantherOS", "One", more_fields=[{"id": "one", "label": "name", "value": "canary"}])
    result = run(field("one", "canary-1"), field("name", "canary-2"), title="One")
    assert result["msg"] == "Two fields refer to the field 'name' of item 'One'; name it once."


# Output and rights


def test_a_short_value_does_not_spoil_the_result(double: OnePasswordDouble, run: Run, module: Run, url: str) -> None:
    values = {"a": "1", "b": "A", "c": "true", "d": "antherOS", "e": "CONCEALED"}
    result = run(*[field(label, value) for label, value in values.items()], tags=["t1"])
    assert (result["changed"], result["item"]["title"], result["item"]["version"]) == (True, "Attic", 2)
    assert result["item"]["labels"] == ["a", "b", "c", "d", "e", "signing-key"]
    if "invocation" in result:  # until ansible-core 2.20
        invocation = result["invocation"]["module_args"]
        assert {one["value"] for one in invocation["fields"]} == {"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}
        assert (invocation["vault"], invocation["tags"]) == ("pantherOS", ["t1"])


WRITES: dict[str, dict[str, t.Any]] = {
    "create": {"title": "New"},
    "change": {},
    "delete": {"state": "absent"},
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("token", ["canary-ro", "canary-wo", "canary-rw"])
def test_reading_suffices_to_compare_and_writing_needs_both_rights(
    double: OnePasswordDouble, run: Run, token: str, write: str
) -> None:
    """Read: check mode and no change. Read and write: everything else. Write alone: nothing."""
    before = json.dumps(double.items)
    more = {"connect_token": token, **WRITES[write]}
    predicted = run(field("a", "canary-1"), check=True, **more)
    unchanged = run(field("signing-key", "canary-key"), connect_token=token)
    assert json.dumps(double.items) == before
    done = run(field("a", "canary-1"), **more)
    readable, writable = token != "canary-wo", token == "canary-rw"
    assert (predicted["failed"], unchanged["failed"], done["failed"]) == (not readable, not readable, not writable)
    assert predicted["changed"] == readable
    if not readable:
        assert "so a write-only credential does not suffice" in done["msg"]
    if not writable:
        assert json.dumps(double.items) == before


def test_archiving_needs_a_service_account(
    double: OnePasswordDouble, run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in (True, False):
        assert "cannot archive an item" in run(state="absent", archive=True, check=check)["msg"]
    token = service_account_token(url)
    double.service_accounts[token] = {"vaults": {"pantherOS": "write"}}
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    account = {"connect_host": None, "connect_token": None, "service_account_token": token}
    removal = {"state": "absent", "archive": True, **account}
    assert run(check=True, **removal)["changed"]
    assert run(**removal)["changed"]
    assert [item["title"] for item in double.archived.values()] == ["Attic"]
    assert not run(**removal)["changed"]


def test_an_empty_title_is_refused(run: Run) -> None:
    for state in ("present", "absent"):
        assert run(title="", state=state)["failed"], state
