# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CI/CD variables: GitLab's rules, and from desired to written variables. Private: may change without notice.

The rules are those of GitLab's models Ci::HasVariable, Ci::Maskable and Ci::HasEnvironmentScope. They are checked here, so
that no request is sent that GitLab would reject. No message contains a value.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._core.change import Change
from .._core.errors import ConflictError, InvalidError, NixciError
from .client import GitLabClient

Params = dict[str, t.Any]
Fields = dict[str, t.Any]

MASKABLE_LENGTH = 8
MAX_DESCRIPTION = 255
MAX_VALUE = 10_000
# Ruby's \s matches only ASCII white space.
BLANK = re.compile(r"\s", re.ASCII)
PREDEFINED = re.compile(r"(CI|GITLAB|FF|RUNNER)_[A-Z0-9_]+")

NEW: Fields = {
    "variable_type": "env_var",
    "masked": False,
    "hidden": False,
    "protected": False,
    "raw": True,
    "description": "",
}
SETTABLE = ("variable_type", "masked", "protected", "raw", "description")

# These stand for the value in states, because --diff prints them.
SAME = "not shown"
OTHER = "not shown, another one"


@dataclasses.dataclass(frozen=True)
class Found:
    """What exists now."""

    variable: Fields | None
    names: frozenset[str] = frozenset()
    """The names of all variables, if `needs_names`."""
    value_in_doubt: bool = False
    """A hidden value may have been written, but the response was lost."""


@dataclasses.dataclass(frozen=True)
class Plan:
    key: str
    scope: str
    change: Change
    fields: Fields = dataclasses.field(default_factory=dict, repr=False)
    """What is sent to GitLab, the value included."""
    recreate: bool = False

    @property
    def variable(self) -> Fields | None:
        """The variable after the task, without its value."""
        return public(self.change.after) if self.change.after else None

    @property
    def keeps_hidden_value(self) -> bool:
        """Whether the value of an existing hidden variable is not compared."""
        before, after = self.change.before, self.change.after
        return bool(before and after and before["hidden"] and before["value"] == SAME)


def check_options(params: Params) -> None:
    """Raises InvalidError for whatever is wrong regardless of what GitLab has."""
    key, value = params["key"], params["value"]
    if not is_key(key):
        raise InvalidError(f"The key '{key}' does not consist of 1 to 255 letters (a-z, A-Z), digits and underscores.")
    check_scope(key, params["environment_scope"])
    if len(params["description"] or "") > MAX_DESCRIPTION:
        raise InvalidError(f"The description of {key} is longer than {MAX_DESCRIPTION} characters.")
    if params["hidden"] and params["masked"] is False:
        raise InvalidError(f"The variable {key} cannot be hidden without being masked; remove masked.")
    if params["state"] == "present":
        if len(value) > MAX_VALUE:
            raise InvalidError(f"The value of {key} is longer than the {MAX_VALUE} characters that GitLab accepts.")
        if "\0" in value:
            raise InvalidError(f"The value of {key} contains a NUL character, which is impossible in a variable.")
        if "PRIVATE KEY-----" in value and "\r" in value:
            raise InvalidError(
                f"The private key in {key} has Windows line endings, which OpenSSH does not accept; convert them to LF."
            )
        if params["masked"] or params["hidden"]:
            check_maskable(key, content(params, "env_var", masked=True), params["raw"])


def check_scope(key: str, scope: str) -> None:
    # GitLab ignores an empty filter and would then change or remove the variable of another scope.
    if not scope or scope != scope.strip():
        raise InvalidError(
            f"The environment scope of {key} is empty or begins or ends with a blank; '*' means every environment."
        )
    if not re.fullmatch(r"[a-zA-Z0-9_/${}. *-]+", scope):
        raise InvalidError(
            f"The environment scope '{scope}' of {key} does not consist of letters, digits, blanks and _ / $ {{ }} . * -."
        )


def check_maskable(key: str, value: str, raw: bool) -> None:
    problem = ""
    if len(value) < MASKABLE_LENGTH:
        problem = f"is too short, because a masked value needs at least {MASKABLE_LENGTH} characters"
    elif BLANK.search(value):
        problem = "contains white space or line breaks, which GitLab cannot mask"
    elif not raw and not re.fullmatch(r"[a-zA-Z0-9_+=/@:.~-]+", value):
        problem = "contains characters that GitLab masks with raw: true only"
    elif value == key or PREDEFINED.fullmatch(value):
        problem = "is itself the name of a variable, and such a value must not be masked"
    if problem:
        raise InvalidError(f"The value of {key} {problem}; nothing was changed.")


def is_key(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_]{1,255}", text) is not None


def content(params: Params, variable_type: str, *, masked: bool) -> str:
    """The value to write. Tools such as OpenSSH reject a file whose last line has no line ending."""
    value: str = params["value"]
    newline = params["final_newline"]
    if newline is None:
        newline = variable_type == "file" and not masked
    return value + "\n" if newline and value and not value.endswith("\n") else value


def public(variable: Fields) -> Fields:
    """The variable without its value."""
    shown = {field: variable.get(field, default) for field, default in NEW.items()}
    shown["description"] = shown["description"] or ""
    return {"key": variable["key"], "environment_scope": variable["environment_scope"], **shown}


def needs_names(params: Params, variable: Fields | None) -> bool:
    """Whether the task would mask a value that may be the name of another variable."""
    if params["state"] == "absent" or not is_key(params["value"]):
        return False
    try:
        change = plan(params, Found(variable)).change
    except NixciError:
        return False  # `plan` reports it
    return bool(change and change.after and change.after["masked"])


def plan(params: Params, found: Found) -> Plan:
    key, scope = params["key"], params["environment_scope"]
    before: Fields | None = {**public(found.variable), "value": SAME} if found.variable else None
    if params["state"] == "absent":
        return Plan(key, scope, Change(before, None))
    desired = {field: params[field] for field in (*SETTABLE, "hidden") if params[field] is not None}
    after = {"key": key, "environment_scope": scope, **NEW, **(before or {}), **desired, "value": SAME}
    if before and after["hidden"] != before["hidden"] and not params["recreate"]:
        raise ConflictError(
            f"The variable {key} exists and is {'' if before['hidden'] else 'not '}hidden, which GitLab cannot change "
            "later; set recreate: true to replace it."
        )
    if after["hidden"]:
        if params["masked"] is False:
            raise InvalidError(f"The variable {key} is hidden, so GitLab does not allow masked: false.")
        after["masked"] = True
    value = content(params, after["variable_type"], masked=after["masked"])
    if after["masked"]:
        check_maskable(key, value, after["raw"])
        if value in found.names:
            raise InvalidError(
                f"The value of {key} is the name of another variable, and such a value must not be masked; "
                "nothing was changed."
            )
    if before and found.variable and must_write(params, found, found.variable, after["hidden"], value):
        before["value"] = OTHER
    # GitLab checks value and flags together, so all of them are sent.
    fields = {field: after[field] for field in SETTABLE}
    if not (before and before["hidden"] and after["hidden"] and before["value"] == SAME):
        fields["value"] = value
    return Plan(key, scope, Change(before, after), fields, params["recreate"])


def must_write(params: Params, found: Found, variable: Fields, hidden: bool, value: str) -> bool:
    """Whether the value of an existing variable must be written. A hidden value cannot be compared."""
    if not variable.get("hidden"):
        return (variable["value"] or "") != value
    return params["rewrite_hidden"] or found.value_in_doubt or not hidden


def apply(client: GitLabClient, plan: Plan) -> None:
    key, scope, before, after = plan.key, plan.scope, plan.change.before, plan.change.after
    if after is None:
        client.delete_variable(key, scope)
        return
    if before and before["hidden"] == after["hidden"]:
        client.update_variable(key, scope, plan.fields)
        return
    fields = {**plan.fields, "key": key, "environment_scope": scope}
    if after["hidden"]:
        fields["masked_and_hidden"] = True
    if before:
        client.replace_variable(key, scope, fields)
        return
    client.create_variable(fields)
    if plan.recreate:
        client.forget_replacement(key)
