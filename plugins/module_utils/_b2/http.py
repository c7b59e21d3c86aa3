# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""b2sdk's requests with bounded timeouts and retries, and the errors of B2. Private: may change without notice."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit

from .._core.deps import optional
from .._core.errors import ConflictError, ForbiddenError, InvalidError, NixciError, NotFoundError, UnavailableError
from .._core.http import BoundedRetry

if t.TYPE_CHECKING:
    import requests
    from requests import Session as _Session

    class B2Error(Exception): ...  # b2sdk has no types
else:
    _Session, B2Error = object, Exception
    with optional("b2sdk"):
        import requests
        from b2sdk.v3.exception import B2Error

        _Session = requests.Session
with optional("b2sdk"):
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import ReadTimeoutError

BY_CODE: dict[str, type[NixciError]] = {
    "duplicate_bucket_name": ConflictError,
    "cannot_delete_non_empty_bucket": ConflictError,
    "bad_bucket_id": NotFoundError,
}
BY_STATUS: dict[int, type[NixciError]] = {
    403: ForbiddenError,
    404: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    429: UnavailableError,
}
# What the user can do where B2's own message does not say so.
REMEDIES = {
    "cap_exceeded": "raise the spending cap of the account",
    "storage_cap_exceeded": "raise the spending cap of the account",
    "transaction_cap_exceeded": "raise the spending cap of the account",
    "too_many_buckets": "delete a bucket, or ask Backblaze for more",
    "email_not_verified": "verify the e-mail address of the account",
    "no_payment_history": "Backblaze wants a first payment before it allows this",
}


class Refusal(B2Error):
    """Carries an error through b2sdk, which repeats only requests whose errors it knows to be temporary."""

    def __init__(self, error: NixciError | None = None, *, status: int = 0, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.error, self.status, self.code, self.message = error, status, code, message


class BoundedSession(_Session):
    """Bounds the waiting: b2sdk itself waits up to 20 minutes for an answer, and without limit on Retry-After.

    The creation of a key is not repeated once the request may have reached B2: after a lost answer there is a key
    whose secret nobody has.
    """

    def __init__(self, timeout: float, retries: int) -> None:
        super().__init__()
        self.timeout = timeout
        # Without this, an entry of ~/.netrc would replace the Authorization header.
        self.auth = lambda request: request
        self.retry_posts = self._adapter(retries, {"POST"})
        self.retry_no_posts = self._adapter(retries, {"GET"})

    def _adapter(self, retries: int, methods: set[str]) -> t.Any:
        retry = BoundedRetry(
            total=retries,
            backoff_factor=0.5,
            status_forcelist=(408, 500, 502, 503, 504),
            allowed_methods=methods,
            raise_on_status=False,
        )
        retry.service = "B2"
        return HTTPAdapter(max_retries=retry)

    def get_adapter(self, url: str) -> t.Any:
        return self.retry_no_posts if url.endswith("/b2_create_key") else self.retry_posts

    def request(self, method: str, url: str, **arguments: t.Any) -> t.Any:  # type: ignore[override]
        place = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        # A redirect would send the credential to another host, so none is followed.
        arguments.update(timeout=self.timeout, allow_redirects=False)
        try:
            response = super().request(method, url, **arguments)
        except NixciError as exc:
            raise Refusal(exc) from None
        except requests.exceptions.RequestException as exc:
            raise Refusal(UnavailableError(f"B2: {place} {self._reason(exc)}.")) from None
        # b2sdk handles 401 itself: it logs in again, once, when a token has expired.
        if response.status_code in (200, 401):
            return response
        code, message = _read_error(response)
        raise Refusal(status=response.status_code, code=code, message=message)

    def _reason(self, exc: requests.exceptions.RequestException) -> str:
        # After the last retry the cause is wrapped: ConnectionError(MaxRetryError(reason)).
        cause = getattr(exc.args[0], "reason", None) if exc.args else None
        if isinstance(exc, requests.exceptions.Timeout) or isinstance(cause, ReadTimeoutError):
            return f"did not answer within {self.timeout:g} s; check the network, or raise timeout"
        if isinstance(exc, requests.exceptions.SSLError):
            return "has a certificate that is not trusted; check the realm and the clock"
        return "cannot be reached; check the realm and the network"


def refused(status: int, code: str, message: str, action: str) -> NixciError:
    """A typed error for an answer that is not a success."""
    fallback = UnavailableError if status >= 500 or not code else InvalidError
    kind = BY_CODE.get(code) or BY_STATUS.get(status) or fallback
    reason = f"{message} ({status} {code})" if code else f"the answer was {status} without a reason"
    remedy = f"; {REMEDIES[code]}" if code in REMEDIES else ""
    return kind(f"B2: cannot {action}: {reason}{remedy}.", status=status, code=code)


def known_code(code: t.Any) -> str:
    """The error code of an answer; empty unless it has the form of B2's codes, so it is safe to print."""
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,60}", code) else ""


def _read_error(response: t.Any) -> tuple[str, str]:
    try:
        body = response.json()
        return known_code(body["code"]), str(body.get("message", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
