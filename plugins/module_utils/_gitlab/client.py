# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab through python-gitlab, with bounded retries and typed errors. Private: may change without notice."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.module_utils.basic import env_fallback

from .._core.errors import ConflictError, InvalidError, NixciError, NotFoundError
from .._core.http import http_argument_spec
from .connection import Connection

OWNERS = ("project", "group")
# The role that GitLab requires, see https://docs.gitlab.com/user/permissions/.
ROLES = {"project": "Maintainer", "group": "Owner"}
# The scope of a replacement until the variable that it replaces is removed.
REPLACEMENT = "pantheros.nixci/replacement"


def gitlab_argument_spec() -> dict[str, t.Any]:
    """Options of doc_fragments/_gitlab.py and _http.py."""
    return {
        "token": {"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["GITLAB_TOKEN"])},
        "url": {"type": "str", "default": "https://gitlab.com"},
        "project": {"type": "str"},
        "group": {"type": "str"},
        "longest_pause": {"type": "int", "default": 30},
        **http_argument_spec(),
    }


class VariableNotFoundError(NotFoundError):
    """The project or group exists, the variable does not."""


class GitLabClient(Connection):
    """The variables of one project or group. A variable is identified by its key and its environment scope."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        kind = next(kind for kind in OWNERS if params[kind] is not None)
        super().__init__(params, kind, [params.get("value") or ""])
        self.key = params.get("key") or ""
        self.variables = self.owner.variables

    def get_variable(self, key: str, scope: str) -> dict[str, t.Any] | None:
        try:
            return self._entity(self._call(self.variables.get, key, **in_scope(scope)))
        except VariableNotFoundError:
            return None

    def names(self) -> frozenset[str]:
        """The names of all variables in every scope.

        All are listed, because a request for one would put its name, which may be a secret value, into URLs and logs.
        """
        return frozenset(self._entity(one)["key"] for one in self._list(self.variables, get_all=True, per_page=100))

    def create_variable(self, fields: dict[str, t.Any]) -> None:
        created = self._entity(self._call(self.variables.create, fields))
        ignored = ignored_settings(fields, created)
        if ignored:
            # It may be visible, or in more environments than intended, so no variable is better than this one.
            self.delete_variable(created["key"], created["environment_scope"])
            raise InvalidError(
                f"GitLab ignored {', '.join(ignored)} of the new variable {fields['key']}, which was therefore removed again; environment "
                "scopes in a group need GitLab Premium, hidden variables GitLab 17.4, descriptions 16.2 and raw 15.7."
            )

    def update_variable(self, key: str, scope: str, fields: dict[str, t.Any]) -> None:
        updated = self._entity(self._call(self.variables.update, key, fields, **in_scope(scope)))
        ignored = ignored_settings(fields, updated)
        if ignored:
            raise InvalidError(
                f"GitLab ignored {', '.join(ignored)} of the variable {key}; this GitLab is probably too old for them."
            )

    def delete_variable(self, key: str, scope: str) -> None:
        # It may be gone already: someone else was faster, or the response to our first attempt was lost.
        with contextlib.suppress(VariableNotFoundError):
            self._call(self.variables.delete, key, **in_scope(scope))

    def replace_variable(self, key: str, scope: str, fields: dict[str, t.Any]) -> None:
        """Change what GitLab accepts at creation only. The old variable is removed once GitLab has accepted the new one."""
        self.forget_replacement(key)
        self.create_variable({**fields, "environment_scope": REPLACEMENT})
        self.delete_variable(key, scope)
        try:
            self.update_variable(key, REPLACEMENT, {"environment_scope": scope})
        except VariableNotFoundError:
            # The response to our first attempt may have been lost; then the variable has its scope already.
            if self.get_variable(key, scope) is None:
                raise

    def forget_replacement(self, key: str) -> None:
        """Remove what an interrupted run may have left behind."""
        self.delete_variable(key, REPLACEMENT)

    def _entity(self, response: t.Any) -> dict[str, t.Any]:
        fields = response if isinstance(response, dict) else getattr(response, "attributes", {})
        if not isinstance(fields.get("key"), str) or not isinstance(fields.get("value", 0), str | None):
            raise self._unexpected()
        return {"environment_scope": "*", **fields}

    def forbidden(self, shown: str) -> str:
        return (
            f"GitLab: the token is not allowed to manage the variables of {self._owner} ({shown}); "
            f"its user or bot needs the role {ROLES[self.kind]} there."
        )

    def missing(self, text: str) -> NixciError | None:
        if "variable" in text.lower():
            return VariableNotFoundError(f"GitLab: the variable does not exist in {self._owner}.")
        return None

    def rejected(self, status: int, text: str, shown: str, details: dict[str, t.Any]) -> NixciError:
        if status == 409 or "already been taken" in text:
            return ConflictError(
                f"{self._owner} already has a variable of that name in GitLab ({status}: {shown}); "
                "in a group, environment scopes need GitLab Premium.",
                **details,
            )
        return InvalidError(f"GitLab rejects the variable in {self._owner} ({status}: {shown}).", **details)


def in_scope(scope: str) -> dict[str, t.Any]:
    """A filter without which GitLab rejects a key that exists in several scopes."""
    return {"filter": {"environment_scope": scope}}


def ignored_settings(sent: dict[str, t.Any], stored: dict[str, t.Any]) -> list[str]:
    """The settings that GitLab ignored without an error, because it does not know them."""
    expected = {name: value for name, value in sent.items() if name not in ("value", "masked_and_hidden")}
    if sent.get("masked_and_hidden"):
        expected["hidden"] = True
    return [name for name, value in expected.items() if (stored.get(name) or "") != (value or "")]
