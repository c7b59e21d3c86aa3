# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random values for fields. Private: may change without notice.

They are made once and before planning: planning has no randomness, and after a lost answer a second plan finds the
value that was written or writes the same one.
"""

from __future__ import annotations

import dataclasses
import secrets

from .desired import DesiredField, Recipe

PLACEHOLDER = "(generated when the task runs)"


def with_candidates(fields: list[DesiredField], check_mode: bool) -> list[DesiredField]:
    """The fields with a value for each that may need a new one; in check mode a placeholder stands for it."""
    return [
        dataclasses.replace(field, candidate=PLACEHOLDER if check_mode else make(field.generate))
        if field.generate
        else field
        for field in fields
    ]


def make(recipe: Recipe) -> str:
    """A value with at least one character of every requested kind, by a recipe that `check_fields` has accepted.

    It is made here and not by the server: `op` could do it only for the password of a new item.
    """
    while True:
        value = "".join(secrets.SystemRandom().choices("".join(recipe.alphabets), k=recipe.length))
        if all(set(alphabet) & set(value) for alphabet in recipe.alphabets):
            return value
