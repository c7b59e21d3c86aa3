# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab through python-gitlab, with bounded retries and typed errors. Private: may change without notice."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
import urllib.parse

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
from .._core.http import bounded_session, checked_token, http_argument_spec, no_answer, shown
from .._core.redact import SHORTEST, repeats

with optional("python-gitlab"):
    import gitlab
    import requests

OWNERS = ("project", "group")
# The role that GitLab requires, see https://docs.gitlab.com/user/permissions/.
ROLES = {"project": "Maintainer", "group": "Owner"}
# The scope of a replacement until the variable that it replaces is removed.
REPLACEMENT = "pantheros.nixci/replacement"

# Texts of GitLab that repeat nothing of a request, so they are shown whatever the value is.
_PROBLEM = (
    r"is (invalid|missing|empty)|can't be blank|does not have a valid value|has already been taken|must be unique"
    r"|is too (long|short) \((maximum|minimum) is \d{1,6} characters?\)"
    r"|can contain only letters, digits and '_'\."
    r"|can contain only letters, digits, '-', '_', '/', '\$', '{', '}', '\.', '\*' and spaces"
    r"|The visibility setting cannot be changed for masked and hidden variables\."
    r"|Maximum number of (project|group) ci variables \(\d{1,6}\) exceeded"
)
_FIELD = "key|value|environment_scope|variable_type|description|masked|protected|raw|hidden|masked_and_hidden|base"
_STATUS = (
    "Unauthorized|Forbidden|((Project|Group|Variable|GroupVariable|User) )?Not Found|Bad Request|(Method )?Not Allowed"
    "|Conflict|Too Many Requests|Internal Server Error|Bad Gateway|Service Unavailable|Gateway Timeout"
)
KNOWN = re.compile(
    rf"(({_FIELD}) )?({_PROBLEM})([,;] (({_FIELD}) )?({_PROBLEM}))*"
    rf"|[45]\d\d ({_STATUS})|no reason given|Retry later\s*"
    r"|insufficient_scope(: The request requires higher privileges than provided by the access token\.)?"
    r"|invalid_token(: Token is expired\. You can either do re-authorization or token refresh\.)?"
    r"|invalid_token: Token was revoked\. You have to re-authorize from the user\."
    r"|There are multiple variables with provided parameters\. Please use 'filter\[environment_scope\]'"
    r"|Non GET methods are not allowed for moved projects"
)

# python-gitlab obeys a Retry-After of any length; the session already retries within bounds.
NO_FURTHER_RETRIES = {"obey_rate_limit": False, "retry_transient_errors": False}


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


class GitLabClient:
    """The variables of one project or group. A variable is identified by its key and its environment scope."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        require("python-gitlab", "GitLab")
        self.url, self.timeout = params["url"].rstrip("/").removesuffix("/api/v4"), params["timeout"]
        if not self.url.startswith(("https://", "http://")):
            raise InvalidError(f"GitLab: '{self.url}' is not a URL; it must start with https:// or http://.")
        token = checked_token(params["token"], "The GitLab token")
        self.key = params.get("key")
        self.secrets = [token, params.get("value") or ""]
        session = bounded_session("GitLab", params["retries"], params["ca_path"], params["longest_pause"])
        session.max_redirects = 0  # a redirect would send the token to another server
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
        decoded = urllib.parse.unquote(self.path)
        if decoded != self.path:
            raise InvalidError(f"GitLab: the {self.kind} '{self.path}' is URL-encoded; give '{decoded}'.")
        if not self.path:
            raise InvalidError(
                f"GitLab: the option {self.kind} is empty; give a path with all its groups, or a number."
            )
        owners = client.projects if self.kind == "project" else client.groups
        self.variables = owners.get(self.path, lazy=True).variables

    def get_variable(self, key: str, scope: str) -> dict[str, t.Any] | None:
        try:
            return self._entity(self._call(self.variables.get, key, **in_scope(scope)))
        except VariableNotFoundError:
            return None

    def names(self) -> frozenset[str]:
        """The names of all variables in every scope.

        All are listed, because a request for one would put its name, which may be a secret value, into URLs and logs.
        """
        return frozenset(
            self._entity(one)["key"] for one in self._call(self.variables.list, get_all=True, per_page=100)
        )

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

    def _call(self, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs, **NO_FURTHER_RETRIES)
        except gitlab.exceptions.GitlabError as exc:
            raise self._error(exc) from None
        except requests.exceptions.TooManyRedirects as exc:
            raise self._redirected(exc.response) from None
        except requests.exceptions.RequestException as exc:
            raise no_answer("GitLab", self.url, self.timeout, exc) from None

    def _entity(self, response: t.Any) -> dict[str, t.Any]:
        fields = response if isinstance(response, dict) else getattr(response, "attributes", {})
        if not isinstance(fields.get("key"), str) or not isinstance(fields.get("value", 0), str | None):
            raise self._unexpected()
        return {"environment_scope": "*", **fields}

    def _unexpected(self) -> NixciError:
        return UnavailableError(
            f"GitLab: {self.url} returned something that is not a response of GitLab's API; check url."
        )

    def _redirected(self, response: t.Any) -> NixciError:
        place = response.headers.get("Location", "") if response is not None else ""
        moved = re.search(rf"/api/v4/{self.kind}s/(\d+)/", place)
        if moved and moved[1] != self.path:
            return NotFoundError(
                f"GitLab: the {self.kind} '{self.path}' has moved; give its new path, or its number {moved[1]}, which does not change."
            )
        return InvalidError(f"GitLab: {self.url} redirects to another address; give the final address in url.")

    def _error(self, exc: gitlab.exceptions.GitlabError) -> NixciError:
        status, text = exc.response_code, message_of(exc.error_message, exc.response_body)
        if status is None:
            return self._unexpected()
        shown = self._shown(text)
        details = {"status": status, "answer": shown}
        if status == 401:
            return AuthenticationError(
                f"GitLab refuses the token ({shown}): it is wrong, expired, revoked, a job token, or belongs to another GitLab "
                f"than {self.url}; create a new one with the scope api.",
                **details,
            )
        if status == 403 and "insufficient_scope" in text:
            return ForbiddenError(
                f"GitLab: the token lacks a scope for {self._owner} ({shown}); writing needs the scope api, reading read_api.",
                **details,
            )
        if status == 403:
            return ForbiddenError(
                f"GitLab: the token is not allowed to manage the variables of {self._owner} ({shown}); "
                f"its user or bot needs the role {ROLES[self.kind]} there.",
                **details,
            )
        if status == 404 and "variable" in text.lower():
            return VariableNotFoundError(f"GitLab: the variable does not exist in {self._owner}.", **details)
        if status == 404:
            return NotFoundError(
                f"GitLab: {self._owner} does not exist, or the token has no access to it ({shown}); check the path with all "
                f"its groups, the membership of the token's user, and that {self.url} is the right GitLab.",
                **details,
            )
        if status == 429 or status >= 500:
            more = ", or raise retries" if status == 429 else ""
            return UnavailableError(
                f"GitLab: {self.url} answered {status} ({shown}); run the task again later{more}.", **details
            )
        if status == 409 or "already been taken" in text:
            return ConflictError(
                f"{self._owner} already has a variable of that name in GitLab ({status}: {shown}); "
                "in a group, environment scopes need GitLab Premium.",
                **details,
            )
        return InvalidError(f"GitLab rejects the variable in {self._owner} ({status}: {shown}).", **details)

    def _shown(self, text: str) -> str:
        if KNOWN.fullmatch(text.replace(f"({self.key}) ", "")):
            return text
        # A short value cannot be told from parts of ordinary words. Whether a text is shown must not depend on it.
        if any(0 < len(secret) < SHORTEST for secret in self.secrets):
            return "its response may repeat the short value and is not shown"
        if any(repeats(text, secret) for secret in self.secrets):
            return "its response repeats a secret and is not shown"
        return text[:300]

    @property
    def _owner(self) -> str:
        return f"the {self.kind} '{self.path}'"


def in_scope(scope: str) -> dict[str, t.Any]:
    """A filter without which GitLab rejects a key that exists in several scopes."""
    return {"filter": {"environment_scope": scope}}


def ignored_settings(sent: dict[str, t.Any], stored: dict[str, t.Any]) -> list[str]:
    """The settings that GitLab ignored without an error, because it does not know them."""
    expected = {name: value for name, value in sent.items() if name not in ("value", "masked_and_hidden")}
    if sent.get("masked_and_hidden"):
        expected["hidden"] = True
    return [name for name, value in expected.items() if (stored.get(name) or "") != (value or "")]


def message_of(message: t.Any, body: t.Any = None) -> str:
    """GitLab returns a text or {"field": ["problem"]}; a proxy in front of it returns a web page."""
    if isinstance(message, dict):
        return "; ".join(
            f"{field} {', '.join(map(str, texts)) if isinstance(texts, list) else texts}"
            for field, texts in message.items()
        )
    # It is cut after the search for secrets, which might otherwise miss a part of one.
    text = shown(message.decode(errors="replace") if isinstance(message, bytes) else message, longest=10_000)
    with contextlib.suppress(TypeError, ValueError, KeyError):  # only rejected tokens have a description
        text = f"{text}: {json.loads(body)['error_description']}"
    return text or "no reason given"
