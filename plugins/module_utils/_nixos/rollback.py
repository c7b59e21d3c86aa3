# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""To which system a rollback goes: from the record on the host, so that it needs nothing else. Private: may change without notice."""

from __future__ import annotations

import os
import re
import typing as t

from .deployment import records
from .host import PROFILE

_LINK = re.compile(r"^system-(\d+)-link$")


def previous(running: dict[str, t.Any]) -> str | None:
    """The system before the running one.

    - One that was only tested goes back to the profile.
    - Otherwise it is the one that ran when the running one was deployed, so a second rollback takes the first one back.
    - If that is gone or was never a generation, the newest one that was confirmed before.
    - Without a record, the generation before the profile's.
    """
    system, lines = running["system"], records()
    made = [number for number, line in enumerate(lines) if line.get("to") == system]
    if made and lines[made[-1]].get("result") == "tested" and usable(running["profile"], system):
        return str(running["profile"])
    confirmed = [number for number in made if lines[number].get("result") == "confirmed"]
    if confirmed:
        line = lines[confirmed[-1]]
        if line.get("from_generation") is not None and usable(line.get("from"), system):
            return str(line["from"])
    before = lines[: confirmed[-1]] if confirmed else lines
    for line in reversed(before):
        if line.get("result") == "confirmed" and usable(line.get("to"), system):
            return str(line["to"])
    number = profile_generation()
    older = [path for one, path in sorted(generations().items()) if number is not None and one < number]
    return next((path for path in reversed(older) if usable(path, system)), None)


def usable(path: t.Any, running: str | None) -> bool:
    """Whether there is still another system to go back to."""
    return bool(path) and path != running and os.path.exists(os.path.join(str(path), "bin", "switch-to-configuration"))


def generation(number: str) -> str | None:
    return generations().get(int(number)) if number.isdigit() else None


def generations() -> dict[int, str]:
    """The number of each generation, and its system."""
    folder = os.path.dirname(PROFILE)
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    return {
        int(match[1]): os.path.realpath(os.path.join(folder, name)) for name in names if (match := _LINK.match(name))
    }


def profile_generation() -> int | None:
    try:
        match = _LINK.match(os.path.basename(os.readlink(PROFILE)))
    except OSError:
        return None
    return int(match[1]) if match else None
