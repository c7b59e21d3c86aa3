# SPDX-License-Identifier: GPL-3.0-or-later
"""The check-mode contract for items and desired states of every kind, through Connect and through `op`."""

from __future__ import annotations

import os
import pathlib
import typing as t

import hypothesis
import pytest
from hypothesis import strategies as st

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.check_mode import assert_check_mode_contract
from tests.support.collection import run_module
from tests.support.paths import ROOT
from tests.support.serving import serving

OP = ROOT / "lab" / "op"
OTP = "otpauth://totp/x?secret=JBSWY3DPEHPK3PXP"
SECTIONS = {"S": "sectionaaaaaaaaaaaaaaaaaaaa", "Two": "sectionbbbbbbbbbbbbbbbbbbbb"}

labels = st.sampled_from(["a", "b", "A", "token", "token generation", "notesPlain", "username", "a/b"])
sections = st.sampled_from([None, None, "", "S", "s", "Two", "New"])
values = st.sampled_from(["", "1", "x", "K=1", "K='1'", "two\nlines", OTP, "2026-01-31", "202601", 'q"$\\', " ä "])
days = st.sampled_from(["1798718460", "1769860800"])  # 2026-12-31 at 12:01, 2026-01-31 at 12:00
types = st.sampled_from([*["CONCEALED", "STRING"] * 4, "URL", "OTP", "DATE", "SSHKEY"])


@st.composite
def stored_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    label, section = draw(labels), draw(st.sampled_from([None, None, *SECTIONS]))
    kind = draw(types)
    value = {"OTP": OTP, "DATE": draw(days)}.get(kind) or draw(values)
    field: dict[str, t.Any] = {"label": label, "type": kind, "value": value}
    if label == "notesPlain" and not section:
        return {**field, "id": label, "type": "STRING", "purpose": "NOTES"}
    return {**field, "section": {"id": SECTIONS[section]}} if section else field


items = st.fixed_dictionaries(
    {
        "more_fields": st.lists(
            stored_fields(), max_size=5, unique_by=lambda field: field.get("purpose", object()) or object()
        ),
        "category": st.sampled_from(["API_CREDENTIAL"] * 4 + ["LOGIN", "DOCUMENT"]),
        "tags": st.lists(st.sampled_from(["x", "y"]), unique=True),
    },
    optional={"files": st.sampled_from([[], [], [{"id": "f", "name": "x", "size": 1}]])},
)
# Most parts are valid: one refused part of a desired state hides all others.
variables = st.lists(
    st.one_of(
        st.fixed_dictionaries({"name": st.sampled_from(["K", "L", "M", "_2"]), "value": values}),
        st.fixed_dictionaries({"name": st.sampled_from(["K", "N"]), "label": labels}, optional={"section": sections}),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda variable: variable["name"],
)
recipes = st.fixed_dictionaries(
    {"length": st.sampled_from([8, 20, 32, 20, 7]), "generation": st.sampled_from([1, 1, 2, 3])},
    optional={"symbols": st.booleans()},
)
sources = st.one_of(
    st.fixed_dictionaries({"value": values}, optional={"on_create": st.booleans()}),
    st.fixed_dictionaries({"generate": recipes}),
    st.fixed_dictionaries({"env": variables}),
)
kinds = st.sampled_from(["concealed", "concealed", "string", "email", "otp", "date", "month_year"])


@st.composite
def desired_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    field = {"label": draw(labels), **draw(sources)}
    section, kind = draw(sections), draw(st.none() | kinds)
    if section is not None:
        field["section"] = section
    if kind:
        field["type"] = kind
    return field


desired_states = st.fixed_dictionaries(
    {
        "fields": st.lists(
            desired_fields(),
            min_size=1,
            max_size=3,
            unique_by=lambda field: (field["label"], field.get("section") or ""),
        ),
        "mode": st.sampled_from(["merge", "replace"]),
        "state": st.sampled_from(["present", "present", "present", "present", "absent"]),
        "return_values": st.booleans(),
    },
    optional={
        "tags": st.lists(st.sampled_from(["x", "z", "y", ""]), max_size=2),
        "category": st.sampled_from(["API_CREDENTIAL", "API_CREDENTIAL", "SERVER", "LOGIN"]),
        "may_replace_passkey": st.booleans(),
    },
)


def holds(double: OnePasswordDouble, access: dict[str, t.Any], before: t.Any, desired: dict[str, t.Any]) -> bool:
    """Asserts the contract. False if the desired state was refused."""
    vault = double.vault_id("V")
    double.items[vault].clear()
    if before is not None:
        double.add_item("V", "Item", sections=[{"id": id_, "label": name} for name, id_ in SECTIONS.items()], **before)

    def run(*, check: bool = False) -> dict[str, t.Any]:
        result = run_module("onepassword_item", {**access, "vault": "V", "title": "Item", **desired}, check=check)
        if result.get("item"):
            result["changed_labels"] = result["item"].pop("changed_labels")
        return result

    def state() -> list[dict[str, t.Any]]:
        times = ("createdAt", "updatedAt")
        return [{key: item[key] for key in item if key not in times} for item in double.items[vault].values()]

    paths = ["/".join(filter(None, [field.get("section"), field["label"]])) for field in desired["fields"]]
    values = {f"field_values.{path}" for path in paths}
    runs = assert_check_mode_contract(
        run, state, unknown={"item.id", "item.vault_id", *values}, once={"generated", "changed_labels"}
    )
    if not runs.actual["failed"] and "generated" in runs.actual:
        assert set(runs.actual["generated"]) <= set(runs.actual["changed_labels"])
    return not runs.actual["failed"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> t.Iterator[tuple[OnePasswordDouble, str]]:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    double = OnePasswordDouble(vaults={"V": {}}, tokens={"connect": {"vaults": {"V": "write"}}}, lag=0.01)
    with serving(double.app) as url:
        double.service_accounts[service_account_token(url, "s")] = {"vaults": {"V": "write"}}
        yield double, url


def test_connect(environment: tuple[OnePasswordDouble, str]) -> None:
    double, url = environment
    done: list[bool] = []

    @hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
    @hypothesis.given(before=st.none() | items, desired=desired_states)
    def check(before: t.Any, desired: dict[str, t.Any]) -> None:
        done.append(holds(double, {"connect_host": url, "connect_token": "connect"}, before, desired))

    check()
    assert sum(done) > len(done) / 3, "nearly every desired state was refused, so the test covered little"


def test_op(environment: tuple[OnePasswordDouble, str]) -> None:
    double, url = environment
    [token] = double.service_accounts
    done: list[bool] = []

    @hypothesis.settings(max_examples=14, deadline=None, derandomize=True)
    @hypothesis.given(before=st.none() | items, desired=desired_states, archive=st.booleans())
    def check(before: t.Any, desired: dict[str, t.Any], archive: bool) -> None:
        done.append(holds(double, {"service_account_token": token, "archive": archive}, before, desired))

    check()
    assert sum(done) > len(done) / 3, "nearly every desired state was refused, so the test covered little"
