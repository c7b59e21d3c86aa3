# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode foretells the run, for items and wishes of every kind, through Connect and through `op`."""

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
types = st.sampled_from([*["CONCEALED", "STRING"] * 4, "URL", "OTP", "DATE", "SSHKEY"])


@st.composite
def stored_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    label, section = draw(labels), draw(st.sampled_from([None, None, *SECTIONS]))
    kind = draw(types)
    value = OTP if kind == "OTP" else draw(values)
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
# Mostly what is accepted: a wish has several parts, and one refused part hides all others.
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
def wished_fields(draw: st.DrawFn) -> dict[str, t.Any]:
    field = {"label": draw(labels), **draw(sources)}
    section, kind = draw(sections), draw(st.none() | kinds)
    if section is not None:
        field["section"] = section
    if kind:
        field["type"] = kind
    return field


wishes = st.fixed_dictionaries(
    {
        "fields": st.lists(
            wished_fields(),
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


def promise(double: OnePasswordDouble, access: dict[str, t.Any], before: t.Any, wish: dict[str, t.Any]) -> bool:
    """False if the wish was refused."""
    vault = double.vault_id("V")
    double.items[vault].clear()
    if before is not None:
        double.add_item("V", "Item", sections=[{"id": id_, "label": name} for name, id_ in SECTIONS.items()], **before)

    def run(*, check: bool = False) -> dict[str, t.Any]:
        result = run_module("onepassword_item", {**access, "vault": "V", "title": "Item", **wish}, check=check)
        if result.get("item"):
            result["changed_labels"] = result["item"].pop("changed_labels")
        return result

    def state() -> list[dict[str, t.Any]]:
        times = ("createdAt", "updatedAt")
        return [{key: item[key] for key in item if key not in times} for item in double.items[vault].values()]

    paths = ["/".join(filter(None, [field.get("section"), field["label"]])) for field in wish["fields"]]
    values = {f"field_values.{path}" for path in paths}
    runs = assert_check_mode_contract(
        run, state, unknown={"item.id", "item.vault_id", *values}, once={"generated", "changed_labels"}
    )
    if not runs.actual["failed"] and "generated" in runs.actual:
        assert set(runs.actual["generated"]) <= set(runs.actual["changed_labels"])
    return not runs.actual["failed"]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> t.Iterator[tuple[OnePasswordDouble, str]]:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(OP), prepend=os.pathsep)
    double = OnePasswordDouble(vaults={"V": {}}, tokens={"connect": {"vaults": {"V": "write"}}})
    with serving(double.app) as url:
        double.service_accounts[service_account_token(url, "s")] = {"vaults": {"V": "write"}}
        yield double, url


def test_connect(world: tuple[OnePasswordDouble, str]) -> None:
    double, url = world
    done: list[bool] = []

    @hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
    @hypothesis.given(before=st.none() | items, wish=wishes)
    def prove(before: t.Any, wish: dict[str, t.Any]) -> None:
        done.append(promise(double, {"connect_host": url, "connect_token": "connect"}, before, wish))

    prove()
    assert sum(done) > len(done) / 3, "nearly every wish was refused, so little was proven"


def test_op(world: tuple[OnePasswordDouble, str]) -> None:
    double, url = world
    [token] = double.service_accounts
    done: list[bool] = []

    @hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
    @hypothesis.given(before=st.none() | items, wish=wishes, archive=st.booleans())
    def prove(before: t.Any, wish: dict[str, t.Any], archive: bool) -> None:
        done.append(promise(double, {"service_account_token": token, "archive": archive}, before, wish))

    prove()
    assert sum(done) > len(done) / 3, "nearly every wish was refused, so little was proven"
