# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host runs what it shall run. Private: may change without notice."""

from __future__ import annotations

import os
import stat
import textwrap
import time
import typing as t
import urllib.request

from .._core.errors import NixciError
from .command import Runner
from .host import journal

# Longer than a server needs to find out that its database is missing.
SETTLED = 2.0
PAUSE = 0.5

Params = dict[str, t.Any]
OWNERS = "SELECT datname || '=' || pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate"


class HostCheck:
    """All checks of a host, repeated until they pass or time is up."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self.runner = runner
        self.params = params
        self.units: dict[str, str] = {}

    def wait(self) -> dict[str, t.Any]:
        """The states of the units. Raises NixciError with every problem at once."""
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            unsettled = self.unsettled()
            problems = [*self.databases(), *self.files(), *self.urls()]
            if not unsettled and not problems:
                return {"units": self.units}
            if time.monotonic() >= deadline:
                raise self.error(unsettled, problems)
            time.sleep(PAUSE)

    def unsettled(self) -> list[str]:
        """Units that are not active, or not for long: in a restart loop, a service is active again and again."""
        names, unsettled = self.params["units"], []
        if not names:
            return []
        properties = "--property=ActiveState,SubState,ActiveEnterTimestampMonotonic"
        blocks = self.runner.run("systemctl", "show", properties, "--", *names).out.strip().split("\n\n")
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        for name, block in zip(names, blocks, strict=True):
            shown = dict(line.split("=", 1) for line in block.splitlines())
            self.units[name] = f"{shown['ActiveState']} ({shown['SubState']})"
            entered = int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
            if shown["ActiveState"] != "active" or now - entered < SETTLED:
                unsettled.append(name)
        return unsettled

    def databases(self) -> list[str]:
        wanted = self.params["databases"]
        if not wanted:
            return []
        psql = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={OWNERS}")
        outcome = self.runner.run("runuser", "--user=postgres", "--", *psql)
        if outcome.rc != 0:
            return [f"PostgreSQL cannot be asked for its databases: {outcome.err.strip()}"]
        owners = dict(line.rsplit("=", 1) for line in outcome.out.splitlines() if "=" in line)
        return [
            f"PostgreSQL has no database '{name}' owned by the user '{owner}' (found: {owners.get(name, 'no such database')}). "
            "Give the database to that user, or choose another name."
            for name, owner in wanted.items()
            if owners.get(name) != owner
        ]

    def files(self) -> list[str]:
        problems = []
        for path, mode in self.params["files"].items():
            try:
                found = stat.S_IMODE(os.stat(path).st_mode)
            except OSError as exc:
                problems.append(f"{path} cannot be found: {exc.strerror}.")
                continue
            if found != int(str(mode), 8):
                problems.append(f"{path} has the mode {found:04o} instead of {mode}.")
        return problems

    def urls(self) -> list[str]:
        problems = []
        # Never through a proxy: these are addresses of the host itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for entry in self.params["urls"]:
            request = urllib.request.Request(entry["url"], headers=entry["headers"] or {})  # noqa: S310 - the task names it
            try:
                opener.open(request, timeout=10).close()
            except (OSError, ValueError) as exc:
                problems.append(f"{entry['url']} does not answer properly: {exc}.")
        return problems

    def error(self, unsettled: list[str], problems: list[str]) -> NixciError:
        failed = [{"name": name, "journal": journal(self.runner, name)} for name in unsettled]
        if failed:
            listed = "\n".join(
                f"{unit['name']}: {self.units[unit['name']]}\n{textwrap.indent(unit['journal'], '  ')}"
                for unit in failed
            )
            problems = [
                f"Not steadily active after {self.params['timeout']} s: {', '.join(unsettled)}.\n{listed}",
                *problems,
            ]
        return NixciError("\n".join(problems), units=self.units, failed_units=failed)
