# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's two kinds of errors: its own JSON, and the plain text of its HTTP framework."""

from __future__ import annotations

MESSAGES = {
    "NotFound": (404, "The URL you requested was not found."),
    "Unauthorized": (401, "Unauthorized."),
    "InternalServerError": (500, "The server encountered an internal error or misconfiguration."),
    "NoSuchCache": (404, "The requested cache does not exist."),
    "CacheAlreadyExists": (400, "The cache already exists."),
    "NoSuchObject": (404, "The requested object does not exist."),
    "IncompleteNar": (503, "The requested NAR has missing chunks and needs to be repaired."),
    "AccessError": (403, "Access error: User does not have permission to complete this action."),
    "RequestError": (400, "General request error: {}"),
    "InvalidStorePathHash": (500, "Error from the common components."),
}


class ApiError(Exception):
    """Answered as {"code", "error", "message"}."""

    def __init__(self, error: str, detail: str = "") -> None:
        self.error = error
        self.code, template = MESSAGES[error]
        self.message = template.format(detail)
        super().__init__(self.message)


class Rejection(Exception):
    """The request cannot be parsed: answered as text, before the token is checked."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(text)


def request_error(detail: str) -> ApiError:
    return ApiError("RequestError", detail)
