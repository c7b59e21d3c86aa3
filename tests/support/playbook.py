# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays tasks with the real ansible-playbook, as loud as it can be, and finds every place where a secret shows up."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import typing as t

from tests.support.paths import ROOT

ANSIBLE = pathlib.Path(sys.executable).with_name("ansible-playbook")


@dataclasses.dataclass(frozen=True)
class Played:
    returncode: int
    output: str
    leaks: list[str]
    """Where a secret was seen: the output, a process, a file that stayed behind."""


def play(
    tasks: list[dict[str, t.Any]],
    variables: dict[str, t.Any],
    folder: pathlib.Path,
    *,
    secrets: t.Collection[str | re.Pattern[str]],
    environment: dict[str, str] | None = None,
    module_defaults: dict[str, t.Any] | None = None,
    allowed_files: t.Collection[pathlib.Path] = (),
    hosts: int = 1,
) -> Played:
    """Runs the tasks on localhost with -vvvv --diff, the JUnit report and a fact cache.

    `secrets` are looked for as they are and in base64; `allowed_files` are those that the user asked for.
    `hosts` above 1 runs them on so many hosts, all with the local connection.
    """
    given, left = folder / "given", folder / "left"
    for place in (given, left / "home", left / "tmp"):
        place.mkdir(parents=True)
    names = ["localhost"] if hosts == 1 else [f"host{number}" for number in range(hosts)]
    inventory = {"all": {"hosts": {name: {"ansible_connection": "local"} for name in names}}}
    (given / "inventory.json").write_text(json.dumps(inventory))
    (given / "variables.json").write_text(json.dumps({"ansible_python_interpreter": sys.executable, **variables}))
    book = [{"hosts": "all", "gather_facts": False, "module_defaults": module_defaults or {}, "tasks": tasks}]
    (given / "play.yml").write_text(json.dumps(book))
    process = subprocess.Popen(
        [str(ANSIBLE), "-vvvv", "--diff", "-i", "inventory.json", "-e", "@variables.json", "play.yml"],
        cwd=given,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "HOME": str(left / "home"),
            "TMPDIR": str(left / "tmp"),
            "XDG_RUNTIME_DIR": str(left / "tmp"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit",
            "JUNIT_OUTPUT_DIR": str(left / "junit"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(left / "facts"),
            "ANSIBLE_LOG_PATH": str(left / "ansible.log"),
            "ANSIBLE_PIPELINING": "1",
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    watch = Processes(process.pid)
    output, _ = process.communicate()
    seen = {"the output": output, "the process list": watch.stop()}
    for path in left.rglob("*"):
        if path.is_file() and path not in allowed_files:
            seen[f"the file {path.relative_to(left)}"] = path.read_bytes().decode(errors="replace")
    leaks = [f"{place}: {found}" for place, text in seen.items() for found in find(secrets, text)]
    return Played(process.returncode, output, leaks)


def find(secrets: t.Collection[str | re.Pattern[str]], text: str) -> list[str]:
    """The secrets in a text, each with a few words around it."""
    patterns = []
    for secret in secrets:
        if isinstance(secret, re.Pattern):
            patterns.append(secret)
            continue
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
        # The last characters of base64 depend on what follows, those before do not.
        patterns += [re.compile(re.escape(secret)), re.compile(re.escape(encoded[: len(encoded) // 4 * 4]))]
    hits = [hit for pattern in patterns for hit in [pattern.search(text)] if hit]
    return [" ".join(text[max(0, hit.start() - 60) : hit.end() + 20].split()) for hit in hits]


class Processes:
    """The command lines of all processes below one, collected while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.seen: set[str] = set()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> str:
        self.done.set()
        self.thread.join()
        return "\n".join(sorted(self.seen))

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            family = {self.pid}
            for entry in sorted(pathlib.Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent in family or int(entry.name) == self.pid:
                        family.add(int(entry.name))
                        self.seen.add((entry / "cmdline").read_text().replace("\0", " "))
                except (OSError, ValueError):
                    continue  # it has ended
