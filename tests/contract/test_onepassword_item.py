# SPDX-License-Identifier: GPL-3.0-or-later
"""What onepassword_item writes, through every back end; see test_onepassword.py for real services."""

from __future__ import annotations

import typing as t
import uuid
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import ForbiddenError, InvalidError
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.backend import Backend
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField, Recipe, Variable
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.write import manage

from tests.contract import test_onepassword

service = test_onepassword.service
Service = test_onepassword.Service
Manage = Callable[..., dict[str, t.Any]]


@pytest.fixture
def title(service: Service) -> Iterator[str]:
    name = f"nixci-{uuid.uuid4().hex[:12]}"
    yield name
    manage(service.source, {"vault": service.vault, "title": name, "state": "absent"}, [], False)


@pytest.fixture
def write(service: Service, title: str) -> Manage:
    def call(
        *fields: DesiredField, backend: Backend | None = None, check: bool = False, **params: t.Any
    ) -> dict[str, t.Any]:
        params = {"vault": service.vault, "title": title, **params}
        return manage(backend or service.source, params, list(fields), check)

    return call


@pytest.fixture
def values(service: Service, title: str) -> Callable[[], dict[str, str]]:
    """What the service holds now."""
    return lambda: {path: value for path, (_, value) in service.source.fetch(service.vault, title).values().items()}


FIELDS = {
    "concealed": DesiredField("a", "two\nlines\n", "CONCEALED"),
    "string": DesiredField("a", " ä {{ 1 }} ", "STRING"),
    "email": DesiredField("a", "a@example.com", "EMAIL"),
    "url": DesiredField("a", "https://example.com/", "URL"),
    "otp": DesiredField("a", test_onepassword.OTP, "OTP"),
    "date": DesiredField("a", "2026-02-28", "DATE"),
    "month_year": DesiredField("a", "202612", "MONTH_YEAR"),
    "a note": DesiredField("notesPlain", "two\nlines"),
    "in a section": DesiredField("a", "x", section="New one"),
}


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_a_field_is_written_once_and_changed_in_place(
    write: Manage, values: Callable[[], dict[str, str]], field: DesiredField
) -> None:
    assert write(field, DesiredField("other", "kept"))["changed"]
    written = values()
    assert written[field.path] == field.value
    assert not write(field)["changed"]
    predicted = write(DesiredField("other", "new"), check=True)
    changed = write(DesiredField("other", "new"))
    assert changed["changed"]
    assert predicted == changed
    assert values() == {**written, "other": "new"}


@pytest.mark.parametrize("category", ["API_CREDENTIAL", "DATABASE", "LOGIN", "PASSWORD", "SECURE_NOTE", "SERVER"])
def test_an_item_of_every_category(
    service: Service, title: str, write: Manage, values: Callable[[], dict[str, str]], category: str
) -> None:
    fields = [DesiredField("password", "p"), DesiredField("a", "x", section="S")]
    assert write(*fields, category=category, tags=["t"])["changed"]
    item = service.source.fetch(service.vault, title)
    assert (item.category, item.tags, values()) == (category, ["t"], {"password": "p", "S/a": "x"})
    assert not write(*fields, category=category, tags=["t"])["changed"]


@pytest.mark.parametrize("odd", ['Rack 19" west', "[a] \\ 'b'", "-dash", "two\nlines", "Größe/…", "a.example.com"])
def test_an_item_with_an_unusual_title_is_made_once(
    service: Service, title: str, write: Manage, values: Callable[[], dict[str, str]], odd: str
) -> None:
    name = f"{odd} {title}"
    try:
        assert write(DesiredField("p", "abcdefghij"), title=name, check=True)["changed"]
        assert write(DesiredField("p", "abcdefghij"), title=name)["changed"]
        assert not write(DesiredField("p", "abcdefghij"), title=name)["changed"]
        assert service.source.fetch(service.vault, name).value("p") == "abcdefghij"
    finally:
        removed = write(state="absent", title=name)
    assert removed["changed"]
    assert not write(state="absent", title=name)["changed"]


def test_replace_leaves_nothing_else(write: Manage, values: Callable[[], dict[str, str]]) -> None:
    write(DesiredField("a", "1"), DesiredField("b", "2", section="S"), DesiredField("notesPlain", "n"))
    assert write(DesiredField("a", "1"), mode="replace")["changed"]
    assert values() == {"a": "1"}
    assert not write(DesiredField("a", "1"), mode="replace")["changed"]


def test_a_value_is_generated_once_and_composed(write: Manage, values: Callable[[], dict[str, str]]) -> None:
    fields = [
        DesiredField("a", generate=Recipe(symbols=True)),
        DesiredField("env", env=(Variable("A", label="a"), Variable("B", "b c"))),
    ]
    assert write(*fields)["generated"] == ["a"]
    written = values()
    assert written["env"].endswith('\nB="b c"')
    again = write(*fields)
    assert (again["changed"], again["generated"], values()) == (False, [], written)


def test_reading_suffices_for_check_mode_and_writing_is_refused(
    service: Service, title: str, write: Manage, values: Callable[[], dict[str, str]]
) -> None:
    reader = service.given(service.read_only)
    write(DesiredField("a", "1"))
    assert not write(DesiredField("a", "1"), backend=reader)["changed"]
    assert write(DesiredField("a", "2"), backend=reader, check=True)["changed"]
    assert write(state="absent", backend=reader, check=True)["changed"]
    for params in ({}, {"title": f"{title}-new"}, {"state": "absent"}):
        with pytest.raises(ForbiddenError):
            write(DesiredField("a", "2"), backend=reader, **params)
    assert values() == {"a": "1"}


def test_an_item_is_archived_where_that_is_possible(service: Service, write: Manage) -> None:
    write(DesiredField("a", "1"))
    if not service.source.can_archive:
        with pytest.raises(InvalidError, match="cannot archive"):
            write(state="absent", archive=True)
        return
    assert write(state="absent", archive=True)["changed"]
    assert not write(state="absent", archive=True)["changed"]
