# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner of the test suite: what it counts, and that it cannot pass without having tested anything."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import sys
import threading
import typing as t

import pytest

from lab import runs
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
    monkeypatch.setenv(runs.VARIABLE, "1-1")  # not this process, which would remove its containers
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
    parts = {
        "first": lambda output: runner.Result(10, 0, 4, reasons),
        "second": functools.partial(runner.command, second),
    }
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([]) == code
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == f"{11 - code} passed, {code} failed, 4 skipped"
    assert "     4  no real service" in lines


def test_two_parts_run_at_a_time_and_each_is_shown_as_a_whole(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    met, ran = threading.Barrier(2), list[str]()

    def part(name: str, meet: bool, output: t.IO[str]) -> t.Any:
        if meet:
            met.wait(60)
        ran.append(name)
        print(f"{name} prints", file=output, flush=True)
        # What is not UTF-8 ends no run.
        return runner.command("printf", f"{name} runs\\n\\377\\n", output=output)

    parts = {name: functools.partial(part, name, name in ("one", "two")) for name in ("image", "one", "two", "three")}
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line]
    for name in parts:
        begin = lines.index(f"==== {name}")
        assert name == "image" or lines[begin + 1 : begin + 3] == [f"{name} prints", f"{name} runs"]
        assert lines[begin + 4].startswith(f"==== {name}")
    assert ran[0] == "image" and ran[-1] == "three"
    for name, line in zip(parts, lines[-5:], strict=False):
        assert line.startswith(f"{name:<12} 1 passed, 0 failed, 0 skipped in ")
    assert lines[-1] == "4 passed, 0 failed, 0 skipped"


def test_a_part_that_takes_long_is_named_meanwhile(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    named = threading.Event()

    def slow(output: t.IO[str]) -> t.Any:
        return runner.Result(int(named.wait(60)))

    def show(*words: str, **options: t.Any) -> None:
        if words == ("...", "slow"):
            named.set()

    monkeypatch.setattr(runner, "PARTS", {"slow": slow, "fast": lambda output: runner.Result(1)})
    monkeypatch.setattr(runner, "SIGN_OF_LIFE", 0.1)
    monkeypatch.setattr(runner, "print", show, raising=False)
    assert runner.main([]) == 0


def test_a_part_that_crashes_has_failed(
    runner: t.Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = {"good": lambda output: runner.Result(1), "bad": lambda output: 1 // 0}
    monkeypatch.setattr(runner, "PARTS", parts)
    assert runner.main([]) == 1
    out = capfd.readouterr().out
    assert "ZeroDivisionError" in out and out.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def test_an_unknown_part_is_refused(runner: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["unti"]) == 2
    assert "no part unti; the parts are image, e2e," in capsys.readouterr().err


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
