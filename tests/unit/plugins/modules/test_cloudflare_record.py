# SPDX-License-Identifier: GPL-3.0-or-later
"""One record set: names, values, owners, input that is refused, and failures."""

from __future__ import annotations

import importlib
import typing as t

import pytest

from tests.support.cloudflare import HOST, TOKEN, ZONE, CloudflareEnvironment, cloudflare_fixture

cloudflare = cloudflare_fixture()


# -- the set


def test_a_new_record_is_automatic_and_not_proxied(cloudflare: CloudflareEnvironment) -> None:
    done = cloudflare.verify(content=["203.0.113.1"])
    assert cloudflare.records() == [("A", HOST, "203.0.113.1", "1", "False", "None")]
    assert done["record"] == done["records"][0]
    assert done["record"]["id"] == cloudflare.double.all_records(ZONE)[0]["id"]
    assert done["zone_id"] == cloudflare.double.zone_id(ZONE)


def test_a_changed_value_is_an_update_in_place(cloudflare: CloudflareEnvironment) -> None:
    old = cloudflare.add("A", "198.51.100.1", ttl=300, proxied=False, comment="made by hand")
    done = cloudflare.verify(content=["203.0.113.1"])
    assert cloudflare.records() == [("A", HOST, "203.0.113.1", "300", "False", "made by hand")]
    assert done["record"]["id"] == old["id"]
    assert cloudflare.wire.bodies == [{"content": "203.0.113.1"}], "only changed fields are sent"


def test_unset_options_leave_an_existing_record_alone(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "203.0.113.1", proxied=True, comment="mine", settings={"ipv4_only": True})
    cloudflare.assert_unchanged(content=["203.0.113.1"])
    assert cloudflare.records() == [("A", HOST, "203.0.113.1", "1", "True", "mine")]


def test_an_empty_comment_clears_it(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "203.0.113.1", comment="old")
    cloudflare.verify(content=["203.0.113.1"], comment="")
    assert cloudflare.double.all_records(ZONE)[0]["comment"] is None


def test_several_changes_are_one_batch(cloudflare: CloudflareEnvironment) -> None:
    for number in range(1, 4):
        cloudflare.add("A", f"198.51.100.{number}")
    cloudflare.add("A", "203.0.113.9")
    cloudflare.run(content=["203.0.113.9", "203.0.113.1", "203.0.113.2"])
    assert cloudflare.contents() == ["203.0.113.1", "203.0.113.2", "203.0.113.9"]
    assert cloudflare.requests() == [("GET", "zones"), ("GET", "dns_records"), ("POST", "batch")]
    assert {key: len(items) for key, items in cloudflare.wire.bodies[-1].items()} == {"deletes": 1, "patches": 2}
    cloudflare.verify(content=["203.0.113.9", "203.0.113.3", "203.0.113.4", "203.0.113.5"])


def test_a_set_that_is_not_exclusive_is_extended(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "198.51.100.1")
    done = cloudflare.verify(content=["203.0.113.1"], exclusive=False)
    assert cloudflare.contents() == ["198.51.100.1", "203.0.113.1"]
    assert done["record"] is None
    assert len(done["records"]) == 2


def test_other_names_and_types_are_not_touched(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "198.51.100.1", name=f"xcache.{ZONE}")
    cloudflare.add("AAAA", "2001:db8::1")
    cloudflare.add("TXT", '"text"')
    cloudflare.verify(content=["203.0.113.1"])
    cloudflare.verify(state="absent")
    assert cloudflare.contents() == ['"text"', "198.51.100.1", "2001:db8::1"]


def test_absent_removes_all_or_the_given_ones(cloudflare: CloudflareEnvironment) -> None:
    for number in range(1, 5):
        cloudflare.add("A", f"203.0.113.{number}")
    cloudflare.verify(state="absent", content=["203.0.113.2", "203.0.113.99"])
    assert cloudflare.contents() == ["203.0.113.1", "203.0.113.3", "203.0.113.4"]
    assert cloudflare.verify(state="absent")["record"] is None
    assert cloudflare.contents() == []


def test_the_number_of_requests_is_small(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.run(content=["203.0.113.1"])
    assert cloudflare.requests() == [("GET", "zones"), ("GET", "dns_records"), ("POST", "dns_records")]
    cloudflare.run(content=["203.0.113.1"])
    assert cloudflare.requests() == [("GET", "zones"), ("GET", "dns_records")]
    cloudflare.run(content=["203.0.113.1"], zone_id=cloudflare.double.zone_id(ZONE))
    assert cloudflare.requests() == [("GET", "dns_records")]


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
        ("Bu\u0308cher", f"xn--bcher-kva.{ZONE}"),
        ("straße", f"xn--strae-oqa.{ZONE}"),
        ("例え。テスト", f"xn--r8jz45g.xn--zckzah.{ZONE}"),
        ("XN--BCHER-KVA", f"xn--bcher-kva.{ZONE}"),
        ("xn--ls8h", f"xn--ls8h.{ZONE}"),
    ],
)
def test_names_are_relative_unless_they_end_in_the_zone(
    cloudflare: CloudflareEnvironment, given: str, whole: str
) -> None:
    cloudflare.verify(name=given, content=["203.0.113.1"])
    assert [record["name"] for record in cloudflare.double.all_records(ZONE)] == [whole]


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
def test_another_spelling_is_equal(cloudflare: CloudflareEnvironment, type_: str, stored: str, given: str) -> None:
    cloudflare.add(type_, stored)
    cloudflare.assert_unchanged(type=type_, content=[given])


@pytest.mark.parametrize("text", ['say "hi" \\', "k" * 700, "ü" * 200, "two  blanks"])
def test_texts_are_quoted_split_and_read_back(cloudflare: CloudflareEnvironment, text: str) -> None:
    done = cloudflare.verify(type="TXT", content=[text])
    assert done["record"]["content"] == text
    stored = cloudflare.contents()[0]
    assert stored.startswith('"')
    assert stored.endswith('"')


def test_a_name_in_unicode_is_found(cloudflare: CloudflareEnvironment) -> None:
    """As an older response may have it."""
    for label, given in (("bücher", "xn--bcher-kva"), ("💩", "xn--ls8h")):
        cloudflare.add("A", "203.0.113.1", name=f"{given}.{ZONE}")["name"] = f"{label}.{ZONE}"
        # Several names are found in the list of the whole zone, not by the API's filter.
        record = {"name": given, "type": "A", "content": "203.0.113.1"}
        cloudflare.assert_unchanged(records=[record, {"name": "other", "type": "A", "state": "absent"}])


DKIM = "v=DKIM1; k=rsa; p=AAAABBBB"


@pytest.mark.parametrize(
    "given",
    [
        '"v=DKIM1; k=rsa; p=AAAA""BBBB"',
        '"v=DKIM1; k=rsa; p=AAAA" "BBBB"',
        '"v=DKIM1; k=rsa; p=AAAA"\t\n  "BBBB"  ',
        '( "v=DKIM1; k=rsa; "\n "p=AAAABBBB" )',
        '"v=DKIM1; k=rsa; p=AAAA""""BBBB"',
        '"v=DKIM1\\; k=rsa\\059 p=AAAABBBB"',
        "v=DKIM1; k=rsa; p=AAAABBBB",
    ],
)
def test_adjoining_quoted_strings_are_one_text(cloudflare: CloudflareEnvironment, given: str) -> None:
    done = cloudflare.verify(type="TXT", content=given)
    assert cloudflare.contents() == [f'"{DKIM}"']
    assert done["record"]["content"] == DKIM
    cloudflare.assert_unchanged(type="TXT", content=DKIM)


@pytest.mark.parametrize("stored", ['"v=DKIM1; k=rsa; p=AAAA""BBBB"', '"v=DKIM1; k=rsa; p=AAAA"  "BBBB"', DKIM])
def test_stored_strings_are_one_text(cloudflare: CloudflareEnvironment, stored: str) -> None:
    cloudflare.add("TXT", stored)
    cloudflare.assert_unchanged(type="TXT", content='"v=DKIM1; k=rsa; ""p=AAAABBBB"')


@pytest.mark.parametrize("size", [255, 256, 600])
def test_one_long_quoted_string_is_split(cloudflare: CloudflareEnvironment, size: int) -> None:
    cloudflare.verify(type="TXT", content='"' + "k" * size + '"')
    (stored,) = cloudflare.contents()
    parts = stored.strip('"').split('" "')
    assert "".join(parts) == "k" * size
    assert [len(part) for part in parts[:-1]] == [255] * ((size - 1) // 255)


@pytest.mark.parametrize(
    "given",
    [
        '"v=DKIM1; p=AAAA',
        'v=DKIM1; p=AAAA"',
        '"v=DKIM1; p=AAAA" BBBB',
        '"v=DKIM1; p=AAAA"BBBB',
        'v=DKIM1; p=AAAA" "BBBB',
        'v=DKIM1; p=AAAA""BBBB"',
        '"v=DKIM1; p=AAAA" "BBBB',
        '"v=DKIM1; p=AAAA\\"',
        '"five 5" inches"',
        '( "v=DKIM1; p=AAAA"',
        '"v=DKIM1; \\300"',
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_text_with_stray_quotes_is_refused(cloudflare: CloudflareEnvironment, given: str, state: str) -> None:
    cloudflare.add("TXT", '"other"')
    result = cloudflare.assert_refused(type="TXT", content=given, state=state)
    assert "quote" in result["msg"] or "\\300" in result["msg"]
    assert result["msg"].count(". ") <= 1
    assert cloudflare.requests() == []


def test_quotes_within_a_text_are_kept(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.verify(type="TXT", content=['say "hi" twice', '"5\\" disk"'])
    assert cloudflare.contents() == ['"5\\" disk"', '"say \\"hi\\" twice"']


def test_texts_differ_by_case(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("TXT", '"Token"')
    assert cloudflare.run(type="TXT", content=["token"])["changed"]


def test_a_proxied_record_does_not_flip_over_its_ttl(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "203.0.113.1", proxied=True)
    cloudflare.assert_unchanged(content=["203.0.113.1"], ttl=300)
    cloudflare.verify(content=["203.0.113.1"], ttl=300, proxied=False)
    cloudflare.verify(content=["203.0.113.1"], proxied=True)
    assert cloudflare.records() == [("A", HOST, "203.0.113.1", "1", "True", "None")]


# -- owners


def test_new_records_carry_the_owners_mark(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.verify(content=["203.0.113.1"], owner="nixci")
    assert cloudflare.records()[0][-1] == "managed by nixci"
    cloudflare.verify(content=["203.0.113.2"], owner="nixci")
    cloudflare.verify(content=["203.0.113.2"], owner="nixci", comment="binary cache")
    assert cloudflare.records()[0][-1] == "binary cache (managed by nixci)"
    cloudflare.verify(state="absent", owner="nixci")
    assert cloudflare.records() == []


@pytest.mark.parametrize("comment", [None, "web server", "managed by nixci-old", "managed by terraform"])
@pytest.mark.parametrize("task", [{"content": ["203.0.113.1"]}, {"state": "absent"}])
def test_a_record_owned_by_something_else_is_not_changed(
    cloudflare: CloudflareEnvironment, comment: str | None, task: t.Any
) -> None:
    cloudflare.add("A", "198.51.100.1", comment=comment)
    before = cloudflare.records()
    for check in (True, False):
        result = cloudflare.run(check=check, owner="nixci", **task)
        assert result["failed"]
        for part in (f"A {HOST}", "198.51.100.1", comment or "no comment", "remove", "take_over: true"):
            assert part in result["msg"]
    assert cloudflare.records() == before
    assert {method for method, _path in cloudflare.requests()} == {"GET"}


def test_take_over_adopts_in_place(cloudflare: CloudflareEnvironment) -> None:
    old = cloudflare.add("A", "198.51.100.1", comment="web (managed by terraform)", ttl=600)
    done = cloudflare.verify(content=["203.0.113.1"], owner="nixci", take_over=True)
    assert done["record"]["id"] == old["id"]
    assert cloudflare.records() == [("A", HOST, "203.0.113.1", "600", "False", "web (managed by nixci)")]
    assert cloudflare.run(content=["203.0.113.2"], owner="nixci")["changed"], "it carries our mark now"


def test_a_foreign_record_in_the_desired_state_is_left_alone(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "203.0.113.1", comment="web server")
    cloudflare.assert_unchanged(content=["203.0.113.1"], owner="nixci", comment="cache")
    assert cloudflare.run(content=["203.0.113.1"], owner="nixci", ttl=300)["failed"]
    cloudflare.verify(content=["203.0.113.1"], owner="nixci", take_over=True)
    assert cloudflare.records()[0][-1] == "web server (managed by nixci)"


def test_adding_beside_foreign_records_needs_no_take_over(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("TXT", '"theirs"', comment="theirs")
    cloudflare.verify(type="TXT", content=["ours"], owner="nixci", exclusive=False)
    assert cloudflare.contents() == ['"ours"', '"theirs"']


# -- invalid input and conflicts


@pytest.mark.parametrize(
    ("there", "type_", "content"),
    [
        (("A", "198.51.100.1"), "CNAME", "elsewhere.example.org"),
        (("AAAA", "2001:db8::1"), "CNAME", "elsewhere.example.org"),
        (("CNAME", "elsewhere.example.org"), "A", "203.0.113.1"),
    ],
)
def test_a_conflict_names_both_records(
    cloudflare: CloudflareEnvironment, there: tuple[str, str], type_: str, content: str
) -> None:
    cloudflare.add(*there)
    result = cloudflare.run(type=type_, content=[content])
    assert result["failed"]
    assert f"{type_} {HOST} → {content}" in result["msg"]
    assert f"{there[0]} {HOST} → {there[1]}" in result["msg"]
    assert {method for method, _path in cloudflare.requests()} == {"GET"}


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"content": ["2001:db8::1"]}, "not an IPv4 address"),
        ({"content": ["cache"]}, "not an IPv4 address"),
        ({"content": []}, "at least one value"),
        ({"type": "CNAME", "content": ["a.example.org", "b.example.org"]}, "one target"),
        ({"type": "CNAME", "content": ["a b"]}, "not a host name"),
        ({"content": ["203.0.113.1"], "ttl": 7}, "ttl 7"),
        ({"content": ["203.0.113.1"], "ttl": 300, "proxied": True}, "TTL of a proxied record is automatic"),
        ({"type": "TXT", "content": ["x"], "proxied": True}, "cannot be proxied"),
        ({"content": ["203.0.113.1"], "comment": "a\nb"}, "line breaks"),
        ({"content": ["203.0.113.1"], "owner": "me (too)"}, "owner"),
        ({"content": ["203.0.113.1"], "name": "cache.other.com."}, "not within the zone"),
        ({"content": ["203.0.113.1"], "name": "a..b"}, "not a host name"),
        ({"content": ["203.0.113.1"], "name": "💩"}, "write this part as xn--ls8h"),
        ({"content": ["203.0.113.1"], "name": "i❤️.ws"}, "'i❤️'"),
        ({"content": ["203.0.113.1"], "name": "a💩" + "b" * 60}, "not a host name"),
        ({"content": ["203.0.113.1"], "zone": "💩.example"}, "'💩.example' is not a host name"),
        ({"type": "CNAME", "content": "💩.example.org"}, "write this part as xn--ls8h"),
        ({"type": "CNAME", "content": f"Cache.{ZONE}."}, "points to itself"),
        ({"type": "CNAME", "content": "192.0.2.1"}, "'192.0.2.1' is an IP address"),
        ({"type": "CNAME", "content": "2001:db8::1"}, "'2001:db8::1' is an IP address"),
        ({"type": "MX", "content": "10 192.0.2.1."}, "is an IP address"),
        ({"type": "NS", "content": "192.0.2.1"}, "is an IP address"),
        ({"type": "PTR", "content": "192.0.2.1"}, "is an IP address"),
        ({"type": "SRV", "content": "1 1 1 192.0.2.1"}, "is an IP address"),
        ({"content": ["203.0.113.1"], "zone": None, "zone_id": "a" * 32}, "must be fully qualified"),
        ({"content": ["203.0.113.1"], "batch_size": 0}, "at least 1"),
        ({"content": ["203.0.113.1"], "url": "api.cloudflare.com"}, "is not a URL"),
        ({"content": ["203.0.113.1"], "token": "with blank"}, "token is empty or holds blanks"),
    ],
)
def test_invalid_input_fails_before_any_request(
    cloudflare: CloudflareEnvironment, params: dict[str, t.Any], part: str
) -> None:
    result = cloudflare.run(**params)
    assert result["failed"]
    assert part in result["msg"]
    assert cloudflare.requests() == []


def test_a_relative_name_without_the_zone_is_reported(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.run(zone=None, zone_id=cloudflare.double.zone_id(ZONE), name="a.b", content=["203.0.113.1"])
    assert result["failed"]
    assert f"a.b.{ZONE}" in result["msg"]


def test_two_zones_of_one_name_need_the_id(cloudflare: CloudflareEnvironment) -> None:
    second = cloudflare.double.add_zone(ZONE, status="pending")
    result = cloudflare.run(content=["203.0.113.1"])
    assert result["failed"]
    assert f"{second} (pending)" in result["msg"]
    assert "zone_id" in result["msg"]


# -- credentials


def test_a_wrong_token_is_reported(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.run(content=["203.0.113.1"], token="w" * 40)
    assert result["failed"]
    assert "10000 Authentication error" in result["msg"]
    assert "wrong, expired or revoked" in result["msg"]
    assert result["codes"] == [10000]


def test_a_malformed_token_is_reported_with_the_code_in_the_chain(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.run(content=["203.0.113.1"], token="short")
    assert result["failed"]
    assert "6111" in result["msg"]
    assert "without 'Bearer'" in result["msg"]


def test_a_wrong_zone_id_is_explained(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.run(content=["203.0.113.1"], zone_id="nonsense")
    assert result["failed"]
    assert "check zone_id" in result["msg"]


def test_the_token_is_read_from_the_environment(
    cloudflare: CloudflareEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_TOKEN", "w" * 40)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    assert cloudflare.run(content=["203.0.113.1"], token=None)["changed"]


def test_a_netrc_file_does_not_replace_the_token(
    cloudflare: CloudflareEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert cloudflare.run(content=["203.0.113.1"])["changed"]


# -- failures of the network and the service


def test_a_short_outage_is_retried(cloudflare: CloudflareEnvironment, pauses: list[float]) -> None:
    cloudflare.fault(status=503, method="GET", path="zones$")
    cloudflare.fault(status=429, headers={"Retry-After": "1"}, method="POST")
    assert cloudflare.run(content=["203.0.113.1"])["changed"]
    assert cloudflare.contents() == ["203.0.113.1"]
    assert pauses == [1]


def test_a_longer_pause_than_allowed_fails(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.fault(status=429, headers={"Retry-After": "300"}, times=9)
    result = cloudflare.run(content=["203.0.113.1"])
    assert result["failed"]
    assert "300 s" in result["msg"]


def test_a_long_pause_can_be_allowed(cloudflare: CloudflareEnvironment, pauses: list[float]) -> None:
    cloudflare.fault(status=429, headers={"Retry-After": "300"}, times=2)
    assert cloudflare.run(content=["203.0.113.1"], longest_pause=300, retries=2)["changed"]
    assert pauses == [300, 300]


def test_after_a_lost_response_the_zone_is_read_again(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.lose_response("create")
    result = cloudflare.run(content=["203.0.113.1"])
    assert not result["failed"], result
    assert result["changed"]
    assert result["changes"] == {"created": 1, "updated": 0, "deleted": 0}
    assert result["record"]["id"] == cloudflare.double.all_records(ZONE)[0]["id"]
    assert [method for method, _path in cloudflare.requests()] == ["GET", "GET", "POST", "GET"]


def test_changes_of_an_attempt_with_a_lost_response_are_counted(cloudflare: CloudflareEnvironment) -> None:
    for number in (1, 2, 3):
        cloudflare.add("A", f"198.51.100.{number}")
    cloudflare.lose_response("batch")
    records = [
        {"name": "cache", "type": "A", "content": ["203.0.113.1", "198.51.100.2"]},
        {"name": "a", "type": "A", "content": "203.0.113.3"},
    ]
    # The first batch creates the record a. Its response is lost, and the second attempt changes the set cache.
    result = cloudflare.run(records=records, batch_size=2)
    assert not result["failed"], result
    assert result["changes"] == {"created": 1, "updated": 1, "deleted": 1}
    assert len(cloudflare.wire.bodies) == 2
    assert [one["content"] for one in result["diff"]["before"]["records"]] == [
        f"198.51.100.{number}" for number in (1, 2, 3)
    ]
    assert cloudflare.contents() == ["198.51.100.2", "203.0.113.1", "203.0.113.3"]


def test_a_failed_change_is_planned_again_at_most_three_times(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.fault(status=502, method="POST", times=2)
    assert cloudflare.run(content=["203.0.113.1"])["changed"]
    cloudflare.fault(status=502, method="PATCH", times=3)
    result = cloudflare.run(content=["203.0.113.2"])
    assert result["failed"]
    assert "502" in result["msg"]
    cloudflare.verify(content=["203.0.113.2"])


def test_a_lost_response_to_a_removal_is_no_failure(cloudflare: CloudflareEnvironment, pauses: list[float]) -> None:
    cloudflare.add("A", "203.0.113.1")
    cloudflare.lose_response("delete")
    result = cloudflare.run(state="absent")
    assert not result["failed"], result
    assert result["changed"]
    assert [method for method, _path in cloudflare.requests()] == ["GET", "GET", "DELETE", "DELETE"]


def test_all_pages_are_read(cloudflare: CloudflareEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._cloudflare.client")
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 2)
    addresses = [f"203.0.113.{number}" for number in range(1, 6)]
    for address in addresses:
        cloudflare.add("A", address)
    assert len(cloudflare.assert_unchanged(content=addresses)["records"]) == 5
    assert cloudflare.requests() == [("GET", "zones")] + [("GET", "dns_records")] * 3


def test_a_record_that_someone_else_creates_meanwhile_is_no_conflict(cloudflare: CloudflareEnvironment) -> None:
    body = {"success": False, "errors": [{"code": 81058, "message": "An identical record already exists."}]}
    cloudflare.add("A", "198.51.100.1", name=f"unrelated.{ZONE}")
    inner = cloudflare.double.flask.view_functions["create"]

    def created_by_someone_else(**args: t.Any) -> tuple[dict[str, t.Any], int]:
        inner(**args)
        return body, 400

    cloudflare.double.flask.view_functions["create"] = created_by_someone_else
    assert not cloudflare.run(content=["203.0.113.1"])["failed"]


def test_an_unreachable_service_is_reported(cloudflare: CloudflareEnvironment) -> None:
    result = cloudflare.run(content=["203.0.113.1"], url="http://127.0.0.1:9/client/v4", retries=0)
    assert result["failed"]
    assert "cannot reach http://127.0.0.1:9" in result["msg"]
