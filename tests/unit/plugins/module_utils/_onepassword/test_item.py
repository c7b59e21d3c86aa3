# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.item import AmbiguousError, Item


def item(*fields: dict[str, t.Any], **more: t.Any) -> Item:
    sections = [{"id": "s1", "label": "One"}, {"id": "s2", "label": "Two"}, {"id": "add more"}]
    return Item({"id": "i", "title": "T", "vault": {"id": "v"}, "sections": sections, "fields": list(fields), **more})


def field(id_: str, label: str = "", section: str | None = None, **more: t.Any) -> dict[str, t.Any]:
    named = {"section": {"id": section}} if section else {}
    return {"id": id_, "label": label, "type": "CONCEALED", "value": f"value of {id_}", **named, **more}


@pytest.mark.parametrize(
    ("fields", "label", "section", "expected"),
    [
        ([field("a", "token"), field("token", "x")], "token", None, "token"),  # the ID before the label
        ([field("a", "Token"), field("b", "token")], "token", None, "b"),  # the exact label before another case
        ([field("a", "TOKEN")], "token", None, "a"),
        ([field("a", "Schlu\u0308ssel")], "schlüssel", None, "a"),
        ([field("a", "token", "s1"), field("b", "token")], "token", None, "b"),  # outside sections first
        ([field("a", "token", "s1"), field("b", "token", "add more")], "token", None, "b"),
        ([field("a", "token", "s1")], "token", None, "a"),
        ([field("a", "token", "s1"), field("b", "token", "s2")], "token", "two", "b"),
        ([field("a", "token", "s1"), field("b", "token", "s2")], "token", "s1", "a"),
        ([field("a", "token")], "token", "one", None),
        ([field("a", "token")], "other", None, None),
    ],
)
def test_a_field_is_found_as_in_a_secret_reference(
    fields: list[dict[str, t.Any]], label: str, section: str | None, expected: str | None
) -> None:
    found = item(*fields).find(label, section)
    assert (found and found["id"]) == expected


def test_an_ambiguous_field_lists_ids_without_values() -> None:
    with pytest.raises(AmbiguousError, match="use the ID of one of a, b") as caught:
        item(field("a", "token", "s1"), field("b", "token", "s2")).find("token")
    assert "value of" not in str(caught.value)


def test_a_change_leaves_the_original_alone() -> None:
    before = item(field("a", "token"))
    after = before.changed([DesiredField("token", "new"), DesiredField("more", "x")], ["t", "t"], False)
    assert before.values() == {"token": ("CONCEALED", "value of a")}
    assert after.values() == {"token": ("CONCEALED", "new"), "more": ("CONCEALED", "x")}
    assert after.tags == ["t"]


def test_an_existing_field_keeps_its_type_unless_another_is_given() -> None:
    before = item(field("a", "user", type="STRING"))
    assert before.changed([DesiredField("user", "x")], None, False).values() == {"user": ("STRING", "x")}
    assert before.changed([DesiredField("user", "x", "CONCEALED")], None, False).values() == {
        "user": ("CONCEALED", "x")
    }


def test_on_create_keeps_a_value_but_fills_an_empty_field() -> None:
    before = item(field("a", "kept"), {"id": "b", "label": "empty", "type": "CONCEALED"})
    after = before.changed(
        [DesiredField("kept", "x", on_create=True), DesiredField("empty", "y", on_create=True)], None, False
    )
    assert after.values() == {"kept": ("CONCEALED", "value of a"), "empty": ("CONCEALED", "y")}


def test_equal_labels_inside_and_outside_a_section_are_two_fields() -> None:
    desired = [DesiredField("token", "outside"), DesiredField("token", "inside", section="New")]
    for fields in (desired, desired[::-1]):
        after = item().changed(fields, None, False)
        assert after.values() == {"New/token": ("CONCEALED", "inside"), "token": ("CONCEALED", "outside")}
        assert after.changed(fields, None, False).document == after.document


def test_replace_removes_the_rest_but_only_empties_built_in_fields() -> None:
    before = item(field("a", "gone"), field("notesPlain", "notesPlain", purpose="NOTES"), field("b", "kept"))
    after = before.changed([DesiredField("kept", "x")], None, True)
    assert after.values() == {"kept": ("CONCEALED", "x")}
    assert [field["id"] for field in after.fields] == ["notesPlain", "b"]


def test_planning_twice_gives_the_same() -> None:
    fields = [DesiredField("a", "1", section="New")]
    assert item().changed(fields, None, False).document == item().changed(fields, None, False).document


def test_what_the_server_derives_is_not_sent_back() -> None:
    document = item(field("a", "x", totp="1", entropy=3, reference="op://…"), version=3, createdAt="", updated_at="")
    assert document.writable().keys() == {"id", "title", "vault", "sections", "fields"}
    assert document.writable()["fields"] == [field("a", "x")]


def test_the_sections_of_removed_fields_go_with_them() -> None:
    before = item(field("a", "token", "s1"), field("b", "token", "s2"))
    after = before.changed([DesiredField("token", "x", section="Two")], None, True)
    assert after.document["sections"] == [{"id": "s2", "label": "Two"}]


def test_a_value_is_empty_where_there_is_no_field() -> None:
    assert item(field("a", "token", "s1")).value("token", "one") == "value of a"
    assert item(field("a", "token")).value("other") == ""
