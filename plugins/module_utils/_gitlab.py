# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab through python-gitlab, with our bounds and our errors. Private: may change without notice."""

from __future__ import annotations

import re
import traceback
import typing as t

from ansible.module_utils.basic import env_fallback

from ._errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from ._http import bounded_session, http_argument_spec, no_answer

try:
    import gitlab
    import requests
except ImportError:
    gitlab = None
    GITLAB_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    GITLAB_IMPORT_ERROR = None

# python-gitlab obeys a Retry-After of any length; our session has done the waiting that is bearable.
NO_FURTHER_PATIENCE = {"obey_rate_limit": False, "retry_transient_errors": False}


def gitlab_argument_spec() -> dict[str, t.Any]:
    """Options of doc_fragments/_gitlab.py and _http.py."""
    return {
        "token": {"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["GITLAB_TOKEN"])},
        "url": {"type": "str", "default": "https://gitlab.com"},
        "project": {"type": "str", "required": True},
        **http_argument_spec(),
    }


class GitLabClient:
    """The variables of one project. A variable is identified by its key and its environment scope."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        if gitlab is None:
            raise NixciError(
                "GitLab needs the Python library python-gitlab on the machine that runs this task; "
                "install it with 'pip install python-gitlab'.",
                exception=GITLAB_IMPORT_ERROR,
            )
        self.url, self.timeout, self.project = params["url"].rstrip("/"), params["timeout"], params["project"]
        if not self.url.startswith(("https://", "http://")):
            raise InvalidError(f"GitLab: '{self.url}' is not a URL; it must start with https:// or http://.")
        token = params["token"].strip()
        # requests would quote the whole header in its complaint about such a token.
        if not re.fullmatch(r"[!-~]+", token):
            raise InvalidError("The GitLab token is empty or holds blanks, line breaks or other foreign characters.")
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
        self.variables = client.projects.get(self.project, lazy=True).variables

    def get_variable(self, key: str, scope: str) -> dict[str, t.Any] | None:
        try:
            return self._call(self.variables.get, key, **self._only(scope)).attributes
        except NotFoundError as exc:
            if "project" in exc.details["answer"].lower():
                raise
            return None

    def create_variable(self, fields: dict[str, t.Any]) -> None:
        self._call(self.variables.create, fields)

    def update_variable(self, key: str, scope: str, fields: dict[str, t.Any]) -> None:
        self._call(self.variables.update, key, fields, **self._only(scope))

    def delete_variable(self, key: str, scope: str) -> None:
        try:
            self._call(self.variables.delete, key, **self._only(scope))
        except NotFoundError as exc:
            # Gone already: somebody was faster, or the answer to our first try got lost.
            if "project" in exc.details["answer"].lower():
                raise

    @staticmethod
    def _only(scope: str) -> dict[str, t.Any]:
        """Without it GitLab refuses a key that exists in several scopes."""
        return {"filter": {"environment_scope": scope}}

    def _call(self, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return function(*args, **kwargs, **NO_FURTHER_PATIENCE)
        except gitlab.exceptions.GitlabError as exc:
            raise self._error(exc) from None
        except requests.exceptions.TooManyRedirects:
            raise InvalidError(f"GitLab: {self.url} answers with a redirect; give the final address in url.") from None
        except requests.exceptions.RequestException as exc:
            raise no_answer("GitLab", self.url, self.timeout, exc) from None

    def _error(self, exc: gitlab.exceptions.GitlabError) -> NixciError:
        status, words = exc.response_code, in_words(exc.error_message)
        details = {"status": status, "answer": words}
        if status is None:
            return UnavailableError(
                f"GitLab: {self.url} answered with something unexpected ({words}); check url.", **details
            )
        if status == 401:
            return AuthenticationError(
                f"GitLab refuses the token ({words}): it is wrong, expired or revoked, or belongs to another GitLab than "
                f"{self.url}.",
                **details,
            )
        if status == 403:
            return ForbiddenError(
                f"GitLab: the token may not do this in the project '{self.project}' ({words}); it needs the scope api "
                "and the role Maintainer.",
                **details,
            )
        if status == 404:
            return NotFoundError(
                f"GitLab: the project '{self.project}' does not exist or the token has no access to it ({words}); "
                "check the path with all its groups and the membership of the token's user.",
                **details,
            )
        if status == 429 or status >= 500:
            return UnavailableError(f"GitLab: {self.url} answered {status} ({words}); run again later.", **details)
        kind = ConflictError if status == 409 or "already been taken" in words else InvalidError
        return kind(f"GitLab refuses the variable ({status}: {words}).", **details)


def in_words(message: t.Any) -> str:
    """GitLab answers with a text, with {"field": ["what is wrong"]}, or, through a proxy, with a page."""
    if isinstance(message, dict):
        return "; ".join(f"{field} {', '.join(map(str, texts))}" for field, texts in message.items())
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return "no reason given" if not text or "<" in text else text[:300]
