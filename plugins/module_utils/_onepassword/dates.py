# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Days and months, which each way into 1Password writes differently. Private: may change without notice.

Here a day is always 2026-12-31 and a month 202612. Connect and `op` have a day as Unix seconds, the SDK has a month as
12/2026. A stored text is sent back unchanged unless its day or month changes: apps store other times of the same day.
"""

from __future__ import annotations

import datetime
import re
import typing as t

Json = dict[str, t.Any]

# The member of a field that keeps what the service had; it is never sent.
STORED = "stored"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# As 1Password's web application does it: at this time it is the same day in nearly every time zone. A day sent as text
# would begin in the time zone of the Connect server
# (https://github.com/1Password/terraform-provider-onepassword/blob/main/internal/onepassword/util/date.go).
TIME = datetime.time(12, 1, tzinfo=datetime.UTC)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
SECONDS = re.compile(r"-?\d+", re.ASCII)
MONTH = re.compile(r"([1-9]\d{3})(0[1-9]|1[0-2])", re.ASCII)
SDK_MONTH = re.compile(r"(0?[1-9]|1[0-2])/([1-9]\d{3})", re.ASCII)


def is_day(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return DAY.fullmatch(value) is not None


def is_month(value: str) -> bool:
    return MONTH.fullmatch(value) is not None


def day_of(seconds: str) -> str:
    """2026-12-31 for Unix seconds; anything else unchanged."""
    try:
        return (EPOCH + datetime.timedelta(seconds=int(seconds))).date().isoformat()
    except (ValueError, OverflowError):
        return seconds


def seconds_of(day: str) -> str:
    """Unix seconds for 2026-12-31; anything else unchanged."""
    if not is_day(day):
        return day
    return str(int((datetime.datetime.combine(datetime.date.fromisoformat(day), TIME) - EPOCH).total_seconds()))


def month_of(text: str) -> str:
    """202612 for 12/2026; anything else unchanged."""
    match = SDK_MONTH.fullmatch(text)
    return f"{match[2]}{match[1]:0>2}" if match else text


def sdk_month_of(month: str) -> str:
    """12/2026 for 202612; anything else unchanged."""
    match = MONTH.fullmatch(month)
    return f"{match[2]}/{match[1]}" if match else month


def received(document: Json) -> Json:
    """A document of Connect or `op` with its days as we write them."""
    for field in document.get("fields") or []:
        value = field.get("value")
        if field.get("type") == "DATE" and value and SECONDS.fullmatch(str(value)):
            field.update({"value": day_of(str(value)), STORED: str(value)})
    return document


def sent(document: Json) -> Json:
    """The document as Connect and `op` take it."""
    fields = []
    for field in document.get("fields") or []:
        kept = {key: value for key, value in field.items() if key != STORED}
        if kept.get("type") == "DATE" and kept.get("value"):
            stored = field.get(STORED)
            kept["value"] = stored if stored and day_of(stored) == kept["value"] else seconds_of(kept["value"])
        fields.append(kept)
    return {**document, "fields": fields}
