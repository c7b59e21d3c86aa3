# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host runs what it shall run. Private: may change without notice."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import stat
import textwrap
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._core.errors import InvalidError, NixciError
from .._core.redact import redact_log
from . import listener
from .command import Runner
from .dump import Dump
from .host import journal
from .settings import MANIFEST

# Longer than a server needs to find out that its database is missing.
SETTLED = 2.0
PAUSE = 0.5
ANSWER_LIMIT = 1 << 20

Params = dict[str, t.Any]
OWNERS = "SELECT datname || '=' || pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate"
DUMP_DEFAULTS = {"max_age": 26, "timeout": 900}
PROPERTIES = "--property=LoadState,ActiveState,SubState,ActiveEnterTimestampMonotonic"


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
        self.states: dict[str, str] = {}
        self.answers: list[dict[str, t.Any]] = []

    def wait(self) -> dict[str, t.Any]:
        """The states of the units and what else was found. Raises NixciError with every problem at once."""
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            unsettled, problems = self.unsettled()
            for check in (self.databases, self.logins, self.files, self.urls):
                problems += self.problems(check)
            if not unsettled and not problems:
                break
            if time.monotonic() >= deadline:
                raise self.error(unsettled, problems)
            time.sleep(PAUSE)
        # Not before PostgreSQL answers, and not again and again.
        dumps, problems = self.dumps()
        if problems:
            raise self.error([], problems)
        return {"units": self.states, "answers": self.answers, "dumps": dumps}

    @staticmethod
    def problems(check: t.Callable[[], list[str]]) -> list[str]:
        """What cannot be checked, for want of a program or of time, is a problem beside the others."""
        try:
            return check()
        except InvalidError:
            raise  # waiting does not help
        except NixciError as exc:
            return [str(exc)]

    def unsettled(self) -> tuple[list[str], list[str]]:
        """Units that are not active, or not for long: in a restart loop, a service is active again and again."""
        names = list(dict.fromkeys(self.params["units"]))
        if not names:
            return [], []
        try:
            shown = self.show(names, PROPERTIES)
        except NixciError as exc:
            return [], [str(exc)]
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        unsettled, problems = [], []
        for name, unit in shown.items():
            if unit.get("LoadState", "loaded") != "loaded":
                self.states[name] = unit["LoadState"]
                problems.append(f"This host has no usable unit {name} ({unit['LoadState']}).")
                continue
            self.states[name] = f"{unit['ActiveState']} ({unit['SubState']})"
            entered = int(unit.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
            if unit["ActiveState"] != "active" or now - entered < SETTLED:
                unsettled.append(name)
        return unsettled, problems

    def show(self, names: list[str], properties: str) -> dict[str, dict[str, str]]:
        """The properties of units. Raises NixciError if systemd does not give them."""
        outcome = self.runner.run("systemctl", "show", properties, "--", *names)
        blocks = outcome.out.strip().split("\n\n") if outcome.out.strip() else []
        if outcome.rc != 0 or len(blocks) != len(names):
            reason = (outcome.err.strip().splitlines() or ["no answer"])[0].rstrip(".")
            raise NixciError(f"systemd cannot be asked for {', '.join(names)}: {reason}.")
        pairs = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        return dict(zip(names, pairs, strict=True))

    def databases(self) -> list[str]:
        wanted = self.params["databases"]
        if not wanted:
            return []
        outcome = self.psql(["runuser", "--user=postgres", "--"], f"--command={OWNERS}")
        if outcome.rc != 0:
            return [f"PostgreSQL cannot be asked for its databases: {_reason(outcome.err)}"]
        owners = dict(line.rsplit("=", 1) for line in outcome.out.splitlines() if "=" in line)
        return [
            f"PostgreSQL has no database '{name}' owned by the user '{owner}' (found: {owners.get(name, 'no such database')}). "
            "Give the database to that user, or choose another name."
            for name, owner in wanted.items()
            if owners.get(name) != owner
        ]

    def logins(self) -> list[str]:
        """Each as the user of a running service, over a new connection: the service itself keeps its old ones."""
        problems = []
        for unit, url in self.params["logins"].items():
            if urllib.parse.urlsplit(url).password:
                raise InvalidError(
                    f"logins: the URL for {unit} has a password, which every user of the host could see."
                )
            pid = self.show([unit], "--property=MainPID")[unit].get("MainPID", "0")
            try:
                process = os.stat(f"/proc/{pid}")
            except OSError:
                problems.append(f"{unit} does not run, so its login to PostgreSQL cannot be tried.")
                continue
            become = ["setpriv", f"--reuid={process.st_uid}", f"--regid={process.st_gid}", "--clear-groups", "--"]
            outcome = self.psql(become, "--command=SELECT 1", url)
            if outcome.rc != 0:
                problems.append(
                    f"The user of {unit} cannot log in to PostgreSQL ({_reason(outcome.err)}); "
                    "allow it in services.postgresql.authentication and identMap."
                )
        return problems

    def psql(self, become: list[str], *argv: str) -> t.Any:
        psql = [self.runner.required("psql"), "--no-psqlrc", "--no-password", "--tuples-only", "--no-align"]
        env = {"PGCONNECT_TIMEOUT": "10", **self.params["postgresql"]}
        return self.runner.run(*become, *psql, *argv, env=env, cwd="/")

    def dumps(self) -> tuple[dict[str, t.Any], list[str]]:
        found, problems = {}, []
        for params in self.params["dumps"]:
            dump = Dump(Runner(self.runner.module, params["timeout"]), params)
            try:
                found[dump.database] = dump.verify(may_start=not self.runner.module.check_mode)
            except NixciError as exc:
                problems.append(str(exc))
        return found, problems

    def files(self) -> list[str]:
        problems = []
        for path, mode in self.params["files"].items():
            try:
                found = stat.S_IMODE(os.stat(path).st_mode)
            except OSError as exc:
                problems.append(f"{path} cannot be found: {exc.strerror}.")
                continue
            if not re.fullmatch(r"[0-7]{3,4}", str(mode)):
                raise InvalidError(f"files: the mode '{mode}' of {path} is not octal, such as '0400' with its quotes.")
            if found != int(str(mode), 8):
                problems.append(f"{path} has the mode {found:04o} instead of {mode}.")
        return problems

    def urls(self) -> list[str]:
        self.answers = []
        problems = []
        for entry in self.params["urls"]:
            try:
                problem = self.listener(entry) or self.answer(entry)
            except (OSError, ValueError, http.client.HTTPException) as exc:
                problem = f"{entry['url']} does not answer properly: {str(exc) or type(exc).__name__}."
            if problem:
                problems.append(problem)
        return problems

    @staticmethod
    def listener(entry: Params) -> str | None:
        if not entry.get("unit"):
            return None
        url = urllib.parse.urlsplit(entry["url"])
        return listener.problem(url.hostname or "", url.port or {"https": 443}.get(url.scheme, 80), entry["unit"])

    def answer(self, entry: Params) -> str | None:
        headers = entry.get("headers") or {}
        request = urllib.request.Request(entry["url"], headers=headers)  # noqa: S310 - the task names it
        # Never through a proxy, and no redirect to another server: these are addresses of the host itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        try:
            response = opener.open(request, timeout=10)
        except urllib.error.HTTPError as exc:
            response = exc
        with contextlib.closing(response):
            status, body = response.status, response.read(ANSWER_LIMIT)
        expected, text = entry.get("status"), entry.get("contains")
        if status != expected if expected else status >= 400:
            wanted = f", but {expected} is expected" if expected else ""
            return f"{entry['url']} does not answer properly: it answers with status {status}{wanted}."
        if text and text.encode() not in body:
            return f"{entry['url']} answers, but without '{text}', so it is another server than the one expected there."
        host = {name.lower(): value for name, value in headers.items()}.get("host")
        digest = hashlib.sha256(body).hexdigest()
        self.answers.append({"url": entry["url"], "host": host, "status": status, "sha256": digest})
        return None

    def error(self, unsettled: list[str], problems: list[str]) -> NixciError:
        failed = [{"name": name, "journal": self.journal(name)} for name in unsettled]
        if failed:
            listed = "\n".join(
                f"{unit['name']}: {self.states[unit['name']]}\n{textwrap.indent(unit['journal'], '  ')}"
                for unit in failed
            )
            problems = [
                f"Not steadily active after {self.params['timeout']} s: {', '.join(unsettled)}.\n{listed}",
                *problems,
            ]
        # One cause, such as a missing program, may stop several checks.
        return NixciError("\n".join(dict.fromkeys(problems)), units=self.states, failed_units=failed)

    def journal(self, name: str) -> str:
        try:
            return journal(self.runner, name)
        except NixciError as exc:
            return f"(its journal cannot be read: {exc})"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        return None


def _reason(text: str) -> str:
    return (redact_log(text).strip().splitlines() or ["no reason given"])[-1].rstrip(".")
