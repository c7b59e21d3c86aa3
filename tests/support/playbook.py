# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays tasks with the real ansible-playbook at its most verbose, and finds every place where a secret shows up."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t

from tests.support.paths import ROOT

ANSIBLE = pathlib.Path(sys.executable).with_name("ansible-playbook")
Secrets = t.Collection[str | re.Pattern[str]]

# Python imports this file when it starts. It writes down the command line of every Python process below
# ansible-playbook and of every process that one of them starts, however short its life is.
RECORDER = """
import os
import sys

EVENTS = {
    "subprocess.Popen": lambda program, arguments, *_: arguments,
    "os.system": lambda command: [command],
    "os.exec": lambda path, arguments, *_: arguments,
    "os.posix_spawn": lambda path, arguments, *_: arguments,
}


def record(command):
    words = [command] if isinstance(command, (str, bytes)) else command
    line = b" ".join(os.fsencode(word) for word in words) + b"\\n"
    log = os.open(os.path.join(os.path.dirname(__file__), "commands"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, line)
    finally:
        os.close(log)


def audit(event, arguments):
    if event in EVENTS:
        record(EVENTS[event](*arguments))


record(sys.orig_argv)
sys.addaudithook(audit)
"""


@dataclasses.dataclass(frozen=True)
class Played:
    returncode: int
    output: str
    leaks: list[str]
    """Where a secret was seen: the output, a command line, a file that stayed behind."""


def play(
    tasks: list[dict[str, t.Any]],
    variables: dict[str, t.Any],
    folder: pathlib.Path,
    *,
    secrets: Secrets,
    environment: dict[str, str] | None = None,
    module_defaults: dict[str, t.Any] | None = None,
    allowed_files: t.Collection[pathlib.Path] = (),
    hosts: int = 1,
) -> Played:
    """Runs the tasks on localhost with -vvvv --diff, the JUnit report and a fact cache.

    `secrets` are looked for as they are and in base64; `allowed_files` are those that the user asked for.
    `hosts` above 1 runs them on so many hosts, all with the local connection.
    """
    given, left, recorder = folder / "given", folder / "left", recorder_folder(folder)
    # Ansible listens on a socket in there, whose path must be short.
    temporary = pathlib.Path(tempfile.mkdtemp(prefix="nixci-"))
    for place in (given, left / "home", recorder):
        place.mkdir(parents=True)
    names = ["localhost"] if hosts == 1 else [f"host{number}" for number in range(hosts)]
    inventory = {"all": {"hosts": {name: {"ansible_connection": "local"} for name in names}}}
    (given / "inventory.json").write_text(json.dumps(inventory))
    (given / "variables.json").write_text(json.dumps({"ansible_python_interpreter": sys.executable, **variables}))
    book = [{"hosts": "all", "gather_facts": False, "module_defaults": module_defaults or {}, "tasks": tasks}]
    (given / "play.yml").write_text(json.dumps(book))
    (recorder / "sitecustomize.py").write_text(RECORDER)
    done = subprocess.run(
        [str(ANSIBLE), "-vvvv", "--diff", "-i", "inventory.json", "-e", "@variables.json", "play.yml"],
        cwd=given,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "HOME": str(left / "home"),
            "TMPDIR": str(temporary),
            "XDG_RUNTIME_DIR": str(temporary),
            "PYTHONPATH": str(recorder),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit",
            "JUNIT_OUTPUT_DIR": str(left / "junit"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(left / "facts"),
            "ANSIBLE_LOG_PATH": str(left / "ansible.log"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_REMOTE_TEMP": str(left / "remote"),
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    shutil.move(temporary, left / "tmp")
    seen = {"the output": done.stdout, "the command lines": (recorder / "commands").read_text()}
    for path in left.rglob("*"):
        if path.is_file() and path not in allowed_files:
            seen[f"the file {path.relative_to(left)}"] = path.read_bytes().decode(errors="replace")
    leaks = [f"{place}: {found}" for place, text in seen.items() for found in find(secrets, text)]
    return Played(done.returncode, done.stdout, leaks)


def recorder_folder(folder: pathlib.Path) -> pathlib.Path:
    """What a task that sets PYTHONPATH must keep there."""
    return folder / "recorder"


def find(secrets: Secrets, text: str) -> list[str]:
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
