# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab through python-gitlab, with our bounds and our errors. Private: may change without notice."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible.module_utils.basic import env_fallback

from .._core.deps import optional, require
from .._core.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .._core.http import bounded_session, checked_token, http_argument_spec, no_answer
from .._core.redact import repeats

with optional("python-gitlab"):
    import gitlab
    import requests

OWNERS = ("project", "group")
# The role that GitLab asks for, see https://docs.gitlab.com/user/permissions/.
ROLES = {"project": "Maintainer", "group": "Owner"}
# Where a replacement waits until the variable that it replaces is gone.
ASIDE = "pantheros.nixci/replacement"

# python-gitlab obeys a Retry-After of any length; our session has done the waiting that is bearable.
NO_FURTHER_PATIENCE = {"obey_rate_limit": False, "retry_transient_errors": False}


def gitlab_argument_spec() -> dict[str, t.Any]:
    """Options of doc_fragments/_gitlab.py and _http.py."""
    return {
        "token": {"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["GITLAB_TOKEN"])},
        "url": {"type": "str", "default": "https://gitlab.com"},
        "project": {"type": "str"},
        "group": {"type": "str"},
        **http_argument_spec(),
    }


class VariableNotFoundError(NotFoundError):
    """The project or group is there, the variable is not."""


class GitLabClient:
    """The variables of one project or group. A variable is identified by its key and its environment scope."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        require("python-gitlab", "GitLab")
        self.url, self.timeout = params["url"].rstrip("/").removesuffix("/api/v4"), params["timeout"]
        if not self.url.startswith(("https://", "http://")):
            raise InvalidError(f"GitLab: '{self.url}' is not a URL; it must start with https:// or http://.")
        token = checked_token(params["token"], "The GitLab token")
        self.secrets = [token, params.get("value") or ""]
        session = bounded_session(params["retries"], params["ca_path"])
        session.max_redirects = 0  # a redirect would carry the token to another place
        client = gitlab.Gitlab(
            self.url,
            private_token=token,
            timeout=self.timeout,
            ssl_verify=params["ca_path"] or True,
            session=session,
            user_agent="pantheros.nixci",
        )
        self.kind = next(kind for kind in OWNERS if params[kind] is not None)
        self.path = params[self.kind].strip("/")
        if not self.path:
            raise InvalidError(
                f"GitLab: the option {self.kind} is empty; it takes a path with all groups, or a number."
            )
        owners = client.projects if self.kind == "project" else client.groups
        self.variables = owners.get(self.path, lazy=True).variables

    def get_variable(self, key: str, scope: str) -> dict[str, t.Any] | None:
        try:
            return self._entity(self._call(self.variables.get, key, **only(scope)))
        except VariableNotFoundError:
            return None

    def names(self) -> set[str]:
        """The names of all variables, of every scope."""
        return {self._entity(one)["key"] for one in self._call(self.variables.list, get_all=True, per_page=100)}

    def create_variable(self, fields: dict[str, t.Any]) -> None:
        made = self._entity(self._call(self.variables.create, fields))
        ignored = not_taken(fields, made)
        if ignored:
            # Visible, or in more environments than it was meant for: better none than that one.
            self.delete_variable(made["key"], made["environment_scope"])
            raise InvalidError(
                f"GitLab ignored {', '.join(ignored)} of the new variable {fields['key']}, so it was removed again; a group's "
                "environment scopes need GitLab Premium, hidden variables GitLab 17.4, descriptions 16.2 and raw 15.7."
            )

    def update_variable(self, key: str, scope: str, fields: dict[str, t.Any]) -> None:
        ignored = not_taken(fields, self._entity(self._call(self.variables.update, key, fields, **only(scope))))
        if ignored:
            raise InvalidError(
                f"GitLab ignored {', '.join(ignored)} of the variable {key}; it is probably older than the setting."
            )

    def delete_variable(self, key: str, scope: str) -> None:
        # Gone already: somebody was faster, or the answer to our first try got lost.
        with contextlib.suppress(VariableNotFoundError):
            self._call(self.variables.delete, key, **only(scope))

    def replace_variable(self, key: str, scope: str, fields: dict[str, t.Any]) -> None:
        """For what GitLab takes at creation only. The old variable goes when GitLab has accepted the new one."""
        self.forget_replacement(key)
        self.create_variable({**fields, "environment_scope": ASIDE})
        self.delete_variable(key, scope)
        try:
            self.update_variable(key, ASIDE, {"environment_scope": scope})
        except VariableNotFoundError:
            # The answer to our first try may have got lost; then it has its scope already.
            if self.get_variable(key, scope) is None:
                raise

    def forget_replacement(self, key: str) -> None:
        """What a killed run may have left behind."""
        self.delete_variable(key, ASIDE)

    def _call(self, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs, **NO_FURTHER_PATIENCE)
        except gitlab.exceptions.GitlabError as exc:
            raise self._error(exc) from None
        except requests.exceptions.TooManyRedirects as exc:
            raise self._redirected(exc.response) from None
        except requests.exceptions.RequestException as exc:
            raise no_answer("GitLab", self.url, self.timeout, exc) from None

    def _entity(self, answer: t.Any) -> dict[str, t.Any]:
        fields = answer if isinstance(answer, dict) else getattr(answer, "attributes", {})
        if not fields.keys() >= {"key", "value"}:
            raise self._unexpected()
        return {"environment_scope": "*", **fields}

    def _unexpected(self) -> NixciError:
        return UnavailableError(f"GitLab: {self.url} answered with something that is not GitLab's API; check url.")

    def _redirected(self, response: t.Any) -> NixciError:
        place = response.headers.get("Location", "") if response is not None else ""
        moved = re.search(rf"/api/v4/{self.kind}s/(\d+)/", place)
        if moved and moved[1] != self.path:
            return NotFoundError(
                f"GitLab: the {self.kind} '{self.path}' has moved; give its new path, or its number {moved[1]}, which stays."
            )
        return InvalidError(f"GitLab: {self.url} answers with a redirect; give the final address in url.")

    def _error(self, exc: gitlab.exceptions.GitlabError) -> NixciError:
        status, said = exc.response_code, in_words(exc.error_message, exc.response_body)
        if status is None:
            return self._unexpected()
        echo = any(repeats(said, secret) for secret in self.secrets)
        words = "its answer repeats a secret, so it is not shown" if echo else said[:300]
        details = {"status": status, "answer": words}
        if status == 401:
            return AuthenticationError(
                f"GitLab refuses the token ({words}): it is wrong, expired, revoked, a job token, or belongs to another GitLab "
                f"than {self.url}; make a new one with the scope api.",
                **details,
            )
        if status == 403 and "insufficient_scope" in said:
            return ForbiddenError(
                f"GitLab: the token lacks a scope for {self._owner} ({words}); writing needs the scope api, looking read_api.",
                **details,
            )
        if status == 403:
            return ForbiddenError(
                f"GitLab: the token may not manage the variables of {self._owner} ({words}); "
                f"its user or bot needs the role {ROLES[self.kind]} there.",
                **details,
            )
        if status == 404 and "variable" in said.lower():
            return VariableNotFoundError(f"GitLab: the variable is not in {self._owner}.", **details)
        if status == 404:
            return NotFoundError(
                f"GitLab: {self._owner} does not exist or the token has no access to it ({words}); check the path with all "
                f"its groups, the membership of the token's user, and whether {self.url} is the right GitLab.",
                **details,
            )
        if status == 429 or status >= 500:
            return UnavailableError(f"GitLab: {self.url} answered {status} ({words}); run again later.", **details)
        if status == 409 or "already been taken" in said:
            return ConflictError(
                f"GitLab has a variable of that name already in {self._owner} ({status}: {words}); "
                "in a group, environment scopes need GitLab Premium.",
                **details,
            )
        return InvalidError(f"GitLab refuses the variable in {self._owner} ({status}: {words}).", **details)

    @property
    def _owner(self) -> str:
        return f"the {self.kind} '{self.path}'"


def only(scope: str) -> dict[str, t.Any]:
    """Without it GitLab refuses a key that exists in several scopes."""
    return {"filter": {"environment_scope": scope}}


def not_taken(asked: dict[str, t.Any], got: dict[str, t.Any]) -> list[str]:
    """The settings that GitLab dropped without a word: it ignores parameters that it does not know."""
    wanted = {name: value for name, value in asked.items() if name not in ("value", "masked_and_hidden")}
    if asked.get("masked_and_hidden"):
        wanted["hidden"] = True
    return [name for name, value in wanted.items() if (got.get(name) or "") != (value or "")]


def in_words(message: t.Any, body: t.Any = None) -> str:
    """GitLab answers with a text, with {"field": ["what is wrong"]}, or, through a proxy, with a page."""
    if isinstance(message, dict):
        return "; ".join(
            f"{field} {', '.join(map(str, texts)) if isinstance(texts, list) else texts}"
            for field, texts in message.items()
        )
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    with contextlib.suppress(TypeError, ValueError, KeyError):  # only refused tokens have a description
        text = f"{text}: {json.loads(body)['error_description']}"
    return "no reason given" if not text or "<" in text else text
