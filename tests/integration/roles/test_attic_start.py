# SPDX-License-Identifier: GPL-3.0-or-later
"""The role attic starts a server that somebody stopped."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.support.playbook import play

SYSTEMCTL = """#!/bin/sh
echo "$*" >> {folder}/calls
[ "$1" = show ] && printf '{states}'
exit 0
"""


@pytest.mark.parametrize(
    ("states", "started"),
    [
        ("loaded\\ninactive\\n", True),
        ("failed\\nloaded\\n", True),
        ("loaded\\nactive\\n", False),
        ("loaded\\nactivating\\n", False),
        ("not-found\\ninactive\\n", False),  # before the first rebuild
        ("masked\\ninactive\\n", False),
        ("", False),  # a machine without systemd
    ],
)
def test_only_a_stopped_server_is_started(tmp_path: pathlib.Path, states: str, started: bool) -> None:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(folder=tmp_path, states=states))
    program.chmod(0o755)
    variables = {
        "nixci_cache_domain": "cache.example.com",
        "nixci_storage": {"endpoint": "https://s3.example.com", "region": "r", "bucket": "nars"},
    }
    played = play(
        [{"ansible.builtin.import_role": {"name": "pantheros.nixci.attic"}}],
        variables,
        tmp_path / "play",
        secrets=[],
        environment={"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )
    assert played.returncode == 0, played.output[-4000:]
    assert ("start atticd.service" in (tmp_path / "calls").read_text()) is started
    assert ("changed=1" in played.output) is started
