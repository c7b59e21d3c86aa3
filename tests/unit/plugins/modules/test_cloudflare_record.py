# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib
import typing as t
from collections.abc import Callable, Iterator

import pytest

from tests.support.cloudflare import HOST, TOKEN, ZONE, Lab, Run, laboratory


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[Lab]:
    with laboratory(serve, module) as lab:
        yield lab


# -- the set


def test_a_new_record_is_automatic_and_not_proxied(lab: Lab) -> None:
    done = lab.prove(content=["203.0.113.1"])
    assert lab.records() == [("A", HOST, "203.0.113.1", "1", "False", "None")]
    assert done["record"] == done["records"][0]
    assert done["record"]["id"] == lab.double.all_records(ZONE)[0]["id"]
    assert done["zone_id"] == lab.double.zone_id(ZONE)


def test_a_changed_value_is_an_update_in_place(lab: Lab) -> None:
    old = lab.seed("A", "198.51.100.1", ttl=300, proxied=False, comment="made by hand")
    done = lab.prove(content=["203.0.113.1"])
    assert lab.records() == [("A", HOST, "203.0.113.1", "300", "False", "made by hand")]
    assert done["record"]["id"] == old["id"]
    assert lab.wire.bodies == [{"content": "203.0.113.1"}], "only what changes is sent"


def test_unset_options_leave_an_existing_record_alone(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1", proxied=True, comment="mine", settings={"ipv4_only": True})
    lab.nothing_to_do(content=["203.0.113.1"])
    assert lab.records() == [("A", HOST, "203.0.113.1", "1", "True", "mine")]


def test_an_empty_comment_clears_it(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1", comment="old")
    lab.prove(content=["203.0.113.1"], comment="")
    assert lab.double.all_records(ZONE)[0]["comment"] is None


def test_several_changes_are_one_batch(lab: Lab) -> None:
    for number in range(1, 4):
        lab.seed("A", f"198.51.100.{number}")
    lab.seed("A", "203.0.113.9")
    lab.run(content=["203.0.113.9", "203.0.113.1", "203.0.113.2"])
    assert lab.contents() == ["203.0.113.1", "203.0.113.2", "203.0.113.9"]
    assert lab.requests() == [("GET", "zones"), ("GET", "dns_records"), ("POST", "batch")]
    assert {key: len(items) for key, items in lab.wire.bodies[-1].items()} == {"deletes": 1, "patches": 2}
    lab.prove(content=["203.0.113.9", "203.0.113.3", "203.0.113.4", "203.0.113.5"])


def test_not_exclusive_means_contains(lab: Lab) -> None:
    lab.seed("A", "198.51.100.1")
    done = lab.prove(content=["203.0.113.1"], exclusive=False)
    assert lab.contents() == ["198.51.100.1", "203.0.113.1"]
    assert done["record"] is None
    assert len(done["records"]) == 2


def test_other_names_and_types_are_not_touched(lab: Lab) -> None:
    lab.seed("A", "198.51.100.1", name=f"xcache.{ZONE}")
    lab.seed("AAAA", "2001:db8::1")
    lab.seed("TXT", '"text"')
    lab.prove(content=["203.0.113.1"])
    lab.prove(state="absent")
    assert lab.contents() == ['"text"', "198.51.100.1", "2001:db8::1"]


def test_absent_removes_all_or_the_given_ones(lab: Lab) -> None:
    for number in range(1, 5):
        lab.seed("A", f"203.0.113.{number}")
    lab.prove(state="absent", content=["203.0.113.2", "203.0.113.99"])
    assert lab.contents() == ["203.0.113.1", "203.0.113.3", "203.0.113.4"]
    assert lab.prove(state="absent")["record"] is None
    assert lab.contents() == []


def test_the_number_of_requests_is_small(lab: Lab) -> None:
    lab.run(content=["203.0.113.1"])
    assert lab.requests() == [("GET", "zones"), ("GET", "dns_records"), ("POST", "dns_records")]
    lab.run(content=["203.0.113.1"])
    assert lab.requests() == [("GET", "zones"), ("GET", "dns_records")]
    lab.run(content=["203.0.113.1"], zone_id=lab.double.zone_id(ZONE))
    assert lab.requests() == [("GET", "dns_records")]


# -- names and contents


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("@", ZONE),
        (ZONE, ZONE),
        ("cache", HOST),
        ("Cache.Example.COM.", HOST),
        ("notexample.com", f"notexample.com.{ZONE}"),
        ("*.lab", f"*.lab.{ZONE}"),
        ("_acme-challenge", f"_acme-challenge.{ZONE}"),
        ("bücher", f"xn--bcher-kva.{ZONE}"),
    ],
)
def test_names_are_relative_unless_they_end_in_the_zone(lab: Lab, given: str, whole: str) -> None:
    lab.prove(name=given, content=["203.0.113.1"])
    assert [record["name"] for record in lab.double.all_records(ZONE)] == [whole]


@pytest.mark.parametrize(
    ("type_", "stored", "given"),
    [
        ("AAAA", "2001:db8::1", "2001:0DB8:0:0::0001"),
        ("CNAME", "target.example.org", "Target.Example.org."),
        ("TXT", "v=spf1 -all", "v=spf1 -all"),
        ("TXT", '"v=spf1" " -all"', "v=spf1 -all"),
        ("TXT", '"v=spf1 -all"', '"v=spf1 " "-all"'),
        ("TXT", '"say \\"hi\\" \\\\ \\059"', 'say "hi" \\ ;'),
    ],
)
def test_another_spelling_is_no_difference(lab: Lab, type_: str, stored: str, given: str) -> None:
    lab.seed(type_, stored)
    lab.nothing_to_do(type=type_, content=[given])


@pytest.mark.parametrize("text", ['say "hi" \\', "k" * 700, "ü" * 200, "two  blanks"])
def test_texts_are_quoted_split_and_read_back(lab: Lab, text: str) -> None:
    done = lab.prove(type="TXT", content=[text])
    assert done["record"]["content"] == text
    stored = lab.contents()[0]
    assert stored.startswith('"')
    assert stored.endswith('"')


def test_texts_differ_by_case(lab: Lab) -> None:
    lab.seed("TXT", '"Token"')
    assert lab.run(type="TXT", content=["token"])["changed"]


def test_a_proxied_record_does_not_flip_over_its_ttl(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1", proxied=True)
    lab.nothing_to_do(content=["203.0.113.1"], ttl=300)
    lab.prove(content=["203.0.113.1"], ttl=300, proxied=False)
    lab.prove(content=["203.0.113.1"], proxied=True)
    assert lab.records() == [("A", HOST, "203.0.113.1", "1", "True", "None")]


# -- owners


def test_new_records_carry_the_owners_mark(lab: Lab) -> None:
    lab.prove(content=["203.0.113.1"], owner="nixci")
    assert lab.records()[0][-1] == "managed by nixci"
    lab.prove(content=["203.0.113.2"], owner="nixci")
    lab.prove(content=["203.0.113.2"], owner="nixci", comment="binary cache")
    assert lab.records()[0][-1] == "binary cache (managed by nixci)"
    lab.prove(state="absent", owner="nixci")
    assert lab.records() == []


@pytest.mark.parametrize("comment", [None, "web server", "managed by nixci-old", "managed by terraform"])
@pytest.mark.parametrize("wish", [{"content": ["203.0.113.1"]}, {"state": "absent"}])
def test_a_record_owned_by_something_else_is_not_changed(lab: Lab, comment: str | None, wish: t.Any) -> None:
    lab.seed("A", "198.51.100.1", comment=comment)
    before = lab.records()
    for check in (True, False):
        result = lab.run(check=check, owner="nixci", **wish)
        assert result["failed"]
        for part in (f"A {HOST}", "198.51.100.1", comment or "no comment", "remove", "take_over: true"):
            assert part in result["msg"]
    assert lab.records() == before
    assert {method for method, _path in lab.requests()} == {"GET"}


def test_take_over_adopts_in_place(lab: Lab) -> None:
    old = lab.seed("A", "198.51.100.1", comment="web (managed by terraform)", ttl=600)
    done = lab.prove(content=["203.0.113.1"], owner="nixci", take_over=True)
    assert done["record"]["id"] == old["id"]
    assert lab.records() == [("A", HOST, "203.0.113.1", "600", "False", "web (managed by nixci)")]
    assert lab.run(content=["203.0.113.2"], owner="nixci")["changed"], "it is ours from now on"


def test_a_foreign_record_that_is_as_wished_is_left_alone(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1", comment="web server")
    lab.nothing_to_do(content=["203.0.113.1"], owner="nixci", comment="cache")
    assert lab.run(content=["203.0.113.1"], owner="nixci", ttl=300)["failed"]
    lab.prove(content=["203.0.113.1"], owner="nixci", take_over=True)
    assert lab.records()[0][-1] == "web server (managed by nixci)"


def test_adding_beside_foreign_records_needs_no_take_over(lab: Lab) -> None:
    lab.seed("TXT", '"theirs"', comment="theirs")
    lab.prove(type="TXT", content=["ours"], owner="nixci", exclusive=False)
    assert lab.contents() == ['"ours"', '"theirs"']


# -- refusals


@pytest.mark.parametrize(
    ("there", "type_", "content"),
    [
        (("A", "198.51.100.1"), "CNAME", "elsewhere.example.org"),
        (("AAAA", "2001:db8::1"), "CNAME", "elsewhere.example.org"),
        (("CNAME", "elsewhere.example.org"), "A", "203.0.113.1"),
    ],
)
def test_a_cname_and_an_address_are_named_both(lab: Lab, there: tuple[str, str], type_: str, content: str) -> None:
    lab.seed(*there)
    result = lab.run(type=type_, content=[content])
    assert result["failed"]
    assert f"{type_} {HOST} → {content}" in result["msg"]
    assert f"{there[0]} {HOST} → {there[1]}" in result["msg"]
    assert {method for method, _path in lab.requests()} == {"GET"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"content": ["2001:db8::1"]}, "not an IPv4 address"),
        ({"content": ["cache"]}, "not an IPv4 address"),
        ({"content": []}, "at least one value"),
        ({"type": "CNAME", "content": ["a.example.org", "b.example.org"]}, "one target"),
        ({"type": "CNAME", "content": ["a b"]}, "not a host name"),
        ({"content": ["203.0.113.1"], "ttl": 7}, "ttl 7"),
        ({"content": ["203.0.113.1"], "ttl": 300, "proxied": True}, "automatic TTL"),
        ({"type": "TXT", "content": ["x"], "proxied": True}, "cannot be proxied"),
        ({"content": ["203.0.113.1"], "comment": "a\nb"}, "line breaks"),
        ({"content": ["203.0.113.1"], "owner": "me (too)"}, "owner"),
        ({"content": ["203.0.113.1"], "name": "cache.other.com."}, "not within the zone"),
        ({"content": ["203.0.113.1"], "name": "a..b"}, "not a host name"),
        ({"content": ["203.0.113.1"], "zone": None, "zone_id": "a" * 32}, "must be complete"),
        ({"content": ["203.0.113.1"], "batch_size": 0}, "at least 1"),
        ({"content": ["203.0.113.1"], "url": "api.cloudflare.com"}, "is not a URL"),
        ({"content": ["203.0.113.1"], "token": "with blank"}, "token is empty or holds blanks"),
    ],
)
def test_bad_input_is_refused_before_any_request(lab: Lab, params: dict[str, t.Any], words: str) -> None:
    result = lab.run(**params)
    assert result["failed"]
    assert words in result["msg"]
    assert lab.requests() == []


def test_a_relative_name_without_the_zone_is_reported(lab: Lab) -> None:
    result = lab.run(zone=None, zone_id=lab.double.zone_id(ZONE), name="a.b", content=["203.0.113.1"])
    assert result["failed"]
    assert f"a.b.{ZONE}" in result["msg"]


def test_a_zone_of_that_name_twice_needs_the_id(lab: Lab) -> None:
    second = lab.double.add_zone(ZONE, status="pending")
    result = lab.run(content=["203.0.113.1"])
    assert result["failed"]
    assert f"{second} (pending)" in result["msg"]
    assert "zone_id" in result["msg"]


# -- credentials


def test_a_wrong_token_is_one_sentence(lab: Lab) -> None:
    result = lab.run(content=["203.0.113.1"], token="w" * 40)
    assert result["failed"]
    assert "10000 Authentication error" in result["msg"]
    assert "wrong, expired or revoked" in result["msg"]
    assert result["codes"] == [10000]


def test_a_malformed_token_shows_the_reason_in_the_chain(lab: Lab) -> None:
    result = lab.run(content=["203.0.113.1"], token="short")
    assert result["failed"]
    assert "6111" in result["msg"]
    assert "without 'Bearer'" in result["msg"]


def test_a_wrong_zone_id_is_explained(lab: Lab) -> None:
    result = lab.run(content=["203.0.113.1"], zone_id="nonsense")
    assert result["failed"]
    assert "check zone_id" in result["msg"]


def test_the_environment_gives_the_token(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDFLARE_TOKEN", "w" * 40)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    assert lab.run(content=["203.0.113.1"], token=None)["changed"]


def test_a_netrc_file_does_not_replace_the_token(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert lab.run(content=["203.0.113.1"])["changed"]


# -- trouble on the way


def test_short_trouble_is_waited_out(lab: Lab) -> None:
    lab.fault(status=503, method="GET", path="zones$")
    lab.fault(status=429, headers={"Retry-After": "1"}, method="POST")
    assert lab.run(content=["203.0.113.1"])["changed"]
    assert lab.contents() == ["203.0.113.1"]


def test_a_long_pause_is_reported_not_waited_for(lab: Lab) -> None:
    lab.fault(status=429, headers={"Retry-After": "300"}, times=9)
    result = lab.run(content=["203.0.113.1"])
    assert result["failed"]
    assert "300 s" in result["msg"]


def test_a_pause_that_the_user_allows_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    lab.fault(status=429, headers={"Retry-After": "300"}, times=2)
    assert lab.run(content=["203.0.113.1"], longest_pause=300, retries=2)["changed"]
    assert pauses == [300, 300]


def test_a_lost_answer_is_read_again_not_repeated(lab: Lab) -> None:
    inner = lab.double.flask.view_functions["create"]

    def create_and_fail(**args: t.Any) -> tuple[str, int]:
        inner(**args)
        return "gateway timeout", 504

    lab.double.flask.view_functions["create"] = create_and_fail
    result = lab.run(content=["203.0.113.1"])
    assert not result["failed"], result
    assert result["changed"]
    assert result["record"]["id"] == lab.double.all_records(ZONE)[0]["id"]
    assert [method for method, _path in lab.requests()] == ["GET", "GET", "POST", "GET"]


def test_a_call_that_did_not_work_is_tried_once_more(lab: Lab) -> None:
    lab.fault(status=502, method="POST")
    assert lab.run(content=["203.0.113.1"])["changed"]
    lab.fault(status=502, method="PATCH", times=2)
    result = lab.run(content=["203.0.113.2"])
    assert result["failed"]
    assert "502" in result["msg"]
    lab.prove(content=["203.0.113.2"])


def test_a_record_that_is_gone_already_is_removed(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1")
    inner = lab.double.flask.view_functions["delete"]

    def delete_and_fail(**args: t.Any) -> tuple[str, int]:
        inner(**args)
        return "bad gateway", 502

    lab.double.flask.view_functions["delete"] = delete_and_fail
    result = lab.run(state="absent")
    assert not result["failed"], result
    assert result["changed"]
    assert [method for method, _path in lab.requests()] == ["GET", "GET", "DELETE", "DELETE"]


def test_long_lists_are_read_to_their_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._cloudflare.client")
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 2)
    addresses = [f"203.0.113.{number}" for number in range(1, 6)]
    for address in addresses:
        lab.seed("A", address)
    assert len(lab.nothing_to_do(content=addresses)["records"]) == 5
    assert lab.requests() == [("GET", "zones")] + [("GET", "dns_records")] * 3


def test_somebody_faster_is_no_failure(lab: Lab) -> None:
    body = {"success": False, "errors": [{"code": 81058, "message": "An identical record already exists."}]}
    lab.seed("A", "198.51.100.1", name=f"unrelated.{ZONE}")
    inner = lab.double.flask.view_functions["create"]

    def somebody_was_faster(**args: t.Any) -> tuple[dict[str, t.Any], int]:
        inner(**args)
        return body, 400

    lab.double.flask.view_functions["create"] = somebody_was_faster
    assert not lab.run(content=["203.0.113.1"])["failed"]


def test_no_service_is_one_sentence(lab: Lab) -> None:
    result = lab.run(content=["203.0.113.1"], url="http://127.0.0.1:9/client/v4", retries=0)
    assert result["failed"]
    assert "cannot reach http://127.0.0.1:9" in result["msg"]
