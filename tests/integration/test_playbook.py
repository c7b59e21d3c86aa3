# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for secrets finds them wherever a play or an exception can leave them."""

from __future__ import annotations

import pathlib

from tests.support.collection import run_module
from tests.support.playbook import find, play

SECRET = "canary-CANARY-canary"


def test_a_secret_is_found_wherever_a_play_leaves_it(tmp_path: pathlib.Path) -> None:
    tasks = [
        {"ansible.builtin.debug": {"msg": "{{ secret }}"}},
        {"ansible.builtin.set_fact": {"kept": "{{ secret }}", "cacheable": True}, "no_log": True},
        {"ansible.builtin.copy": {"content": "{{ secret }}", "dest": "{{ place }}/home/left"}, "no_log": True},
        {"ansible.builtin.command": {"argv": ["true", "{{ secret }}"]}, "no_log": True},
    ]
    variables = {"secret": SECRET, "place": str(tmp_path / "left")}
    played = play(tasks, variables, tmp_path, secrets=[SECRET])
    assert played.returncode == 0, played.output
    places = {leak.partition(":")[0] for leak in played.leaks}
    assert {"the output", "the command lines", "the file home/left", "the file ansible.log"} <= places
    assert any(place.startswith("the file facts/") for place in places)
    assert any(place.startswith("the file junit/") for place in places)


def test_a_file_that_the_user_asked_for_may_hold_a_secret(tmp_path: pathlib.Path) -> None:
    wanted = tmp_path / "left/home/wanted"
    task = {"ansible.builtin.copy": {"content": "{{ secret }}", "dest": str(wanted)}, "no_log": True}
    played = play([task], {"secret": SECRET}, tmp_path, secrets=[SECRET], allowed_files=[wanted])
    assert played.returncode == 0, played.output
    assert played.leaks == []


def test_base64_is_recognized_within_a_longer_text() -> None:
    assert find([SECRET], "Y2FuYXJ5LUNBTkFSWS1jYW5hcnk6eA==") != []


def test_the_exceptions_behind_a_failure_are_kept() -> None:
    record = {"zone": "example.com", "name": "cache", "type": "A", "content": ["203.0.113.1"]}
    access = {"url": "http://127.0.0.1:9", "token": "t" * 40, "retries": 0}
    result = run_module("cloudflare_record", {**record, **access})
    assert result["failed"]
    assert result["msg"] in result.exceptions
