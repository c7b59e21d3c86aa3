# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing an item: look, plan, write only a difference, prove it by reading back. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable

from .._core.change import Change
from .._core.errors import ConflictError, ForbiddenError, InvalidError, NixciError, NotFoundError, UnavailableError
from .._core.redact import SHORTEST, redact
from .backend import Backend
from .cache import forget
from .generate import Sources, check_wishes
from .item import Item, ItemNotFoundError, Wish, is_id

WRITE_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Stored:
    """What was there, what was planned, and what can be read now (in check mode: the plan)."""

    before: Item | None
    planned: Item | None
    item: Item | None
    generated: list[str] = dataclasses.field(default_factory=list)
    """Paths of the fields that got a new random value."""
    foretold: bool = False

    @property
    def change(self) -> Change:
        return Change(describe(self.before, self.planned), describe(self.planned, None))

    @property
    def changed_labels(self) -> list[str]:
        before = self.before.values() if self.before else {}
        after = self.planned.values() if self.planned else {}
        return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))

    @property
    def version(self) -> int:
        """1Password counts every write as one."""
        return (self.item.version if self.item else 0) + (self.foretold and bool(self.change))

    def value(self, wish: Wish) -> str | None:
        """What the field holds now, a secret; None for what check mode cannot know."""
        text = value(self.item, wish) if self.item else ""
        return None if self.foretold and Sources.UNKNOWN in text else text


def store(
    source: Backend,
    vault: str,
    title: str,
    wishes: list[Wish],
    *,
    category: str | None = None,
    tags: list[str] | None = None,
    mode: str = "merge",
    may_replace_passkey: bool = False,
    check: bool = False,
) -> Stored:
    """Make sure that the vault has this item with these fields.

    `category` is that of a new item, API_CREDENTIAL if none is given; an existing item must have it.
    `mode` is "merge", or "replace" to remove every field without a wish.
    """
    check_wishes(title, wishes)
    if not title or not all(tags or ["-"]):
        raise InvalidError("An item of 1Password needs a title, and none of its tags may be empty.")

    def plan(before: Item | None) -> Stored:
        if before is None and is_id(title):
            raise NotFoundError(
                f"Vault '{vault}' has no item with the ID '{title}', and a new item cannot have a title like an ID; "
                "use another title."
            )
        if before and category not in (None, before.category):
            raise InvalidError(
                f"Item '{before.title}' ({before.id}) is of the category {before.category}, which 1Password cannot "
                f"change to {category}; leave category out, or delete the item first."
            )
        known = before or Item({"title": title, "category": category or "API_CREDENTIAL", "fields": []})
        sources = Sources(known, wishes, replace=mode == "replace", foretell=check)
        after = known.changed(sources.wishes, tags, mode == "replace")
        sources.verify(after)
        generated = [after.path(after.find(wish.label, wish.section) or {}) for wish in sources.generated]
        planned = Stored(before, after, after, generated, foretold=check)
        if before and planned.change:
            _refuse_loss(before, may_replace_passkey)
        return planned

    return _carry_out(source, vault, title, plan, check)


def remove(source: Backend, vault: str, title: str, *, archive: bool = False, check: bool = False) -> Stored:
    """Make sure that the vault has no such item."""
    if not title:
        raise InvalidError("The title is empty; name the item of 1Password.")
    if archive and not source.can_archive:
        raise InvalidError("A Connect server cannot archive an item; use a service account, or delete the item.")
    return _carry_out(source, vault, title, lambda before: Stored(before, None, None), check, archive)


def _refuse_loss(item: Item, may_replace_passkey: bool) -> None:
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


def _carry_out(
    source: Backend,
    vault: str,
    title: str,
    plan: Callable[[Item | None], Stored],
    check: bool,
    archive: bool = False,
) -> Stored:
    attempt = 1
    while True:
        planned = plan(_fetch(source, vault, title))
        if not planned.change or check:
            return planned
        try:
            return dataclasses.replace(planned, item=_write(source, vault, planned, archive))
        except ConflictError:  # somebody else changed the item meanwhile: look again
            if attempt == WRITE_ATTEMPTS:
                raise
            attempt += 1


def _fetch(source: Backend, vault: str, title: str) -> Item | None:
    try:
        return source.fetch(vault, title)
    except ItemNotFoundError:
        return None
    except ForbiddenError as exc:
        raise ForbiddenError(
            f"{exc} An item is read before it is changed, so a write-only credential does not suffice.", **exc.details
        ) from None


def _write(source: Backend, vault: str, planned: Stored, archive: bool) -> Item | None:
    """Carry out the plan and prove it by what can be read afterwards."""
    before, wanted = planned.before, planned.planned
    try:
        if wanted is None:
            source.delete(t.cast(Item, before), archive)
            return None
        written = source.replace(wanted) if before else source.create(vault, wanted.document)
    except NixciError as exc:
        exc.args = (_without_values(str(exc), before, wanted),)
        raise
    finally:
        forget()
    hoped, now = wanted.values(), written.values()
    gone = (before.values() if before else {}).keys() - hoped.keys()
    wrong = sorted([path for path in hoped if now.get(path) != hoped[path]] + [path for path in gone if path in now])
    if wrong or written.tags != wanted.tags:
        raise UnavailableError(
            f"1Password took the change of item '{written.title}' ({written.id}) but does not show it; "
            f"look at its {'fields ' + ', '.join(wrong) if wrong else 'tags'} and run again."
        )
    return written


def _without_values(words: str, *items: Item | None) -> str:
    """What the service says about a refused write may quote from it."""
    values = [content for item in items if item for _kind, content in item.values().values()]
    # Of an environment file each line has a secret behind its name.
    parts = {part for content in values for line in content.splitlines() for part in (line, line.partition("=")[2])}
    return redact(words, parts, shortest=SHORTEST)


def value(item: Item, wish: Wish) -> str:
    """What the field holds; a secret."""
    return item.value(wish.label, wish.section)


def describe(item: Item | None, other: Item | None) -> dict[str, t.Any] | None:
    """The item without a value, fit for --diff: a value that the other one does not have is another placeholder."""
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
