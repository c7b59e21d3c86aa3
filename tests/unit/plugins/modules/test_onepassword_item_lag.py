# SPDX-License-Identifier: GPL-3.0-or-later
"""A Connect server shows a write a moment later: a second run at once finds what the first one did."""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
import requests
from ansible_collections.pantheros.nixci.plugins.module_utils._b2.store import OnePasswordStore, Pair
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.connect import ConnectBackend

from lab.clouds.onepassword import OnePasswordDouble

Run = t.Callable[..., dict[str, t.Any]]
LAG = 0.3
SLOW = 3600.0


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(
        vaults={"Infra": {"Old": {"username": "ci"}}}, tokens={"canary": {"vaults": {"Infra": "write"}}}, lag=LAG
    )


@pytest.fixture
def access(
    double: OnePasswordDouble,
    serve: t.Callable[[t.Any], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> dict[str, t.Any]:
    for name in ("OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return {"connect_host": serve(double.app), "connect_token": "canary"}


@pytest.fixture
def run(module: Run, access: dict[str, t.Any]) -> Run:
    def call(*fields: dict[str, t.Any], **params: t.Any) -> dict[str, t.Any]:
        return module(
            "onepassword_item", {**access, "vault": "Infra", "title": "Old", "fields": list(fields), **params}
        )

    return call


def titles(double: OnePasswordDouble) -> list[str]:
    return sorted(item["title"] for item in double.items[double.vault_id("Infra")].values())


PASSWORD = {"label": "password", "value": "abcdefghij"}
GENERATED: dict[str, t.Any] = {"label": "password", "generate": {}}


def test_a_second_run_at_once_makes_no_second_item(double: OnePasswordDouble, run: Run) -> None:
    first, second = run(PASSWORD, title="New"), run(PASSWORD, title="New")
    assert (first["changed"], second["changed"], titles(double)) == (True, False, ["New", "Old"])
    assert first["item"]["version"] == second["item"]["version"] == 1


@pytest.mark.parametrize("title", ["New", "Old"])
def test_a_second_run_at_once_keeps_the_generated_value(double: OnePasswordDouble, run: Run, title: str) -> None:
    first = run(GENERATED, title=title, return_values=True)
    second = run(GENERATED, title=title, return_values=True)
    assert (first["changed"], second["changed"], second["generated"]) == (True, False, [])
    assert first["field_values"] == second["field_values"] == {"password": double.values("Infra", title)["password"]}


def test_changes_in_a_row_build_on_each_other(double: OnePasswordDouble, run: Run) -> None:
    for number in range(1, 4):
        result = run({"label": f"f{number}", "value": "x"}, tags=[f"t{number}"])
        assert (result["changed"], result["item"]["version"]) == (True, number + 1)
    assert sorted(double.values("Infra", "Old")) == ["f1", "f2", "f3", "username"]
    generations = [run({**GENERATED, "generate": {"generation": 2}})["generated"] for _ in range(2)]
    assert generations == [["password"], []]


def test_a_deleted_item_is_gone_and_can_be_made_again(double: OnePasswordDouble, run: Run) -> None:
    first, second = run(state="absent"), run(state="absent")
    assert (first["changed"], second["changed"], titles(double)) == (True, False, [])
    assert run(PASSWORD)["changed"]
    assert not run(PASSWORD)["changed"]
    assert titles(double) == ["Old"]


def test_the_store_of_keys_finds_the_pair_that_it_stored(double: OnePasswordDouble, access: dict[str, t.Any]) -> None:
    options = {**access, "vault": "Infra\n", "title": "Keys", "id_label": "id", "secret_label": "secret"}
    options |= {"timeout": 30, "retries": 0}
    store = OnePasswordStore(options, lambda text: None)
    for pair in (Pair("k1", "s1"), Pair("k2", "s2")):
        store.write(pair)
        assert OnePasswordStore(options, lambda text: None).read().pair == pair
    assert titles(double) == ["Keys", "Old"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"title": "New"}, "created item 'New' (ID) but does not show it after 1 s"),
        ({}, "accepted the change of item 'Old' (ID) but does not show it after 1 s"),
        ({"state": "absent"}, "deleted item 'Old' (ID) but still shows it after 1 s"),
    ],
)
def test_a_copy_that_does_not_follow_is_one_sentence(
    double: OnePasswordDouble, run: Run, params: dict[str, t.Any], message: str
) -> None:
    double.lag = SLOW
    result = run(*([] if "state" in params else [PASSWORD]), timeout=1, **params)
    assert result["failed"]
    shown = result["msg"]
    for item in [*double.items[double.vault_id("Infra")], *(write[2] for write in double.writes)]:
        shown = shown.replace(item, "ID")
    assert message in shown
    assert "; its copy of the vault is probably behind, so check its sync container, and run again when it" in shown
    writes = [entry for entry in double.app.requests if entry["method"] != "GET"]
    assert len(writes) == 1


def test_a_creation_without_an_answer_is_found(
    double: OnePasswordDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrived, the answer got lost, and the copy follows later."""
    app = double.app.app

    def lose_answer(environ: dict[str, t.Any], start: t.Callable[..., t.Any]) -> t.Any:
        if environ["REQUEST_METHOD"] != "POST":
            return app(environ, start)
        b"".join(app(environ, lambda *answer: None))
        start("502 Bad Gateway", [("Content-Length", "0")])
        return []

    monkeypatch.setattr(double.app, "app", lose_answer)
    result = run(GENERATED, title="New")
    assert (result["changed"], result["generated"], titles(double)) == (True, ["password"], ["New", "Old"])
    assert not run(GENERATED, title="New")["changed"]


def test_a_failed_creation_is_waited_for_shortly(
    double: OnePasswordDouble, run: Run, access: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConnectBackend, "patience_without_answer", 0.2)
    fault = {"status": 500, "method": "POST"}
    requests.post(f"{access['connect_host']}/_lab/faults", json=fault, timeout=5)
    assert "answered 500" in run(PASSWORD, title="New")["msg"]
    assert titles(double) == ["Old"]


def test_reading_that_fails_for_a_moment_after_the_write_does_not_matter(
    double: OnePasswordDouble, run: Run, access: dict[str, t.Any]
) -> None:
    first = run({"label": "x", "value": "1"})
    item = first["item"]["id"]
    take_fault = double.app._take_fault
    written: list[float] = []

    def fail_after_the_write(method: str, path: str) -> t.Any:
        if method == "PUT":
            written.append(time.monotonic())
        if method == "GET" and path.endswith(item) and written and len(written) < 4:
            written.append(0)
            return {"status": 503}
        return take_fault(method, path)

    double.app._take_fault = fail_after_the_write  # type: ignore[method-assign]
    assert run(GENERATED, retries=0)["changed"]
    assert [entry["method"] for entry in double.app.requests].count("PUT") == 2


@pytest.mark.parametrize("title", ["New", "Old"])
def test_two_writers_do_not_take_each_others_version(
    double: OnePasswordDouble, run: Run, title: str, access: dict[str, t.Any]
) -> None:
    """The item changes between our reading and our writing: the version that follows ours is not ours."""
    vault = double.vault_id("Infra")
    take_fault = double.app._take_fault

    def write_first(method: str, path: str) -> t.Any:
        if method == "PUT":
            [item] = [item for item in double.items[vault].values() if item["title"] == "Old"]
            document = {**item, "tags": ["theirs"]}
            before = dict(item)
            double._store(vault, document, before)
        return take_fault(method, path)

    double.app._take_fault = write_first  # type: ignore[method-assign]
    result = run(PASSWORD, title=title)
    assert result["changed"], result
    assert double.values("Infra", title)["password"] == PASSWORD["value"]
    assert not run(PASSWORD, title=title)["changed"]
