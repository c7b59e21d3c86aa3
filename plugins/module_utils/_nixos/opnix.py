# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpNix of a NixOS system: what it fetches, and whether a token can read it. Private: may change without notice."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator

from .._core.errors import InvalidError, NixciError, UnavailableError
from .._core.redact import redact, redact_log
from .command import Outcome, Runner

UNIT = "opnix-secrets.service"
# The values that a test fetches stay here, in memory, for root only.
RUNTIME = "/run"

RATE_LIMITED = 75
# In OpNix' list of what it could not read: "  - missing_reference for op://vault/item/field: itemNotFound"
_FAILURE = re.compile(r"^\s+- \w+ for (op://.+): (.+)$", re.M)
_CAUSE = re.compile(r"^\s+(?:Cause|Issue): (.+)$", re.M)


@dataclasses.dataclass(frozen=True)
class Fetch:
    """One call of `opnix secret` in OpNix' unit."""

    program: str
    token_file: str
    config: str


@dataclasses.dataclass(frozen=True)
class Secret:
    """What has to be read in 1Password."""

    reference: str
    kind: str


class Opnix:
    """OpNix as a system has it, whether that system runs or was only built."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.fetches = self._fetches()

    @property
    def token_file(self) -> str | None:
        return self.fetches[0].token_file if self.fetches else None

    def secrets(self) -> list[Secret]:
        """All secrets, the user's own included, each once."""
        found: dict[Secret, None] = {}
        for fetch in self.fetches:
            try:
                with open(self._config(fetch), encoding="utf-8") as file:
                    entries = json.load(file)["secrets"]
                found.update((Secret(entry["reference"], entry.get("kind") or "field"), None) for entry in entries)
            except OSError as exc:
                raise NixciError(f"OpNix' configuration {fetch.config} cannot be read: {exc.strerror}.") from None
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InvalidError(f"{fetch.config} is not a configuration of OpNix; correct it.") from None
        return list(found)

    def _config(self, fetch: Fetch) -> str:
        """A file below /etc may come with the system's activation."""
        coming = self.system + fetch.config
        return coming if fetch.config.startswith("/etc/") and os.path.exists(coming) else fetch.config

    def _fetches(self) -> list[Fetch]:
        unit = os.path.join(self.system, "etc/systemd/system", UNIT)
        try:
            with open(unit, encoding="utf-8") as file:
                text = file.read()
            for script in re.findall(r"^ExecStart=-?(/\S+)", text, re.M):
                with open(script, encoding="utf-8") as file:
                    text += "\n" + file.read()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as exc:
            raise NixciError(f"{unit} cannot be read: {exc}.") from None
        lines = text.replace("\\\n", " ").splitlines()
        return [fetch for line in lines if (fetch := _fetch(line))]


def _fetch(line: str) -> Fetch | None:
    if "opnix secret" not in line:
        return None
    try:
        program, verb, *words = shlex.split(line)
    except ValueError:
        return None
    options = dict(zip(words[::2], words[1::2], strict=False))
    if not program.endswith("/opnix") or verb != "secret" or "-config" not in options:
        return None
    return Fetch(program, options.get("-token-file", "/etc/opnix-token"), options["-config"])


class Reader:
    """Reads secrets with the real program, and throws the values away."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def unreadable(self, opnix: Opnix, secrets: list[Secret], token: str) -> dict[str, str]:
        """Reference to reason for all that the token cannot read. Raises NixciError if it can read nothing at all."""
        problems: dict[str, str] = {}
        # OpNix reads files only after it could read all fields, so the two are asked for apart.
        for kind in sorted({secret.kind for secret in secrets}):
            references = [secret.reference for secret in secrets if secret.kind == kind]
            outcome = self._ask(opnix.fetches[0].program, references, kind, token)
            if outcome.rc != 0:
                problems.update(self._problems(outcome, token))
        return problems

    def _ask(self, program: str, references: list[str], kind: str, token: str) -> Outcome:
        with _private_folder() as folder:
            entries = [{"path": str(i), "reference": ref, "kind": kind} for i, ref in enumerate(references)]
            files = {"token": token, "config": json.dumps({"secrets": entries})}
            for name, text in files.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            token_file, config, output = (os.path.join(folder, name) for name in ("token", "config", "output"))
            return self.runner.run(
                *(program, "secret", "-token-file", token_file, "-config", config, "-output", output),
                env={"OP_SERVICE_ACCOUNT_TOKEN": ""},  # it would be used instead of the file
            )

    def _problems(self, outcome: Outcome, token: str) -> dict[str, str]:
        text = redact(outcome.err, [token])
        failures = dict(_FAILURE.findall(text))
        if failures:
            return failures
        if outcome.rc == RATE_LIMITED:
            raise UnavailableError(
                "1Password refuses more requests of this service account for now; nothing was changed, run again later.",
                reason="rate_limited",
            )
        causes = _CAUSE.findall(text) or text.strip().splitlines()[-1:] or ["it gave no reason"]
        cause = redact_log(causes[-1]).rstrip(".")
        raise NixciError(f"OpNix cannot read 1Password with the token: {cause}; nothing was changed.")


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    try:
        folder = tempfile.mkdtemp(prefix="nixci-opnix-", dir=RUNTIME)
    except OSError as exc:
        raise NixciError(f"No folder can be made in {RUNTIME}: {exc.strerror}.") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def last_start(runner: Runner) -> tuple[str, float]:
    """The state of OpNix' unit ("" without such a unit) and the time of its last start, in seconds of the epoch."""
    # To the microsecond: a token may be written in the same second.
    outcome = runner.run(
        "systemctl", "show", "--timestamp=us+utc", "--property=LoadState,ActiveState,ExecMainStartTimestamp", "--", UNIT
    )
    shown: dict[str, str] = dict(line.split("=", 1) for line in outcome.out.splitlines() if "=" in line)
    if shown.get("LoadState") != "loaded":
        return "", 0.0
    started = re.fullmatch(r"\w+ (.+) UTC", shown.get("ExecMainStartTimestamp", ""))
    return shown.get("ActiveState", ""), _seconds(started[1]) if started else 0.0


def _seconds(moment: str) -> float:
    return datetime.datetime.strptime(f"{moment} +0000", "%Y-%m-%d %H:%M:%S.%f %z").timestamp()
