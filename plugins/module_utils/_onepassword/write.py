# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An item as a resource: read, plan, write only a difference, verify by reading back. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import random
import time
import typing as t

from .._core.change import Change
from .._core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .._core.redact import SHORTEST, redact
from .._core.resource import Params, Result, converge
from .backend import Backend
from .cache import forget
from .desired import DesiredField, check_fields, check_values, with_values
from .generate import PLACEHOLDER, with_candidates
from .item import Item, ItemNotFoundError, is_id

# Every write locks its whole vault for a moment, so hosts that write at once meet often; 1Password's own provider for
# Terraform tries as often.
ATTEMPTS = 5
PAUSE = 0.3  # seconds, at most, times the attempt: writers that met should not meet again

DEFAULTS: Params = {
    "category": None,
    "tags": None,
    "mode": "merge",
    "may_replace_passkey": False,
    "archive": False,
    "return_values": False,
    "state": "present",
}


def manage(backend: Backend, params: Params, fields: list[DesiredField], check_mode: bool) -> Result:
    """Bring an item to its desired state. `params` has the module's option names; those in DEFAULTS may be missing."""
    params = {**DEFAULTS, **params, "vault": params["vault"].strip()}
    if not params["vault"]:
        raise InvalidError("The vault is empty; give its name or ID.")
    if params["state"] == "present":
        _check(params, fields)
        fields = with_candidates(fields, check_mode)
    else:
        _check_removal(backend, params)
    result = converge(ItemResource(backend, fields), params, check_mode, ATTEMPTS)
    if result["item"]:
        result["item"]["changed_labels"] = _changed_labels(result["diff"])
    return result


def store(backend: Backend, vault: str, title: str, fields: list[DesiredField]) -> None:
    """Make sure that the vault has an item with these fields; its other fields stay as they are."""
    manage(backend, {"vault": vault, "title": title}, fields, check_mode=False)


def check_store(found: Item | None, vault: str, title: str, fields: list[DesiredField]) -> None:
    """Raise what would make `store` fail for the item that exists, as far as it shows without a request."""
    params = {**DEFAULTS, "vault": vault, "title": title}
    _check(params, fields)
    plan_item(params, with_candidates(fields, check_mode=True), found)


@dataclasses.dataclass(frozen=True)
class ItemPlan:
    """The item before and after; None means that it does not exist. Both hold secrets."""

    params: Params
    before: Item | None
    after: Item | None

    @property
    def change(self) -> Change:
        return Change(describe(self.before, self.after), describe(self.after, None))


def plan_item(params: Params, fields: list[DesiredField], found: Item | None) -> ItemPlan:
    if params["state"] == "absent":
        return ItemPlan(params, found, None)
    title, category, replace = params["title"], params["category"], params["mode"] == "replace"
    if found is None and is_id(title):
        raise NotFoundError(
            f"Vault '{params['vault']}' has no item with the ID '{title}', and a new item cannot have a title like "
            "an ID; use another title."
        )
    if found and category not in (None, found.category):
        raise InvalidError(
            f"Item '{found.title}' ({found.id}) is of the category {found.category}, which 1Password cannot "
            f"change to {category}; leave category out, or delete the item first."
        )
    before = found or Item({"title": title, "category": category or "API_CREDENTIAL", "fields": []})
    valued = with_values(before, fields, replace=replace)
    after = before.changed(valued, params["tags"], replace)
    check_values(after, valued)
    plan = ItemPlan(params, found, after)
    if plan.change:
        _refuse_loss(found, params["may_replace_passkey"])
        if after.category == "PASSWORD" and not after.value("password", ""):
            raise InvalidError(
                f"Item '{after.title}' is of the category PASSWORD, which 1Password stores only with a value in the field "
                "'password'; add this field, or choose another category."
            )
    return plan


class NotStoredError(UnavailableError):
    """1Password accepted a write and shows something else."""

    plan_again = False  # the next plan would not contain fields that got lost, and would hide the loss


class ItemResource:
    """One item of a vault."""

    def __init__(self, backend: Backend, fields: list[DesiredField]) -> None:
        """Fields with `generate` must have a candidate."""
        self.backend = backend
        self.fields = fields
        self._lost_creation: UnavailableError | None = None
        self._conflicts = 0

    def read(self, params: Params) -> Item | None:
        try:
            return self.backend.fetch(params["vault"], params["title"])
        except ItemNotFoundError:
            return None
        except ForbiddenError as exc:
            raise ForbiddenError(
                f"{exc} An item is read before it is changed, so a write-only credential does not suffice.",
                **exc.details,
            ) from None

    def plan(self, params: Params, found: Item | None) -> ItemPlan:
        return plan_item(params, self.fields, found)

    def predict(self, plan: ItemPlan) -> Result:
        result = self._result(plan.params, plan.after)
        if plan.after and plan.change:
            result["item"]["version"] += 1  # 1Password counts every write as one
        return result

    def apply(self, plan: ItemPlan) -> Result:
        if plan.before is None and self._lost_creation:
            # The item may still appear, since a Connect server reads from a copy. A second one with the same title
            # would make the title ambiguous for ever, so nothing is created again without a new run.
            self._lost_creation.plan_again = False
            raise self._lost_creation
        written = self._write(plan)
        if written and plan.after:
            _verify(written, plan.before, plan.after)
        return self._result(plan.params, written)

    def _write(self, plan: ItemPlan) -> Item | None:
        before, after = plan.before, plan.after
        try:
            if after is None:
                self.backend.delete(t.cast(Item, before), plan.params["archive"])
                return None
            return self.backend.replace(after) if before else self.backend.create(plan.params["vault"], after.document)
        except NixciError as exc:
            exc.args = (_without_values(str(exc), before, after),)
            if before is None and isinstance(exc, UnavailableError):
                self._lost_creation = exc
            if exc.details.get("status") == 429:
                exc.plan_again = False  # reading would be refused as well, and refused requests count
            if isinstance(exc, ConflictError) and exc.plan_again:
                self._conflicts += 1
                time.sleep(random.uniform(0, PAUSE * self._conflicts))  # noqa: S311
            raise
        finally:
            forget()

    def _result(self, params: Params, item: Item | None) -> Result:
        if item is None:
            return {"item": None}
        result: Result = {"item": summary(item), "generated": self._generated(item)}
        if params["return_values"]:
            result["field_values"] = {field.path: self._value(item, field) for field in self.fields}
        return result

    def _generated(self, item: Item) -> list[str]:
        """The paths of the fields that hold a value made by this run, whichever attempt wrote it."""
        return [
            item.path(item.find(field.label, field.section) or {})
            for field in self.fields
            if field.candidate and item.value(field.label, field.section) == field.candidate
        ]

    def _value(self, item: Item, field: DesiredField) -> str | None:
        """What the field holds, a secret; None for what check mode cannot know."""
        value = item.value(field.label, field.section)
        unknown = any(other.candidate == PLACEHOLDER for other in self.fields) and PLACEHOLDER in value
        return None if unknown else value


def _check(params: Params, fields: list[DesiredField]) -> None:
    """Refuse what is wrong whatever the vault holds."""
    if not params["title"] or not all(params["tags"] or ["-"]):
        raise InvalidError("An item of 1Password needs a title, and none of its tags may be empty.")
    check_fields(params["title"], fields)


def _check_removal(backend: Backend, params: Params) -> None:
    if not params["title"]:
        raise InvalidError("The title is empty; give the title of the item.")
    if params["archive"] and not backend.can_archive:
        raise InvalidError("A Connect server cannot archive an item; use a service account, or delete the item.")


def _refuse_loss(item: Item | None, may_replace_passkey: bool) -> None:
    if item is None:
        return
    reason = item.not_writable()
    if reason:
        raise InvalidError(
            f"Item '{item.title}' ({item.id}) {reason}, which programs cannot write back; "
            "change it in the 1Password app, or use another item."
        )
    if item.may_hold_passkey() and not may_replace_passkey:
        raise InvalidError(
            f"Item '{item.title}' ({item.id}) is a login: a change would destroy its passkey, if it has one. "
            "Use an item of another category, or confirm with may_replace_passkey."
        )


def _verify(written: Item, before: Item | None, after: Item) -> None:
    desired, actual = after.values(), written.values()
    removed = (before.values() if before else {}).keys() - desired.keys()
    wrong = [path for path in desired if actual.get(path) != desired[path]] + [
        path for path in removed if path in actual
    ]
    if wrong or written.tags != after.tags:
        raise NotStoredError(
            f"1Password accepted the change of item '{written.title}' ({written.id}) but does not show it; "
            f"check its {'fields ' + ', '.join(sorted(wrong)) if wrong else 'tags'} and run again."
        )


def _without_values(message: str, *items: Item | None) -> str:
    """The service's message about a refused write may quote from it."""
    values = [content for item in items if item for _kind, content in item.values().values()]
    # Of an environment file each line has a secret behind its name.
    parts = {part for content in values for line in content.splitlines() for part in (line, line.partition("=")[2])}
    return redact(message, parts, shortest=SHORTEST)


def summary(item: Item) -> Result:
    """The item as the module returns it, without a value."""
    return {
        "id": item.document.get("id"),
        "vault_id": item.document.get("vault", {}).get("id"),
        "title": item.title,
        "version": item.version,
        "labels": sorted(item.values()),
    }


def describe(item: Item | None, other: Item | None) -> dict[str, t.Any] | None:
    """The item without a value, fit for --diff: a value that `other` does not have gets another placeholder."""
    if item is None:
        return None
    others = other.values() if other else {}
    return {
        "title": item.title,
        "category": item.category,
        "tags": item.tags,
        "fields": {
            path: {"type": kind, "value": "(secret)" if others.get(path, (kind, value))[1] == value else "(old secret)"}
            for path, (kind, value) in item.values().items()
        },
    }


def _changed_labels(diff: dict[str, t.Any]) -> list[str]:
    """Those that were added, changed or removed since the first read, whichever attempt did it."""
    before, after = (diff[side].get("fields", {}) for side in ("before", "after"))
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
