# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case must end with, compared as a whole: the host, the exit code, what the user reads, and the record."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from .controller import Controller, Run
from .host import PATIENCE, Host

# Exit codes of ansible-playbook.
OK, FAILED, UNREACHABLE = 0, 2, 4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The names are those of systems.nix."""

    running: str
    profile: str = ""
    """By default, the running one."""
    boot: str = ""
    """What the boot loader starts next; by default, the running one."""
    app: str = ""
    """The system that started the user's service, or the state of the service if it does not run; by default, the running one."""
    records: t.Sequence[tuple[str, str, str]] = ()
    """All of them: result, from, to."""
    reason: str = ""
    """In the last record."""
    transport: str = ""
    """In the last record."""
    remembered: t.Sequence[str] = ()
    """Systems that failed here."""
    pending: str = ""
    """The system that waits for its confirmation."""
    code: int | None = None
    """The exit code; without one, the run of the controller was killed."""
    message: str = ""
    """In what the controller printed."""
    reachable: bool = True
    """Over a new connection."""

    def check(self, host: Host, run: Run | None = None, controller: Controller | None = None) -> dict[str, t.Any]:
        """Wait until the host is in this state; the state."""
        if run:
            assert run.code == self.code, f"the exit code is {run.code}, not {self.code}:\n{run.output}"
            assert self.message in flat(run.output), f"'{self.message}' is not in the output:\n{run.output}"
        expected = {
            "running": self.running,
            "profile": self.profile or self.running,
            "boot": self.boot or self.running,
            "app": self.app or self.running,
            "sshd": "active" if self.reachable else "inactive",
            "records": list(self.records),
            "remembered": sorted(self.remembered),
            "pending": self.pending,
            "timer": "active" if self.pending else "inactive",
            "activating": "inactive",
        }
        deadline = time.monotonic() + PATIENCE
        while (found := _found(state := host.state())) != expected and time.monotonic() < deadline:
            time.sleep(1)  # state.py is a whole program
        assert found == expected, f"{state}\n{run.output if run else ''}\n{host.log()}"
        if self.transport:
            assert state["records"][-1]["transport"] == self.transport, state["records"][-1]
        if self.reason:
            assert self.reason in state["records"][-1]["reason"], state["records"][-1]
        if controller:
            assert controller.reaches(host) is self.reachable
        return state


def _found(state: dict[str, t.Any]) -> dict[str, t.Any]:
    records = [(record["result"], record["from"], record["to"]) for record in state["records"]]
    return {**state, "records": records, "pending": state["pending"].get("system", "")}


def flat(text: str) -> str:
    """Ansible wraps what modules say."""
    return " ".join(text.split())
