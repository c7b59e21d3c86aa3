# SPDX-License-Identifier: GPL-3.0-or-later
"""What the examples in the documentation of plugins run against."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t


@dataclasses.dataclass(frozen=True)
class Environment:
    """A running double, and what a reader of the examples would have in an inventory."""

    endpoint: dict[str, dict[str, t.Any]]
    """Module name → options that replace those of the example, such as the URL of the double."""
    variables: dict[str, t.Any]
    secrets: list[str | re.Pattern[str]]
    """What must not show up anywhere: values of the variables, and patterns of those that are made in the run."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    files: list[pathlib.Path] = dataclasses.field(default_factory=list)
    """Files in which an example stores a secret."""


Serve = t.Callable[[t.Any], str]
Builder = t.Callable[[Serve, pathlib.Path], Environment]
