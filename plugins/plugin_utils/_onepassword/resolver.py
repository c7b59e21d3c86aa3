# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What 1Password answers to the lookup, each question asked once. Private: may change without notice.

Without a cache "once" means in one call of the lookup, with it in one run of Ansible. What 1Password refuses is kept
too: a missing item, a wrong token and an exhausted quota would otherwise cost a request for each task and host.
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
from .value import resolve

# Answers that stay the same when the question is asked again.
LASTING: tuple[type[NixciError], ...] = (ItemNotFoundError, VaultNotFoundError, AmbiguousError, ForbiddenError)
KINDS = {kind.__name__: kind for kind in (*LASTING, AuthenticationError, UnavailableError, NixciError)}
WITHHELD = "withheld"

# {"value": …} or {"error": [kind, message, details], "at": when}; JSON
Outcome = dict[str, t.Any]


class Answers:
    def __init__(self, source: Backend, cache: Cache | None) -> None:
        self.source = source
        self.cache = cache
        self.known: dict[tuple[str, ...], Outcome] = {}

    def value(self, reference: Reference) -> bytes:
        """Raises ItemNotFoundError or FieldNotFoundError for what a default may stand for."""
        item = self._item(reference)
        field = item.find(reference.field, reference.section)
        if field and field.get(WITHHELD) and reference.attribute in ("value", "otp"):
            item = self._item(reference, live=True)
        return resolve(reference, item, lambda file: self._file(item, file))

    def _item(self, reference: Reference, live: bool = False) -> Item:
        """One item; unless it is live, its one-time passwords may be withheld."""

        def ask() -> Json:
            return self.source.fetch(reference.vault, reference.item).document

        kind = "live item" if live else "item"
        return Item(self._once(ask, None if live else without_codes, kind, reference.vault, reference.item))

    def _file(self, item: Item, file: Json) -> bytes:
        def ask() -> str:
            return base64.b64encode(self.source.read_file(item, file)).decode()

        return base64.b64decode(self._once(ask, str, "file", item.vault_id, item.id, str(file["id"])))

    def _once(self, ask: Callable[[], t.Any], keep: Callable[[t.Any], t.Any] | None, *question: str) -> t.Any:
        """The answer; `keep` makes of it what other tasks may have, None means nothing."""
        # As it was spelled: a vault may hold both 'Key' and 'key'.
        if question not in self.known:
            outcome = self._shared(self.cache, ask, keep, question) if self.cache else outcome_of(ask)
            self.known[question] = outcome
        return answer(self.known[question])

    def _shared(
        self,
        cache: Cache,
        ask: Callable[[], t.Any],
        keep: Callable[[t.Any], t.Any] | None,
        question: tuple[str, ...],
    ) -> Outcome:
        """One worker asks at a time; those who wait for it share its answer, or its failure."""
        waiting_since = time.time_ns()
        known = cache.load(*question)
        if known is not None:
            return t.cast(Outcome, known)
        with cache.locked():
            known = cache.load(*question) or cache.load("refusal")
            if known is None:
                failure = cache.load("failure")
                known = failure if failure and failure["at"] > waiting_since else None
            if known is not None:
                return t.cast(Outcome, known)
            started = time.time_ns()
            self.source.names.listings = KeptListings(cache, started)
            outcome = outcome_of(ask)
            if "error" in outcome:
                cache.store(outcome, started, *where_kept(outcome, question))
            elif keep:
                cache.store({"value": keep(outcome["value"])}, started, *question)
            return outcome


class KeptListings:
    """The names in the vaults, for all tasks of the run."""

    def __init__(self, cache: Cache, started: int) -> None:
        self.cache, self.started = cache, started

    def get(self, key: str) -> Pairs | None:
        return t.cast("Pairs | None", self.cache.load("listing", key))

    def __setitem__(self, key: str, value: Pairs) -> None:
        self.cache.store(value, self.started, "listing", key)


def without_codes(document: Json) -> Json:
    """The item as it may be kept: one-time passwords are asked for anew each time, and their seeds stay away."""
    document = copy.deepcopy(document)
    for field in document.get("fields") or []:
        if field.get("type") == "OTP":
            field.pop("value", None)
            field.pop("totp", None)
            field[WITHHELD] = True
    return document


def outcome_of(ask: Callable[[], t.Any]) -> Outcome:
    try:
        return {"value": ask()}
    except NixciError as exc:
        # A kind that is not known here is told as the nearest one that is.
        kind = next(base.__name__ for base in type(exc).__mro__ if base.__name__ in KINDS)
        details = {key: value for key, value in exc.details.items() if key != "exception"}
        return {"error": [kind, str(exc), details], "at": time.time_ns()}


def answer(outcome: Outcome) -> t.Any:
    if "error" in outcome:
        kind, message, details = outcome["error"]
        error = KINDS[kind].__new__(KINDS[kind])
        NixciError.__init__(error, message, **details)
        raise error
    return outcome["value"]


def where_kept(outcome: Outcome, question: tuple[str, ...]) -> tuple[str, ...]:
    """A refused credential is refused for every question; other faults concern those who waited for this answer."""
    kind, _message, details = outcome["error"]
    if KINDS[kind] is AuthenticationError or details.get("status") == 429:
        return ("refusal",)
    return question if KINDS[kind] in LASTING else ("failure",)
