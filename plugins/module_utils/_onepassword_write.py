# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing an item: look, plan, write only a difference, prove it by reading back. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable

from ._change import Change
from ._errors import ConflictError, InvalidError, UnavailableError
from ._onepassword import Backend
from ._onepassword_cache import forget
from ._onepassword_item import Item, ItemNotFoundError, Wish, fold

WRITE_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Stored:
    """What was there, what was planned, and what can be read now (in check mode: the plan)."""

    before: Item | None
    planned: Item | None
    item: Item | None

    @property
    def change(self) -> Change:
        return Change(describe(self.before, None), describe(self.planned, self.before))

    @property
    def changed_labels(self) -> list[str]:
        before = self.before.values() if self.before else {}
        after = self.planned.values() if self.planned else {}
        return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def store(
    source: Backend,
    vault: str,
    title: str,
    wishes: list[Wish],
    *,
    category: str = "API_CREDENTIAL",
    tags: list[str] | None = None,
    mode: str = "merge",
    may_replace_passkey: bool = False,
    check: bool = False,
) -> Stored:
    """Make sure that the vault has this item with these fields; `mode` is "merge" or "replace"."""
    check_wishes(title, wishes)

    def plan(before: Item | None) -> Stored:
        empty = before or Item({"title": title, "category": category, "fields": []})
        after = empty.changed(wishes, tags, mode == "replace")
        for wish in wishes:
            if wish.on_create and not value(after, wish):
                raise InvalidError(f"Field '{wish.label}' of item '{title}' is still empty; give it a value.")
        planned = Stored(before, after, after)
        if before and before.may_hold_passkey() and planned.change and not may_replace_passkey:
            raise InvalidError(
                f"Item '{before.title}' ({before.id}) is a login: a change would destroy its passkey, if it has one. "
                "Use an item of another category, or confirm with may_replace_passkey."
            )
        return planned

    return _carry_out(source, vault, title, plan, check)


def remove(source: Backend, vault: str, title: str, *, check: bool = False) -> Stored:
    """Make sure that the vault has no such item."""
    return _carry_out(source, vault, title, lambda before: Stored(before, None, None), check)


def _carry_out(source: Backend, vault: str, title: str, plan: Callable[[Item | None], Stored], check: bool) -> Stored:
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        planned = plan(_fetch(source, vault, title))
        if not planned.change or check:
            return planned
        try:
            return dataclasses.replace(planned, item=_write(source, vault, planned))
        except ConflictError:  # somebody else changed the item meanwhile: look again
            if attempt == WRITE_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _fetch(source: Backend, vault: str, title: str) -> Item | None:
    try:
        return source.fetch(vault, title)
    except ItemNotFoundError:
        return None


def _write(source: Backend, vault: str, planned: Stored) -> Item | None:
    """Carry out the plan and prove it by what can be read afterwards."""
    wanted = planned.planned
    try:
        if wanted is None:
            source.delete(t.cast(Item, planned.before))
            return None
        written = source.replace(wanted) if planned.before else source.create(vault, wanted.document)
    finally:
        forget()
    now = written.values()
    lost = sorted(path for path, content in wanted.values().items() if now.get(path) != content)
    if lost or written.tags != wanted.tags:
        raise UnavailableError(
            f"1Password took the change of item '{written.title}' ({written.id}) but does not show it; "
            f"look at its {'fields ' + ', '.join(lost) if lost else 'tags'} and run again."
        )
    return written


def check_wishes(title: str, wishes: list[Wish]) -> None:
    names = [(fold(wish.section or ""), fold(wish.label)) for wish in wishes]
    if not all(wish.label for wish in wishes) or len(set(names)) != len(names):
        raise InvalidError(f"The fields of item '{title}' need labels that differ; name each field once.")


def value(item: Item, wish: Wish) -> str:
    """What the field holds; a secret."""
    field = item.find(wish.label, wish.section) or {}
    return str(field.get("value") or "")


def describe(item: Item | None, other: Item | None) -> dict[str, t.Any] | None:
    """The item without a value, fit for --diff: a changed value is another placeholder."""
    if item is None:
        return None
    old = other.values() if other else {}
    return {
        "title": item.title,
        "category": item.category,
        "tags": item.tags,
        "fields": {
            path: {"type": kind, "value": "(secret)" if old.get(path, (kind, value))[1] == value else "(new secret)"}
            for path, (kind, value) in item.values().items()
        },
    }
