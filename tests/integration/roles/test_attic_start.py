# SPDX-License-Identifier: GPL-3.0-or-later
"""The role attic starts a server that somebody stopped."""

from __future__ import annotations

import os
import pathlib
import typing as t

from tests.support.playbook import play

# The state of atticd that systemctl shows, and whether it is to be started.
STATES = [
    ("loaded\ninactive\n", True),
    ("failed\nloaded\n", True),
    ("loaded\nactive\n", False),
    ("loaded\nactivating\n", False),
    ("not-found\ninactive\n", False),  # before the first rebuild
    ("masked\ninactive\n", False),
    ("", False),  # a machine without systemd
]
SYSTEMCTL = """#!/bin/sh
cd {folder}
number=$(cat number)
echo "$number: $*" >> calls
[ "$1" = show ] && cat "state-$number"
exit 0
"""


def test_only_a_stopped_server_is_started(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(folder=tmp_path))
    program.chmod(0o755)
    variables = {
        "nixci_cache_domain": "cache.example.com",
        "nixci_storage": {"endpoint": "https://s3.example.com", "region": "r", "bucket": "nars"},
    }
    tasks: list[dict[str, t.Any]] = []
    for number, (state, _) in enumerate(STATES):
        (tmp_path / f"state-{number}").write_text(state)
        select = {"argv": ["sh", "-c", f"echo {number} > {tmp_path}/number"]}
        tasks.append({"ansible.builtin.command": select, "changed_when": False})
        tasks.append({"ansible.builtin.include_role": {"name": "pantheros.nixci.attic"}})
    path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    played = play(tasks, variables, tmp_path / "play", secrets=[], environment=path)
    assert played.returncode == 0, played.output[-4000:]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert {call.split(":")[0] for call in calls} == {str(number) for number in range(len(STATES))}
    started = [number for number, (_, start) in enumerate(STATES) if start]
    assert [call for call in calls if " start " in call] == [f"{number}: start atticd.service" for number in started]
    assert f"changed={len(started)}" in played.output
