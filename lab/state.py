# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder .lab/: everything that the lab keeps on this machine outside the container engine.

lab.json       what the inventory needs; written last, so it exists only for a complete lab
machine.json   what `up` did to this machine and `down` must undo
run            the test run that it is for
secrets/*      one credential per file, generated for each lab, readable by root only
ssh/  ca/      keys and certificates            *.log  *.pid   of the processes that `up` started
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import typing as t
from collections.abc import Iterator

from . import runs
from .names import ROOT
from .shell import LabError

DIR = ROOT / ".lab"
LAB = DIR / "lab.json"
MACHINE = DIR / "machine.json"
SECRETS = DIR / "secrets"


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Only one command changes the lab at a time; the lock dies with its process."""
    DIR.mkdir(mode=0o700, exist_ok=True)
    with open(DIR / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("Another lab command is running; wait until it has finished.") from None
        yield


def read(file: pathlib.Path) -> dict[str, t.Any]:
    """The content; empty if there is no file or if writing it was interrupted."""
    try:
        return t.cast(dict[str, t.Any], json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def write(file: pathlib.Path, content: dict[str, t.Any]) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(new, file)


def remember(**facts: t.Any) -> None:
    """Record something in machine.json, before doing it."""
    write(MACHINE, {**read(MACHINE), **facts})


def note_run() -> None:
    """Write down the test run that this lab is for, if any."""
    if run := os.environ.get(runs.VARIABLE):
        (DIR / "run").write_text(run)
    else:
        (DIR / "run").unlink(missing_ok=True)


def abandoned(folder: pathlib.Path | None = None) -> bool:
    """Whether the lab with this folder, ours unless told, is for a test run that is over."""
    try:
        return not runs.goes_on(((folder or DIR) / "run").read_text())
    except FileNotFoundError:
        return False


def write_secret(name: str, value: str) -> None:
    SECRETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = SECRETS / name
    file.touch(mode=0o600)
    file.write_text(value)


def secret(name: str) -> str:
    return (SECRETS / name).read_text()


def digest(*parts: str | pathlib.Path) -> str:
    """A short hash of texts, files and folders."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode() + b"\0")
            continue
        files = sorted(part.rglob("*")) if part.is_dir() else [part]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".md":
                total.update(f"{file.relative_to(part)} {file.stat().st_mode:o}\0".encode())
                total.update(file.read_bytes())
    return total.hexdigest()[:12]


def process(name: str, command: str, folder: pathlib.Path | None = None) -> int | None:
    """The id of the process in <name>.pid in this folder of a lab, ours unless told, if it is still the one that was started."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(((folder or DIR) / f"{name}.pid").read_text())
        if command in pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
            return pid
    return None
