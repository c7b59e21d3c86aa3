# SPDX-License-Identifier: GPL-3.0-or-later
"""A control API of every double: a journal of the requests, and faults on demand."""

from __future__ import annotations

import json
import re
import threading
import typing as t
from collections.abc import Iterable

Wsgi = t.Callable[[dict[str, t.Any], t.Callable[..., t.Any]], Iterable[bytes]]


# A double may run for days: it remembers this many requests, and no more of each path and query.
LONGEST_JOURNAL, LONGEST_PATH = 20_000, 4_096
LARGEST_FAULT = 1 << 20


class Control:
    """WSGI middleware around a double.

    GET /_lab/requests     returns the journal, a list of {method, path, query, status}
    DELETE /_lab/requests  clears the journal
    POST /_lab/faults      {"status": 503, "headers": {}, "body": {}, "times": 1, "method": "GET", "path": "regex"}
                           returns this response to the next matching requests instead of the double's
    DELETE /_lab/faults    removes all faults
    """

    def __init__(self, app: Wsgi) -> None:
        self.app = app
        self.requests: list[dict[str, t.Any]] = []
        self.faults: list[dict[str, t.Any]] = []
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        if path.startswith("/_lab/"):
            return self._control(method, path, environ, start_response)
        query = environ.get("QUERY_STRING", "")
        entry = {"method": method, "path": path[:LONGEST_PATH], "query": query[:LONGEST_PATH], "status": None}
        with self.lock:
            self.requests.append(entry)
            if len(self.requests) > LONGEST_JOURNAL:
                del self.requests[0]
            fault = self._take_fault(method, path)
        if fault is not None:
            entry["status"] = fault["status"]
            return _answer(start_response, fault["status"], fault.get("body"), fault.get("headers"))

        def remember(status: str, headers: list[tuple[str, str]], exc_info: t.Any = None) -> t.Any:
            entry["status"] = int(status.split(" ", 1)[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return self.app(environ, remember)

    def _take_fault(self, method: str, path: str) -> dict[str, t.Any] | None:
        for fault in self.faults:
            if fault.get("method", method) == method and re.search(fault.get("path", ""), path):
                fault["times"] = fault.get("times", 1) - 1
                if fault["times"] <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _control(
        self, method: str, path: str, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]
    ) -> Iterable[bytes]:
        with self.lock:
            if path == "/_lab/requests" and method == "GET":
                return _answer(start_response, 200, self.requests)
            if path == "/_lab/requests" and method == "DELETE":
                self.requests.clear()
                return _answer(start_response, 204, None)
            if path == "/_lab/faults" and method == "POST":
                try:
                    size = min(int(environ.get("CONTENT_LENGTH") or 0), LARGEST_FAULT)
                    fault = json.loads(environ["wsgi.input"].read(size))
                    fault = {**fault, "status": int(fault["status"])}
                    re.compile(fault.get("path", ""))
                except (ValueError, TypeError, KeyError, RecursionError, re.error) as exc:
                    return _answer(start_response, 400, {"error": f"no such fault: {exc}"})
                self.faults.append(fault)
                return _answer(start_response, 204, None)
            if path == "/_lab/faults" and method == "DELETE":
                self.faults.clear()
                return _answer(start_response, 204, None)
        return _answer(start_response, 404, {"error": "no such control"})


def _answer(
    start_response: t.Callable[..., t.Any], status: int, body: t.Any, headers: dict[str, str] | None = None
) -> list[bytes]:
    data = b"" if body is None else (body.encode() if isinstance(body, str) else json.dumps(body).encode())
    kind = "text/plain" if isinstance(body, str) else "application/json"
    start_response(
        f"{status} .", [("Content-Type", kind), ("Content-Length", str(len(data))), *(headers or {}).items()]
    )
    return [data]
