# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON over HTTP with bounded retries. Private: may change without notice."""

from __future__ import annotations

import html
import re
import typing as t

from .deps import optional, require
from .errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .redact import redact

if t.TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry
else:
    HTTPAdapter = Retry = object
    with optional("requests"):
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.exceptions import InvalidHeader
        from urllib3.util.retry import Retry

# If a service asks for a longer pause than this, the request fails instead of waiting.
MAX_RETRY_AFTER = 30.0

BY_STATUS: dict[int, type[NixciError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
}


def checked_token(token: str, what: str) -> str:
    """The token as it fits into a header, without surrounding blanks.

    Anything else is refused here, because requests would quote the whole header, including the token, in its error.
    """
    token = token.strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise InvalidError(f"{what} is empty or holds blanks, line breaks or characters that are not ASCII.")
    return token


class BoundedRetry(Retry):
    """Repeats what is safe to repeat: any request after 429, only idempotent ones after 5xx and lost connections."""

    longest_pause = MAX_RETRY_AFTER
    service = "The service"
    option: str | None = None
    """The option that sets `longest_pause`, if there is one."""

    def new(self, **changes: t.Any) -> t.Self:
        """urllib3 creates a new object for each attempt from the arguments that it knows."""
        again = super().new(**changes)
        again.longest_pause, again.service, again.option = self.longest_pause, self.service, self.option
        return again

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        if status_code == 429:
            return bool(self.total)
        return super().is_retry(method, status_code, has_retry_after)

    def get_retry_after(self, response: t.Any) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        if seconds is not None and seconds > self.longest_pause:
            bound = f"longer than {self.option or 'this module waits'} ({self.longest_pause:g} s)"
            raise UnavailableError(
                f"{self.service} answered {response.status} and asks to wait {seconds:.0f} s, {bound}; "
                f"run the task again later{f', or raise {self.option}' if self.option else ''}.",
                status=response.status,
                retry_after=seconds,
            )
        return seconds


class OwnAuthority(HTTPAdapter):
    """Trusts the given certificates only. Session.verify is not enough, because REQUESTS_CA_BUNDLE overrides it."""

    def __init__(self, ca_path: str, **kwargs: t.Any) -> None:
        self.ca_path = ca_path
        super().__init__(**kwargs)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: t.Any = None,
        verify: bool | str = True,
        cert: t.Any = None,
        proxies: t.Any = None,
    ) -> requests.Response:
        return super().send(request, stream, timeout, self.ca_path, cert, proxies)


def http_argument_spec(ca_path: bool = True) -> dict[str, t.Any]:
    """Options of every HTTP client of this collection, see doc_fragments/_http.py."""
    spec: dict[str, t.Any] = {
        "timeout": {"type": "int", "default": 30},
        "retries": {"type": "int", "default": 3},
    }
    if ca_path:
        spec["ca_path"] = {"type": "path"}
    return spec


def bounded_session(
    service: str, retries: int, ca_path: str | None = None, longest_pause: float | None = None
) -> requests.Session:
    """A session with bounded retries, also for libraries that accept a session (see _gitlab/client.py).

    `longest_pause` is the value of the option of that name, for modules that have it.
    """
    retry = BoundedRetry(
        total=retries,
        backoff_factor=0.5,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods={"GET", "HEAD", "PUT", "DELETE"},
        raise_on_status=False,
    )
    retry.service = service
    if longest_pause is not None:
        retry.longest_pause, retry.option = longest_pause, "longest_pause"
    session = requests.Session()
    # Otherwise an entry for the host in ~/.netrc, such as one for Nix, would replace the Authorization header.
    session.auth = lambda request: request
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", OwnAuthority(ca_path, max_retries=retry) if ca_path else HTTPAdapter(max_retries=retry))
    return session


def no_answer(service: str, base_url: str, timeout: float, exc: requests.exceptions.RequestException) -> NixciError:
    """The error for a request without a response."""
    if isinstance(exc, requests.exceptions.SSLError):
        return UnavailableError(
            f"{service}: the certificate of {base_url} is not trusted ({_reason(exc)}); "
            "wait for a valid certificate, or set ca_path to the certificate of your own authority."
        )
    if isinstance(exc, requests.exceptions.Timeout):
        return UnavailableError(
            f"{service}: {base_url} did not answer within {timeout:g} s; "
            "check the address and the network, or raise timeout."
        )
    return UnavailableError(f"{service}: cannot reach {base_url} ({_reason(exc)}); check the address and the network.")


class JsonClient:
    """One service with a bearer token. Subclass it and override `error` to read the service's own error bodies."""

    service = "The service"

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        retries: int = 3,
        ca_path: str | None = None,
        longest_pause: float | None = None,
    ) -> None:
        require("requests", self.service)
        if not base_url.startswith(("https://", "http://")):
            raise InvalidError(f"{self.service}: '{base_url}' is not a URL; it must start with https:// or http://.")
        if timeout <= 0 or retries < 0:
            raise InvalidError(f"{self.service}: timeout must be at least 1 second, and retries must not be negative.")
        self.token = checked_token(token, f"The {self.service} token")
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.session = bounded_session(self.service, retries, ca_path, longest_pause)
        self.session.headers.update(
            {
                "User-Agent": "pantheros.nixci",
                "Accept": "application/json",
                "Authorization": f"Bearer {self.token}",
            }
        )

    def explain(self, status: int, body: t.Any) -> str:
        """The error message of the service, without secrets."""
        return redact(shown(body, longest=10_000), [self.token])[:300]

    def send(
        self,
        method: str,
        path: str,
        body: t.Any = None,
        params: dict[str, t.Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """The raw response. Raises UnavailableError if there is none."""
        url = self.base_url + path
        try:
            # A redirect would send the credential to another server, so none is followed.
            return self.session.request(
                method, url, json=body, params=params, headers=headers, timeout=self.timeout, allow_redirects=False
            )
        except requests.exceptions.RequestException as exc:
            raise no_answer(self.service, self.base_url, self.timeout, exc) from None

    def request(
        self,
        method: str,
        path: str,
        body: t.Any = None,
        params: dict[str, t.Any] | None = None,
        *,
        none_on: t.Collection[int] = (),
        empty: t.Any = None,
    ) -> t.Any:
        """The parsed body, `empty` instead of an empty one, or None if the status is in none_on.

        Raises a typed error after a failure.
        """
        response = self.send(method, path, body, params)
        if response.status_code in none_on:
            return None
        content = parse(response)
        if 200 <= response.status_code < 300:
            if isinstance(content, str):
                raise UnavailableError(
                    f"{self.service}: {method} {path} answered with something that is not JSON; "
                    f"check that {self.base_url} is the right address."
                )
            return empty if content is None else content
        raise self.error(method, path, response.status_code, content)

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        """A typed error for a response that is not a success."""
        if status == 429 or status >= 500:
            kind: type[NixciError] = UnavailableError
        else:
            kind = BY_STATUS.get(status, InvalidError)
        message = self.explain(status, content)
        said = f": {message.rstrip('.')}" if message else ""
        return kind(
            f"{self.service}: {method} {path} answered {status}{said}{self.remedy(status, content)}.", status=status
        )

    def remedy(self, status: int, content: t.Any) -> str:
        """What to do, to be appended to the message."""
        if status == 429:
            return "; run the task again later, or raise retries"
        if status >= 500:
            return "; run the task again later"
        # Only a server that is not the API, or something in front of it, answers without the API's JSON.
        return "" if isinstance(content, dict) else f"; this is not {self.service}'s API, so check url and the network"


def shown(body: t.Any, longest: int = 300) -> str:
    """What an error body says, on one line: a message in JSON, the title of a web page, or a short text."""
    if isinstance(body, dict):
        found = [body.get(name) for name in ("message", "error", "title", "detail")]
        text = next((one for one in found if isinstance(one, str) and one), "")
    elif isinstance(body, str) and "<" in body:
        title = re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
        text = f"a web page '{html.unescape(title[1]).strip()}'" if title and title[1].strip() else "a web page"
    else:
        text = body if isinstance(body, str) else ""
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))[:longest]


def parse(response: requests.Response) -> t.Any:
    """The parsed JSON, the text if it is not JSON, or None if it is empty."""
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        return response.text


def _reason(exc: BaseException) -> str:
    """The innermost cause as short text; requests wraps it in several layers."""
    seen: BaseException = exc
    while True:
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    text = str(seen)
    return text.rsplit(": ", 1)[-1][:160] if text.startswith("<") or "Error" in text[:60] else text[:160]
