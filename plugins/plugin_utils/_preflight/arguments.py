# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a host, compared with what the roles document. Private: may change without notice."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from . import checkout, names, specs, values

Template = t.Callable[[t.Any], t.Any]

# What the playbooks set, but not before the preflight has passed.
LATER = {"nixci_storage", "attic_environment_version", "backup_environment_version"}
# Without a value of the user's, a service would be asked about nothing.
EMPTY = {"gitlab_project": "the path of the project on GitLab, for instance group/fleet"}
# A value that nobody shall see, and that the check of its service reads.
SECRET = "not evaluated"

_LOOKUP = re.compile(r"\b(?:lookup|query|q)\s*\(")
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_NO_HOST = re.compile(r"hostvars\['([^']+)'\]|'HostVars' has no attribute '([^']+)'")
_NO_VARIABLE = re.compile(r"'HostVarsVars' has no attribute '([^']+)'")


class Arguments:
    """The problems of all variables. Each cause is one problem, however many roles it concerns."""

    def __init__(self, loader: specs.Loader, variables: dict[str, t.Any], template: t.Callable[..., Template]) -> None:
        """`template` makes the function that evaluates a value, with more variables."""
        self.loader = loader
        self.variables = variables
        self.template = template
        self.shared = specs.playbooks(loader)
        self.problems: list[str] = []
        self.unusable: set[str] = set()
        self.wrong: set[str] = set()
        """Shared variables with a wrong value."""
        self.onepassword: set[str] = set()
        """Roles with values from 1Password."""
        self.reachable = True
        """Whether the address of the host can be one."""
        self.examples: dict[str, list[str]] = {}
        self.values: dict[str, t.Any] = {}
        """Sound values of the roles that were checked, defaults included, and of shared variables."""

    def check(self, roles: t.Iterable[str]) -> None:
        roles = list(roles)
        self._shared(roles)
        for name in roles:
            before = len(self.problems)
            self._role(specs.role(self.loader, name))
            if len(self.problems) > before:
                self.unusable.add(name)
        self._collect_examples("ansible_host", self._evaluated("ansible_host", {}, self.template({})))
        for text, used in self.examples.items():
            self.reachable = self.reachable and "ansible_host" not in used
            self._add(
                f"{' and '.join(used)}: '{text}' is a placeholder of the documentation; put your own value there."
            )

    def fleet(self) -> bool:
        """Adds the problems of the flake's checkout on the controller; whether there is one."""
        folder = self.values.get("nixci_flake_dir")
        if not folder:
            return False
        build_on = self._evaluated("deploy_build_on", {}, self.template({})) or "controller"
        name = self.values.get("nixos_configuration") or "NAME"
        found = list(checkout.problems(folder, name, build_on, self.values.get("nixos_flake") or ""))
        for problem in found:
            self._add(problem)
        if found:
            self.unusable.add("nixos")
        return True

    def unknown(self) -> list[str]:
        """Adds the problems of misspelt names, and returns what is only worth a warning."""
        known = set(self.shared)
        for name in specs.roles():
            known.update(specs.role(self.loader, name).options)
        problems, warnings = names.unknown(self.variables, known)
        for problem in problems:
            self._add(problem)
        return warnings

    def _shared(self, roles: list[str]) -> None:
        evaluate = self.template({})
        for name, option in self.shared.items():
            users = set(option.get("roles", roles)).intersection(roles)
            if name not in self.variables:
                if option.get("roles") and (users or not roles):
                    self._unset(name)
                    self.unusable.update(users)
            elif users or not roles:
                value = self._evaluated(name, option, evaluate)
                if value is not SECRET:
                    self.values[name] = value
                for problem in self._problems(name, value, option, exact=False):
                    self._add(problem)
                    self.wrong.add(name)
                    self.unusable.update(option.get("roles", ()))
                    self.values.pop(name, None)

    def _role(self, role: specs.Role) -> None:
        if any(name in str(role.defaults) for name in self.wrong):
            self.unusable.add(role.name)
        evaluate = self.template(role.defaults)
        found: dict[str, t.Any] = {}
        for name, option in role.options.items():
            option = {key: one for key, one in option.items() if key not in ("default", "description")}
            value = self._evaluated(name, option, evaluate, role)
            if value is not SECRET:
                # A default is right, unless it only says that a value is needed.
                if name in self.variables or value == "":
                    problems = list(self._problems(name, value, option, exact=role.as_json))
                    for problem in problems:
                        self._add(problem)
                    if problems:
                        continue
                found[name] = value
        self.values.update(found)
        if role.name in values.TOGETHER and found.keys() >= role.options.keys() - LATER_OPTIONS:
            for problem in values.TOGETHER[role.name](found):
                self._add(problem)

    def _evaluated(self, name: str, option: specs.Option, evaluate: Template, role: specs.Role | None = None) -> t.Any:
        raw = self.variables.get(name, role.defaults.get(name) if role else None)
        secret = bool(option.get("no_log"))
        if role and "onepassword" in str(raw):
            self.onepassword.add(role.name)
        try:
            return self._value(raw, evaluate, secret)
        except AnsibleError as exc:
            message = str(exc)
            undefined = _UNDEFINED.search(message)
            # A default that cannot be evaluated lacks what the playbooks set later, or a shared variable.
            if undefined and undefined[1] in LATER:
                return SECRET
            # Where a role is imported, its defaults are among the variables.
            is_default = role is not None and raw == role.defaults.get(name)
            if is_default and not (undefined and undefined[1] in self.shared):
                return SECRET
            known = len(self.problems)
            if undefined and undefined[1] in self.shared:
                self._unset(undefined[1])
                known = -1  # it may have been added for another variable
            elif undefined:
                self._add(f"{name} refers to the variable '{undefined[1]}', which is not defined.")
            elif "pantheros.nixci.onepassword: " in message:
                self.onepassword.update([role.name] if role else [])
            elif not secret:
                self._add(f"{name} cannot be evaluated: {self._reason(message)}")
            if role and len(self.problems) > known:
                self.unusable.add(role.name)
            return SECRET

    def _value(self, raw: t.Any, evaluate: Template, secret: bool) -> t.Any:
        """Secrets stay where they are: the check of their service reads them, and a lookup costs a request."""
        if isinstance(raw, str):
            if _LOOKUP.search(raw) and (secret or "onepassword" in raw):
                return SECRET
            return evaluate(raw)
        if isinstance(raw, dict):
            return {key: self._value(one, evaluate, secret) for key, one in raw.items()}
        if isinstance(raw, list):
            return [self._value(one, evaluate, secret) for one in raw]
        return raw

    def _problems(self, name: str, value: t.Any, option: specs.Option, *, exact: bool) -> t.Iterator[str]:
        if value is SECRET or value is None:
            return
        if value == "" and name in EMPTY:
            yield f"{name} is not set; it is {EMPTY[name]}."
            return
        # Ansible makes text of a list, and a list of text; about text that is no mapping it has three sentences.
        if exact or isinstance(value, (list, dict)) or option.get("type") == "dict":
            wrong = list(values.exact(name, value, option))
            if wrong:
                yield from wrong
                return
        wrong = self._mismatches(name, value, option)
        rule = values.RULES.get(name)
        found = list(rule(name, value)) if rule else []
        if found:  # ours says what to do
            wrong = [one for one in wrong if "Supported parameters include" not in one]
        for problem in found:
            # Ansible's sentences about types and missing keys name the key as well.
            key = problem.split(" ")[0].rstrip(":").rpartition(".")[2]
            if not any(key in one for one in wrong):
                wrong.append(problem)
        yield from wrong
        if not wrong and not option.get("no_log"):
            self._collect_examples(name, value)

    def _mismatches(self, name: str, value: t.Any, option: specs.Option) -> list[str]:
        """Ansible's own sentences about types and choices; they may contain the value."""
        option = {key: one for key, one in option.items() if key != "roles"}
        result = ArgumentSpecValidator({name: option}).validate({name: value}, validate_role_argument_spec=True)
        messages = [re.sub(r"<class '(\w+)'>", r"\1", message) for message in result.error_messages]
        if messages and option.get("no_log"):
            return [f"{name} has another form than the documentation of its role describes."]
        return [message if name in message else f"{name}: {message}" for message in messages]

    def _collect_examples(self, name: str, value: t.Any) -> None:
        for text in values.placeholders(value):
            if name not in self.examples.setdefault(text, []):
                self.examples[text].append(name)

    def _reason(self, message: str) -> str:
        if host := _NO_HOST.search(message):
            return f"the inventory has no host '{host[1] or host[2]}'; name one of its hosts."
        if variable := _NO_VARIABLE.search(message):
            return f"a host that it refers to has no variable '{variable[1]}'; set it in the inventory."
        return f"{message.rstrip('.')}."

    def _unset(self, name: str) -> None:
        self._add(f"{name} is not set; it is {self.shared[name]['description']}.")

    def _add(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


# Options whose value only exists later in the run, or that no rule about several variables needs.
LATER_OPTIONS = {"attic_storage", "backup_offsite_storage", "nixos_configuration"}
