# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolves secret references for the lookup and makes each request once. Private: may change without notice.

Without a cache "once" means once per call of the lookup, with a cache once per run of Ansible. Failures are cached too:
a missing item, a wrong token and an exhausted quota would otherwise cost a request for each task and host.
"""

from __future__ import annotations

import base64
import copy
import time
import typing as t
from collections.abc import Callable

from ...module_utils._core.errors import AuthenticationError, ForbiddenError, NixciError, UnavailableError
from ...module_utils._onepassword.backend import Backend
from ...module_utils._onepassword.cache import Cache
from ...module_utils._onepassword.item import AmbiguousError, Item, ItemNotFoundError, Json, VaultNotFoundError
from ...module_utils._onepassword.names import Pairs
from .reference import Reference
from .value import value_of

# Errors that stay the same when the request is repeated.
LASTING: tuple[type[NixciError], ...] = (ItemNotFoundError, VaultNotFoundError, AmbiguousError, ForbiddenError)
KINDS = {kind.__name__: kind for kind in (*LASTING, AuthenticationError, UnavailableError, NixciError)}
WITHHELD = "withheld"

# {"value": …} or {"error": [kind, message, details], "at": nanoseconds}; JSON
Outcome = dict[str, t.Any]


class Resolver:
    def __init__(self, backend: Backend, cache: Cache | None) -> None:
        self.backend = backend
        self.cache = cache
        self.outcomes: dict[tuple[str, ...], Outcome] = {}

    def value(self, reference: Reference) -> bytes:
        """Raises ItemNotFoundError or FieldNotFoundError where the caller may use a default."""
        item = self._item(reference)
        field = item.find(reference.field, reference.section)
        if field and field.get(WITHHELD) and reference.attribute in ("value", "otp"):
            item = self._item(reference, live=True)
        return value_of(reference, item, lambda file: self._file(item, file))

    def _item(self, reference: Reference, live: bool = False) -> Item:
        """One item; unless it is live, its one-time passwords may be withheld."""

        def request() -> Json:
            return self.backend.fetch(reference.vault, reference.item).document

        kind = "live item" if live else "item"
        return Item(self._once(request, None if live else without_codes, kind, reference.vault, reference.item))

    def _file(self, item: Item, file: Json) -> bytes:
        def request() -> str:
            return base64.b64encode(self.backend.read_file(item, file)).decode()

        return base64.b64decode(self._once(request, str, "file", item.vault_id, item.id, str(file["id"])))

    def _once(self, request: Callable[[], t.Any], shareable: Callable[[t.Any], t.Any] | None, *key: str) -> t.Any:
        """The result of a request. `shareable` reduces it to what other tasks may have; None means nothing."""
        # The key keeps the spelling: a vault may hold both 'Key' and 'key'.
        if key not in self.outcomes:
            self.outcomes[key] = (
                self._shared(self.cache, request, shareable, key) if self.cache else outcome_of(request)
            )
        return result_of(self.outcomes[key])

    def _shared(
        self,
        cache: Cache,
        request: Callable[[], t.Any],
        shareable: Callable[[t.Any], t.Any] | None,
        key: tuple[str, ...],
    ) -> Outcome:
        """One worker makes the request; those who wait for it share its result, or its failure."""
        waiting_since = time.time_ns()
        cached = cache.load(*key)
        if cached is not None:
            return t.cast(Outcome, cached)
        with cache.locked():
            cached = cache.load(*key) or cache.load("refusal")
            if cached is None:
                failure = cache.load("failure")
                cached = failure if failure and failure["at"] > waiting_since else None
            if cached is not None:
                return t.cast(Outcome, cached)
            started = time.time_ns()
            self.backend.names.listings = CachedListings(cache, started)
            outcome = outcome_of(request)
            if "error" in outcome:
                cache.store(outcome, started, *error_key(outcome, key))
            elif shareable:
                cache.store({"value": shareable(outcome["value"])}, started, *key)
            return outcome


class CachedListings:
    """The names in the vaults, for all tasks of the run."""

    def __init__(self, cache: Cache, started: int) -> None:
        self.cache, self.started = cache, started

    def get(self, key: str) -> Pairs | None:
        return t.cast("Pairs | None", self.cache.load("listing", key))

    def __setitem__(self, key: str, value: Pairs) -> None:
        self.cache.store(value, self.started, "listing", key)


def without_codes(document: Json) -> Json:
    """The item as it may be cached: without one-time passwords, which are requested each time, and their seeds."""
    document = copy.deepcopy(document)
    for field in document.get("fields") or []:
        if field.get("type") == "OTP":
            field.pop("value", None)
            field.pop("totp", None)
            field[WITHHELD] = True
    return document


def outcome_of(request: Callable[[], t.Any]) -> Outcome:
    try:
        return {"value": request()}
    except NixciError as exc:
        # A class that is not in KINDS is stored as its nearest base that is.
        kind = next(base.__name__ for base in type(exc).__mro__ if base.__name__ in KINDS)
        details = {key: value for key, value in exc.details.items() if key != "exception"}
        return {"error": [kind, str(exc), details], "at": time.time_ns()}


def result_of(outcome: Outcome) -> t.Any:
    """Returns the value or raises the error."""
    if "error" in outcome:
        kind, message, details = outcome["error"]
        error: NixciError = NixciError.__new__(KINDS[kind])  # their constructors take other arguments
        NixciError.__init__(error, message, **details)
        raise error
    return outcome["value"]


def error_key(outcome: Outcome, key: tuple[str, ...]) -> tuple[str, ...]:
    """A refused credential fails every request; other temporary errors concern those who waited for this result."""
    kind, _message, details = outcome["error"]
    if KINDS[kind] is AuthenticationError or details.get("status") == 429:
        return ("refusal",)
    return key if KINDS[kind] in LASTING else ("failure",)
