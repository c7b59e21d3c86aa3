# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all tests."""

from __future__ import annotations

import contextlib
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
