# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user of attic_token wants, and whether a token satisfies it. Private: may change without notice."""

from __future__ import annotations

import typing as t

from .._core.duration import format_duration, parse_duration
from .._core.errors import InvalidError
from .token import (
    CLAIM,
    LAST_SECOND,
    Claims,
    differences,
    grants,
    instant,
    loses_pull,
    unreachable,
    untimely,
)


class Wish:
    def __init__(self, params: dict[str, t.Any], now: int) -> None:
        self.now = now
        self.claims = _claims(params)
        self.validity = parse_duration("validity", params["validity"])
        asked = params["renew_before"]
        self.renew_before = self.validity // 3 if asked is None else parse_duration("renew_before", asked)
        if self.renew_before >= self.validity:
            raise InvalidError(
                f"renew_before ({format_duration(self.renew_before)}) must be shorter than validity "
                f"({format_duration(self.validity)}), or every run would mint a new token."
            )
        if now + self.validity > LAST_SECOND:
            raise InvalidError(
                f"validity: '{params['validity']}' ends after {instant(LAST_SECOND)}, which is the last time that Attic "
                "knows; give a shorter duration."
            )

    def refuses(self, token: Claims) -> str | None:
        """What speaks against keeping a token; None when nothing does."""
        late = untimely(token, self.now, self.renew_before)
        return "; ".join([late] * bool(late) + differences(token, self.claims)) or None

    def remarks(self) -> list[str]:
        """Permissions that do not mean what they seem to mean."""
        caches = self.claims[CLAIM]["caches"]
        return [
            *(
                f"permissions: '{later}' never applies, because '{earlier}' stands before it and the server takes the "
                "first pattern that matches; put the narrower one first."
                for later, earlier in unreachable(caches)
            ),
            *(
                f"permissions: '{entry}' does not grant pull, and '{pattern}' does not add it, because the server takes "
                "one entry only; repeat pull in it."
                for entry, pattern in loses_pull(caches)
            ),
        ]


def _claims(params: dict[str, t.Any]) -> Claims:
    """The claims that do not depend on the time, in the server's own order."""
    if not params["subject"].strip():
        raise InvalidError("subject: it is empty; say whom the token is for.")
    if not params["permissions"]:
        raise InvalidError("permissions: the list is empty, so the token would grant nothing; give at least one entry.")
    # Ansible makes a list with one empty entry of an empty text.
    if not all(audience.strip() for audience in params["audiences"] or ()):
        raise InvalidError("audiences: an entry is empty; give the server's audiences, or leave the option out.")
    claims: Claims = {"sub": params["subject"]}
    if params["issuer"]:
        claims = {"iss": params["issuer"], **claims}
    if params["audiences"]:
        claims["aud"] = list(dict.fromkeys(params["audiences"]))
    return {**claims, CLAIM: {"caches": grants(params["permissions"])}}
