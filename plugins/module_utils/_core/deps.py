# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python libraries that may be missing where a task runs. Private: may change without notice."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from .errors import NixciError

_missing: dict[str, str] = {}


@contextlib.contextmanager
def optional(library: str) -> Iterator[None]:
    """Imports within it may fail; `require` reports that when the library is needed."""
    try:
        yield
    except ImportError:
        _missing[library] = traceback.format_exc()


def available(library: str) -> bool:
    return library not in _missing


def require(library: str, purpose: str, remedy: str | None = None) -> None:
    """`purpose` is what needs the library: "Attic", "cache_seconds"."""
    if library in _missing:
        raise NixciError(
            f"{purpose} needs the Python library {library} on the machine that runs this task; "
            f"{remedy or f'install it with pip install {library}'}.",
            exception=_missing[library],
        )
