# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations as people and Attic write them. Private: may change without notice.

Reads what Attic's own parser reads (humantime 2.3, https://docs.rs/humantime/2.3.0), and whole seconds without a unit.
"""

from __future__ import annotations

import re
from fractions import Fraction

from .errors import InvalidError

# m is a minute and M a month; months and years are averages.
UNITS: dict[str, Fraction] = {
    **dict.fromkeys(("ns", "nsec", "nanos"), Fraction(1, 10**9)),
    **dict.fromkeys(("us", "µs", "usec"), Fraction(1, 10**6)),
    **dict.fromkeys(("ms", "msec", "millis"), Fraction(1, 1000)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Fraction(1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), Fraction(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Fraction(3_600)),
    **dict.fromkeys(("d", "day", "days"), Fraction(86_400)),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), Fraction(604_800)),
    **dict.fromkeys(("M", "month", "months"), Fraction(2_630_016)),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), Fraction(31_557_600)),
}
USUAL = "s, m (minutes), h, d, w, M (months) or y"
MOST_DIGITS = 20  # what fits into 64 bits, as there

# White space may stand nearly everywhere, even within a number.
SPAN = re.compile(r"(?P<number>[0-9][0-9\s]*(?:\.\s*[0-9][0-9\s]*)?)(?P<unit>[A-Za-zµ]+|$)\s*")


def parse_duration(option: str, text: str) -> int:
    """Seconds of "30d", "1h 30min" or "3600"; the option's name is for the error message."""
    text = text.strip()
    if re.fullmatch(f"[0-9]{{1,{MOST_DIGITS}}}", text):
        return int(text)
    total, position = Fraction(0), 0
    while span := SPAN.match(text, position):
        total += _length(option, text, "".join(span["number"].split()), span["unit"])
        position = span.end()
    if not text or position < len(text):
        raise InvalidError(
            f"{option}: '{text}' is not a duration{f', from {text[position:]!r} on' if position else ''}; write whole "
            "seconds such as 3600, or numbers with units such as 30d, 12h or '1y 6months' (m is a minute, M a month)."
        )
    if 0 < total < 1:
        raise InvalidError(f"{option}: '{text}' is less than a second; give at least 1s, or 0.")
    return int(total)


def _length(option: str, text: str, number: str, unit: str) -> Fraction:
    if not unit:
        raise InvalidError(f"{option}: '{number}' in '{text}' has no unit; add {USUAL}.")
    if unit not in UNITS:
        raise InvalidError(f"{option}: '{unit}' in '{text}' is not a unit of time; use {USUAL}.")
    if any(len(part) > MOST_DIGITS for part in number.split(".")):
        raise InvalidError(f"{option}: a number in '{text}' is too large; give a shorter duration.")
    whole, _point, part = number.partition(".")
    fraction = Fraction(f"0.{part or 0}") * UNITS[unit]
    # Attic refuses what it would have to round.
    smallest = Fraction(1) if UNITS[unit] >= UNITS["h"] else UNITS["ns"]
    if fraction % smallest:
        raise InvalidError(f"{option}: '{number}{unit}' in '{text}' is too fine a part; use a smaller unit.")
    return int(whole) * UNITS[unit] + fraction


def format_duration(seconds: int) -> str:
    """The two largest units, for messages only: 2592000 is "30d", 5400 is "1h 30m"."""
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, int(UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
