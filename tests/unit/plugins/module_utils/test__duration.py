# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._duration import format_duration, parse_duration
from ansible_collections.pantheros.nixci.plugins.module_utils._errors import InvalidError


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
    ],
)
def test_reads_what_the_server_reads(text: str, seconds: int) -> None:
    assert parse_duration("validity", text) == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "30 d x", "30x", "-5", "1.5h", "1h,30m", "1D", "d30", "१d"])
def test_refuses_anything_else_with_the_option_s_name(text: str) -> None:
    with pytest.raises(InvalidError, match=r"^validity: .* is not a duration; write .*30d"):
        parse_duration("validity", text)


@pytest.mark.parametrize("text", ["101y", "9" * 20, "9" * 30 + "s"])
def test_refuses_more_than_a_century(text: str) -> None:
    with pytest.raises(InvalidError, match="longer than 100 years"):
        parse_duration("validity", text)


def test_shows_the_two_largest_units() -> None:
    assert [format_duration(seconds) for seconds in (0, 59, 5_400, 2_592_000, 93_784)] == [
        "0s", "59s", "1h 30m", "30d", "1d 2h",
    ]  # fmt: skip
