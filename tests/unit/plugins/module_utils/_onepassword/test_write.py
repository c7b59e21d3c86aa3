# SPDX-License-Identifier: GPL-3.0-or-later
"""What a back end that behaves cannot show: answers that do not fit the write."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import (
    ConflictError,
    InvalidError,
    UnavailableError,
)
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword import write as writing
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import Recipe, Variable, Wish
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import Item, ItemNotFoundError

Json = dict[str, t.Any]


class Vault:
    """One vault in memory; `distort` is what happens to a document on its way into it."""

    can_archive = True

    def __init__(self, *fields: Json, distort: t.Callable[[Json], None] = lambda document: None) -> None:
        self.document: Json | None = None
        self.distort = distort
        self.log: list[str] = []
        if fields:
            self.document = {**ITEM, "version": 1, "fields": list(fields)}

    def fetch(self, vault: str, name: str) -> Item:
        self.log.append("fetch")
        if self.document is None:
            raise ItemNotFoundError("none")
        return Item(copy.deepcopy(self.document))

    def create(self, vault: str, document: Json) -> Item:
        return self._write("create", {**ITEM, **document}, 1)

    def replace(self, item: Item) -> Item:
        return self._write("replace", item.document, item.version + 1)

    def delete(self, item: Item, archive: bool = False) -> None:
        self.log.append("archive" if archive else "delete")
        self.document = None

    def _write(self, action: str, document: Json, version: int) -> Item:
        self.log.append(action)
        document = copy.deepcopy(document)
        self.distort(document)
        self.document = {**document, "version": version}
        return Item(copy.deepcopy(self.document))


ITEM: Json = {"id": "i", "title": "T", "category": "API_CREDENTIAL", "vault": {"id": "v"}, "tags": []}
A: Json = {"id": "a", "label": "a", "type": "CONCEALED", "value": "old"}
B: Json = {"id": "b", "label": "b", "type": "CONCEALED", "value": "other"}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often what the lookup keeps was discarded."""
    calls: list[bool] = []
    monkeypatch.setattr(writing, "forget", lambda: calls.append(True))
    return calls


def store(vault: Vault, *wishes: Wish, **options: t.Any) -> writing.Stored:
    return writing.store(t.cast(t.Any, vault), "V", "T", list(wishes), **options)


def field(document: Json, label: str) -> Json:
    return next(field for field in document["fields"] if field["label"] == label)


def test_only_a_difference_is_written_and_the_lookup_forgets(forgotten: list[bool]) -> None:
    vault = Vault(A)
    assert not store(vault, Wish("a", "old")).change
    assert store(vault, Wish("a", "new"), check=True).change
    assert (vault.log, forgotten) == (["fetch", "fetch"], [])
    assert store(vault, Wish("a", "new")).change
    assert (vault.log, forgotten) == (["fetch"] * 3 + ["replace"], [True])


@pytest.mark.parametrize(
    ("distort", "named"),
    [
        (lambda document: field(document, "a").update(value="old"), "fields a"),
        (lambda document: field(document, "a").update(type="STRING"), "fields a"),
        (lambda document: field(document, "b").pop("value"), "fields b"),
        (lambda document: document["fields"].clear(), "fields a, b"),
        (lambda document: document["tags"].clear(), "tags"),
    ],
)
def test_what_1password_does_not_show_afterwards_is_told(
    distort: t.Callable[[Json], None], named: str, forgotten: list[bool]
) -> None:
    with pytest.raises(UnavailableError, match=f"does not show it; look at its {named} and run again"):
        store(Vault(A, B, distort=distort), Wish("a", "new"), tags=["t"])
    assert forgotten == [True]


def test_a_field_that_stays_although_it_was_removed_is_told() -> None:
    with pytest.raises(UnavailableError, match="look at its fields b"):
        store(Vault(A, B, distort=lambda document: document["fields"].append(B)), Wish("a", "new"), mode="replace")


def test_what_the_server_adds_is_no_failure() -> None:
    extra = {"id": "x", "label": "extra", "type": "STRING", "value": "made by the server"}
    stored = store(Vault(A, distort=lambda document: document["fields"].append(extra)), Wish("a", "new"))
    assert stored.item is not None
    assert "extra" in stored.item.values()


def test_each_conflict_is_met_by_reading_again_three_times_at_most() -> None:
    def refuse(document: Json) -> None:
        raise ConflictError("changed meanwhile")

    vault = Vault(A, distort=refuse)
    with pytest.raises(ConflictError):
        store(vault, Wish("a", "new"))
    assert vault.log == ["fetch", "replace"] * 3


def test_a_refused_wish_is_no_conflict_and_read_once() -> None:
    twins = [{**A, "id": "one"}, {**A, "id": "two"}]
    vault = Vault(*twins)
    with pytest.raises(ConflictError, match="ambiguous"):
        store(vault, Wish("a", "new"))
    assert vault.log == ["fetch"]


def test_removal_deletes_or_archives_once() -> None:
    for archive, action in ((False, "delete"), (True, "archive")):
        vault = Vault(A)
        assert writing.remove(t.cast(t.Any, vault), "V", "T", archive=archive).change
        assert not writing.remove(t.cast(t.Any, vault), "V", "T", archive=archive).change
        assert vault.log == ["fetch", action, "fetch"]


def test_what_a_refusal_quotes_is_masked_by_the_line() -> None:
    def refuse(document: Json) -> None:
        raise InvalidError("bad: secret-line-1, secret-line-2, other-secret and sesame")

    with pytest.raises(InvalidError) as caught:
        store(
            Vault({**A, "value": "other-secret"}, distort=refuse),
            Wish("lines", "secret-line-1\nsecret-line-2"),
            Wish("env", env=(Variable("K", "sesame"),)),
        )
    assert str(caught.value) == "bad: ***, ***, *** and sesame"  # too short to be told from a word


def test_generated_values_have_every_kind_of_character_and_differ() -> None:
    recipe = Recipe(length=8, symbols=True)
    made = {recipe.make() for _ in range(200)}
    assert len(made) == 200
    for value in made:
        assert len(value) == 8
        assert any(character.isalpha() for character in value)
        assert any(character.isdigit() for character in value)
        assert any(character in "!*-.@_" for character in value)
    assert Recipe(length=16, letters=False).make().isdecimal()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(""), "empty label"),
        (Wish("a"), "exactly one of value, generate and env"),
        (Wish("a", "x", generate=Recipe()), "exactly one of value, generate and env"),
        (Wish("a", on_create=True, generate=Recipe()), "a generated value is kept anyway"),
        (Wish("a", generate=Recipe(length=7)), "cannot be generated so"),
        (Wish("a", generate=Recipe(length=257)), "cannot be generated so"),
        (Wish("a", generate=Recipe(letters=False, digits=False)), "cannot be generated so"),
        (Wish("a", generate=Recipe(generation=0)), "cannot be generated so"),
        (Wish("a", env=(Variable("K"),)), "exactly one of value and label for K"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_before_anything_is_asked(wish: Wish, words: str) -> None:
    vault = Vault(A)
    with pytest.raises(InvalidError, match=words):
        store(vault, wish)
    assert vault.log == []
