# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planned change. Private: may change without notice.

Check mode, diff mode and the action itself all come from one Change, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import typing as t

State: t.TypeAlias = "dict[str, t.Any] | None"


@dataclasses.dataclass(frozen=True)
class Change:
    """What is there and what shall be there; None means that the object does not exist."""

    before: State
    after: State

    def __bool__(self) -> bool:
        return self.before != self.after

    @property
    def fields(self) -> dict[str, t.Any]:
        """The members that must be written: all of them for a new object, otherwise those that differ."""
        if self.after is None:
            return {}
        before = self.before or {}
        return {key: value for key, value in self.after.items() if key not in before or before[key] != value}

    def result(self, **extra: t.Any) -> dict[str, t.Any]:
        """Return values for exit_json. Keep secrets out of both states: they are printed by --diff."""
        return {
            "changed": bool(self),
            "diff": {"before": self.before or {}, "after": self.after or {}},
            **extra,
        }
