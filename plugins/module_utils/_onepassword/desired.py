# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired fields of an item, and where each value comes from. Private: may change without notice.

A value is given, kept, generated (see generate.py) or composed of other fields.
"""

from __future__ import annotations

import dataclasses
import re
import string
import typing as t
import urllib.parse

from .._core.env_file import FORBIDDEN, NAME, compose, parse
from .._core.errors import InvalidError
from .dates import is_day, is_month
from .item import Item, fold

# None of them needs quotes in an environment file's double quotes, in JSON or in the path of a URL.
SYMBOLS = "!*-.@_"
MIN_LENGTH, MAX_LENGTH = 8, 256
SECRET = re.compile(r"[A-Za-z2-7][A-Za-z2-7 ]*=*", re.ASCII)  # of one-time passwords


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to generate a value."""

    length: int = 32
    letters: bool = True
    digits: bool = True
    symbols: bool = False
    generation: int = 1

    @property
    def alphabets(self) -> list[str]:
        chosen = {string.ascii_letters: self.letters, string.digits: self.digits, SYMBOLS: self.symbols}
        return [alphabet for alphabet, selected in chosen.items() if selected]


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of an environment file: its value, or the field of the same item that holds it."""

    name: str
    value: str | None = None
    label: str | None = None
    section: str | None = None


@dataclasses.dataclass(frozen=True)
class DesiredField:
    """A field with its value, or with how to generate or compose it. An empty section means outside any section."""

    label: str
    value: str | None = None
    type: str | None = None
    section: str | None = None
    on_create: bool = False
    generate: Recipe | None = None
    env: tuple[Variable, ...] | None = None
    candidate: str | None = None
    """The value that a field with `generate` gets if it needs one; a secret."""

    @property
    def path(self) -> str:
        return field_path(self.label, self.section)


def field_path(label: str, section: str | None) -> str:
    """The name of a field in messages and results."""
    return f"{section}/{label}" if section else label


def desired_fields(options: list[dict[str, t.Any]]) -> list[DesiredField]:
    """The fields as the module's option `fields` describes them."""
    return [
        DesiredField(
            **{
                **option,
                "type": option["type"] and option["type"].upper(),
                "generate": option["generate"] and Recipe(**option["generate"]),
                "env": None if option["env"] is None else tuple(Variable(**variable) for variable in option["env"]),
            }
        )
        for option in options
    ]


def check_fields(title: str, fields: list[DesiredField]) -> None:
    """Refuse what is wrong whatever the item holds."""
    for field in fields:
        _check_field(field, f"Field '{field.path}' of item '{title}'")
    names = [(fold(field.section or ""), fold(field.label)) for field in fields]
    if len(set(names)) != len(names):
        raise InvalidError(f"The fields of item '{title}' need labels that differ; name each field once.")


def check_values(item: Item, fields: list[DesiredField]) -> None:
    """Refuse values that the fields of the planned item cannot have."""
    for desired in fields:
        what = f"Field '{desired.path}' of item '{item.title}'"
        field = item.find(desired.label, desired.section) or {}
        value = str(field.get("value") or "")
        if desired.on_create and not value:
            raise InvalidError(f"{what} is still empty; give it a value.")
        if value and value == desired.value:
            _check_value(field["type"], value, what)


def with_values(before: Item, fields: list[DesiredField], *, replace: bool) -> list[DesiredField]:
    """The same fields, each with its value, and the counters of their generations."""
    valued = [field for field in fields if field.value is not None]
    # With all fields in their places a name means here what it will mean in the next run.
    places = before.changed([field if field.value is not None else _kept(field) for field in fields], None, False)
    for field in fields:
        if field.generate:
            valued += _kept_or_generated(places, field, field.generate)
    composed = [field for field in fields if field.env is not None]
    # An environment file is composed of what the other fields will hold, if they remain.
    others = before.changed([*valued, *map(_kept, composed)], None, replace)
    return [*valued, *(_composed(others, field, composed) for field in composed)]


def _kept_or_generated(places: Item, field: DesiredField, recipe: Recipe) -> list[DesiredField]:
    """The current value, or the candidate for an empty field or a new generation."""
    counter = _generation_counter(places, field)
    stored = places.value(counter.label, counter.section)
    if stored and not stored.isdecimal():
        raise InvalidError(
            f"Field '{counter.path}' of item '{places.title}' must hold a number; write the correct one into it."
        )
    known = max(int(stored or 1), 1)
    generation = max(known, recipe.generation)
    value = places.value(field.label, field.section)
    if not value or generation > known:
        value = field.candidate or ""
    valued = [dataclasses.replace(field, value=value, generate=None)]
    if stored or generation > 1:
        valued.append(dataclasses.replace(counter, value=str(generation)))
    return valued


def _generation_counter(places: Item, field: DesiredField) -> DesiredField:
    """The field that stores the generation; it stands beside the generated field."""
    found = places.find(field.label, field.section) or {}
    section_id, section = places.section_of(found)
    label = f"{found.get('label') or field.label} generation"
    return DesiredField(label, type="STRING", section=section or section_id)


def _composed(others: Item, field: DesiredField, composed: list[DesiredField]) -> DesiredField:
    what = f"Field '{field.path}' of item '{others.title}'"
    files = [others.find(other.label, other.section) for other in composed]
    variables = {}
    for variable in field.env or ():
        value = variable.value
        if variable.label is not None:
            path = field_path(variable.label, variable.section)
            source = others.find(variable.label, variable.section)
            if source is not None and any(source is file for file in files):
                raise InvalidError(f"{what} cannot take {variable.name} from '{path}', which is composed itself.")
            value = str((source or {}).get("value") or "")
            if not value:
                raise InvalidError(f"{what} takes {variable.name} from '{path}', which is missing or empty.")
        variables[variable.name] = value or ""
        _check_variable(variable.name, value or "", what)
    text = others.value(field.label, field.section)
    # Another notation means the same, and a change would restart what reads it.
    same = text and parse(text) == variables
    return dataclasses.replace(field, value=text if same else compose(variables), env=None)


def _kept(field: DesiredField) -> DesiredField:
    """The field without a new value; it keeps the one that it has."""
    return dataclasses.replace(field, value="", on_create=True, generate=None, env=None)


def _check_field(field: DesiredField, what: str) -> None:
    if not field.label:
        raise InvalidError(f"{what} has an empty label; give each field a label.")
    if [field.value is None, field.generate is None, field.env is None].count(False) != 1:
        raise InvalidError(f"{what} needs exactly one of value, generate and env.")
    if field.on_create and field.value is None:
        raise InvalidError(f"{what} has on_create without a value; a generated value is kept anyway.")
    if field.generate:
        recipe = field.generate
        if not MIN_LENGTH <= recipe.length <= MAX_LENGTH or not recipe.alphabets or recipe.generation < 1:
            raise InvalidError(
                f"{what} cannot be generated like this: it needs a length from {MIN_LENGTH} to {MAX_LENGTH}, "
                "letters, digits or symbols, and a generation of at least 1."
            )
    names = [variable.name for variable in field.env or ()]
    if field.env is not None and (not names or len(set(names)) != len(names) or not all(map(NAME.fullmatch, names))):
        raise InvalidError(
            f"{what} needs variables with different names made of ASCII letters, digits and underscores, "
            "none of which starts with a digit."
        )
    for variable in field.env or ():
        if (variable.value is None) == (variable.label is None):
            raise InvalidError(f"{what} needs exactly one of value and label for {variable.name}.")


def _check_value(kind: str, value: str, what: str) -> None:
    """Refuse a value that 1Password would refuse or store differently; the value itself is never quoted."""
    if kind == "OTP" and not _is_otp(value):
        raise InvalidError(
            f"{what} holds one-time passwords and needs a URI that starts with otpauth:// and has a secret in base32."
        )
    if kind == "DATE" and not is_day(value):
        raise InvalidError(f"{what} is a date and needs a value like 2026-01-31.")
    if kind == "MONTH_YEAR" and not is_month(value):
        raise InvalidError(f"{what} is a month and needs a value like 202601.")


def _is_otp(value: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(value)
        secret = urllib.parse.parse_qs(parts.query).get("secret", [""])[0]
    except ValueError:
        return False
    return parts.scheme == "otpauth" and SECRET.fullmatch(secret) is not None


def _check_variable(name: str, value: str, what: str) -> None:
    if FORBIDDEN.search(value):
        raise InvalidError(
            f"{what} cannot hold {name}: its value has a newline or another control character, "
            "which an environment file cannot carry; encode it, for example with base64."
        )
