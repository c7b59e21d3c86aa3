# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An account of Backblaze B2 through its native API. Private: may change without notice.

It uses b2sdk's session and not its object layer, which answers from caches and asserts after it has created a key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing as t
from collections.abc import Iterator
from urllib.parse import urlsplit

from .._core.deps import optional, require
from .._core.errors import AuthenticationError, ForbiddenError, InvalidError, NixciError, UnavailableError
from .._core.http import checked_token, http_argument_spec
from .._core.redact import redact
from .http import REMEDIES, BoundedSession, Refusal, known_code, refused

with optional("b2sdk"):
    from b2sdk.v2 import B2RawHTTPApi as Version3
    from b2sdk.v3 import REALM_URLS, B2HttpApiConfig, B2RawHTTPApi, B2Session, InMemoryAccountInfo
    from b2sdk.v3.exception import B2Error, InvalidAuthToken, Unauthorized

    class KeysOfVersion3(B2RawHTTPApi):
        """Requests of API version 4, and of version 3 for keys."""

        def create_key(self, *arguments: t.Any, **named: t.Any) -> t.Any:
            return Version3(self.b2_http).create_key(*arguments, **named)

        def list_keys(self, *arguments: t.Any, **named: t.Any) -> t.Any:
            return Version3(self.b2_http).list_keys(*arguments, **named)


def b2_argument_spec() -> dict[str, t.Any]:
    """Options of every B2 module; see doc_fragments/_b2.py."""
    return {
        "key_id": {"type": "str", "required": True, "no_log": False},
        "key": {"type": "str", "required": True, "no_log": True},
        "realm": {"type": "str", "default": "production"},
        "region": {"type": "str"},
        **http_argument_spec(ca_path=False),
    }


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a key may do."""

    key_id: str
    names: frozenset[str]

    def __contains__(self, capability: str) -> bool:
        return capability in self.names

    def require(self, capability: str, action: str) -> None:
        """Raises ForbiddenError; `action` completes the sentence "cannot …"."""
        if capability not in self:
            raise ForbiddenError(
                f"B2: cannot {action}: the key {self.key_id} lacks the capability {capability}; use a key that has it.",
                missing_capability=capability,
            )


class B2Client:
    """An account, authorised with a key. Raises only the errors of _core/errors.py."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        require("b2sdk", "B2")
        realm = params["realm"].rstrip("/")
        if realm != "production" and not re.match(r"https?://[^/]+", realm):
            raise InvalidError(f"B2: realm '{realm}' is neither production nor a URL with https:// or http://.")
        key_id, key = (checked_token(params[option], f"B2: {option}") for option in ("key_id", "key"))
        self.secrets = {key}
        self.realm_url = REALM_URLS.get(realm, realm)
        connections = BoundedSession(params["timeout"], params["retries"])
        http = {"http_session_factory": lambda: connections, "user_agent_append": "pantheros.nixci"}
        # In memory: by default b2sdk writes the token to a file in the home directory.
        account = InMemoryAccountInfo()
        self.session = B2Session(account, api_config=B2HttpApiConfig(**http))
        # For keys; see key.py.
        self.session_v3 = B2Session(account, api_config=B2HttpApiConfig(**http, _raw_api_class=KeysOfVersion3))
        with self.typed(f"log in with the key {key_id}", login=True):
            self.session.authorize_account(realm, key_id, key)
            self.account_id: str = account.get_account_id()
            self.s3_endpoint: str = account.get_s3_api_url()
            self.capabilities = Capabilities(key_id, frozenset(account.get_allowed()["capabilities"]))
        self.region = region_of(self.s3_endpoint, params["region"])

    def accepts(self, key_id: str, secret: str) -> bool:
        """Whether this is the secret of that key. The session stays authorised with its own key."""
        self.secrets.add(secret)
        try:
            with self.typed(f"try the stored key {key_id}", login=True):
                self.session.raw_api.authorize_account(self.realm_url, key_id, secret)
        except AuthenticationError:
            return False
        return True

    @contextlib.contextmanager
    def typed(self, action: str, *, login: bool = False) -> Iterator[None]:
        """Turns exceptions of b2sdk into typed errors: one sentence that names the action and repeats no secret."""
        try:
            yield
        except (B2Error, KeyError, TypeError, ValueError, AttributeError) as exc:
            error = _error(exc, action, login)
            raise type(error)(redact(str(error), self.secrets), **error.details) from None


def _error(exc: Exception, action: str, login: bool) -> NixciError:
    if isinstance(exc, Refusal):
        return exc.error or refused(exc.status, exc.code, exc.message, action)
    # B2 answers `unauthorized` to a wrong secret as well as to a missing right; at a login it can only be the secret.
    code = known_code(getattr(exc, "code", None))
    wrong = login and isinstance(exc, Unauthorized) and code in ("", "unauthorized")
    if wrong or isinstance(exc, InvalidAuthToken):
        return AuthenticationError(
            f"B2: cannot {action}: B2 does not know this key id with this secret; check both, "
            "and that the key was not deleted and has not expired.",
            status=401,
            code=code,
        )
    if isinstance(exc, Unauthorized):
        reason = f"{str(exc.message)[:300]} (401 {code})"
        return ForbiddenError(
            f"B2: cannot {action}: {reason}; {REMEDIES.get(code, 'use a key that may do this')}.", status=401, code=code
        )
    if isinstance(exc, B2Error):
        return NixciError(f"B2: cannot {action}: {str(exc)[:300]}.")
    return UnavailableError(
        f"B2: cannot {action}: the answer is not one of B2's native API; check that realm is the right address."
    )


def region_of(s3_endpoint: str, expected: str | None) -> str | None:
    """The second label of s3.REGION.DOMAIN; the expected region where the endpoint does not name one."""
    match = re.fullmatch(r"s3\.([a-z0-9-]+)\.[a-z0-9.-]*[a-z][a-z0-9.-]*", urlsplit(s3_endpoint).hostname or "")
    region = match.group(1) if match else expected
    if expected and region != expected:
        raise InvalidError(
            f"B2: the account of this key lives in the region {region}, not in {expected}; "
            "an account cannot move, so use a key of an account in that region or correct region."
        )
    return region
