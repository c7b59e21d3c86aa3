# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What 1Password's own programs mean by their words. Private: may change without notice.

Neither `op` nor the SDK has codes for its errors, so the words decide. The message for the user is ours: a lookup's
error is printed even under no_log, and what a program prints may repeat what it was given.
"""

from __future__ import annotations

import re

from .._core.errors import AuthenticationError, ForbiddenError, NixciError, UnavailableError
from .._core.redact import redact

SERVICE_ACCOUNT = "service_account_token (OP_SERVICE_ACCOUNT_TOKEN)"
# The first fragment found wins; all in lower case.
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


def has(words: str, fragments: tuple[str, ...]) -> bool:
    words = words.lower()
    return any(fragment in words for fragment in fragments)


def refusal(words: str, vault: str) -> NixciError | None:
    """What the service refuses whatever it is asked for, or None."""
    if has(words, RATE_LIMIT):
        pause = PAUSE.search(words)
        return UnavailableError(
            "1Password takes no more requests of this service account for now (rate limit); "
            f"run again {'in ' + pause[1] if pause else 'later'}.",
            status=429,
        )
    if has(words, AUTHENTICATION):
        return AuthenticationError(
            f"1Password does not accept the token of the service account; check {SERVICE_ACCOUNT}.", status=401
        )
    if has(words, FORBIDDEN):
        return ForbiddenError(
            f"The service account may not do this in vault '{vault}'; give it read rights there, "
            "and write rights for onepassword_item.",
            status=403,
        )
    if has(words, UNREACHABLE):
        return UnavailableError("1Password cannot be reached; check the network and the proxy, and run again.")
    return None


def harmless(words: str, *secrets: str) -> str:
    """Words that nobody has seen before, short and without what looks like a credential."""
    return redact(" ".join(words.split()), secrets)[:300]
