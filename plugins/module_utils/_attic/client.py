# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An Attic server over its HTTP API. Private: may change without notice."""

from __future__ import annotations

import time
import typing as t

from .._core.errors import ConflictError, InvalidError, NixciError, NotFoundError, UnavailableError
from .._core.http import BY_STATUS, JsonClient, http_argument_spec
from .token import CLAIM, NAME, RIGHTS, malformed, read_claims, rights_on, untimely

# The right that the server requires; every run begins with reading.
RIGHT_FOR = {"GET": "pull", "POST": "create_cache", "PATCH": "configure_cache", "DELETE": "destroy_cache"}


def attic_argument_spec() -> dict[str, t.Any]:
    return {
        "url": {"type": "str", "required": True},
        "token": {"type": "str", "required": True, "no_log": True},
        **http_argument_spec(),
    }


Cache = dict[str, t.Any]


class AtticClient(JsonClient):
    """Caches as plain dicts: FIELDS can be set, READ_ONLY is what only the server knows."""

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
        # Nothing is known, and nothing is reported, about tokens of another kind, should a server use them one day.
        self.claims = claims if claims and CLAIM in claims else None

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> AtticClient:
        bounds = {option: params[option] for option in http_argument_spec()}
        return cls(params["url"], params["token"], **bounds)

    def get_cache(self, name: str) -> Cache | None:
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

    def create(self, name: str, settings: Cache, key: t.Any = "Generate") -> None:
        """All FIELDS at once. If this stops half-way, the cache has the global retention, and `configure` completes it."""
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
                message = f"{exc} The cache has been created, but follows the server's retention; run again to set it."
                raise type(exc)(message, **exc.details) from None

    def configure(self, name: str, settings: Cache) -> None:
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
            # The answer to an earlier attempt was lost, or somebody else was faster.
            if exc.details.get("error") != "NoSuchCache":
                raise

    def _taken(self, name: str, exc: ConflictError) -> ConflictError:
        """Why a name that was free is taken: the cache has just been created, or the name is taken for ever."""
        if self.get_cache(name) is not None:
            return ConflictError(
                f"Attic: cache '{name}' cannot be created, because it has just been created by somebody else; run again "
                "to compare it with what is desired.",
                **exc.details,
            )
        taken = ConflictError(
            f"Attic: cache '{name}' cannot be created: the server says both that it does not exist and that its name is "
            "taken, so a soft-deleted cache holds the name; choose another name, or delete the row of table cache in "
            f"Attic's database where name = '{name}' and deleted_at is not null.",
            **exc.details,
        )
        taken.plan_again = False
        return taken

    def ignored_because(self, now: int) -> str | None:
        """Why the server treats this token as none, as far as the token itself shows it."""
        return malformed(self.claims) or untimely(self.claims, now) if self.claims else None

    def fault(self, name: str, needed: set[str], now: int) -> str | None:
        """What in the token itself forbids a request; None if nothing does, or if it cannot be read."""
        if not self.claims:
            return None
        if fault := self.ignored_because(now):
            return f"the server ignores the token because {fault}; mint a new one"
        missing = needed - rights_on(self.claims[CLAIM]["caches"], name)
        if not missing:
            return None
        why = ", without which it cannot be compared" if "pull" in missing else ""
        return f"the token lacks {_rights(missing)} on this cache{why}; mint one that grants it"

    # ---- explaining failures ------------------------------------------------------------------------------------

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        code = content.get("error") if isinstance(content, dict) else None
        if code in ("Unauthorized", "AccessError"):
            return BY_STATUS[status](
                self._explain_refusal(method, path.rsplit("/", 1)[-1], status), status=status, error=code
            )
        failure = super().error(method, path, status, content)
        if code == "CacheAlreadyExists":
            failure = ConflictError(str(failure), **failure.details)
        failure.details["error"] = code
        return failure

    def explain(self, status: int, body: t.Any) -> str:
        if 300 <= status < 400:
            return f"{self.base_url} redirects; give the address that it redirects to, usually the one with https://"
        if isinstance(body, dict) and body.get("error") == "NotFound":
            return "the server does not know this path; url is the root of the API, without the name of a cache"
        if isinstance(body, dict) and str(body.get("message")).endswith("Bad Host"):
            return f"the server does not answer to the host of {self.base_url}; use one of its allowed-hosts"
        # Attic refuses malformed requests in plain text; a page or nothing at all comes from something in front of it.
        said = super().explain(status, "" if str(body or "").lstrip().startswith("<") else body).strip().rstrip(".")
        if status in (502, 503, 504) and not said:
            return "the proxy answers, but atticd behind it does not; read atticd's journal on the server"
        if status >= 500:
            return f"{said or 'the server failed'}; read atticd's journal on the server"
        return said or "this answer is not Attic's; check the URL and the proxy"

    def remedy(self, status: int, content: t.Any) -> str:
        return ""  # `explain` says what to do

    def _explain_refusal(self, method: str, name: str, status: int) -> str:
        """The server ignores a bad token instead of refusing it, so 401 and 403 need the token to be understood."""
        right = RIGHT_FOR[method]
        start = f"Attic: {self.base_url} refuses to {VERBS[method]} cache '{name}' ({status})"
        if not self.claims:
            return f"{start}: the token is not one of Attic's, or it lacks {_rights({right})} on this cache."
        if fault := self.fault(name, {right}, int(time.time())):
            return f"{start}: {fault}."
        return (
            f"{start}, although the token grants {right}: the server does not accept its signature, issuer or "
            "audience; mint a new one with the server's current key and what it is bound to."
        )


VERBS = {"GET": "show", "POST": "create", "PATCH": "configure", "DELETE": "destroy"}


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidError(
            f"name: '{name}' is not a valid name of a cache; use at most 50 letters, digits, '-', '_' and '+', "
            "and begin with a letter or a digit."
        )


def _path(name: str) -> str:
    check_name(name)
    return f"/_api/v1/cache-config/{name}"


def _rights(rights: t.Iterable[str]) -> str:
    """In their usual order."""
    names = [right for right in RIGHTS if right in rights]
    return f"the right{'s' if len(names) > 1 else ''} {', '.join(names)}"
