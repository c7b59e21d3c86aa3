# SPDX-License-Identifier: GPL-3.0-or-later
"""Our modules on the lab's host, with its own Python and without a controller."""

from __future__ import annotations

import json
import pathlib
import typing as t

import ansible

from lab.shell import attempt
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

SITE = "/opt/ansible-site"
NIXCI = f"{SITE}/ansible_collections/pantheros/nixci"
START = """
import importlib, sys
sys.path.insert(0, "{site}")
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
importlib.import_module("ansible_collections.pantheros.nixci.plugins.modules.{name}").main()
"""


def install(host: Host) -> None:
    host.out(f"mkdir -p {SITE}/ansible {NIXCI}/plugins")
    library = pathlib.Path(ansible.__file__).parent
    host.put(f"{SITE}/ansible/__init__.py", "")  # the real one wants the controller's parts
    for name in ("release.py", "module_utils"):
        host.copy(library / name, f"{SITE}/ansible/{name}")
    for name in ("modules", "module_utils"):
        host.copy(ROOT / "plugins" / name, f"{NIXCI}/plugins/{name}")


def module(host: Host, name: str, **params: t.Any) -> dict[str, t.Any]:
    command = ["docker", "exec", "--interactive", host.id, "python3", "-c", START.format(site=SITE, name=name)]
    done = attempt(*command, input=json.dumps({"ANSIBLE_MODULE_ARGS": params}), stdin=None)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    return {"failed": False, **json.loads(lines[-1])}
