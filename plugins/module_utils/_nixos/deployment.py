# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of an unconfirmed deployment on its host. Private: may change without notice.

The pending file decides. It is replaced as a whole, and only by who holds the lock; nix/modules/revert.sh does the same. Its
phase says how far the deployment came:

    armed       The revert is armed, the activation is under way. Profile and boot loader are as before.
    activated   The system runs and waits for its confirmation.
    confirming  Profile and boot loader are being changed (`permanent` says so before they are).
    confirmed   All of it is permanent, and nobody takes it back any more; only the record and the cleaning up may be missing.
    reverting   It is being taken back. Nobody confirms it any more.

What kills a run or the host leaves one of these behind, and each has one end:

    same boot, armed or activated     the timer takes it back (or the next run, if nobody could confirm it)
    same boot, confirming             a repeated confirmation completes it; otherwise the timer takes it back, boot loader included
    same boot, reverting              the next run repeats the revert, each step of which may be repeated
    confirmed                         the next run writes the record and cleans up
    after a restart of the host       `nixci-revert --after-boot`, by nixci-boot-confirm.service or by the next run: what ran is the old
                                      system unless the boot loader had the new one, so the deployment is interrupted, or confirmed
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import typing as t
from collections.abc import Iterator

from .._core.errors import NixciError
from . import locking
from .command import Runner

# Tests point these elsewhere.
PENDING = "/var/lib/nixci/deployment"
FAILED = "/var/lib/nixci/failed"
RECORD = "/var/log/nixci/deployments.jsonl"
LOCK = "/run/nixci/deployment.lock"
ROOTS = "/nix/var/nix/gcroots/nixci"
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# A system that was only not confirmed may be innocent: its controller may have died. So it may be tried this often.
UNCONFIRMED_TRIES = 2
REASON_LENGTH = 1000

Record = dict[str, t.Any]


@dataclasses.dataclass
class Deployment:
    """What the pending file says."""

    id: str
    system: str
    previous: str
    previous_generation: int | None
    action: str
    phase: str
    boot_id: str
    started: int
    confirm_timeout: int
    who: str
    permanent: bool = False
    no_check: bool = False
    reason: str = ""
    members: Record = dataclasses.field(default_factory=dict)
    """What the record is going to say beside time, result, reason and the new generation."""

    def returned(self, pending: bool) -> dict[str, t.Any]:
        names = ("id", "system", "previous", "action", "confirm_timeout", "boot_id", "who")
        return {**{name: getattr(self, name) for name in names}, "started": rfc3339(self.started), "pending": pending}

    def interrupted(self) -> bool:
        """Whether the host was restarted since."""
        return self.boot_id != boot_id()

    def write(self, **changes: t.Any) -> None:
        """The caller holds the lock."""
        for name, value in changes.items():
            setattr(self, name, value)
        values = {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "previous_generation": "" if self.previous_generation is None else self.previous_generation,
            "permanent": "yes" if self.permanent else "no",
            "no_check": "yes" if self.no_check else "no",
            "reason": one_line(self.reason),
            "members": json.dumps(self.members)[1:-1],
        }
        write_file(PENDING, "".join(f"{key}={value}\n" for key, value in values.items()))


def read() -> Deployment | None:
    """The unconfirmed deployment."""
    text = read_file(PENDING)
    if not text:
        return None
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    if not found.get("id") or not found.get("system"):
        return None
    return Deployment(
        **{
            name: found.get(name, "")
            for name in ("id", "system", "previous", "action", "phase", "boot_id", "who", "reason")
        },
        previous_generation=_number(found.get("previous_generation")),
        started=_number(found.get("started")) or 0,
        confirm_timeout=_number(found.get("confirm_timeout")) or 0,
        permanent=found.get("permanent") == "yes",
        no_check=found.get("no_check") == "yes",
        members=json.loads(f"{{{found.get('members', '')}}}"),
    )


@contextlib.contextmanager
def lock(runner: Runner) -> Iterator[None]:
    """Held while a deployment is confirmed or taken back; the kernel releases it, however the holder ends."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "a", encoding="utf-8") as file:
        locking.acquire(
            file.fileno(),
            runner,
            lambda: (
                f"The deployment of this host was still being confirmed or taken back after {runner.timeout:g} s; "
                "see 'journalctl --unit=nixci-revert', and run again."
            ),
        )
        yield


# Systems that failed


def refusal(path: str) -> str | None:
    """Why this system is not activated again without force; None if it may be."""
    lines = (read_file(os.path.join(FAILED, os.path.basename(path))) or "").splitlines()
    if not lines:
        return None
    word, _blank, count = lines[2].partition(" ") if len(lines) > 2 else ("", "", "")
    if word == "unconfirmed" and (_number(count) or 0) < UNCONFIRMED_TRIES:
        return None
    return f"{lines[0]} ({lines[1]})" if len(lines) > 1 else lines[0]


def forget(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(FAILED, os.path.basename(path)))


# The record


def records() -> list[Record]:
    """All of them, the oldest first. A line that a crash cut off is left out."""
    found = []
    for line in (read_file(RECORD) or "").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            found.append(dict(json.loads(line)))
    return found


def append(record: Record) -> None:
    try:
        os.makedirs(os.path.dirname(RECORD), exist_ok=True)
        with open(RECORD, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise NixciError(f"{RECORD} cannot be written: {exc.strerror}.", reason="not_written") from None


def last_record(name: str | None = None) -> Record | None:
    return next((record for record in reversed(records()) if name in (None, record.get("id"))), None)


# Roots of the garbage collector, and pins


def keep(name: str, path: str) -> None:
    """Keep a store path; atomic, so there is no moment without it."""
    os.makedirs(ROOTS, exist_ok=True)
    link = os.path.join(ROOTS, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{link}.new")
    os.symlink(path, f"{link}.new")
    os.replace(f"{link}.new", link)


def release(*names: str) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(ROOTS, name))


def prune(number: int, never: set[str | None]) -> None:
    """Keep the newest pins, and those of systems that are in use."""
    try:
        names = os.listdir(ROOTS)
    except FileNotFoundError:
        return
    pins = sorted((int(match[1]) for name in names if (match := re.fullmatch(r"confirmed-(\d+)", name))), reverse=True)
    for generation in pins[max(1, number) :]:
        if os.path.realpath(os.path.join(ROOTS, f"confirmed-{generation}")) not in never:
            release(f"confirmed-{generation}")


# Files


def boot_id() -> str:
    return (read_file(BOOT_ID) or "").strip()


def rfc3339(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017


def one_line(text: str) -> str:
    return " ".join(text.split())[:REASON_LENGTH]


def write_file(path: str, text: str) -> None:
    """Replace a file so that a crash leaves the old one or the new one."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise NixciError(f"{path} cannot be written: {exc.strerror}.", reason="not_written") from None


def read_file(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
