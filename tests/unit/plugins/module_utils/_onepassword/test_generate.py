# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.desired import DesiredField, Recipe
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.generate import (
    PLACEHOLDER,
    make,
    with_candidates,
)


def test_generated_values_differ_and_have_every_kind_of_character() -> None:
    made = {make(Recipe(length=8, symbols=True)) for _ in range(200)}
    assert len(made) == 200
    for value in made:
        assert len(value) == 8
        assert any(character.isalpha() for character in value)
        assert any(character.isdigit() for character in value)
        assert any(character in "!*-.@_" for character in value)
    assert make(Recipe(length=16, letters=False)).isdecimal()


def test_only_fields_to_generate_get_a_candidate() -> None:
    fields = [DesiredField("a", "given"), DesiredField("b", generate=Recipe(length=12))]
    given, generated = with_candidates(fields, check_mode=False)
    assert given == fields[0]
    assert generated.candidate is not None
    assert len(generated.candidate) == 12
    assert generated.value is None


def test_check_mode_gets_a_placeholder() -> None:
    [generated] = with_candidates([DesiredField("b", generate=Recipe())], check_mode=True)
    assert generated.candidate == PLACEHOLDER
