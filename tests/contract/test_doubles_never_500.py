# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a client sends, a double answers like a service: never with 500, and with 501 to what it does not have.

A 500 would be a fault of the double that a test takes for one of the service. For another double, add an entry to
DOUBLES: its application, the headers of somebody with all rights, the paths of all its operations, and the names
and values that its bodies consist of.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import typing as t

import hypothesis
import pytest
from hypothesis import strategies as some
from werkzeug.test import create_environ, run_wsgi_app

from lab.clouds._cloudflare_rules import DATA, DEFAULTS, TYPES
from lab.clouds.cloudflare import LARGEST_BODY, ROOT, CloudflareDouble
from lab.clouds.gitlab import GitLabDouble, Token

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"]
CONTENT_TYPES = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "", "x"]


@dataclasses.dataclass(frozen=True)
class Double:
    app: t.Any
    headers: dict[str, str]
    paths: list[str]
    """{odd} stands for any text."""
    names: list[str]
    values: list[t.Any]
    queries: list[str]
    wrong_headers: list[dict[str, str]]


def cloudflare() -> Double:
    zone, token = "example.com", "e" * 40
    double = CloudflareDouble([zone], {token: {zone: {"zone:read", "dns:read", "dns:edit"}}}, plan="pro")
    first = double.add_record(zone, type="A", name=zone, content="203.0.113.1")
    double.add_record(zone, type="NS", name=f"sub.{zone}", content="ns.example.org")
    records = f"{ROOT}/zones/{double.zone_id(zone)}/dns_records"
    zones = [f"{ROOT}/zones", f"{ROOT}/zones/{double.zone_id(zone)}", f"{ROOT}/zones/{{odd}}/dns_records"]
    parts = sorted({name for fields in DATA.values() for name in fields})
    return Double(
        double.app,
        {"Authorization": f"Bearer {token}"},
        [f"{ROOT}/user/tokens/verify", *zones, records, f"{records}/batch", f"{records}/{first['id']}"]
        + [f"{records}/{{odd}}", f"{ROOT}/{{odd}}", "/{odd}"],
        ["type", "name", "content", "data", "priority", "id", *DEFAULTS, *parts, "deletes", "patches", "puts", "posts"],
        [*sorted(TYPES), zone, f"sub.{zone}", "203.0.113.1", "2001:db8::1%1", '"a" "b', "ü.example.org", first["id"]],
        ["page", "per_page", "name", "name.exact", "content.contains", "order", "direction", "type", "tag", "match"],
        [{"Authorization": "Bearer short"}, {"Authorization": "\xff"}, {}],
    )


def gitlab() -> Double:
    paths, token = ["panther/nixos"], "glpat-m"
    roles = {"panther/nixos": "maintainer", "panther": "owner"}
    double = GitLabDouble(paths, {token: Token("pan", roles)}, ["panther"], moved={"panther/old": "panther/nixos"})
    for key in ("ONE", "TWO"):
        double.variables["panther"].append(
            {"key": key, "environment_scope": "*", "value": "v", "variable_type": "env_var", "description": None}
            | {"masked": False, "hidden": False, "protected": False, "raw": False}
        )
    owners = ["/api/v4/projects/panther%2Fnixos", "/api/v4/projects/101", "/api/v4/groups/panther", "/api/v4/groups/11"]
    owners += ["/api/v4/projects/panther%2Fold", "/api/v4/projects/{odd}", "/api/v4/groups/panther%252Fx"]
    below = [f"{owner}{rest}" for owner in owners for rest in ("", "/variables", "/variables/ONE", "/variables/{odd}")]
    project = double.deployed["panther/nixos"]
    project.repository.push("main", "a" * 40)
    deployments = [
        f"{owners[0]}/{what}{rest}" for what in ("environments", "deployments") for rest in ("", "/1", "/1000")
    ]
    flags = ["masked", "protected", "raw", "masked_and_hidden", "hidden"]
    return Double(
        double.app,
        {"PRIVATE-TOKEN": token},
        ["/api/v4/user", *below, *deployments * 2, "/api/v4/{odd}", "/{odd}"],
        ["key", "value", "variable_type", "environment_scope", "description", *flags]
        + ["environment", "sha", "ref", "tag", "status", "name", "tier", "external_url"],
        ["ONE", "plain", "long enough", "env_var", "file", "*", "production", "true", "main", "a" * 40, "running"],
        [
            "page",
            "per_page",
            "filter[environment_scope]",
            "filter",
            "environment",
            "status",
            "order_by",
            "sort",
            "name",
        ],
        [{"PRIVATE-TOKEN": "\xff"}, {"Authorization": "Bearer x"}, {}],
    )


DOUBLES: dict[str, t.Callable[[], Double]] = {"cloudflare": cloudflare, "gitlab": gitlab}


# -- requests

TEXTS = some.text(alphabet=some.characters(exclude_categories=[]), max_size=8)
SCALARS = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(),
    TEXTS,
    some.sampled_from([1e400, -1, 0, 10**400, "\0", "\ud800", "💩", "a" * 5000, "." * 300, " ", "\n", "%2F", "-" * 70]),
)
ODD_BODIES = [b"", b"null", b"[]", b"{", b'"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"{} {}"]
ODD_PARTS = ["", "%", "%00", "%FF", "%2F", "%252F", "..", "//", "?", "a" * 5000, "%ED%A0%80", "%F0%9F%92%A9", "*", "'"]


def bodies(double: Double) -> some.SearchStrategy[bytes]:
    values = some.one_of(SCALARS, *[some.sampled_from(double.values)] * 3)
    names = some.one_of(*[some.sampled_from(double.names)] * 6, TEXTS)
    tree = some.recursive(
        values, lambda inner: some.one_of(some.lists(inner, max_size=3), some.dictionaries(names, inner, max_size=6))
    )
    objects = some.dictionaries(names, some.one_of(values, tree), max_size=8)
    as_json = some.one_of(objects, objects, tree).map(lambda one: json.dumps(one).encode())
    return some.one_of(as_json, as_json, as_json, some.sampled_from(ODD_BODIES), some.binary(max_size=40))


@some.composite
def requests(draw: some.DrawFn, double: Double) -> dict[str, t.Any]:
    query = draw(some.lists(some.tuples(some.sampled_from([*double.queries, "%"]), draw_query), max_size=2))
    return {
        "method": draw(some.sampled_from(METHODS)),
        "uri": draw(some.sampled_from(double.paths)).replace("{odd}", draw(some.sampled_from(ODD_PARTS))),
        "query": "&".join(f"{name}={value}" for name, value in query),
        "body": draw(bodies(double)),
        "type": draw(some.sampled_from([*CONTENT_TYPES[:1] * 4, *CONTENT_TYPES])),
        "headers": draw(some.sampled_from([*[double.headers] * 8, *double.wrong_headers])),
    }


draw_query = some.sampled_from(
    ["", "1", "0", "-1", "x", "9" * 50, "9" * 5000, "%00", "%FF", "*", "%F0%9F", "1e9", "asc"]
)


def send(double: Double, request: dict[str, t.Any]) -> tuple[int, bytes]:
    """One request through WSGI, as a server makes it of what comes over the wire."""
    environ = create_environ("/", method=request["method"], headers=request["headers"])
    path, _mark, query = request["uri"].partition("?")
    raw = f"{path}?{'&'.join(filter(None, (query, request['query'])))}"
    decoded = path.encode()
    decoded = b"".join(part if number == 0 else unescaped(part) for number, part in enumerate(decoded.split(b"%")))
    environ |= {
        "REQUEST_URI": raw,
        "RAW_URI": raw,
        "PATH_INFO": decoded.decode("latin-1"),
        "QUERY_STRING": raw.partition("?")[2],
        "CONTENT_TYPE": request["type"],
        "CONTENT_LENGTH": str(len(request["body"])),
        "wsgi.input": io.BytesIO(request["body"]),
        "wsgi.errors": io.StringIO(),
    }
    response, status, _headers = run_wsgi_app(double.app, environ)
    return int(status.split()[0]), b"".join(response)


def unescaped(part: bytes) -> bytes:
    try:
        return bytes([int(part[:2], 16)]) + part[2:] if len(part) > 1 else b"%" + part
    except ValueError:
        return b"%" + part


@pytest.mark.parametrize("name", DOUBLES)
def test_no_request_is_answered_with_500(name: str) -> None:
    double = DOUBLES[name]()
    statuses: collections.Counter[int] = collections.Counter()

    @hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @hypothesis.given(request=requests(double))
    def holds(request: dict[str, t.Any]) -> None:
        status, body = send(double, request)
        assert status < 500 or status == 501, body[:500]
        if body and status != 501 and request["method"] not in ("HEAD", "OPTIONS"):
            json.loads(body)
        statuses[status] += 1

    holds()
    assert {200, 400, 404, 501} <= set(statuses) or {200, 400, 403, 501} <= set(statuses), statuses


@pytest.mark.parametrize("name", DOUBLES)
def test_a_body_without_end_is_refused(name: str) -> None:
    """Also one whose length is not declared, of which only a bounded part is read."""
    double, read = DOUBLES[name](), 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: t.Any) -> int:
            nonlocal read
            read += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    path = next(
        path for path in double.paths if path.endswith(("dns_records", "panther%2Fnixos/variables")) and "{" not in path
    )
    for declared in (
        {"CONTENT_LENGTH": str(10**12)},
        {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    ):
        environ = create_environ(path, method="POST", headers=double.headers, content_type="application/json")
        environ.pop("CONTENT_LENGTH", None)
        environ |= {
            **declared,
            "REQUEST_URI": path,
            "wsgi.input": io.BufferedReader(Endless()),
            "wsgi.errors": io.StringIO(),
        }
        _response, status, _headers = run_wsgi_app(double.app, environ)
        assert status[:3] in ("413", "400")
    assert read <= 2 * LARGEST_BODY, "and never all of it"
