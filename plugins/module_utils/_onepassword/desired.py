# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A field as the user wants it, and where its value comes from. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import datetime
import re
import secrets
import string

from .._core.env_file import FORBIDDEN, NAME
from .._core.errors import InvalidError

# None of them needs quotes in an environment file's double quotes, in JSON or in the path of a URL.
SYMBOLS = "!*-.@_"
MIN_LENGTH, MAX_LENGTH = 8, 256
MONTH_YEAR = re.compile(r"\d{4}(0[1-9]|1[0-2])", re.ASCII)
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make a value. Made here and not by the server: `op` could do it for a new item's password only."""

    length: int = 32
    letters: bool = True
    digits: bool = True
    symbols: bool = False
    generation: int = 1

    @property
    def alphabets(self) -> list[str]:
        chosen = {string.ascii_letters: self.letters, string.digits: self.digits, SYMBOLS: self.symbols}
        return [alphabet for alphabet, wanted in chosen.items() if wanted]

    def make(self) -> str:
        """A value with at least one character of every kind that was asked for."""
        while True:
            value = "".join(secrets.choice("".join(self.alphabets)) for _ in range(self.length))
            if all(set(alphabet) & set(value) for alphabet in self.alphabets):
                return value


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of an environment file: its value, or the field of the same item that has it."""

    name: str
    value: str | None = None
    label: str | None = None
    section: str | None = None


@dataclasses.dataclass(frozen=True)
class Wish:
    """A field: its value, or how to generate or compose it. An empty section means outside any section."""

    label: str
    value: str | None = None
    type: str | None = None
    section: str | None = None
    on_create: bool = False
    generate: Recipe | None = None
    env: tuple[Variable, ...] | None = None

    @property
    def path(self) -> str:
        return f"{self.section}/{self.label}" if self.section else self.label


def check_wish(wish: Wish, what: str) -> None:
    """Refuse what can be seen without the item; `what` names the field."""
    if not wish.label:
        raise InvalidError(f"{what} has an empty label; give each field a label.")
    if [wish.value is None, wish.generate is None, wish.env is None].count(False) != 1:
        raise InvalidError(f"{what} needs exactly one of value, generate and env.")
    if wish.on_create and wish.value is None:
        raise InvalidError(f"{what} has on_create without a value; a generated value is kept anyway.")
    if wish.generate:
        recipe = wish.generate
        if not MIN_LENGTH <= recipe.length <= MAX_LENGTH or not recipe.alphabets or recipe.generation < 1:
            raise InvalidError(
                f"{what} cannot be generated so: it needs a length from {MIN_LENGTH} to {MAX_LENGTH}, "
                "letters, digits or symbols, and a generation from 1."
            )
    names = [variable.name for variable in wish.env or ()]
    if wish.env is not None and (not names or len(set(names)) != len(names) or not all(map(NAME.fullmatch, names))):
        raise InvalidError(
            f"{what} needs variables with names that differ, of ASCII letters, digits and underscores, no digit first."
        )
    for variable in wish.env or ():
        if (variable.value is None) == (variable.label is None):
            raise InvalidError(f"{what} needs exactly one of value and label for {variable.name}.")


def check_value(kind: str, value: str, what: str) -> None:
    """Refuse a value that 1Password would refuse or store differently; the value itself is never quoted."""
    if kind == "OTP" and not value.startswith("otpauth://"):
        raise InvalidError(f"{what} holds one-time passwords and needs a URI that starts with otpauth://.")
    if kind == "DATE" and not _is_date(value):
        raise InvalidError(f"{what} is a date and needs a value like 2026-01-31.")
    if kind == "MONTH_YEAR" and not MONTH_YEAR.fullmatch(value):
        raise InvalidError(f"{what} is a month and needs a value like 202601.")


def check_variable(name: str, value: str, what: str) -> None:
    if FORBIDDEN.search(value):
        raise InvalidError(
            f"{what} cannot hold {name}: its value has a newline or another control character, "
            "which an environment file cannot carry; encode it, for example with base64."
        )


def _is_date(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return DATE.fullmatch(value) is not None
