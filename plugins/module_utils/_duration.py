# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as people and Attic write them. Private: may change without notice."""

from __future__ import annotations

import re

from ._errors import InvalidError

# The units of the server's own parser: m is a minute and M a month, and both averages are the server's.
UNITS: dict[str, int] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 604_800),
    **dict.fromkeys(("M", "month", "months"), 2_630_016),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 31_557_600),
}

SPAN = re.compile(r"\s*([0-9]+)\s*([A-Za-z]+)\s*")
LONGEST = 100 * UNITS["y"]


def parse_duration(option: str, text: str) -> int:
    """Seconds of "30d", "1h 30min" or "3600"; the option's name is for the error message."""
    text = text.strip()
    seconds = int(text) if re.fullmatch("[0-9]{1,20}", text) else _sum_of_spans(option, text)
    if seconds > LONGEST:
        raise InvalidError(f"{option}: '{text}' is longer than 100 years; give a shorter duration.")
    return seconds


def _sum_of_spans(option: str, text: str) -> int:
    total, position = 0, 0
    while (span := SPAN.match(text, position)) and span[2] in UNITS:
        total += int(span[1][:20]) * UNITS[span[2]]
        position = span.end()
    if not text or position < len(text):
        raise InvalidError(
            f"{option}: '{text}' is not a duration; write whole seconds such as 3600, or numbers with units "
            "such as 30d, 12h or '1y 6months' (m is a minute, M a month)."
        )
    return total


def format_duration(seconds: int) -> str:
    """The two largest units, for messages only: 2592000 is "30d", 5400 is "1h 30m"."""
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
