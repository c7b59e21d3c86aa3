# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ..plugin_utils._preflight import host, specs
from ..plugin_utils._preflight.host import Report


class ActionModule(ActionBase):
    """Needs no Python on the host; plugins/modules/nixos_host_info.py documents it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "config_dir": {"type": "str", "default": "/etc/nixos"},
                "configuration": {"type": "str", "default": ""},
                "persistent": {"type": "list", "elements": "path", "default": []},
                "calendars": {"type": "list", "elements": "str", "default": []},
                "fetch_python": {"type": "bool", "default": True},
            }
        )
        name = variables["inventory_hostname"]
        configured = str(self._templar.template(variables.get("ansible_python_interpreter", "")))
        report, problems = self._report(name, options, "" if configured.startswith("auto") else configured)
        if not problems:
            problems = list(
                host.problems(name, report, options["config_dir"], specs.supported(), options["configuration"])
            )
        install = [] if report["nixos"] or not report["complete"] else list(host.install_problems(name, report))
        result.update(
            changed=False,
            nixos=bool(report["nixos"]),
            release=report.release,
            system=report["system"] or None,
            architecture=report["architecture"] or None,
            config_files=report.all("configuration"),
            install_problems=install,
            opnix=report["opnix"] or None,
            # What Ansible finds itself stays its choice.
            python=report["python"] or None,
            interpreter=report["python"] if report["python"] and not report["python_in_path"] else None,
            problems=problems,
            warnings=[*result.get("warnings", []), *host.warnings(name, report)],
        )
        return result

    def _report(self, name: str, options: dict[str, t.Any], interpreter: str) -> tuple[Report, list[str]]:
        arguments = [
            options["config_dir"],
            interpreter,
            "fetch" if options["fetch_python"] else "",
            *options["persistent"],
            "--",
            *options["calendars"],
        ]
        script = host.SCRIPT.read_text(encoding="utf-8")
        command = " ".join(["sh", "-c", *map(shlex.quote, [script, "sh", *arguments])])
        try:
            done = self._low_level_execute_command(command)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as exc:
            return Report({}), [f"Host {name} does not let you become root: {str(exc).rstrip('.')}."]
        report = Report.parse(done.get("stdout", ""))
        text = f"{done.get('stderr', '')}\n{done.get('stdout', '')}"
        if not report["complete"] and self._connection.become is not None:
            line = next((line.strip() for line in text.splitlines() if line.strip()), "no output")
            return report, [f"Host {name} does not let you become root: {line.rstrip('.')}."]
        return report, []
