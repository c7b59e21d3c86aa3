# SPDX-License-Identifier: GPL-3.0-or-later
"""How GitLab says no."""

from __future__ import annotations

import typing as t

Json = dict[str, t.Any]


class Refused(Exception):
    def __init__(self, status: int, **body: t.Any) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


class Moved(Exception):
    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def invalid(**fields: str) -> Refused:
    return Refused(400, message={field: [text] for field, text in fields.items()})
