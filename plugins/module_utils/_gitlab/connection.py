# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab through python-gitlab, with bounded retries and typed errors, for all its objects. Private: may change without notice."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
import urllib.parse

from .._core.deps import optional, require
from .._core.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .._core.http import bounded_session, checked_token, no_answer, shown
from .._core.redact import SHORTEST, repeats

with optional("python-gitlab"):
    import gitlab
    import requests

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


class Connection:
    """One project or group. A service's client says what it cannot do there."""

    def __init__(self, params: dict[str, t.Any], kind: str, secrets: list[str]) -> None:
        require("python-gitlab", "GitLab")
        self.url, self.timeout = params["url"].rstrip("/").removesuffix("/api/v4"), params["timeout"]
        if not self.url.startswith(("https://", "http://")):
            raise InvalidError(f"GitLab: '{self.url}' is not a URL; it must start with https:// or http://.")
        self.job = not params["token"]
        token = checked_token(
            params["token"] or params.get("job_token") or "", f"The GitLab {'job ' if self.job else ''}token"
        )
        self.kind, self.key = kind, ""
        self.secrets = [token, *secrets]
        session = bounded_session("GitLab", params["retries"], params["ca_path"], params["longest_pause"])
        session.max_redirects = 0  # a redirect would send the token to another server
        self.gitlab = gitlab.Gitlab(
            self.url,
            private_token=None if self.job else token,
            job_token=token if self.job else None,
            timeout=self.timeout,
            ssl_verify=params["ca_path"] or True,
            session=session,
            user_agent="pantheros.nixci",
        )
        self.path = params[kind].strip("/")
        decoded = urllib.parse.unquote(self.path)
        if decoded != self.path:
            raise InvalidError(f"GitLab: the {self.kind} '{self.path}' is URL-encoded; give '{decoded}'.")
        if not self.path:
            raise InvalidError(
                f"GitLab: the option {self.kind} is empty; give a path with all its groups, or a number."
            )
        owners = self.gitlab.projects if kind == "project" else self.gitlab.groups
        self.owner = owners.get(self.path, lazy=True)

    # What differs between the objects

    def forbidden(self, shown: str) -> str:
        """The sentence for a status 403."""
        raise NotImplementedError

    def missing(self, text: str) -> NixciError | None:
        """The error for a status 404 of the object itself; None if the project or group is missing."""
        raise NotImplementedError

    def rejected(self, status: int, text: str, shown: str, details: dict[str, t.Any]) -> NixciError:
        """The error for any other status."""
        raise NotImplementedError

    def _call(self, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs, **NO_FURTHER_RETRIES)
        except gitlab.exceptions.GitlabError as exc:
            raise self._error(exc) from None
        except requests.exceptions.TooManyRedirects as exc:
            raise self._redirected(exc.response) from None
        except requests.exceptions.RequestException as exc:
            raise no_answer("GitLab", self.url, self.timeout, exc) from None

    def _list(self, manager: t.Any, **options: t.Any) -> list[t.Any]:
        try:
            return list(self._call(manager.list, **options))
        except (TypeError, KeyError):  # python-gitlab takes whatever it gets for a list
            raise self._unexpected() from None

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
        if status == 401 and self.job:
            return AuthenticationError(
                f"GitLab refuses the job token ({shown}): it is valid only while its job runs, in the GitLab of that job, and {self.url} "
                "must be that one.",
                **details,
            )
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
            return ForbiddenError(self.forbidden(shown), **details)
        if status == 404 and (missing := self.missing(text)) is not None:
            missing.details = details
            return missing
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
        return self.rejected(status, text, shown, details)

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
