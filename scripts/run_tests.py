# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the parts of the test suite, two at a time: run_tests.py [PART ...]; without a name, all of them.

It shows how long each part took and why tests were skipped. Its last line is "N passed, N failed, N skipped".
A part that is not a run of pytest counts as one test. A part in which no test ran has failed.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import operator
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import typing as t
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import runs  # noqa: E402
from tests.support import containers  # noqa: E402

# The tests of one file share servers; files are independent of each other.
PARALLEL = ("-n", "auto", "--maxprocesses=8", "--dist=loadfile")
# Seconds after which the names of the parts that run are shown.
SIGN_OF_LIFE = 60
# What takes long is named, so that it can be made faster.
SLOWEST = ("--durations=10", "--durations-min=5")
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
    chosen = [name for name in PARTS if name in (names or PARTS)]
    run, done = runs.begin(), dict[str, Run]()
    try:
        if FIRST in chosen and len(chosen) > 1:
            done[FIRST] = Run.of(FIRST)
        waiting = [name for name in chosen if name not in done]
        if len(waiting) == 1:
            done[waiting[0]] = Run.of(waiting[0])
        else:
            done |= two_at_a_time(waiting)
    finally:
        if runs.is_first():
            containers.remove(run)
            containers.remove_network()
    total = functools.reduce(operator.add, [done[name].result for name in chosen])
    print(summary([str(done[name]) for name in chosen], total), flush=True)
    return int(total.failed > 0)


@dataclasses.dataclass(frozen=True)
class Run:
    """A part that has run."""

    name: str
    result: Result
    seconds: float

    def __str__(self) -> str:
        return f"{self.name:<12} {self.result} in {self.seconds:.0f} s"

    @classmethod
    def of(cls, name: str, output: t.IO[str] | None = None) -> Run:
        """Run it; what it prints is shown at once, or goes to a file."""
        if not output:
            print(f"\n==== {name}", flush=True)
        start = time.monotonic()
        run = cls(name, PARTS[name](output=output), time.monotonic() - start)
        if not output:
            print(f"==== {run}", flush=True)
        return run


def two_at_a_time(names: t.Sequence[str]) -> dict[str, Run]:
    """Because most parts wait now and then, or have one process only. What a part prints is shown when it has ended."""
    done = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as files:
        outputs = {name: files.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for name in names}
        futures = {pool.submit(Run.of, name, outputs[name]): name for name in names}
        waiting = set(futures)
        while waiting:
            ended, waiting = concurrent.futures.wait(waiting, SIGN_OF_LIFE, concurrent.futures.FIRST_COMPLETED)
            if not ended:
                print("...", ", ".join(name for future, name in futures.items() if future.running()), flush=True)
            for future in ended:
                name = futures[future]
                try:
                    done[name] = future.result()
                except Exception:
                    traceback.print_exc(file=outputs[name])
                    done[name] = Run(name, Result(failed=1), 0)
                outputs[name].seek(0)
                print(f"\n==== {name}\n{outputs[name].read()}==== {done[name]}", flush=True)
    return done


def summary(lines: t.Sequence[str], total: Result) -> str:
    skipped = [f"  {number:>4}  {reason}" for reason, number in sorted(total.reasons.items())]
    return "\n".join(["", *(["Skipped:", *skipped, ""] if skipped else []), *lines, "", str(total)])


# ---- kinds of parts -----------------------------------------------------------------------------------------------


def command(*words: str, output: t.IO[str] | None = None) -> Result:
    return as_one_test(shown(words, output) == 0)


def shown(words: t.Sequence[str], output: t.IO[str] | None, cwd: pathlib.Path = ROOT, **env: str) -> int:
    """The exit code of a program that prints to the output of a part."""
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output and subprocess.STDOUT,
    ).returncode


def as_one_test(passed: bool) -> Result:
    return Result(passed=1) if passed else Result(failed=1)


def pytest(*words: str, output: t.IO[str] | None = None) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        run = [sys.executable, "-m", "pytest", "-q", "-rfE", *SLOWEST, f"--junit-xml={report}", *words]
        return read_reports([report], shown(run, output))


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


def build_image(output: t.IO[str] | None = None) -> Result:
    """Once for all parts."""
    from lab.shell import LabError
    from tests.support.lab_image import lab_image

    try:
        os.environ["NIXCI_LAB_IMAGE"] = lab_image()
        containers.remove_left()
    except LabError as exc:
        print(exc, file=output or sys.stderr)
        return Result(failed=1)
    return Result(passed=1)


def newest_core(output: t.IO[str] | None = None) -> Result:
    """`ansible-test sanity` and `ansible-test units` on the newest ansible-core."""
    venv, python = NEWEST_VENV, find_python(NEWEST_PYTHONS)
    if sys.version_info[:2] >= (3, 13):
        venv = sys.prefix
    elif not python:
        reason = f"ansible-core's newest version needs Python {' or '.join(NEWEST_PYTHONS)}, which is not here"
        print(reason, file=output, flush=True)
        return Result(skipped=1, reasons={reason: 1})
    else:
        make = ["scripts/venv", venv, "requirements.txt", "tests/unit/requirements.txt"]
        if shown(make, output, PYTHON=python):
            return Result(failed=1)
    versions = "import ansible.release, sys; print(ansible.release.__version__, '%d.%d' % sys.version_info[:2])"
    core, version = said(f"{venv}/bin/python", "-c", versions).split()
    print(f"ansible-core {core} on Python {version}", file=output, flush=True)
    sanity = command(str(ROOT / venv / "bin/python"), "-m", "tests.sanity.ansible_test", output=output)
    return sanity + ansible_test_units(ROOT / venv / "bin/ansible-test", version, output)


def ansible_test_units(program: pathlib.Path, version: str, output: t.IO[str] | None) -> Result:
    """On a copy of the checkout at the place that ansible-test demands."""
    from tests.sanity.artefact import COLLECTION, copy_checkout

    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / COLLECTION
        copy_checkout(tree)
        run = [str(program), "units", "--local", "--python", version, "--color", "no"]
        run += ["--num-workers", str(min(os.cpu_count() or 1, 8))]
        code = shown(run, output, tree)
        return read_reports((tree / "tests/output/junit").glob("*.xml"), code)


def find_python(versions: t.Sequence[str]) -> str | None:
    """An interpreter of one of these versions: on PATH, or one that pyenv has."""
    pyenv = shutil.which("pyenv") or shutil.which(
        "pyenv", path=os.path.expanduser(os.environ.get("PYENV_ROOT", "~/.pyenv") + "/bin")
    )
    for version in versions:
        candidates = [shutil.which(f"python{version}")]
        if pyenv:
            candidates.append(f"{said(pyenv, 'prefix', version)}/bin/python")
        for candidate in candidates:
            # What pyenv puts on PATH may refuse to run.
            if candidate and said(candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == version:
                return candidate
    return None


def said(*words: str) -> str:
    try:
        return subprocess.run(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout.strip()
    except OSError:
        return ""


# In this order, the longest first, as it shares the machine with most of the others.
PARTS: dict[str, t.Callable[..., Result]] = {
    "image": build_image,
    # These share one lab.
    "e2e": functools.partial(pytest, "tests/e2e"),
    "lint": functools.partial(command, "scripts/lint"),
    "unit": functools.partial(pytest, "tests/unit", *PARALLEL),
    "newest-core": newest_core,
    "integration": functools.partial(pytest, "tests/integration", *PARALLEL),
    # Each case has a host of its own.
    "faults": functools.partial(pytest, "tests/faults", "-n", "auto", "--maxprocesses=8", "--dist=worksteal"),
    "contract": functools.partial(pytest, "tests/contract", *PARALLEL),
    "nix": functools.partial(pytest, "tests/nix", *PARALLEL),
}
# The others need it.
FIRST = "image"

if __name__ == "__main__":
    t.cast(io.TextIOWrapper, sys.stdout).reconfigure(errors="replace")
    sys.exit(main(sys.argv[1:]))
