# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the values of fields come from: given, kept, generated, composed. Private: may change without notice."""

from __future__ import annotations

import dataclasses

from ._env_file import compose, parse
from ._errors import InvalidError
from ._onepassword_item import Item, fold
from ._onepassword_wish import Recipe, Wish, check_value, check_variable, check_wish


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

    def __init__(self, before: Item, wishes: list[Wish], *, foretell: bool) -> None:
        self.foretell = foretell
        self.generated: list[Wish] = []
        self.wishes: list[Wish] = []
        for wish in wishes:
            if wish.generate:
                self.wishes += self._generate(before, wish, wish.generate)
            elif wish.env is None:
                self.wishes.append(wish)
        # An environment file is made of what the other fields will hold.
        others = before.changed(self.wishes, None, False)
        composed = [wish for wish in wishes if wish.env is not None]
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

    def _generate(self, before: Item, wish: Wish, recipe: Recipe) -> list[Wish]:
        """A value once, and again only for a generation that was not there yet."""
        memory = wish.generation
        remembered = before.value(memory.label, memory.section)
        if remembered and not remembered.isdecimal():
            raise InvalidError(
                f"Field '{memory.path}' of item '{before.title}' must hold a number; write the one that is meant into it."
            )
        known = max(int(remembered or 1), 1)
        generation = max(known, recipe.generation)
        value = before.value(wish.label, wish.section)
        if not value or generation > known:
            value = self.UNKNOWN if self.foretell else recipe.make()
            self.generated.append(wish)
        made = [dataclasses.replace(wish, value=value, generate=None)]
        if remembered or generation > 1:
            made.append(dataclasses.replace(memory, value=str(generation)))
        return made

    def _compose(self, others: Item, wish: Wish, composed: list[Wish]) -> Wish:
        what = f"Field '{wish.path}' of item '{others.title}'"
        variables = {}
        for variable in wish.env or ():
            value = variable.value
            if variable.label is not None:
                path = Wish(variable.label, section=variable.section).path
                if fold(path) in [fold(other.path) for other in composed]:
                    raise InvalidError(f"{what} cannot take {variable.name} from '{path}', which is composed itself.")
                value = others.value(variable.label, variable.section)
                if not value:
                    raise InvalidError(f"{what} takes {variable.name} from '{path}', which is missing or empty.")
            variables[variable.name] = value or ""
            check_variable(variable.name, value or "", what)
        text = others.value(wish.label, wish.section)
        # Written another way it means the same, and a change would restart what reads it.
        return dataclasses.replace(
            wish, value=text if text and parse(text) == variables else compose(variables), env=None
        )
