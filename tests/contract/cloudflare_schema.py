# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloudflare's published schema, reduced to what this collection uses (see data/cloudflare-dns.LICENSE)."""

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
RESPONSES = {
    ("GET", r"/zones$"): "zone_list_response",
    ("GET", r"/dns_records$"): "record_list_response",
    ("POST", r"/dns_records$"): "record_response",
    ("PUT", r"/dns_records/\w+$"): "record_response",
    ("PATCH", r"/dns_records/\w+$"): "record_response",
    ("DELETE", r"/dns_records/\w+$"): "record_delete_response",
    ("POST", r"/dns_records/batch$"): "batch_response",
}


def validate(name: str, instance: t.Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": SCHEMA["components"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(instance)


class CheckedBodies:
    """WSGI middleware that records request bodies, and all requests and responses that do not match the schema."""

    def __init__(self, app: t.Any) -> None:
        self.app = app
        self.bodies: list[t.Any] = []
        self.rejected: list[str] = []

    def __call__(self, environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        call = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if schema := find(BODIES, call):
            raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(raw)
            self.bodies.append(json.loads(raw))
            self.check(schema, raw, f"{call}: request")
        statuses: list[str] = []

        def remember(status: str, *rest: t.Any) -> t.Any:
            statuses.append(status)
            return start_response(status, *rest)

        response = b"".join(self.app(environ, remember))
        if statuses[0].startswith("200") and (schema := find(RESPONSES, call)):
            self.check(schema, response, f"{call}: response")
        return [response]

    def check(self, schema: str, raw: bytes, what: str) -> None:
        try:
            validate(schema, json.loads(raw))
        except Exception as exc:  # noqa: BLE001 - reported by the fixture, in the test's thread
            self.rejected.append(f"{what}: {exc}")


def find(schemas: dict[tuple[str, str], str], call: tuple[str, str]) -> str | None:
    method, path = call
    return next((name for (verb, route), name in schemas.items() if verb == method and re.search(route, path)), None)
