# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner of the test suite: what it counts, and that it cannot pass without having tested anything."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import typing as t

import pytest

from tests.support.paths import ROOT

TESTS = """
import pytest
def test_passes(): pass
def test_fails(): assert False
@pytest.fixture
def broken(): raise RuntimeError
def test_cannot_start(broken): pass
@pytest.mark.parametrize("n", [1, 2])
def test_is_skipped(n): pytest.skip("no real service")
"""


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> t.Any:
    monkeypatch.delenv("PYTEST_PLUGINS", raising=False)  # of ansible-test, for its own run
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "scripts/run_tests.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def run(runner: t.Any, folder: pathlib.Path, source: str, *words: str) -> t.Any:
    (folder / "test_it.py").write_text(source)
    return runner.pytest("--rootdir", str(folder), "--override-ini=addopts=", *words, str(folder))


def test_each_outcome_is_counted(runner: t.Any, tmp_path: pathlib.Path) -> None:
    result = run(runner, tmp_path, TESTS)
    assert (result.passed, result.failed, result.skipped) == (1, 2, 2)
    assert result.reasons == {"no real service": 2}


@pytest.mark.parametrize(
    "source", ["", "import pytest\ndef test_it(): pytest.skip('x')", "def broken(:", "raise KeyboardInterrupt"]
)
def test_a_run_that_tested_nothing_has_failed(runner: t.Any, tmp_path: pathlib.Path, source: str) -> None:
    assert run(runner, tmp_path, source).failed == 1


@pytest.mark.parametrize(("second", "code"), [("true", 0), ("false", 1)])
def test_the_last_line_is_the_sum_of_all_parts(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], second: str, code: int
) -> None:
    reasons = {"no real service": 4}
    parts = {"first": lambda: runner.Result(10, 0, 4, reasons), "second": lambda: runner.command(second)}
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([]) == code
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == f"{11 - code} passed, {code} failed, 4 skipped"
    assert "     4  no real service" in lines


@pytest.mark.parametrize(("exit_code", "failed"), [(0, 0), (1, 1)])
def test_a_part_in_the_background_counts_and_is_shown_at_its_turn(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], exit_code: int, failed: int
) -> None:
    def beside(output: t.IO[str]) -> t.Any:
        output.write("what it printed\n")
        return runner.Result(2 - failed, failed)

    parts = {"image": lambda: runner.Result(1), "other": lambda: runner.Result(1), "e2e": beside}
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([]) == exit_code
    lines = [line for line in capfd.readouterr().out.splitlines() if line]
    assert lines.index("==== other") < lines.index("==== e2e") == lines.index("what it printed") - 1
    assert lines[-1] == f"{4 - failed} passed, {failed} failed, 0 skipped"


def test_a_part_that_crashes_in_the_background_has_failed(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = {"other": lambda: runner.Result(1), "e2e": lambda: runner.Result(1)}  # takes no output
    monkeypatch.setattr(runner, "PARTS", parts)
    monkeypatch.setattr(runner.threading, "excepthook", lambda args: None)
    assert runner.main([]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def test_an_unknown_part_is_refused(runner: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["unti"]) == 2
    assert "no part unti; the parts are image, lint," in capsys.readouterr().err


def test_an_interpreter_that_does_not_run_is_passed_over(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    good = tmp_path / "versions/3.14/bin/python"
    good.parent.mkdir(parents=True)
    good.write_text("#!/bin/sh\necho 3.14\n")
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "pyenv").write_text(f"#!/bin/sh\n[ $1 = prefix ] && echo {tmp_path}/versions/$2\n")
    for program in (good, tmp_path / "python3.13", tmp_path / "pyenv"):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert runner.find_python(["3.13", "3.14"]) == str(good)
    assert runner.find_python(["3.13"]) is None
