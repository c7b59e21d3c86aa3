# SPDX-License-Identifier: GPL-3.0-or-later
"""What the examples of a plugin's documentation run against."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t


@dataclasses.dataclass(frozen=True)
class World:
    """A double that listens, and what a reader of the examples would have in his inventory."""

    endpoint: dict[str, dict[str, t.Any]]
    """Module name → options that lead to the double; they win over those of the example."""
    variables: dict[str, t.Any]
    secrets: list[str | re.Pattern[str]]
    """What must not be seen anywhere: values of the variables, and the form of those that are made in the run."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    files: list[pathlib.Path] = dataclasses.field(default_factory=list)
    """Files that hold a secret because an example writes it there."""


Serve = t.Callable[[t.Any], str]
Builder = t.Callable[[Serve, pathlib.Path], World]
