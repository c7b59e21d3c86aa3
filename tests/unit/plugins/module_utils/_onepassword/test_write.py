# SPDX-License-Identifier: GPL-3.0-or-later
"""What a well-behaved back end cannot cover: responses that do not match the write, and lost ones."""

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
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField, Recipe, Variable
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.generate import with_candidates
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
    """One entry for each time that the lookup's cache was discarded."""
    calls: list[bool] = []
    monkeypatch.setattr(writing, "forget", lambda: calls.append(True))
    return calls


def manage(vault: Vault, *fields: DesiredField, check: bool = False, **params: t.Any) -> Json:
    return writing.manage(t.cast(t.Any, vault), {"vault": "V", "title": "T", **params}, list(fields), check)


def field(document: Json, label: str) -> Json:
    return next(field for field in document["fields"] if field["label"] == label)


def test_only_a_difference_is_written_and_the_lookup_forgets(forgotten: list[bool]) -> None:
    vault = Vault(A)
    assert not manage(vault, DesiredField("a", "old"))["changed"]
    assert manage(vault, DesiredField("a", "new"), check=True)["changed"]
    assert (vault.log, forgotten) == (["fetch", "fetch"], [])
    assert manage(vault, DesiredField("a", "new"))["changed"]
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
def test_a_difference_between_the_write_and_what_1password_shows_is_an_error(
    distort: t.Callable[[Json], None], named: str, forgotten: list[bool]
) -> None:
    vault = Vault(A, B, distort=distort)
    with pytest.raises(UnavailableError, match=f"does not show it; check its {named} and run again"):
        manage(vault, DesiredField("a", "new"), tags=["t"])
    assert (vault.log, forgotten) == (["fetch", "replace"], [True])


def test_a_removed_field_that_is_still_there_is_an_error() -> None:
    vault = Vault(A, B, distort=lambda document: document["fields"].append(B))
    with pytest.raises(UnavailableError, match="check its fields b"):
        manage(vault, DesiredField("a", "new"), mode="replace")


def test_what_the_server_adds_is_no_failure() -> None:
    extra = {"id": "x", "label": "extra", "type": "STRING", "value": "made by the server"}
    result = manage(Vault(A, distort=lambda document: document["fields"].append(extra)), DesiredField("a", "new"))
    assert result["item"]["labels"] == ["a", "extra"]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PAUSE", 0)


@pytest.mark.usefixtures("no_pauses")
def test_an_item_is_read_and_planned_again_after_a_conflict_five_times_at_most() -> None:
    def refuse(document: Json) -> None:
        raise ConflictError("changed in the meantime")

    vault = Vault(A, distort=refuse)
    with pytest.raises(ConflictError):
        manage(vault, DesiredField("a", "new"))
    assert vault.log == ["fetch", "replace"] * 5


def test_an_ambiguous_field_is_no_conflict_and_read_once() -> None:
    twins = [{**A, "id": "one"}, {**A, "id": "two"}]
    vault = Vault(*twins)
    with pytest.raises(ConflictError, match="ambiguous"):
        manage(vault, DesiredField("a", "new"))
    assert vault.log == ["fetch"]


def test_removal_deletes_or_archives_once() -> None:
    for archive, action in ((False, "delete"), (True, "archive")):
        vault = Vault(A)
        assert manage(vault, state="absent", archive=archive)["changed"]
        assert not manage(vault, state="absent", archive=archive)["changed"]
        assert vault.log == ["fetch", action, "fetch"]


def test_secrets_in_a_refusal_are_masked_line_by_line() -> None:
    def refuse(document: Json) -> None:
        raise InvalidError("bad: secret-line-1, secret-line-2, other-secret and sesame")

    with pytest.raises(InvalidError) as caught:
        manage(
            Vault({**A, "value": "other-secret"}, distort=refuse),
            DesiredField("lines", "secret-line-1\nsecret-line-2"),
            DesiredField("env", env=(Variable("K", "sesame"),)),
        )
    assert str(caught.value) == "bad: ***, ***, *** and sesame"  # too short to distinguish it from a word


# Lost responses


class Lost(Vault):
    """The responses to the first writes get lost; `arrives` says whether the writes themselves arrive."""

    def __init__(self, *fields: Json, arrives: bool, times: int = 1, **details: t.Any) -> None:
        super().__init__(*fields)
        self.arrives, self.times, self.details = arrives, times, details

    def _write(self, action: str, document: Json, version: int) -> Item:
        if not self.times:
            return super()._write(action, document, version)
        self.times -= 1
        if self.arrives:
            super()._write(action, document, version)
        else:
            self.log.append(action)
        raise UnavailableError("no response", **self.details)

    def delete(self, item: Item, archive: bool = False) -> None:
        super().delete(item, archive)
        raise UnavailableError("no response")


GENERATED = DesiredField("password", generate=Recipe(generation=2))


@pytest.mark.parametrize("fields", [(), (A,)], ids=["create", "replace"])
def test_a_write_with_a_lost_response_is_reported_like_any_other(fields: tuple[Json, ...]) -> None:
    vault = Lost(*fields, arrives=True)
    result = manage(vault, GENERATED, return_values=True)
    assert vault.document
    written = field(vault.document, "password")["value"]
    assert (result["changed"], result["generated"]) == (True, ["password"])
    assert result["field_values"] == {"password": written}
    assert result["item"]["changed_labels"] == ["password", "password generation"]
    assert result["item"]["version"] == vault.document["version"]
    assert len(vault.log) == 3  # fetch, write, fetch
    again = manage(vault, GENERATED)
    assert (again["changed"], again["generated"], field(vault.document, "password")["value"]) == (False, [], written)


def test_a_lost_write_is_repeated() -> None:
    vault = Lost(A, arrives=False)
    written: list[str] = []
    vault.distort = lambda document: written.append(field(document, "password")["value"])
    result = manage(vault, GENERATED)
    assert vault.log == ["fetch", "replace", "fetch", "replace"]
    assert (result["changed"], result["generated"], len(written)) == (True, ["password"], 1)


def test_a_lost_creation_is_not_repeated() -> None:
    vault = Lost(arrives=False)
    with pytest.raises(UnavailableError, match="no response"):
        manage(vault, GENERATED)
    assert vault.log == ["fetch", "create", "fetch"]


def test_an_exhausted_quota_ends_the_attempts() -> None:
    vault = Lost(A, arrives=False, status=429)
    with pytest.raises(UnavailableError, match="no response"):
        manage(vault, GENERATED)
    assert vault.log == ["fetch", "replace"]


def test_a_removal_with_a_lost_response_succeeds() -> None:
    vault = Lost(A, arrives=True)
    result = manage(vault, state="absent")
    assert (result["changed"], result["item"], vault.log) == (True, None, ["fetch", "delete", "fetch"])


def test_planning_is_the_same_each_time() -> None:
    [generated] = with_candidates([GENERATED], check_mode=False)
    resource = writing.ItemResource(t.cast(t.Any, Vault(A)), [generated])
    params = {**writing.DEFAULTS, "vault": "V", "title": "T"}
    plans = [resource.plan(params, Item(copy.deepcopy({**ITEM, "fields": [A]}))) for _ in range(2)]
    assert plans[0].after and plans[1].after
    assert plans[0].after.document == plans[1].after.document
    assert plans[0].after.value("password") == generated.candidate


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        (DesiredField(""), "empty label"),
        (DesiredField("a"), "exactly one of value, generate and env"),
        (DesiredField("a", "x", generate=Recipe()), "exactly one of value, generate and env"),
        (DesiredField("a", on_create=True, generate=Recipe()), "a generated value is kept anyway"),
        (DesiredField("a", generate=Recipe(length=7)), "cannot be generated like this"),
        (DesiredField("a", generate=Recipe(length=257)), "cannot be generated like this"),
        (DesiredField("a", generate=Recipe(letters=False, digits=False)), "cannot be generated like this"),
        (DesiredField("a", generate=Recipe(generation=0)), "cannot be generated like this"),
        (DesiredField("a", env=(Variable("K"),)), "exactly one of value and label for K"),
    ],
)
def test_an_impossible_field_is_refused_before_any_request(desired: DesiredField, message: str) -> None:
    vault = Vault(A)
    with pytest.raises(InvalidError, match=message):
        manage(vault, desired)
    assert vault.log == []


# For the store of B2's keys


def test_a_store_is_checked_without_a_write_and_keeps_other_fields() -> None:
    vault = Vault(A)
    fields = [DesiredField("id", "1", "STRING"), DesiredField("secret", "2", "CONCEALED")]
    for found in (vault.fetch("V", "T"), None):
        writing.check_store(found, "V", "T", fields)
    assert vault.log == ["fetch"]
    writing.store(t.cast(t.Any, vault), "V", "T", fields)
    assert vault.document
    assert Item(vault.document).values() == {
        "a": ("CONCEALED", "old"),
        "id": ("STRING", "1"),
        "secret": ("CONCEALED", "2"),
    }


def test_a_store_that_cannot_be_written_is_refused_by_the_check() -> None:
    found = Item({**ITEM, "fields": [{**A, "type": "SSHKEY"}]})
    with pytest.raises(InvalidError, match="cannot write back"):
        writing.check_store(found, "V", "T", [DesiredField("id", "1")])
    with pytest.raises(InvalidError, match="needs a title"):
        writing.check_store(None, "V", "", [DesiredField("id", "1")])
