# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a database can be dumped, whether its newest dump can be read, and whether it was copied off the host.

Private: may change without notice.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
import typing as t

from .._core.errors import NixciError
from .._core.redact import redact_log
from .command import Runner
from .host import CURRENT_SYSTEM, journal

COPIES = "/var/lib/nixci-backup"

Params = dict[str, t.Any]
Result = dict[str, t.Any]


class Dump:
    """The dumps of one database, which one unit makes: DATABASE-20261126T023000Z.dump, in PostgreSQL's custom format."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self.runner = runner
        self.database, self.unit, self.folder = params["database"], params["unit"], params["folder"]
        self.max_age = params["max_age"] * 3600.0
        self.name = re.compile(re.escape(self.database) + r"-\d{8}T\d{6}Z\.dump")

    def verify(self, may_start: bool) -> Result:
        """Make one if there is none of this configuration that is young enough. Raises NixciError."""
        made = may_start and stale(self.newest(), self.max_age)
        if made:
            self.make()
        newest = self.newest()
        if newest is None:
            return {"path": None, "size": 0, "made": False}
        self.read(newest, whole=made)
        return {"path": newest, "size": os.stat(newest).st_size, "made": made}

    def make(self) -> None:
        started = int(time.time())
        start(self.runner, self.unit, f"dump the database '{self.database}'")
        newest = self.newest()
        if newest is None or os.stat(newest).st_mtime < started:
            raise NixciError(f"{self.unit} ran, but it left no new dump of '{self.database}' in {self.folder}.")

    def read(self, path: str, whole: bool) -> None:
        """The list of contents costs next to nothing; reading the data as well only pays for a new dump."""
        for argv in (["--list", path], *([["--file=/dev/null", path]] if whole else [])):
            outcome = self.runner.run("runuser", "--user=postgres", "--", self.runner.required("pg_restore"), *argv)
            if outcome.rc != 0:
                reason = redact_log(outcome.err).strip().splitlines()[-1:] or [f"exit code {outcome.rc}"]
                raise NixciError(f"The dump {path} cannot be read: {reason[0]}; remove it and start {self.unit}.")

    def newest(self) -> str | None:
        try:
            with os.scandir(self.folder) as entries:
                dumps = [(entry.stat().st_mtime, entry.path) for entry in entries if self.name.fullmatch(entry.name)]
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise NixciError(f"{self.folder} cannot be read: {exc.strerror}.") from None
        return max(dumps)[1] if dumps else None


class Copies:
    """The copies of dumps off the host, which one unit makes, reads back and compares. It alone knows the password."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self.runner = runner
        self.unit, self.databases = params["unit"], params["databases"]
        self.max_age = params["max_age"] * 3600.0

    def verify(self, may_start: bool) -> dict[str, str | None]:
        """Database to the dump that was last copied. Copies them if one of them was not lately. Raises NixciError."""
        if may_start and self.stale():
            start(self.runner, self.unit, "copy the dumps off the host")
            for database in self.stale()[:1]:
                raise NixciError(
                    f"{self.unit} ran, but {self.state(database)} does not say that it copied a dump of '{database}'."
                )
        return {database: self.copied(database) for database in self.databases}

    def stale(self) -> list[str]:
        return [database for database in self.databases if stale(self.state(database), self.max_age)]

    def copied(self, database: str) -> str | None:
        try:
            with open(self.state(database), encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            return None

    @staticmethod
    def state(database: str) -> str:
        return os.path.join(COPIES, f"{database}.offsite")


def stale(path: str | None, max_age: float) -> bool:
    """Old, or older than the activation of this system, which may have changed what a dump needs."""
    if path is None or not os.path.exists(path):
        return True
    written = os.stat(path).st_mtime
    activated = os.lstat(CURRENT_SYSTEM).st_mtime if os.path.lexists(CURRENT_SYSTEM) else 0.0
    return written < activated or time.time() - written > max_age


def start(runner: Runner, unit: str, action: str) -> None:
    started = int(time.time())
    outcome = runner.run("systemctl", "start", "--", unit)
    if outcome.rc != 0:
        log = textwrap.indent(journal(runner, unit, started), "  ")
        raise NixciError(f"{unit} cannot {action}:\n{log}")
