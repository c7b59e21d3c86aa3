# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host runs what it shall run. Private: may change without notice."""

from __future__ import annotations

import json
import os
import re
import stat
import textwrap
import time
import typing as t
import urllib.parse

from .._core.errors import InvalidError, NixciError
from . import probes
from .command import Runner
from .dump import Copies, Dump
from .finding import Finding, found, last_line
from .host import journal
from .settings import MANIFEST
from .unit_watch import Seen, UnitWatch

PAUSE = 0.5

Params = dict[str, t.Any]
OWNERS = "SELECT datname || '=' || pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate"
DUMP_DEFAULTS = {"max_age": 26, "timeout": 900}


def with_manifest(params: Params) -> Params:
    """The checks of a task, and those that the running system lists itself."""
    try:
        with open(MANIFEST, encoding="utf-8") as file:
            listed = json.load(file)["checks"]
        return {
            **params,
            "units": [*params["units"], *listed["units"]],
            "databases": {**listed["databases"], **params["databases"]},
            "postgresql": {**listed["postgresql"], **params["postgresql"]},
            "files": {**listed["files"], **params["files"]},
            "logins": {**listed["logins"], **params["logins"]},
            "dumps": [
                *params["dumps"],
                *({**DUMP_DEFAULTS, **dump, "database": name} for name, dump in listed["dumps"].items()),
            ],
            "urls": [*params["urls"], *({**answer, "url": url} for url, answer in listed["urls"].items())],
        }
    except FileNotFoundError:
        raise InvalidError(
            f"This host has no {MANIFEST}: its running system was not built with the modules of this collection. "
            "Activate one that was, and check it then."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InvalidError(
            f"{MANIFEST} has no list of checks: the running system was built with another version of this collection. "
            "Activate one of this version, and check it then."
        ) from None


class HostCheck:
    """All checks of a host, repeated until they pass or time is up."""

    def __init__(self, runner: Runner, params: Params) -> None:
        self.runner = runner
        self.params = params
        self.watch = UnitWatch(
            runner, params["units"], params["changed_units"], params["ignore_failed"], float(params["steady"])
        )
        self.answers: list[dict[str, t.Any]] = []

    def wait(self) -> dict[str, t.Any]:
        """The states of the units and what else was found. Raises NixciError with every problem at once."""
        deadline = time.monotonic() + self.params["timeout"]
        others: list[Finding] | None = None
        while True:
            seen, systemd = self.units()
            again = others is None or bool(others) or seen.passed
            if again:
                others = self.others()
            if seen.passed and not systemd and not others:
                break
            # A unit that is active, but not for long, is only observed to the end.
            observed = not (seen.down or seen.absent or systemd or others)
            late = time.monotonic() >= deadline + (self.watch.steady if observed else 0)
            for_good = not late and self.hopeless(seen)
            if late or for_good:
                raise self.error(seen, [*systemd, *((others if again else self.others()) or [])], for_good)
            time.sleep(min(PAUSE, seen.settling or PAUSE))
        # Not before PostgreSQL answers, and not again and again.
        dumps, problems = self.dumps()
        copies, more = self.copies()
        if problems or more:
            raise self.error(seen, [*problems, *more])
        return {"answers": self.answers, "dumps": dumps, "copies": copies, **self.result(seen, [])}

    def units(self) -> tuple[Seen, list[Finding]]:
        try:
            return self.watch.look(), []
        except NixciError as exc:
            return Seen(), [Finding("systemd", str(exc))]

    def hopeless(self, seen: Seen) -> bool:
        try:
            return self.watch.hopeless(seen)
        except NixciError:
            return False  # it may be asked again

    def others(self) -> list[Finding]:
        """Whatever does not pass besides the units."""
        urls, self.answers = probes.check_urls(self.params["urls"])
        commands = probes.check_commands(self.params["commands"], lambda seconds: Runner(self.runner.module, seconds))
        return [
            *self.databases(),
            *self.logins(),
            *self.files(),
            *probes.check_ports(self.params["ports"]),
            *urls,
            *commands,
        ]

    def databases(self) -> list[Finding]:
        wanted = self.params["databases"]
        try:
            owners = self.owners() if wanted else {}
        except NixciError as exc:
            return [Finding("databases", str(exc))]
        return [
            Finding(
                f"database {name}",
                f"PostgreSQL has no database '{name}' owned by the user '{owner}' (found: {owners.get(name, 'no such database')}). "
                "Give the database to that user, or choose another name.",
            )
            for name, owner in wanted.items()
            if owners.get(name) != owner
        ]

    def owners(self) -> dict[str, str]:
        outcome = self.psql(["runuser", "--user=postgres", "--"], f"--command={OWNERS}")
        if outcome.rc != 0:
            raise NixciError(f"PostgreSQL cannot be asked for its databases: {last_line(outcome.err)}")
        return dict(line.rsplit("=", 1) for line in outcome.out.splitlines() if "=" in line)

    def logins(self) -> list[Finding]:
        """Each as the user of a running service, over a new connection: the service itself keeps its old ones."""
        findings = []
        for unit, url in self.params["logins"].items():
            findings += found(f"login {unit}", self.login, unit, url)
        return findings

    def login(self, unit: str, url: str) -> str | None:
        if urllib.parse.urlsplit(url).password:
            raise InvalidError(f"logins: the URL for {unit} has a password, which every user of the host could see.")
        pid = self.watch.show([unit], "--property=MainPID")[unit].get("MainPID", "0")
        try:
            process = os.stat(f"/proc/{pid}")
        except OSError:
            return f"{unit} does not run, so its login to PostgreSQL cannot be tried."
        become = ["setpriv", f"--reuid={process.st_uid}", f"--regid={process.st_gid}", "--clear-groups", "--"]
        outcome = self.psql(become, "--command=SELECT 1", url)
        if outcome.rc == 0:
            return None
        return (
            f"The user of {unit} cannot log in to PostgreSQL ({last_line(outcome.err)}); "
            "allow it in services.postgresql.authentication and identMap."
        )

    def psql(self, become: list[str], *argv: str) -> t.Any:
        psql = [self.runner.required("psql"), "--no-psqlrc", "--no-password", "--tuples-only", "--no-align"]
        env = {"PGCONNECT_TIMEOUT": "10", **self.params["postgresql"]}
        return self.runner.run(*become, *psql, *argv, env=env, cwd="/")

    def dumps(self) -> tuple[dict[str, t.Any], list[Finding]]:
        verified, findings = {}, []
        for params in self.params["dumps"]:
            dump = Dump(Runner(self.runner.module, params["timeout"]), params)
            try:
                verified[dump.database] = dump.verify(may_start=not self.runner.module.check_mode)
            except NixciError as exc:
                findings.append(Finding(f"dump {dump.database}", str(exc)))
        return verified, findings

    def copies(self) -> tuple[dict[str, t.Any], list[Finding]]:
        copied, findings = {}, []
        for params in self.params["copies"]:
            copies = Copies(Runner(self.runner.module, params["timeout"]), params)
            try:
                copied.update(copies.verify(may_start=not self.runner.module.check_mode))
            except NixciError as exc:
                findings.append(Finding(f"copies {copies.unit}", str(exc)))
        return copied, findings

    def files(self) -> list[Finding]:
        findings = []
        for path, mode in self.params["files"].items():
            findings += found(f"file {path}", _file, path, mode)
        return findings

    def error(self, seen: Seen, findings: list[Finding], for_good: bool = False) -> NixciError:
        bad = [*seen.down, *seen.young]
        result = self.result(seen, findings)
        lines = [finding.message for finding in findings]
        absent = [self.absent(seen, name).message for name in seen.absent]
        if bad:
            journals = {unit["name"]: unit["journal"] for unit in result["failed_units"]}
            listed = "\n".join(
                f"{name}: {seen.units[name].state}\n{textwrap.indent(journals[name], '  ')}" for name in bad
            )
            how = (
                "Failed, and nothing starts them again"
                if for_good
                else f"Not steadily active after {self.params['timeout']} s"
            )
            lines = [f"{how}: {', '.join(bad)}.\n{listed}", *absent, *lines]
        else:
            lines = absent + lines
        if seen.others:
            lines.append(f"Also failed, but not because of this: {', '.join(seen.others)}.")
        # One cause, such as a missing program, may stop several checks.
        return NixciError("\n".join(dict.fromkeys(lines)), **result)

    def result(self, seen: Seen, findings: list[Finding]) -> dict[str, t.Any]:
        bad = [*seen.down, *seen.young]
        units = [
            *(Finding(f"unit {name}", f"{name} is not steadily active: {seen.units[name].state}.") for name in bad),
            *(self.absent(seen, name) for name in seen.absent),
        ]
        others = [Finding(f"unit {name}", f"{name} is {seen.units[name].state}.", False) for name in seen.others]
        return {
            "units": {name: unit.state for name, unit in seen.units.items()},
            "failures": [finding.result() for finding in (*units, *findings, *others)],
            "ignored": seen.others,
            "failed_units": [
                {"name": name, "journal": self.journal(name), "decisive": name in bad} for name in (*bad, *seen.others)
            ],
        }

    @staticmethod
    def absent(seen: Seen, name: str) -> Finding:
        return Finding(f"unit {name}", f"This host has no usable unit {name} ({seen.units[name].state}).")

    def journal(self, name: str) -> str:
        try:
            return journal(self.runner, name)
        except NixciError as exc:
            return f"(its journal cannot be read: {exc})"


def _file(path: str, mode: t.Any) -> str | None:
    try:
        existing = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as exc:
        return f"{path} cannot be found: {exc.strerror}."
    if not re.fullmatch(r"[0-7]{3,4}", str(mode)):
        raise InvalidError(f"files: the mode '{mode}' of {path} is not octal, such as '0400' with its quotes.")
    return None if existing == int(str(mode), 8) else f"{path} has the mode {existing:04o} instead of {mode}."
