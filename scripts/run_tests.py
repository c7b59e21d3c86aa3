# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the parts of the test suite one after another: run_tests.py [PART ...]; without a name, all of them.

The end-to-end tests run beside the others. It shows how long each part took and why tests were skipped. Its last line is "N passed, N failed, N skipped".
A part that is not a run of pytest counts as one test. A part in which no test ran has failed.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[1]
# The tests of one file share servers; files are independent of each other.
PARALLEL = ("-n", "auto", "--maxprocesses=8", "--dist=loadfile")
# For the newest ansible-core, as the interpreter of .venv may be too old for it. All tools ignore what is in .venv.
NEWEST_VENV = ".venv/newest"
NEWEST_PYTHONS = ("3.13", "3.14")


@dataclasses.dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    """Why tests were skipped → how many."""

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def __add__(self, other: Result) -> Result:
        reasons = collections.Counter(self.reasons) + collections.Counter(other.reasons)
        numbers = (self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)
        return Result(*numbers, dict(reasons))


def main(names: t.Sequence[str]) -> int:
    if unknown := set(names) - PARTS.keys():
        print(f"There is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    lines, total = [], Result()
    chosen = list(names or PARTS)
    waiting: Background | None = None
    for name in chosen:
        if waiting is None and name not in ("image", BACKGROUND) and BACKGROUND in chosen:
            waiting = Background(PARTS[BACKGROUND])
            print(f"\n==== {BACKGROUND} begins and is shown at its turn", flush=True)
        print(f"\n==== {name}", flush=True)
        start = time.monotonic()
        if waiting and name == BACKGROUND:
            result, seconds = waiting.result()
        else:
            result = PARTS[name]()
            seconds = time.monotonic() - start
        lines.append(f"{name:<12} {result} in {seconds:.0f} s")
        print(f"==== {lines[-1]}", flush=True)
        total += result
    print(summary(lines, total), flush=True)
    return int(total.failed > 0)


def summary(lines: t.Sequence[str], total: Result) -> str:
    skipped = [f"  {number:>4}  {reason}" for reason, number in sorted(total.reasons.items())]
    return "\n".join(["", *(["Skipped:", *skipped, ""] if skipped else []), *lines, "", str(total)])


class Background:
    """A part that runs beside the others, because it waits more than it computes."""

    def __init__(self, part: t.Callable[..., Result]) -> None:
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 – closed with this object
        self.outcome: list[tuple[Result, float]] = []
        self.thread = threading.Thread(target=self._run, args=(part,))
        self.thread.start()

    def _run(self, part: t.Callable[..., Result]) -> None:
        start = time.monotonic()
        self.outcome.append((part(output=self.output), time.monotonic() - start))

    def result(self) -> tuple[Result, float]:
        """Wait for the end, show what was printed, and return the result with the seconds that it took."""
        self.thread.join()
        self.output.seek(0)
        print(self.output.read(), end="", flush=True)
        return self.outcome[0] if self.outcome else (Result(failed=1), 0)


# ---- kinds of parts -----------------------------------------------------------------------------------------------


def command(*words: str) -> Result:
    return as_one_test(subprocess.run(words, cwd=ROOT).returncode == 0)


def as_one_test(passed: bool) -> Result:
    return Result(passed=1) if passed else Result(failed=1)


def pytest(*words: str, output: t.IO[str] | None = None) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        run = [sys.executable, "-m", "pytest", "-q", "-rfE", f"--junit-xml={report}", *words]
        done = subprocess.run(run, cwd=ROOT, stdout=output, stderr=output and subprocess.STDOUT)
        return read_reports([report], done.returncode)


def read_reports(reports: t.Iterable[pathlib.Path], code: int) -> Result:
    """The result of runs of pytest from their JUnit reports and their exit code."""
    made = [report for report in reports if report.exists()]
    cases = [case for report in made for case in ET.parse(report).iter("testcase")]  # noqa: S314 – made by pytest
    result, reasons = Result(), collections.Counter[str]()
    for case in cases:
        outcome = {part.tag: part.get("message", "") for part in case}
        if outcome.keys() & {"failure", "error"}:
            result.failed += 1
        elif "skipped" in outcome:
            result.skipped += 1
            reasons[outcome["skipped"]] += 1
        else:
            result.passed += 1
    # An interrupted run may have no failed test, and a run without tests says nothing about the code.
    if not result.failed and (code or not result.passed):
        result.failed = 1
    result.reasons = dict(reasons)
    return result


def build_image() -> Result:
    """Once for all parts."""
    sys.path.insert(0, str(ROOT))
    from lab.shell import LabError
    from tests.support.lab_image import lab_image

    try:
        os.environ["NIXCI_LAB_IMAGE"] = lab_image()
    except LabError as exc:
        print(exc, file=sys.stderr)
        return Result(failed=1)
    return Result(passed=1)


def newest_core() -> Result:
    """`ansible-test sanity` and `ansible-test units` on the newest ansible-core."""
    venv, python = NEWEST_VENV, find_python(NEWEST_PYTHONS)
    if sys.version_info[:2] >= (3, 13):
        venv = sys.prefix
    elif not python:
        return skipped(f"ansible-core's newest version needs Python {' or '.join(NEWEST_PYTHONS)}, which is not here")
    else:
        make = ["scripts/venv", venv, "requirements.txt", "tests/unit/requirements.txt"]
        if subprocess.run(make, cwd=ROOT, env={**os.environ, "PYTHON": python}).returncode:
            return Result(failed=1)
    versions = "import ansible.release, sys; print(ansible.release.__version__, '%d.%d' % sys.version_info[:2])"
    core, version = output(f"{venv}/bin/python", "-c", versions).split()
    print(f"ansible-core {core} on Python {version}", flush=True)
    sanity = command(str(ROOT / venv / "bin/python"), "-m", "tests.sanity.ansible_test")
    return sanity + ansible_test_units(ROOT / venv / "bin/ansible-test", version)


def ansible_test_units(program: pathlib.Path, version: str) -> Result:
    """On a copy of the checkout at the place that ansible-test demands."""
    sys.path.insert(0, str(ROOT))
    from tests.sanity.artefact import COLLECTION, copy_checkout

    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / COLLECTION
        copy_checkout(tree)
        run = [str(program), "units", "--local", "--python", version, "--color", "no"]
        run += ["--num-workers", str(min(os.cpu_count() or 1, 8))]
        code = subprocess.run(run, cwd=tree, stdin=subprocess.DEVNULL).returncode
        return read_reports((tree / "tests/output/junit").glob("*.xml"), code)


def skipped(reason: str) -> Result:
    print(reason, flush=True)
    return Result(skipped=1, reasons={reason: 1})


def find_python(versions: t.Sequence[str]) -> str | None:
    """An interpreter of one of these versions: on PATH, or one that pyenv has."""
    pyenv = shutil.which("pyenv") or shutil.which(
        "pyenv", path=os.path.expanduser(os.environ.get("PYENV_ROOT", "~/.pyenv") + "/bin")
    )
    for version in versions:
        candidates = [shutil.which(f"python{version}")]
        if pyenv:
            candidates.append(f"{output(pyenv, 'prefix', version)}/bin/python")
        for candidate in candidates:
            # What pyenv puts on PATH may refuse to run.
            if candidate and output(candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == version:
                return candidate
    return None


def output(*words: str) -> str:
    try:
        return subprocess.run(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout.strip()
    except OSError:
        return ""


PARTS: dict[str, t.Callable[..., Result]] = {
    "image": build_image,
    "lint": functools.partial(command, "scripts/lint"),
    "unit": functools.partial(pytest, "tests/unit", *PARALLEL),
    "newest-core": newest_core,
    "integration": functools.partial(pytest, "tests/integration", *PARALLEL),
    "contract": functools.partial(pytest, "tests/contract", *PARALLEL),
    "nix": functools.partial(pytest, "tests/nix", *PARALLEL),
    # Each case has a host of its own.
    "faults": functools.partial(pytest, "tests/faults", "-n", "auto", "--maxprocesses=8", "--dist=worksteal"),
    # These share one lab.
    "e2e": functools.partial(pytest, "tests/e2e"),
}
BACKGROUND = "e2e"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
