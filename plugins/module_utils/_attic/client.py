# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Attic server over its HTTP API. Private: may change without notice."""

from __future__ import annotations

import time
import typing as t

from .._core.change import Change
from .._core.errors import ConflictError, ForbiddenError, InvalidError, NixciError, NotFoundError, UnavailableError
from .._core.http import BY_STATUS, JsonClient, http_argument_spec
from .token import CLAIM, NAME, RIGHTS, malformed, read_claims, rights_on, untimely

# Which right the server asks for; reading comes first in every run.
RIGHT_FOR = {"GET": "pull", "POST": "create_cache", "PATCH": "configure_cache", "DELETE": "destroy_cache"}


def attic_argument_spec() -> dict[str, t.Any]:
    return {
        "url": {"type": "str", "required": True},
        "token": {"type": "str", "required": True, "no_log": True},
        **http_argument_spec(),
    }


class AtticClient(JsonClient):
    """Caches as plain dicts: FIELDS are what can be set, READ_ONLY is what only the server knows."""

    service = "Attic"

    FIELDS = ("is_public", "priority", "store_dir", "upstream_cache_key_names", "retention_period")
    READ_ONLY = ("public_key", "substituter_endpoint", "api_endpoint")

    # What Attic's own client sends; the server itself has no defaults and wants every field.
    DEFAULTS: t.ClassVar[dict[str, t.Any]] = {
        "is_public": False,
        "priority": 41,
        "store_dir": "/nix/store",
        "upstream_cache_key_names": ["cache.nixos.org-1"],
        "retention_period": "global",
    }

    def __init__(self, url: str, token: str, **bounds: t.Any) -> None:
        super().__init__(url, token, **bounds)
        claims = read_claims(self.token)
        # A server may use tokens of another kind one day; then nothing is known about them, and nothing is said.
        self.claims = claims if claims and CLAIM in claims else None

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> AtticClient:
        bounds = {option: params[option] for option in http_argument_spec()}
        return cls(params["url"], params["token"], **bounds)

    def get_cache(self, name: str) -> dict[str, t.Any] | None:
        """FIELDS and READ_ONLY of a cache, or None when there is none."""
        try:
            config = self.request("GET", _path(name))
        except NotFoundError as exc:
            if exc.details.get("error") == "NoSuchCache":
                return None
            raise
        try:
            found = {field: config[field] for field in (*self.FIELDS, *self.READ_ONLY)}
            period = found["retention_period"]
            return {"name": name, **found, "retention_period": "global" if period == "Global" else period["Period"]}
        except (KeyError, TypeError):
            raise UnavailableError(f"{self.base_url} answers, but not as Attic does; check the URL.") from None

    def apply(self, name: str, change: Change, keypair: str | None = None) -> None:
        """Bring about a change between two states made of FIELDS, and of public_key if the key pair is replaced.

        Without a key pair of ours the server makes one.
        """
        key = {"Keypair": keypair} if keypair else "Generate"
        if change.after is None:
            self.destroy(name)
        elif change.before is None:
            self.create(name, change.after, key)
        else:
            settings = {field: change.fields[field] for field in self.FIELDS if field in change.fields}
            self.configure(name, {"keypair": key, **settings} if "public_key" in change.fields else settings)

    def create(self, name: str, settings: dict[str, t.Any], key: t.Any = "Generate") -> None:
        """All FIELDS at once. If this stops half-way, the cache has the global retention and `configure` mends it."""
        body = {field: settings[field] for field in self.FIELDS if field != "retention_period"}
        try:
            self.request("POST", _path(name), {"keypair": key, **body})
        except ConflictError as exc:
            raise self._taken(name, exc) from None
        # The server ignores a retention in the request above.
        if settings["retention_period"] != "global":
            try:
                self.configure(name, {"retention_period": settings["retention_period"]})
            except NixciError as exc:
                words = f"{exc} The cache has been created, but follows the server's retention; run again to set it."
                raise type(exc)(words, **exc.details) from None

    def configure(self, name: str, settings: dict[str, t.Any]) -> None:
        """Only the FIELDS given; the others stay as they are."""
        body = dict(settings)
        if "retention_period" in body:
            period = body["retention_period"]
            body["retention_period"] = "Global" if period == "global" else {"Period": period}
        self.request("PATCH", _path(name), body)

    def destroy(self, name: str) -> None:
        try:
            self.request("DELETE", _path(name))
        except NotFoundError as exc:
            # The answer to an earlier attempt was lost, or somebody else was faster: gone is gone.
            if exc.details.get("error") != "NoSuchCache":
                raise

    def _taken(self, name: str, exc: ConflictError) -> ConflictError:
        """Why a name that was free is taken; after a soft deletion it is both for ever."""
        if self.get_cache(name) is not None:
            words = "somebody else has created it just now; run again to compare it with what is wanted"
        else:
            words = (
                "the server says both that it does not exist and that its name is taken, so a soft-deleted cache holds "
                "the name; choose another name, or delete the row of table cache in Attic's database where "
                f"name = '{name}' and deleted_at is not null"
            )
        return ConflictError(f"Attic: cache '{name}' cannot be created: {words}.", **exc.details)

    def require_rights(self, name: str, change: Change) -> None:
        """Find a fault of the token before the first of several requests, and in check mode, as far as it is readable."""
        if change and (fault := self._fault(name, needed_rights(change))):
            raise ForbiddenError(f"Attic: cache '{name}' cannot be changed, and nothing has been: {fault}.")

    def ignored_because(self) -> str | None:
        """Why the server treats this token as none, as far as the token itself tells."""
        return self.claims and (malformed(self.claims) or untimely(self.claims, int(time.time())))

    # ---- reading failures ---------------------------------------------------------------------------------------

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        word = content.get("error") if isinstance(content, dict) else None
        if word in ("Unauthorized", "AccessError"):
            return BY_STATUS[status](
                self._explain_refusal(method, path.rsplit("/", 1)[-1], status), status=status, error=word
            )
        failure = super().error(method, path, status, content)
        if word == "CacheAlreadyExists":
            failure = ConflictError(str(failure), **failure.details)
        failure.details["error"] = word
        return failure

    def explain(self, status: int, body: t.Any) -> str:
        if 300 <= status < 400:
            return f"{self.base_url} redirects; give the address that it leads to, usually the one with https://"
        if isinstance(body, dict) and body.get("error") == "NotFound":
            return "the server does not know this path; url is the root of the API, without the name of a cache"
        if isinstance(body, dict) and str(body.get("message")).endswith("Bad Host"):
            return f"the server does not answer to the host of {self.base_url}; use one of its allowed-hosts"
        # Attic refuses malformed requests in plain text; a page or nothing at all comes from something before it.
        words = super().explain(status, "" if str(body or "").lstrip().startswith("<") else body).strip().rstrip(".")
        if status in (502, 503, 504) and not words:
            return "the proxy answers, but atticd behind it does not; look at atticd's journal on the server"
        if status >= 500:
            return f"{words or 'the server failed'}; look at atticd's journal on the server"
        return words or "this answer is not Attic's; check the URL and the proxy"

    def _explain_refusal(self, method: str, name: str, status: int) -> str:
        """The server ignores a bad token instead of refusing it, so 401 and 403 need the token to be understood."""
        right = RIGHT_FOR[method]
        start = f"Attic: {self.base_url} refuses to {VERBS[method]} cache '{name}' ({status})"
        if not self.claims:
            return f"{start}: the token is not one of Attic's, or it lacks {_rights({right})} on this cache."
        if fault := self._fault(name, {right}):
            return f"{start}: {fault}."
        return (
            f"{start}, although the token grants {right}: the server does not accept its signature, issuer or "
            "audience; mint a new one with the server's current key and what it is bound to."
        )

    def _fault(self, name: str, needed: set[str]) -> str | None:
        """What the token itself says against a request; None when nothing, or when it cannot be read."""
        if not self.claims:
            return None
        if fault := self.ignored_because():
            return f"the server ignores the token because {fault}; mint a new one"
        missing = needed - rights_on(self.claims[CLAIM]["caches"], name)
        if not missing:
            return None
        why = ", without which it cannot be compared" if "pull" in missing else ""
        return f"the token lacks {_rights(missing)} on this cache{why}; mint one that grants it"


VERBS = {"GET": "show", "POST": "create", "PATCH": "configure", "DELETE": "destroy"}


def needed_rights(change: Change) -> set[str]:
    """What a change needs beside what the comparison before it needed, which is pull on a private cache."""
    if change.after is None:
        return {"destroy_cache"}
    retention = {"configure_cache", "configure_cache_retention"}
    if change.before is None:
        needed = {"create_cache"} if change.after["is_public"] else {"create_cache", "pull"}
        return needed if change.after["retention_period"] == "global" else needed | retention
    needed = retention if "retention_period" in change.fields else {"configure_cache"}
    # Who makes a public cache private must be able to read it afterwards, as the next run does.
    return needed if change.after["is_public"] else needed | {"pull"}


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidError(
            f"name: '{name}' is not a name of a cache; use at most 50 letters, digits, '-', '_' and '+', "
            "and begin with a letter or a digit."
        )


def _path(name: str) -> str:
    check_name(name)
    return f"/_api/v1/cache-config/{name}"


def _rights(rights: t.Iterable[str]) -> str:
    """Rights in words, in the usual order."""
    words = [right for right in RIGHTS if right in rights]
    return f"the right{'s' if len(words) > 1 else ''} {', '.join(words)}"
