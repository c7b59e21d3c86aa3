# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase

from ..plugin_utils._deploy import access, glance, host_key, plan, store, who


class ActionModule(ActionBase):
    """What only the controller can check, then the module on the host; plugins/modules/nixos_deploy_check.py documents both."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        name = variables["inventory_hostname"]
        arguments = {key: value for key, value in self._task.args.items() if value is not None}
        ssh = access.Ssh.of(self._connection)
        problems = list(host_key.problems(name, ssh)) if ssh else []
        if "plan" in arguments:
            entry, wrong = plan.entry(str(arguments.pop("plan")), name)
            problems += wrong
            arguments.update(entry)
        ssh_args = None
        if ssh:
            ssh_args = access.bounded(self._connection)
            self._connection.set_option("ssh_args", ssh_args)
        result.update(ssh_args=ssh_args, controller=who.deploys(), access={})
        if problems:
            # Whoever answers there may be another machine, so nothing is asked of it.
            return {**result, **NOT_ASKED, "changed": False, "problems": [f"{name}: {one}" for one in problems]}
        if "store_path" in arguments and (unchanged := self._glance(arguments)):
            return {**result, **unchanged, "changed": False}
        given = {"time": time.time(), **store.knows(arguments)}
        if ssh:
            given["access"] = result["access"] = access.of(ssh, self._play_context.become)
        found = self._execute_module(
            module_name="pantheros.nixci.nixos_deploy_check",
            module_args={**given, **arguments},
            task_vars=variables,
        )
        for kind in ("problems", "notes"):
            found[kind] = [f"{name}: {one}" for one in found.get(kind, [])]
        result.update(found)
        result["warnings"] = [*result.get("warnings", []), *found["notes"]]
        return result

    def _glance(self, arguments: dict[str, t.Any]) -> dict[str, t.Any] | None:
        done = self._low_level_execute_command(glance.command(str(arguments["store_path"])))
        return glance.nothing_to_do(done.get("stdout", ""), str(arguments.get("action", "switch")))


NOT_ASKED: dict[str, t.Any] = {
    "running": {},
    "store_path": None,
    "present": False,
    "current": False,
    "manifest": False,
    "unconfirmed": None,
    "resume": None,
    "missing_bytes": None,
    "notes": [],
}
