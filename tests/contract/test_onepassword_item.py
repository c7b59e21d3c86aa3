# SPDX-License-Identifier: GPL-3.0-or-later
"""What onepassword_item writes, through every way into 1Password; see test_onepassword.py for real ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import ForbiddenError, InvalidError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import Recipe, Variable, Wish
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.write import Stored, remove, store

from tests.contract import test_onepassword

service = test_onepassword.service
Service = test_onepassword.Service


@pytest.fixture
def title(service: Service) -> Iterator[str]:
    name = f"nixci-{uuid.uuid4().hex[:12]}"
    yield name
    remove(service.source, service.vault, name)


def values(stored: Stored) -> dict[str, str]:
    return {path: value for path, (_kind, value) in stored.item.values().items()} if stored.item else {}


FIELDS = {
    "concealed": Wish("a", "two\nlines\n", "CONCEALED"),
    "string": Wish("a", " ä {{ 1 }} ", "STRING"),
    "email": Wish("a", "a@example.com", "EMAIL"),
    "url": Wish("a", "https://example.com/", "URL"),
    "otp": Wish("a", test_onepassword.OTP, "OTP"),
    "date": Wish("a", "2026-02-28", "DATE"),
    "month_year": Wish("a", "202612", "MONTH_YEAR"),
    "a note": Wish("notesPlain", "two\nlines"),
    "in a section": Wish("a", "x", section="New one"),
}


@pytest.mark.parametrize("wish", FIELDS.values(), ids=FIELDS)
def test_a_field_is_written_once_and_changed_in_place(service: Service, title: str, wish: Wish) -> None:
    made = store(service.source, service.vault, title, [wish, Wish("other", "kept")])
    assert made.change
    assert made.item is not None
    assert made.version == made.item.version
    assert made.value(wish) == wish.value
    assert not store(service.source, service.vault, title, [wish]).change
    foretold = store(service.source, service.vault, title, [Wish("other", "new")], check=True)
    changed = store(service.source, service.vault, title, [Wish("other", "new")])
    assert (foretold.change, foretold.version) == (changed.change, changed.version)
    assert values(changed) == {**values(made), "other": "new"}


@pytest.mark.parametrize("category", ["API_CREDENTIAL", "DATABASE", "LOGIN", "PASSWORD", "SECURE_NOTE", "SERVER"])
def test_an_item_of_every_category(service: Service, title: str, category: str) -> None:
    wishes = [Wish("password", "p"), Wish("a", "x", section="S")]
    made = store(service.source, service.vault, title, wishes, category=category, tags=["t"])
    assert made.item is not None
    assert (made.item.category, made.item.tags, values(made)) == (category, ["t"], {"password": "p", "S/a": "x"})
    assert not store(service.source, service.vault, title, wishes, category=category, tags=["t"]).change


def test_replace_leaves_nothing_else(service: Service, title: str) -> None:
    store(service.source, service.vault, title, [Wish("a", "1"), Wish("b", "2", section="S"), Wish("notesPlain", "n")])
    assert values(store(service.source, service.vault, title, [Wish("a", "1")], mode="replace")) == {"a": "1"}
    assert not store(service.source, service.vault, title, [Wish("a", "1")], mode="replace").change


def test_a_value_is_generated_once_and_composed(service: Service, title: str) -> None:
    wishes = [
        Wish("a", generate=Recipe(symbols=True)),
        Wish("env", env=(Variable("A", label="a"), Variable("B", "b c"))),
    ]
    made = store(service.source, service.vault, title, wishes)
    assert made.generated == ["a"]
    assert values(made)["env"].endswith('\nB="b c"')
    again = store(service.source, service.vault, title, wishes)
    assert (bool(again.change), again.generated, values(again)) == (False, [], values(made))


def test_reading_suffices_to_foretell_and_writing_is_refused(service: Service, title: str) -> None:
    reader = service.like(service.read_only)
    store(service.source, service.vault, title, [Wish("a", "1")])
    assert not store(reader, service.vault, title, [Wish("a", "1")]).change
    assert store(reader, service.vault, title, [Wish("a", "2")], check=True).change
    assert remove(reader, service.vault, title, check=True).change
    for attempt in (
        lambda: store(reader, service.vault, title, [Wish("a", "2")]),
        lambda: store(reader, service.vault, f"{title}-new", [Wish("a", "2")]),
        lambda: remove(reader, service.vault, title),
    ):
        with pytest.raises(ForbiddenError):
            attempt()
    assert values(store(service.source, service.vault, title, [], check=True)) == {"a": "1"}


def test_an_item_goes_to_the_archive_where_there_is_one(service: Service, title: str) -> None:
    store(service.source, service.vault, title, [Wish("a", "1")])
    if not service.source.can_archive:
        with pytest.raises(InvalidError, match="cannot archive"):
            remove(service.source, service.vault, title, archive=True)
        return
    assert remove(service.source, service.vault, title, archive=True).change
    assert not remove(service.source, service.vault, title, archive=True).change
