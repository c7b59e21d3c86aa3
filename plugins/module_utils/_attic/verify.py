# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof that a server accepts a token. Private: may change without notice.

No route of Attic tells: a bad token makes its bearer anonymous, who may read public caches as well. What differs is the
answer about a cache that does not exist: 404 for whom the token grants any right on that name, 401 for everybody else.
"""

from __future__ import annotations

import email.utils
import secrets
import typing as t

from .._core.errors import AuthenticationError
from .._core.http import parse
from .client import AtticClient
from .keys import SigningKey
from .token import CLAIM, Claims, instant


def prove(url: str, key: SigningKey, claims: Claims, **bounds: t.Any) -> None:
    """Ask the server with the same claims and the right to pull from a cache that nobody has; changes nothing."""
    name = f"nixci-{secrets.token_hex(16)}"
    caches = {name: {"r": 1}, **claims[CLAIM]["caches"]}
    client = AtticClient(url, key.mint({**claims, CLAIM: {**claims[CLAIM], "caches": caches}}), **bounds)
    path = f"/_api/v1/cache-config/{name}"
    response = client.send("GET", path)
    content = parse(response)
    word = content.get("error") if isinstance(content, dict) else None
    if word == "Unauthorized":
        raise AuthenticationError(
            f"Attic: {client.base_url} does not accept the token: {_cause(claims, response.headers.get('Date'))}",
            status=response.status_code,
            error=word,
        )
    if word != "NoSuchCache":
        raise client.error("GET", path, response.status_code, content)


def _cause(claims: Claims, date: str | None) -> str:
    """The clock is the one cause that the answer shows."""
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
