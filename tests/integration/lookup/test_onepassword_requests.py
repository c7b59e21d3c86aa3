# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of a whole run: 20 references from 4 items, used in 4 tasks on 5 hosts at once."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from lab.clouds.onepassword import OnePasswordDouble, service_account_token
from tests.support.paths import ROOT
from tests.support.playbook import Played, play

ITEMS = {f"Item {item}": {f"field {field}": f"canary-{item}-{field}" for field in range(5)} for item in range(4)}
VALUES = [value for fields in ITEMS.values() for value in fields.values()]


@pytest.fixture
def double() -> OnePasswordDouble:
    return OnePasswordDouble(vaults={"pantherOS": ITEMS}, tokens={"canary-token": {"vaults": {"pantherOS": "read"}}})


def references(double: OnePasswordDouble, *, by_id: bool = False) -> list[str]:
    vault_id = double.vault_id("pantherOS")
    titles = {item["title"]: item_id for item_id, item in double.items[vault_id].items()}
    vault, name = (vault_id, titles.__getitem__) if by_id else ("pantherOS", str)
    return [f"op://{vault}/{name(item)}/{field}" for item, fields in ITEMS.items() for field in fields]


def run(folder: pathlib.Path, terms: list[str], environment: dict[str, str]) -> Played:
    """Every task evaluates 20 lookups on 5 hosts, all in forked workers."""
    lookups = ", ".join(f"lookup('pantheros.nixci.onepassword', '{reference}')" for reference in terms)
    task = {"ansible.builtin.assert": {"that": f"[{lookups}] == expected"}, "no_log": True}
    played = play(
        [{**task, "vars": {"expected": VALUES}}] * 4,
        {"nixci_onepassword_cache_seconds": 300},
        folder,
        secrets=[*VALUES, "canary-token"],
        environment={**environment, "ANSIBLE_FORKS": "10"},
        hosts=5,
    )
    assert played.returncode == 0, played.output
    assert played.output.count("ok: [host") == 20
    assert played.leaks == []
    return played


def kinds(double: OnePasswordDouble) -> list[str]:
    items = {item_id for known in double.items.values() for item_id in known}
    last = [entry["path"].rsplit("/", 1)[1] for entry in double.app.requests]
    return sorted("item" if name in items else name for name in last)


def test_a_connect_server_gets_one_request_for_each_item_and_two_for_names(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    """Connect returns items by ID only, so names cost a listing of the vaults and one of the items."""
    environment = {"OP_CONNECT_HOST": serve(double.app), "OP_CONNECT_TOKEN": "canary-token"}
    run(tmp_path, references(double), environment)
    assert kinds(double) == ["item"] * 4 + ["items", "vaults"]


def test_with_ids_a_connect_server_gets_requests_for_items_only(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    environment = {"OP_CONNECT_HOST": serve(double.app), "OP_CONNECT_TOKEN": "canary-token"}
    run(tmp_path, references(double, by_id=True), environment)
    assert kinds(double) == ["item"] * 4


def test_op_is_run_once_for_each_item(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    token = service_account_token(serve(double.app))
    double.service_accounts[token] = {"vaults": {"pantherOS": "read"}}
    environment = {
        "OP_SERVICE_ACCOUNT_TOKEN": token,
        "PATH": f"{ROOT / 'lab' / 'op'}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path),
    }
    run(tmp_path / "run", references(double), environment)
    calls = (tmp_path / "lab-op.jsonl").read_text().splitlines()
    assert len(calls) == 4
    assert all('"argv": ["item", "get", ' in call for call in calls)


def test_a_refused_token_is_sent_once(
    double: OnePasswordDouble, serve: t.Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    """Failed sign-ins count against the quota of an account."""
    environment = {"OP_CONNECT_HOST": serve(double.app), "OP_CONNECT_TOKEN": "canary-wrong", "ANSIBLE_FORKS": "10"}
    task = {"ansible.builtin.debug": {"msg": "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Item 1/x') }}"}}
    played = play(
        [{**task, "ignore_errors": True}] * 2,
        {"nixci_onepassword_cache_seconds": 300},
        tmp_path,
        secrets=["canary-wrong"],
        environment=environment,
        hosts=5,
    )
    assert played.output.count("does not accept the token; check connect_token") >= 10
    assert played.leaks == []
    assert len(double.app.requests) == 1
