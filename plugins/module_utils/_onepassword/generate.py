# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the values of fields come from: given, kept, generated, composed. Private: may change without notice."""

from __future__ import annotations

import dataclasses

from .._core.env_file import compose, parse
from .._core.errors import InvalidError
from .desired import Recipe, Wish, check_value, check_variable, check_wish
from .item import Item, fold


def check_wishes(title: str, wishes: list[Wish]) -> None:
    """Refuse what can be seen without the item."""
    for wish in wishes:
        check_wish(wish, f"Field '{wish.path}' of item '{title}'")
    names = [(fold(wish.section or ""), fold(wish.label)) for wish in wishes]
    if len(set(names)) != len(names):
        raise InvalidError(f"The fields of item '{title}' need labels that differ; name each field once.")


class Sources:
    """The wishes with a value each, and what was generated for that.

    To foretell, nothing is generated: UNKNOWN stands for what would be.
    """

    UNKNOWN = "(generated when the task runs)"

    def __init__(self, before: Item, wishes: list[Wish], *, replace: bool, foretell: bool) -> None:
        self.foretell = foretell
        self.generated: list[Wish] = []
        self.wishes = [wish for wish in wishes if wish.value is not None]
        # With all fields in their places a name means here what it will mean in the next run.
        places = before.changed([wish if wish.value is not None else _empty(wish) for wish in wishes], None, False)
        for wish in wishes:
            if wish.generate:
                self.wishes += self._generate(places, wish, wish.generate)
        composed = [wish for wish in wishes if wish.env is not None]
        # An environment file is made of what the other fields will hold, those that stay.
        others = before.changed([*self.wishes, *map(_empty, composed)], None, replace)
        self.wishes += [self._compose(others, wish, composed) for wish in composed]

    def verify(self, after: Item) -> None:
        """Refuse values that the fields cannot have."""
        for wish in self.wishes:
            what = f"Field '{wish.path}' of item '{after.title}'"
            field = after.find(wish.label, wish.section) or {}
            value = str(field.get("value") or "")
            if wish.on_create and not value:
                raise InvalidError(f"{what} is still empty; give it a value.")
            if value and value == wish.value:
                check_value(field["type"], value, what)

    def _generate(self, places: Item, wish: Wish, recipe: Recipe) -> list[Wish]:
        """A value once, and again only for a generation that was not there yet."""
        memory = _memory(places, wish)
        remembered = places.value(memory.label, memory.section)
        if remembered and not remembered.isdecimal():
            raise InvalidError(
                f"Field '{memory.path}' of item '{places.title}' must hold a number; write the one that is meant into it."
            )
        known = max(int(remembered or 1), 1)
        generation = max(known, recipe.generation)
        value = places.value(wish.label, wish.section)
        if not value or generation > known:
            value = self.UNKNOWN if self.foretell else recipe.make()
            self.generated.append(wish)
        made = [dataclasses.replace(wish, value=value, generate=None)]
        if remembered or generation > 1:
            made.append(dataclasses.replace(memory, value=str(generation)))
        return made

    def _compose(self, others: Item, wish: Wish, composed: list[Wish]) -> Wish:
        what = f"Field '{wish.path}' of item '{others.title}'"
        files = [others.find(other.label, other.section) for other in composed]
        variables = {}
        for variable in wish.env or ():
            value = variable.value
            if variable.label is not None:
                path = Wish(variable.label, section=variable.section).path
                field = others.find(variable.label, variable.section)
                if field is not None and any(field is file for file in files):
                    raise InvalidError(f"{what} cannot take {variable.name} from '{path}', which is composed itself.")
                value = field and field.get("value")
                if not value:
                    raise InvalidError(f"{what} takes {variable.name} from '{path}', which is missing or empty.")
            variables[variable.name] = value or ""
            check_variable(variable.name, value or "", what)
        text = others.value(wish.label, wish.section)
        # Written another way it means the same, and a change would restart what reads it.
        return dataclasses.replace(
            wish, value=text if text and parse(text) == variables else compose(variables), env=None
        )


def _empty(wish: Wish) -> Wish:
    """The field without a new value; what it holds stays."""
    return dataclasses.replace(wish, value="", on_create=True, generate=None, env=None)


def _memory(places: Item, wish: Wish) -> Wish:
    """The field that remembers how often a value was asked for anew; it stands beside the field itself."""
    field = places.find(wish.label, wish.section) or {}
    section_id, section = places.section_of(field)
    return Wish(f"{field.get('label') or wish.label} generation", type="STRING", section=section or section_id)
