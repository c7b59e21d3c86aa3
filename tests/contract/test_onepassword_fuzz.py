# SPDX-License-Identifier: GPL-3.0-or-later
"""No request, however odd, makes the double of 1Password fail: it refuses, in the form of the real service."""

from __future__ import annotations

import json
import typing as t

import hypothesis
import werkzeug.test
from hypothesis import strategies as st

from lab.clouds.onepassword import OnePasswordDouble

ID = "a" * 26
KEYS = [
    *(
        "id",
        "title",
        "vault",
        "category",
        "tags",
        "urls",
        "favorite",
        "version",
        "sections",
        "fields",
        "files",
        "state",
    ),
    *("section", "type", "purpose", "label", "value", "generate", "recipe", "length", "characterSets", "totp"),
    *("excludeCharacters", "references", "href", "createdAt", "x"),
]
WORDS = [
    *("", "x", "{vault}", "{item}", ID, "API_CREDENTIAL", "PASSWORD", "LOGIN", "NOTES", "USERNAME", "OTP", "DATE"),
    *("MONTH_YEAR", "STRING", "DIGITS", "otpauth://totp/x?secret=A", "otpauth://[", "2026-12-31", "9" * 30, "202612"),
    *("op://V/Item/a", "op://V/Item/s/d", "\x00", "\ud800", "ä✓", "a\nb", "JBSWY3DPEHPK3PXP"),
]
words = st.sampled_from(WORDS) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
fields = st.lists(
    st.dictionaries(
        st.sampled_from(["id", "label", "type", "purpose", "value", "section", "generate", "recipe"]), values
    )
    | values,
    max_size=3,
)
# Near enough to an item to get past the first refusals.
items = st.builds(
    lambda base, changes: {**base, **changes},
    st.fixed_dictionaries(
        {"title": st.just("x"), "category": st.just("API_CREDENTIAL"), "vault": st.just({"id": "{vault}"})},
        optional={"id": st.just("{item}"), "fields": fields, "sections": values, "tags": values, "urls": values},
    ),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=2),
)
odd_bodies = st.binary(max_size=20) | st.sampled_from(
    [b"", b"{", b"[" * 5000, b"\xff\xfe{}", '{"title": "\u00e4"}'.encode("latin-1"), b"NaN", b"null"]
)
json_bodies = (items | values).map(lambda body: json.dumps(body).encode())
references = st.lists(words | st.sampled_from(["op://V/Item/a", "op://V/Item/s/d", "op://x/y/z"]) | values, max_size=3)

VAULT, ITEM_PATH = "/vaults/{vault}/items", "/vaults/{vault}/items/{item}"
WRITES = [("POST", VAULT), ("PUT", ITEM_PATH), ("PUT", ITEM_PATH), ("PATCH", ITEM_PATH)]
SIDES = [("/v1", "Bearer t"), ("/service-account/v1", "Bearer ops_a")]
parts = st.sampled_from(
    ["v1", "service-account", "vaults", "{vault}", "items", "{item}", "files", "{file}", "content", "resolve", ID]
) | st.sampled_from(
    ["activity", "metrics", "heartbeat", "health", "%00", "%ff", "..", "%2F", "ä", "x" * 300, "{vault}%0A"]
)
routes = st.sampled_from(
    [
        side + path
        for side, _token in SIDES
        for path in ("/vaults", "/vaults/{vault}", VAULT, ITEM_PATH, ITEM_PATH + "/files/{file}/content", "/resolve")
    ]
)
paths = st.one_of(routes, routes, routes, st.lists(parts, max_size=8).map(lambda parts: "/" + "/".join(parts)))
methods = st.sampled_from(
    ["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get"]
)
queries = st.sampled_from(["", "", "filter=", "filter=x", "archive"]) | words.map(
    lambda word: f'filter=title eq "{word}"'.encode("utf-8", "replace").decode()
)
kinds = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "text/plain", "", "multipart/form-data"]
)
tokens = st.sampled_from(["Bearer t"] * 6 + ["Bearer ops_a"] * 3 + ["Bearer x", "Basic t", "", "Bearer", "ä"])


def settings(examples: int) -> hypothesis.settings:
    return hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)


def send(method: str, path: str, token: str, body: bytes, query: str = "", kind: str = "application/json") -> int:
    for name, value in NAMES.items():
        path, body = path.replace(name, value), body.replace(name.encode(), value.encode())
    builder = werkzeug.test.EnvironBuilder(
        method=method, path=path, query_string=query, data=body, content_type=kind, headers={"Authorization": token}
    )
    response = werkzeug.test.Client(DOUBLE.app).open(builder)
    assert response.status_code < 500 or response.status_code == 501, response.text
    if response.status_code >= 400 and method != "HEAD":
        assert json.loads(response.data).keys() & {"message", "error"}
    return response.status_code


def test_no_body_makes_the_double_fail() -> None:
    seen: set[tuple[str, int]] = set()

    @settings(500)
    @hypothesis.given(write=st.sampled_from(WRITES), side=st.sampled_from(SIDES), body=json_bodies | odd_bodies)
    def check(write: tuple[str, str], side: tuple[str, str], body: bytes) -> None:
        method, path = write
        seen.add((method, send(method, side[0] + path, side[1], body)))
        # Whatever was accepted can be read.
        assert send("GET", "/v1" + VAULT, "Bearer t", b"") == 200
        for item in list(DOUBLE.items[NAMES["{vault}"]]):
            for prefix, token in SIDES:
                assert send("GET", f"{prefix}{VAULT}/{item}", token, b"") == 200
        restore(DOUBLE)

    check()
    assert seen >= {("POST", 200), ("POST", 400), ("PUT", 200), ("PUT", 400), ("PATCH", 400), ("PATCH", 501)}


def test_no_reference_makes_the_double_fail() -> None:
    @settings(200)
    @hypothesis.given(body=st.fixed_dictionaries({"references": references}) | values)
    def check(body: t.Any) -> None:
        assert send("POST", "/service-account/v1/resolve", "Bearer ops_a", json.dumps(body).encode()) in (200, 400, 422)

    check()


def test_no_request_makes_the_double_fail() -> None:
    seen: set[int] = set()

    @settings(400)
    @hypothesis.given(
        method=methods, path=paths, query=queries, body=json_bodies | odd_bodies, kind=kinds, token=tokens
    )
    def check(method: str, path: str, query: str, body: bytes, kind: str, token: str) -> None:
        seen.add(send(method, path, token, body, query, kind))
        restore(DOUBLE)

    check()
    assert seen >= {200, 400, 401, 501}


def restore(double: OnePasswordDouble) -> None:
    items = double.items[NAMES["{vault}"]]
    for item_id in items.keys() - {NAMES["{item}"]}:
        del items[item_id]
    items[NAMES["{item}"]] = ITEM


def _double() -> tuple[OnePasswordDouble, dict[str, str], dict[str, t.Any]]:
    scope = {"vaults": {"V": "write"}}
    double = OnePasswordDouble({"V": {"Item": {"a": "1"}}}, {"t": scope}, {"ops_a": scope})
    vault = double.vault_id("V")
    [item] = double.items[vault]
    file = double.attach("V", item, "f", b"1")
    return double, {"{vault}": vault, "{item}": item, "{file}": file}, double.items[vault][item]


DOUBLE, NAMES, ITEM = _double()
