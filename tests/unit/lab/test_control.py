# SPDX-License-Identifier: GPL-3.0-or-later
"""The control API of the doubles."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
import requests

from lab.clouds import _control


def application(_environ: t.Any, start_response: t.Callable[..., t.Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


@pytest.fixture
def url(serve: Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_control, "LONGEST_JOURNAL", 3)
    monkeypatch.setattr(_control, "LONGEST_PATH", 10)
    return serve(_control.Control(application))


def test_the_journal_keeps_the_newest_requests_and_no_long_paths(url: str) -> None:
    for number in range(5):
        requests.get(f"{url}/{number}{'x' * 100}?{'y' * 100}", timeout=5)
    journal = requests.get(f"{url}/_lab/requests", timeout=5).json()
    assert [entry["path"] for entry in journal] == [f"/{number}{'x' * 8}" for number in (2, 3, 4)]
    assert {len(entry["query"]) for entry in journal} == {10}


@pytest.mark.parametrize(
    "body", ["", "no", "[]", "{}", '{"status": "x"}', '{"status": 500, "path": "("}', "[" * 100_000]
)
def test_a_wrong_fault_is_refused(url: str, body: str) -> None:
    assert requests.post(f"{url}/_lab/faults", data=body, timeout=5).status_code == 400
    assert requests.get(f"{url}/x", timeout=5).status_code == 200
