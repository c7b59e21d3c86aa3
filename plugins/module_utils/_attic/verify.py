# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server accepts a token. Private: may change without notice.

No route of Attic reports that: a bad token makes its bearer anonymous, who may read public caches as well. What differs
is the answer about a cache that does not exist: 404 if the token grants any right on that name, 401 otherwise.
"""

from __future__ import annotations

import email.utils
import secrets
import typing as t

from .._core.errors import AuthenticationError, NixciError
from .._core.http import parse
from .client import AtticClient
from .keys import SigningKey
from .token import CLAIM, Claims, instant


def verify(url: str, key: SigningKey, claims: Claims, **bounds: t.Any) -> None:
    """Send a token with the same claims and the right to pull from a cache that nobody has; changes nothing.

    Raises NixciError. Planning again does not settle it: the requests were repeated, and the same ones would follow.
    """
    try:
        _verify(url, key, claims, **bounds)
    except NixciError as exc:
        exc.plan_again = False
        raise


def _verify(url: str, key: SigningKey, claims: Claims, **bounds: t.Any) -> None:
    name = f"nixci-{secrets.token_hex(16)}"
    caches = {name: {"r": 1}, **claims[CLAIM]["caches"]}
    client = AtticClient(url, key.mint({**claims, CLAIM: {**claims[CLAIM], "caches": caches}}), **bounds)
    path = f"/_api/v1/cache-config/{name}"
    response = client.send("GET", path)
    content = parse(response)
    code = content.get("error") if isinstance(content, dict) else None
    if code == "Unauthorized":
        raise AuthenticationError(
            f"Attic: {client.base_url} does not accept the token: {_cause(claims, response.headers.get('Date'))}",
            status=response.status_code,
            error=code,
        )
    if code != "NoSuchCache":
        raise client.error("GET", path, response.status_code, content)


def _cause(claims: Claims, date: str | None) -> str:
    """The clock is the only cause that the answer shows."""
    try:
        clock = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        clock = claims.get("nbf", 0)
    if clock < claims.get("nbf", clock) or clock > claims.get("exp", clock):
        return f"its clock shows {instant(clock)}, at which the token is not valid; set the clocks of both machines."
    return (
        "it has another signing key, or it is bound to another issuer or other audiences; give signing_key and "
        "algorithm as the server has them, and issuer and audiences as in the [jwt] section of its configuration."
    )
