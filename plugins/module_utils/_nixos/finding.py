# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check found. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import typing as t

from .._core.errors import InvalidError, NixciError
from .._core.redact import redact_log


@dataclasses.dataclass(frozen=True)
class Finding:
    """A check that does not pass. Only a decisive one makes the task fail."""

    check: str
    message: str
    decisive: bool = True

    def result(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


def found(check: str, look: t.Callable[..., str | None], *args: t.Any) -> list[Finding]:
    """What cannot be checked, for want of a program or of time, is a finding beside the others."""
    try:
        message = look(*args)
    except InvalidError:
        raise  # waiting does not help
    except NixciError as exc:
        message = str(exc)
    return [Finding(check, message)] if message else []


def last_line(text: str) -> str:
    """The line of a program's output that gives its reason, without secrets."""
    return (redact_log(text).strip().splitlines() or ["no reason given"])[-1].rstrip(".")
