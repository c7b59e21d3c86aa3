# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings these tests evaluate are what the roles write for inventory/example."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from .conftest import EXAMPLE, ROOT


def read(folder: pathlib.Path) -> dict[str, object]:
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def test_roles_write_the_example(tmp_path: pathlib.Path) -> None:
    written = tmp_path / "nixci/settings"
    written.mkdir(parents=True)
    done = subprocess.run(
        [
            pathlib.Path(sys.executable).with_name("ansible-playbook"),
            "--inventory=inventory/example",
            f"--extra-vars=target={tmp_path}",
            pathlib.Path(__file__).with_name("settings.yml"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": "ansible.cfg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert read(written) == read(EXAMPLE)
