# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses that are not those of the API: pages, texts, other JSON, and pauses. Each is told in one sentence."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

import pytest

from tests.support.cloudflare import CloudflareEnvironment, cloudflare_fixture

well_behaved = cloudflare_fixture()


@pytest.fixture
def cloudflare(well_behaved: CloudflareEnvironment) -> Iterator[CloudflareEnvironment]:
    yield well_behaved
    well_behaved.wire.rejected.clear()  # these responses are meant to be wrong


PAGE_522 = (
    "<!DOCTYPE html>\n<html><head><title>api.cloudflare.com | 522: Connection timed out</title></head>"
    "<body><div id='cf-error-details'>Error code 522</div><p>Ray ID: 8f2c</p></body></html>"
)
PAGE_1020 = "<html><head>\n<title>\nAttention Required! | Cloudflare\n</title></head><body><span>Error</span><span>1020</span></body></html>"
NGINX = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><hr><center>nginx</center></body></html>"
PROBLEM = {"type": "about:blank", "title": "Error 1015: You are being rate limited", "status": 429, "detail": "Slow."}


@pytest.mark.parametrize(
    ("status", "body", "parts"),
    [
        (522, PAGE_522, ["answered 522", "522: Connection timed out", "again later"]),
        (502, NGINX, ["answered 502", "502 Bad Gateway", "again later"]),
        (503, "", ["answered 503", "again later"]),
        (500, None, ["answered 500", "again later"]),
        (530, "error code: 1033", ["answered 530", "error code: 1033", "again later"]),
        (500, "<html>" + "x" * 5000, ["answered 500", "a web page"]),
        (500, ["boom"], ["answered 500", "again later"]),
        (500, "null", ["answered 500", "again later"]),
        (
            500,
            {"success": False, "errors": [{"code": 10001, "message": "internal"}]},
            ["answered 500", "10001 internal"],
        ),
        (500, {"success": False, "errors": "boom"}, ["answered 500"]),
        (403, PAGE_1020, ["answered 403", "Attention Required! | Cloudflare", "not Cloudflare's API", "check url"]),
        (403, "error code: 1020", ["answered 403", "error code: 1020"]),
        (404, NGINX.replace("502 Bad Gateway", "404 Not Found"), ["answered 404", "check url"]),
        (400, "", ["answered 400", "check url"]),
        (400, [], ["answered 400", "check url"]),
        (200, PAGE_522, ["not JSON", "check"]),
        (200, "", ["not one of Cloudflare's API", "check that url"]),
        (200, [1], ["not one of Cloudflare's API"]),
        (429, PROBLEM, ["answered 429", "You are being rate limited", "again later"]),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_instead_of_an_answer_is_told_in_one_sentence(
    cloudflare: CloudflareEnvironment, status: int, body: t.Any, parts: list[str], method: str, pauses: list[float]
) -> None:
    cloudflare.fault(status=status, body=body, method=method, times=99)
    result = cloudflare.run(content="203.0.113.1")
    assert result["failed"]
    for part in ("Cloudflare", *parts):
        assert part in result["msg"]
    for part in ("<", "\n", "\r", "Traceback"):
        assert part not in result["msg"]
    assert len(result["msg"]) < 400
    assert result["msg"].count(". ") <= 1


ODD: list[t.Any] = [None, "text", 7, [], [None], ["x"], [{}], [{"id": 1}], {}, {"id": None}, [[]], True]


@pytest.mark.parametrize("path", ["zones$", "dns_records$"])
@pytest.mark.parametrize("odd", [*ODD, *({"success": True, "result": one} for one in ODD)])
def test_odd_json_is_no_traceback(cloudflare: CloudflareEnvironment, odd: t.Any, path: str) -> None:
    cloudflare.fault(status=200, body=odd, path=path, method="GET", times=9)
    result = cloudflare.run(content="203.0.113.1")
    assert result["failed"] or odd == {"success": True, "result": []}
    assert "Cloudflare" in result.get("msg", "Cloudflare")


@pytest.mark.parametrize("info", [None, [], "x", {"total_pages": "many"}, {"total_pages": None}, {"total_pages": -1}])
def test_odd_paging_ends(cloudflare: CloudflareEnvironment, info: t.Any) -> None:
    body = {"success": True, "result": [], "result_info": info}
    cloudflare.fault(status=200, body=body, path="dns_records$", method="GET", times=9)
    assert cloudflare.run(content="203.0.113.1")["changed"]


@pytest.mark.parametrize("body", [PAGE_522, [], "null", {"success": False, "errors": []}, {"hello": 1}])
def test_a_removal_that_was_not_confirmed_is_no_success(cloudflare: CloudflareEnvironment, body: t.Any) -> None:
    cloudflare.add("A", "203.0.113.1")
    cloudflare.fault(status=200, body=body, method="DELETE", times=9)
    result = cloudflare.run(state="absent")
    assert result["failed"]
    assert cloudflare.contents() == ["203.0.113.1"]


# -- pauses


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_pause_names_the_service_and_the_option(cloudflare: CloudflareEnvironment, status: int) -> None:
    cloudflare.fault(status=status, headers={"Retry-After": "300"}, times=9)
    for check in (True, False):
        result = cloudflare.run(content="203.0.113.1", check=check)
        assert result["failed"]
        for part in ("Cloudflare", f"answered {status}", "300 s", "longest_pause (30 s)", "raise longest_pause"):
            assert part in result["msg"]
        assert (result["status"], result["retry_after"]) == (status, 300)


def test_a_limit_that_lasts_beyond_the_retries_names_them(
    cloudflare: CloudflareEnvironment, pauses: list[float]
) -> None:
    cloudflare.fault(status=429, headers={"Retry-After": "7"}, times=9)
    result = cloudflare.run(content="203.0.113.1")
    for part in ("Cloudflare", "answered 429", "again later", "retries"):
        assert part in result["msg"]
    assert pauses == [7]


@pytest.mark.parametrize("header", ["soon", "", "-5", "1e3"])
def test_an_unreadable_pause_is_ignored(cloudflare: CloudflareEnvironment, header: str, pauses: list[float]) -> None:
    cloudflare.fault(status=429, headers={"Retry-After": header})
    assert cloudflare.run(content="203.0.113.1")["changed"]
