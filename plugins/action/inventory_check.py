# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.collection_loader import AnsibleCollectionConfig

from ..plugin_utils._preflight import controller, specs
from ..plugin_utils._preflight.arguments import Arguments

# Variables whose values only the host itself can judge.
PERSISTENT = ("nixos_config_dir", "opnix_token_file", "backup_location")
CALENDARS = ("attic_gc_on_calendar", "backup_start_at", "backup_offsite_start_at")


class ActionModule(ActionBase):
    """Runs on the controller only; plugins/modules/inventory_check.py documents it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        _result, options = self.validate_argument_spec(
            argument_spec={
                "roles": {"type": "list", "elements": "str", "choices": specs.roles(), "required": True},
                "fail": {"type": "bool", "default": True},
            }
        )
        roles = options["roles"]
        arguments = Arguments(self._loader, variables, self._template(variables))
        arguments.check(roles)
        fleet = "nixos" in roles and arguments.fleet()
        warnings = arguments.unknown()
        lacking = controller.lacking(roles, self._interpreter(variables), AnsibleCollectionConfig.collection_paths)
        problems = [*lacking.problems, *arguments.problems]
        result.update(
            changed=False,
            failed=bool(problems and options["fail"]),
            problems=problems,
            unusable=sorted(arguments.unusable | lacking.roles),
            onepassword=sorted(arguments.onepassword),
            libraries=lacking.libraries,
            reachable=arguments.reachable,
            host={
                # Empty if the configuration is on the controller.
                "config_dir": "" if fleet else arguments.values.get("nixos_config_dir"),
                # Empty if the host decides.
                "persistent": [
                    arguments.values[name]
                    for name in PERSISTENT
                    if arguments.values.get(name) and not (fleet and name == "nixos_config_dir")
                ],
                "calendars": [arguments.values[name] for name in CALENDARS if name in arguments.values],
            },
            warnings=[*result.get("warnings", []), *warnings],
        )
        if result["failed"]:
            result["msg"] = "Nothing was changed. To be solved first: " + " | ".join(problems)
        return result

    def _template(self, variables: dict[str, t.Any]) -> t.Callable[..., t.Callable[[t.Any], t.Any]]:
        def evaluator(defaults: dict[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
            template: t.Callable[[t.Any], t.Any] = self._templar.copy_with_new_env(
                available_variables={**defaults, **variables}
            ).template
            return template

        return evaluator

    def _interpreter(self, variables: dict[str, t.Any]) -> str:
        hostvars = variables.get("hostvars", {})
        explicit = "localhost" in [name for names in variables.get("groups", {}).values() for name in names]
        configured = hostvars["localhost"].get("ansible_python_interpreter") if explicit else None
        fallbacks = C.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=variables)
        return controller.interpreter(configured, fallbacks, implicit=not explicit)
