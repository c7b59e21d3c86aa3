# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of a module or a lookup in which no secret may show up: as tasks of one play, and in this process."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

from tests.support.collection import run_module
from tests.support.playbook import Secrets, find, play, recorder_folder


@dataclasses.dataclass(frozen=True)
class Case:
    """One task of a play that looks for secrets."""

    name: str
    plugin: str
    """The module or lookup, without the name of the collection."""
    options: dict[str, t.Any]
    error: str | None = None
    """A part of the message of a task that must fail; None if it must succeed."""
    broken_library: tuple[str, str] | None = None
    """The name of a library and the source of the module that stands in its place."""
    no_log: bool = False
    term: str | None = None
    """Of a lookup."""

    def action(self, given: str) -> dict[str, t.Any]:
        """The task without its keywords; its values come from a variable."""
        if self.term is None:
            return {f"pantheros.nixci.{self.plugin}": {name: f"{{{{ {given}.{name} }}}}" for name in self.options}}
        lookup = f"lookup('pantheros.nixci.{self.plugin}', {given}.term, **{given}.options)"
        return {"ansible.builtin.set_fact": {"found": f"{{{{ {lookup} }}}}"}}


def play_cases(
    cases: t.Sequence[Case],
    folder: pathlib.Path,
    *,
    secrets: Secrets,
    environment: dict[str, str] | None = None,
) -> str:
    """Plays each case as one task and returns the output; no secret may show up anywhere.

    Options reach the modules through variables, because Ansible itself shows what is written into a task.
    """
    variables: dict[str, t.Any] = {}
    tasks: list[dict[str, t.Any]] = []
    expected: list[str] = []
    for number, case in enumerate(cases):
        given, result = f"given{number}", f"result{number}"
        variables[given] = case.options if case.term is None else {"term": case.term, "options": case.options}
        task = {**case.action(given), "name": case.name, "register": result, "no_log": case.no_log}
        if case.error is not None:
            task["ignore_errors"] = True
            expected += [f"{result} is failed", f"{json.dumps(case.error)} in {result}.msg"]
        if case.broken_library:
            library, source = case.broken_library
            place = folder / f"broken{number}"
            (place / library).mkdir(parents=True)
            (place / library / "__init__.py").write_text(source)
            task["environment"] = {"PYTHONPATH": f"{place}{os.pathsep}{recorder_folder(folder)}"}
        tasks.append(task)
    tasks.append({"ansible.builtin.assert": {"that": expected}})
    played = play(tasks, variables, folder, secrets=secrets, environment=environment)
    assert played.returncode == 0, played.output[-6000:]
    assert played.leaks == []
    return played.output


def assert_no_secret_in_exceptions(case: Case, secrets: Secrets) -> None:
    """Of the exceptions behind a failing module: Ansible's own masking of the result is not relied on."""
    result = run_module(case.plugin, case.options)
    assert result["failed"]
    assert t.cast(str, case.error) in result["msg"]
    assert find(secrets, result.exceptions) == []


def raising(cases: t.Iterable[Case]) -> list[Case]:
    """The cases for `assert_no_secret_in_exceptions`."""
    return [case for case in cases if case.error is not None and not case.broken_library]
