# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that `deploy_action=plan` writes and `deploy_plan` applies. Private: may change without notice."""

from __future__ import annotations

import json
import pathlib
import typing as t

VERSION = 1


def entry(path: str, host: str) -> tuple[dict[str, t.Any], list[str]]:
    """The system that a plan has for a host and the one that must run there, or what is wrong with the plan."""
    try:
        read = json.loads(pathlib.Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as exc:
        return {}, [f"The plan {path} cannot be read: {exc.strerror}."]
    except ValueError as exc:
        return {}, [f"The plan {path} is not JSON: {exc}."]
    try:
        if read["version"] != VERSION:
            return {}, [
                f"The plan {path} has version {read['version']}, but this is version {VERSION}; make a new plan."
            ]
        hosts = dict(read["hosts"])
        if host not in hosts:
            return {}, [
                f"The plan {path} has nothing for this host, only for {', '.join(sorted(hosts)) or 'none'}; limit the run to these, or make "
                "a new plan."
            ]
        systems = {"store_path": hosts[host]["to"], "expected": hosts[host]["from"]}
        if not all(isinstance(path, str) and path.startswith("/nix/store/") for path in systems.values()):
            raise ValueError
        return systems, []
    except (KeyError, TypeError, ValueError):
        return {}, [f"The plan {path} was not written by deploy_action=plan; make a new one."]
