# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error messages of 1Password's own programs. Private: may change without notice.

Neither `op` nor the SDK has error codes, so patterns in their messages decide. The message for the user is ours: Ansible
prints a lookup's error even under no_log, and a program's output may repeat its input.
"""

from __future__ import annotations

import re

from .._core.errors import AuthenticationError, ForbiddenError, NixciError, UnavailableError
from .._core.redact import redact

SERVICE_ACCOUNT = "service_account_token (OP_SERVICE_ACCOUNT_TOKEN)"
TOKEN = f"The token of the service account, {SERVICE_ACCOUNT},"
# The first list with a match decides; all patterns are in lower case.
RATE_LIMIT = ("(429)", "rate limit exceeded", "too many requests", "maximum number of this type of requests")
AUTHENTICATION = (
    "decodesacredentials",
    "(401)",
    "invalid bearer token",
    "signin credentials are not compatible",
    "not currently signed in",
    "no accounts configured",
    "could not find session token",
    "session expired",
    "account is not signed in",
    "you are not authenticated",
    "invalid service account token",
    "service account token was not specified",
    "service account token had invalid format",
)
FORBIDDEN = ("(403)", "don't have the right permissions")
UNREACHABLE = (
    "context deadline exceeded",
    "dial tcp",
    "no such host",
    "authorization timeout",
    "error sending request",
)
PAUSE = re.compile(r"retry in (\d+ \w+)", re.IGNORECASE)


def matches(message: str, patterns: tuple[str, ...]) -> bool:
    message = message.lower()
    return any(pattern in message for pattern in patterns)


def general_error(message: str, vault: str) -> NixciError | None:
    """The error for a message that any request can cause, or None."""
    if matches(message, RATE_LIMIT):
        pause = PAUSE.search(message)
        return UnavailableError(
            "1Password accepts no more requests from this service account for now (rate limit); "
            f"run again {'in ' + pause[1] if pause else 'later'}.",
            status=429,
        )
    if matches(message, AUTHENTICATION):
        return AuthenticationError(
            f"1Password does not accept the token of the service account; check {SERVICE_ACCOUNT}.", status=401
        )
    if matches(message, FORBIDDEN):
        return ForbiddenError(
            f"The service account may not do this in vault '{vault}'; give it read rights there, "
            "and write rights for onepassword_item.",
            status=403,
        )
    if matches(message, UNREACHABLE):
        return UnavailableError("1Password cannot be reached; check the network and the proxy, and run again.")
    return None


def safe_excerpt(message: str, *secrets: str) -> str:
    """The beginning of an unknown message, without whatever looks like a credential."""
    return redact(" ".join(message.split()), secrets)[:300]
