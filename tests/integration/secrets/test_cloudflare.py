# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever happens to a DNS record, the token shows up nowhere."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t
from collections.abc import Iterator

import pytest
import requests

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.support.secrets import Case, assert_no_secret_in_exceptions, play_cases, raising
from tests.support.serving import serving

TOKEN, WRONG, READER, ZONE_ONLY = (f"canary{letter}{'0123456789' * 4}" for letter in "twrz")
SHORT, BROKEN = "canaryshort", "canary0 blank\ncanary1 line"
SECRETS = [TOKEN, WRONG, READER, ZONE_ONLY, SHORT, "canary0 blank", "canary1 line"]
ZONES = [f"{name}.example" for name in ("works", "echo", "page", "broken", "strange", "odd", "lost")]
RIGHTS = {
    TOKEN: dict.fromkeys(ZONES, {"zone:read", "dns:edit"}),
    READER: dict.fromkeys(ZONES, {"zone:read", "dns:read"}),
    ZONE_ONLY: dict.fromkeys(ZONES, {"zone:read"}),
}
ECHO = {"success": False, "errors": [{"code": 9000, "message": f"bad: Bearer {TOKEN}"}], "messages": [], "result": None}
FAULTS: dict[str, dict[str, t.Any]] = {
    "echo": {"status": 400, "body": ECHO},
    "page": {"status": 502, "body": f"<html>{TOKEN}</html>"},
    "broken": {"status": 500, "body": {"success": False, "message": TOKEN}},
    "strange": {"status": 200, "body": {"success": True, "result": [{"name": TOKEN}]}},
    "odd": {"status": 400, "body": {"success": False, "errors": [TOKEN, {"code": TOKEN}]}},
    "lost": {"status": 200, "body": f"<html>{TOKEN}</html>"},
}


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Case]]:
    double = CloudflareDouble(ZONES, RIGHTS)
    with serving(double.app) as url:
        for name, fault in FAULTS.items():
            path = f"{double.zone_id(f'{name}.example')}/dns_records"
            requests.post(f"{url}/_lab/faults", json={"times": 99, "path": path, **fault}, timeout=5)
        base = {"url": url + ROOT, "token": TOKEN, "zone": "works.example", "name": "cache", "type": "A", "retries": 0}
        yield {
            case.name: dataclasses.replace(case, options={**base, "content": ["203.0.113.1"], **case.options})
            for case in CASES
        }


def case(name: str, error: str | None = None, **options: t.Any) -> Case:
    return Case(name, "cloudflare_record", options, error)


CASES = [
    case("a wrong token", "wrong, expired or revoked", token=WRONG),
    case("a malformed token", "without 'Bearer'", token=SHORT),
    case("a token of two lines", "holds blanks, line breaks", token=BROKEN),
    case("no right to write", "Zone / DNS / Edit", token=READER),
    case("no right to read records", "Zone / DNS / Read", token=ZONE_ONLY),
    case("no such zone", "sees no zone", zone="none.example"),
    case("wrong content", "not an IPv4 address", content=["nonsense"]),
    case("a refused record", "leave tags out", tags=["a:b"]),
    case("an answer with the token", "9000 bad", zone="echo.example"),
    case("a page", "502", zone="page.example"),
    case("a broken service", "500", zone="broken.example"),
    case("a strange service", "check that url is right", zone="strange.example"),
    case("odd errors", "answered 400", zone="odd.example"),
    case("another service", "not JSON", zone="lost.example"),
    case("nobody listens", "cannot reach", url="http://127.0.0.1:9"),
    case("no URL", "is not a URL", url="api.cloudflare.com"),
    Case("a broken library", "cloudflare_record", {}, "", broken_library=("requests", "")),
    case("it is created"),
    case("it is kept"),
    case("it is changed", content=["203.0.113.2", "203.0.113.3"]),
    case("it is removed", state="absent", content=["203.0.113.2", "203.0.113.3"]),
]


def test_no_secret_in_a_play(cases: dict[str, Case], tmp_path: pathlib.Path) -> None:
    play_cases(list(cases.values()), tmp_path, secrets=SECRETS)


@pytest.mark.parametrize("name", [case.name for case in raising(CASES)])
def test_no_secret_in_an_exception(name: str, cases: dict[str, Case]) -> None:
    assert_no_secret_in_exceptions(cases[name], SECRETS)
