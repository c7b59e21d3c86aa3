# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook as a user runs it in a checkout, with the user's output: to its end, or killed on the way."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import typing as t

from tests.support.paths import ROOT
from tests.support.playbook import ANSIBLE


class Played(t.NamedTuple):
    rc: int
    out: str

    @property
    def text(self) -> str:
        """In one line, so that the terminal's width plays no part."""
        return " ".join(self.out.split())

    @property
    def unchanged(self) -> bool:
        return self.rc == 0 and re.search(r"changed=0\b", self.out) is not None


class Controller:
    """Runs a playbook on an inventory. Subclasses add what the user has; the environment of the tests plays no part."""

    timeout = 300

    def __init__(self, inventory: str | pathlib.Path, playbook: str | pathlib.Path, **environment: str) -> None:
        self.inventory, self.playbook = inventory, playbook
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "OP_", "SSH_"))},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "10000",
            **environment,
        }

    def argv(self, *args: str, **values: t.Any) -> list[str]:
        """The values are extra variables."""
        extra = [f"--extra-vars={json.dumps(values)}"] if values else []
        return [str(ANSIBLE), f"--inventory={self.inventory}", str(self.playbook), *args, *extra]

    def play(self, *args: str, **values: t.Any) -> Played:
        done = subprocess.run(
            self.argv(*args, **values),
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        return Played(done.returncode, done.stdout)

    def killed_at(self, task: str, after: float = 0, **values: t.Any) -> None:
        """Kill the run and everything that it has started, some seconds after a task has begun."""
        process = subprocess.Popen(
            self.argv(**values),
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        printed = ""
        for line in process.stdout or []:
            printed += line
            if task in line:
                time.sleep(after)
                break
        else:
            raise AssertionError(f"the play ended before {task}: {printed}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
