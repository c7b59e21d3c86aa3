# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
import time
import types
import typing as t
from collections.abc import Iterator

import pytest

from tests.support.collection import ModuleRun, run_module
from tests.support.serving import serving


@pytest.fixture
def module() -> t.Callable[..., ModuleRun]:
    return run_module


@pytest.fixture
def serve() -> Iterator[t.Callable[[t.Any], str]]:
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts of our HTTP clients, which are recorded instead of waited for."""
    recorded: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time", types.SimpleNamespace(sleep=recorded.append, time=time.time))
    return recorded
