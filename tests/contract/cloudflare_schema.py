# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloudflare's published schema, reduced to what we use (see data/cloudflare-dns.json for its licence)."""

from __future__ import annotations

import io
import json
import pathlib
import re
import typing as t

from jsonschema import Draft202012Validator, FormatChecker

SCHEMA = json.loads((pathlib.Path(__file__).parent / "data" / "cloudflare-dns.json").read_text())

BODIES = {
    ("POST", r"/dns_records$"): "record_write",
    ("PUT", r"/dns_records/\w+$"): "record_write",
    ("PATCH", r"/dns_records/\w+$"): "record_patch",
    ("POST", r"/dns_records/batch$"): "batch_request",
}


def validate(name: str, instance: t.Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": SCHEMA["components"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(instance)


class CheckedBodies:
    """WSGI middleware that remembers the bodies sent and which of them the schema rejects."""

    def __init__(self, app: t.Any) -> None:
        self.app = app
        self.bodies: list[t.Any] = []
        self.rejected: list[str] = []

    def __call__(self, environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        for (method, path), name in BODIES.items():
            if environ["REQUEST_METHOD"] == method and re.search(path, environ["PATH_INFO"]):
                raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                environ["wsgi.input"] = io.BytesIO(raw)
                self.bodies.append(json.loads(raw))
                try:
                    validate(name, self.bodies[-1])
                except Exception as exc:  # noqa: BLE001 - reported by the fixture, in the test's thread
                    self.rejected.append(f"{method} {environ['PATH_INFO']}: {exc}")
        return self.app(environ, start_response)
