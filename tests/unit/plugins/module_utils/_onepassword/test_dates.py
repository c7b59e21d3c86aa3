# SPDX-License-Identifier: GPL-3.0-or-later
"""Days and months in the notations of Connect, `op` and the SDK."""

from __future__ import annotations

import datetime
import typing as t

import hypothesis
import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._onepassword.dates import (
    day_of,
    is_day,
    is_month,
    month_of,
    received,
    sdk_month_of,
    seconds_of,
    sent,
)
from hypothesis import strategies as st

Json = dict[str, t.Any]


def document(kind: str, value: t.Any) -> Json:
    return {"fields": [{"label": "d", "type": kind, "value": value}]}


@hypothesis.given(st.dates())
def test_every_day_survives_the_way_there_and_back(day: datetime.date) -> None:
    text = day.isoformat()
    assert is_day(text)
    assert day_of(seconds_of(text)) == text
    assert received(sent(document("DATE", text)))["fields"][0]["value"] == text


@pytest.mark.parametrize("hours", range(-11, 12))
def test_a_day_is_the_same_in_nearly_every_time_zone(hours: int) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=hours))
    assert datetime.datetime.fromtimestamp(int(seconds_of("2026-12-31")), zone).date().isoformat() == "2026-12-31"


@hypothesis.given(st.integers(1000, 9999), st.integers(1, 12))
def test_every_month_survives_the_way_there_and_back(year: int, month: int) -> None:
    text = f"{year}{month:02d}"
    assert is_month(text)
    assert month_of(sdk_month_of(text)) == text
    assert month_of(f"{month}/{year}") == text


@pytest.mark.parametrize("text", ["", "soon", "2026-12-31", "9" * 40, "-" + "9" * 14, "1.5", "12/2026", "\u0663"])
def test_what_is_not_seconds_is_left_alone(text: str) -> None:
    assert received(document("DATE", text))["fields"][0]["value"] == text
    assert sent(received(document("DATE", text)))["fields"][0]["value"] == (seconds_of(text) if is_day(text) else text)


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "2026-1-1", "20261231", "31.12.2026", "2026-12-31T00:00"])
def test_what_is_not_a_day_is_left_alone(text: str) -> None:
    assert not is_day(text)
    assert seconds_of(text) == text


@pytest.mark.parametrize("text", ["", "soon", "2026-12", "202613", "202600", "000012", "13/2026", "12/26", "12/2026"])
def test_what_is_not_a_month_is_left_alone(text: str) -> None:
    assert not is_month(text)
    assert sdk_month_of(text) == text


def test_a_stored_time_of_the_same_day_is_sent_back() -> None:
    for stored in ("1798675200", "1798761599", 1798675200):
        item = received(document("DATE", stored))
        assert item["fields"][0]["value"] == "2026-12-31"
        assert sent(item)["fields"] == [{"label": "d", "type": "DATE", "value": str(stored)}]
        item["fields"][0]["value"] = "2027-01-01"
        assert sent(item)["fields"] == [{"label": "d", "type": "DATE", "value": seconds_of("2027-01-01")}]


def test_only_days_are_converted() -> None:
    for kind in ("STRING", "CONCEALED", "MONTH_YEAR", "PHONE", "OTP"):
        assert sent(received(document(kind, "1798675200"))) == document(kind, "1798675200")
    # A field that was a day and becomes a text.
    item = received(document("DATE", "1798675200"))
    item["fields"][0]["type"] = "STRING"
    assert sent(item) == document("STRING", "2026-12-31")


def test_an_item_without_fields_is_left_alone() -> None:
    assert received({"title": "x"}) == {"title": "x"}
    assert sent({"title": "x", "fields": None}) == {"title": "x", "fields": []}
