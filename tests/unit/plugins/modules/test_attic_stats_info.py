# SPDX-License-Identifier: GPL-3.0-or-later
"""attic_stats_info without a database; tests/contract/test_attic_stats.py has one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.modules import attic_stats_info

from tests.support.check_mode import assert_check_mode_contract

FIGURES = {
    "taken_at": "2026-07-01T04:00:00Z",
    "schema": "m2026",
    "caches": None,
    "total": None,
    "health": {"stuck_nars": 0},
    "garbage": None,
}
TEXT = "# HELP attic_stuck_nars Pending NARs that are too old to be uploads.\n# TYPE attic_stuck_nars gauge\nattic_stuck_nars 0\n"


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attic_stats_info, "snapshot", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(attic_stats_info, "gather", lambda *_: FIGURES)


def test_without_a_textfile_nothing_is_changed(module: t.Any) -> None:
    result = module("attic_stats_info", {})
    assert not result["failed"] and not result["changed"]
    assert {key: result[key] for key in FIGURES} == FIGURES
    assert result["prometheus"] == TEXT


@pytest.mark.parametrize("old", [None, "# by hand\n", TEXT])
@pytest.mark.parametrize("mode", [0o644, 0o600])
@pytest.mark.parametrize("options", [{}, {"mode": "0640"}, {"mode": "a=r"}, {"group": "no-such-group"}])
def test_check_run_again(
    module: t.Any, tmp_path: pathlib.Path, old: str | None, mode: int, options: dict[str, str]
) -> None:
    path = tmp_path / "attic.prom"
    if old is not None:
        path.write_text(old)
        path.chmod(mode)

    def state() -> t.Any:
        return [(one.name, oct(one.stat().st_mode), one.read_text()) for one in tmp_path.iterdir()]

    def run(*, check: bool = False) -> t.Any:
        return module("attic_stats_info", {"textfile": str(path), **options}, check=check)

    runs = assert_check_mode_contract(run, state)
    if "group" in options:
        assert "failed to look up group no-such-group" in runs.actual["msg"]
    else:
        assert path.read_text() == TEXT


@pytest.mark.parametrize("check", [True, False])
def test_the_age_of_the_file_shows_the_age_of_the_figures(module: t.Any, tmp_path: pathlib.Path, check: bool) -> None:
    path = tmp_path / "attic.prom"
    path.write_text(TEXT)
    os.utime(path, (1, 1))
    assert not module("attic_stats_info", {"textfile": str(path)}, check=check)["changed"]
    assert (path.stat().st_mtime == 1) == check
