# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token that a task of attic_token describes, and whether another one will do. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.duration import format_duration, parse_duration
from .._core.errors import InvalidError
from .token import (
    BACKDATE,
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


@dataclasses.dataclass(frozen=True)
class DesiredToken:
    claims: Claims
    """Those that do not depend on the time."""

    validity: int
    renew_before: int

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> DesiredToken:
        claims = _claims(params)
        validity = parse_duration("validity", params["validity"])
        given = params["renew_before"]
        renew_before = validity // 3 if given is None else parse_duration("renew_before", given)
        if renew_before >= validity:
            raise InvalidError(
                f"renew_before ({format_duration(renew_before)}) must be shorter than validity "
                f"({format_duration(validity)}), or every run would mint a new token."
            )
        return cls(claims, validity, renew_before)

    def claims_at(self, now: int) -> Claims:
        """The claims of a token that is minted now."""
        if now + self.validity > LAST_SECOND:
            raise InvalidError(
                f"validity: a token that is valid for {format_duration(self.validity)} ends after {instant(LAST_SECOND)}, "
                "which is the last time that Attic knows; give a shorter duration."
            )
        return {"exp": now + self.validity, "nbf": now - BACKDATE, **self.claims}

    def reason_to_replace(self, token: Claims, now: int) -> str | None:
        """Why a token is not kept; None if it is."""
        late = untimely(token, now, self.renew_before)
        return "; ".join([*([late] if late else []), *differences(token, self.claims)]) or None

    def remarks(self) -> list[str]:
        """Warnings about permissions that do not mean what they seem to mean."""
        caches = self.claims[CLAIM]["caches"]
        return [
            *(
                f"permissions: '{later}' never applies, because '{earlier}' precedes it and the server uses the "
                "first pattern that matches; put the narrower one first."
                for later, earlier in unreachable(caches)
            ),
            *(
                f"permissions: '{entry}' does not grant pull, and '{pattern}' does not add it, because the server uses "
                "a single entry; repeat pull in it."
                for entry, pattern in loses_pull(caches)
            ),
        ]


def _claims(params: dict[str, t.Any]) -> Claims:
    """The claims that do not depend on the time, in the server's order."""
    if not params["subject"].strip():
        raise InvalidError("subject: it is empty; say who the token is for.")
    if not params["permissions"]:
        raise InvalidError("permissions: the list is empty, so the token would grant nothing; give at least one entry.")
    # Ansible turns an empty text into a list with one empty entry.
    if not all(audience.strip() for audience in params["audiences"] or ()):
        raise InvalidError("audiences: an entry is empty; give the server's audiences, or leave the option out.")
    claims: Claims = {"sub": params["subject"]}
    if params["issuer"]:
        claims = {"iss": params["issuer"], **claims}
    if params["audiences"]:
        claims["aud"] = list(dict.fromkeys(params["audiences"]))
    return {**claims, CLAIM: {"caches": grants(params["permissions"])}}
