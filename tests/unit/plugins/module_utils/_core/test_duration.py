# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._core.duration import format_duration, parse_duration
from ansible_collections.pantheros.nixci.plugins.module_utils._core.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("3600", 3600),
        ("30d", 2_592_000),
        (" 2 weeks ", 1_209_600),
        ("1h30m", 5_400),
        ("1h 30 min", 5_400),
        ("1m", 60),
        ("1M", 2_630_016),
        ("1 year 6 months", 31_557_600 + 6 * 2_630_016),
        ("1d 1d", 172_800),
        ("1.5h", 5_400),
        ("0.25 d", 21_600),
        ("1 000 s", 1_000),
        ("1\nh", 3_600),
        ("1500ms", 1),
        ("999999999ns 1ns", 1),
        ("2000000µs", 2),
        ("0s", 0),
        ("1000y", 31_557_600_000),
    ],
)
def test_reads_what_the_server_reads(text: str, seconds: int) -> None:
    assert parse_duration("validity", text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "30 d x", "-5", "+1d", "1,5h", "1h,30m", "1d,", "d30", "१d", ".5s", "1.s"]
)
def test_refuses_anything_else_with_the_option_s_name(text: str) -> None:
    with pytest.raises(InvalidError, match=r"^validity: .* is not a duration.*; write .*30d"):
        parse_duration("validity", text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30x", "'x' in '30x' is not a unit of time; use s, m"),
        ("1D", "'D' in '1D' is not a unit"),
        ("1h 30", "'30' in '1h 30' has no unit; add s, m"),
        ("1.5", "'1.5' in '1.5' has no unit"),
        ("1d 12 h and 5s", "is not a duration, from 'and 5s' on;"),
        ("500ms", "'500ms' is less than a second; give at least 1s, or 0"),
        ("0.0001h", "'0.0001h' in '0.0001h' is too fine a part"),
        ("0.5ns", "too fine a part"),
        ("9" * 30 + "s", "is too large; give a shorter duration"),
        ("1." + "0" * 30 + "s", "is too large"),
        ("9" * 5000, "has no unit"),
    ],
)
def test_says_what_exactly_is_wrong(text: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_duration("validity", text)
    assert words in str(caught.value)


def test_shows_the_two_largest_units() -> None:
    assert [format_duration(seconds) for seconds in (0, 59, 5_400, 2_592_000, 93_784)] == [
        "0s", "59s", "1h 30m", "30d", "1d 2h",
    ]  # fmt: skip
