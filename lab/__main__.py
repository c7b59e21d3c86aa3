# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab up | down | status | summary | ssh: see README.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import typing as t

from . import lifecycle, state, summary
from .names import HOST_NAME, SMALL_NAME
from .shell import LabError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A complete installation on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the lab; do nothing if it runs")
    commands.add_parser("down", help="remove every trace of it")
    commands.add_parser("status", help="show what runs").add_argument("--json", action="store_true")
    commands.add_parser("summary", help="show the cache as it is now")
    shell = commands.add_parser("ssh", help="open a shell on a host, or run a command there")
    shell.add_argument("--host", default=HOST_NAME, choices=(HOST_NAME, SMALL_NAME))
    shell.add_argument("argv", nargs="*")
    options = parser.parse_args()
    try:
        if options.command == "up":
            lifecycle.up()
        elif options.command == "down":
            lifecycle.down()
        elif options.command == "status":
            show(lifecycle.status(), options.json)
        elif options.command == "summary":
            print(summary.summary())
        else:
            ssh(options.host, options.argv)
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; run the same command again.", file=sys.stderr)
        return 130
    return 0


def show(status: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(status, indent=2))
        return
    for key, value in status.items():
        print(f"{key}: {json.dumps(value)}")


def ssh(name: str, argv: list[str]) -> t.NoReturn:
    host = state.read(state.LAB).get("hosts", {}).get(name)
    if not host:
        raise LabError("The lab is not up; start it with 'python -m lab up'.")
    known = f"-oUserKnownHostsFile={host['known_hosts']}"
    address = f"{host['user']}@{host['address']}"
    sys.exit(subprocess.call(["ssh", "-i", host["private_key"], known, address, *argv]))


sys.exit(main())
