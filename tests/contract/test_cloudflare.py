# SPDX-License-Identifier: GPL-3.0-or-later
"""The behaviour of Cloudflare's API on which this collection relies, with the double and with the service.

CLOUDFLARE_TEST_TOKEN (Zone Read and DNS Edit) and CLOUDFLARE_TEST_ZONE (a name) enable the tests with the service. They change
only names below nixci-test.<zone>. Requests and responses are checked with Cloudflare's schema in data/.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Iterator

import pytest
import requests
from jsonschema import ValidationError

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.contract.cloudflare_schema import validate

ZONE = "example.com"
TOKEN, READER, STRANGER = "e" * 40, "r" * 40, "s" * 40


class Api:
    """A client for one zone that checks its requests and the responses."""

    def __init__(self, url: str, token: str, zone: str) -> None:
        self.url, self.token, self.zone = url, token, zone
        self.host = f"nixci-test.{zone}"
        found = self.call("GET", f"/zones?name={zone}", answer="zone_list_response")
        self.records = f"/zones/{found['result'][0]['id']}/dns_records"

    def raw(self, method: str, path: str, body: t.Any = None, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=30)

    def call(self, method: str, path: str, body: t.Any = None, *, sends: str = "", answer: str = "") -> t.Any:
        if sends:
            validate(sends, body)
        response = self.raw(method, path, body)
        assert response.status_code == 200, response.text
        if answer:
            validate(answer, response.json())
        return response.json()

    def refused(self, method: str, path: str, body: t.Any = None, token: str | None = None) -> tuple[int, list[int]]:
        response = self.raw(method, path, body, token)
        validate("envelope_failure", response.json())
        return response.status_code, [error["code"] for error in response.json()["errors"]]

    def create(self, type_: str, content: str, **more: t.Any) -> t.Any:
        body = {"type": type_, "name": self.host, "content": content, **more}
        return self.call("POST", self.records, body, sends="record_write", answer="record_response")["result"]

    def typed(self, type_: str) -> str:
        """A name that is valid for the type."""
        prefix = {"SRV": "_sip._tcp.", "TLSA": "_443._tcp.", "URI": "_https._tcp.", "SVCB": "_dns."}.get(type_, "")
        return prefix + self.host

    def listed(self) -> list[t.Any]:
        path = f"{self.records}?name.endswith={self.host}&per_page=1000&page=1"
        return self.call("GET", path, answer="record_list_response")["result"]


@pytest.fixture(params=["double", "real"])
def api(request: pytest.FixtureRequest, serve: Callable[[t.Any], str]) -> Iterator[Api]:
    if request.param == "double":
        everything, reading = {"zone:read", "dns:edit"}, {"zone:read", "dns:read"}
        double = CloudflareDouble(
            [ZONE, "other.com"], {TOKEN: {ZONE: everything}, READER: {ZONE: reading}, STRANGER: {}}
        )
        service = Api(serve(double.app) + ROOT, TOKEN, ZONE)
    else:
        token, zone = os.environ.get("CLOUDFLARE_TEST_TOKEN"), os.environ.get("CLOUDFLARE_TEST_ZONE")
        if not token or not zone:
            pytest.skip("CLOUDFLARE_TEST_TOKEN and CLOUDFLARE_TEST_ZONE are not set: the real service is not tested")
        service = Api("https://api.cloudflare.com" + ROOT, token, zone)
    remove_all(service)
    yield service
    remove_all(service)


def remove_all(api: Api) -> None:
    for record in api.listed():
        api.raw("DELETE", f"{api.records}/{record['id']}")


def test_a_record_lives_through_create_patch_put_and_delete(api: Api) -> None:
    made = api.create("A", "203.0.113.1", comment="first")
    assert (made["ttl"], made["proxied"], made["comment"], made["name"]) == (1, False, "first", api.host)
    path = f"{api.records}/{made['id']}"
    change = {"content": "203.0.113.2"}
    patched = api.call("PATCH", path, change, sends="record_patch", answer="record_response")["result"]
    assert (patched["id"], patched["content"], patched["comment"]) == (made["id"], "203.0.113.2", "first")
    put = {"type": "A", "name": api.host, "content": "203.0.113.3"}
    replaced = api.call("PUT", path, put, sends="record_write", answer="record_response")["result"]
    assert replaced["comment"] is None, "PUT resets fields that it omits"
    assert api.call("GET", path, answer="record_response")["result"]["content"] == "203.0.113.3"
    api.call("DELETE", path, answer="record_delete_response")
    assert api.listed() == []
    assert api.refused("DELETE", path) == (404, [81044])


VALUES: dict[str, dict[str, t.Any]] = {
    "AAAA": {"content": "2001:db8::1"},
    "CAA": {"data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}},
    "CERT": {"data": {"type": 1, "key_tag": 1, "algorithm": 8, "certificate": "mQENBFVHm5sBCADH"}},
    "CNAME": {"content": "a.example.org"},
    "DNSKEY": {"data": {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "mQENBFVHm5sBCADH"}},
    "DS": {"data": {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "ab" * 32}},
    "HTTPS": {"data": {"priority": 1, "target": ".", "value": 'alpn="h2"'}},
    "LOC": {
        "data": {
            **{"lat_degrees": 52, "lat_minutes": 22, "lat_seconds": 23, "lat_direction": "N"},
            **{"long_degrees": 4, "long_minutes": 53, "long_seconds": 32.5, "long_direction": "E"},
            **{"altitude": -2, "size": 0, "precision_horz": 10000, "precision_vert": 10},
        }
    },
    "MX": {"content": "mail.example.org", "priority": 10},
    "NAPTR": {
        "data": {
            **{"order": 100, "preference": 10, "flags": "u", "service": "E2U+sip"},
            **{"regex": "!^.*$!sip:me@example.org!", "replacement": "."},
        }
    },
    "NS": {"content": "ns1.example.org"},
    "OPENPGPKEY": {"content": "mQENBFVHm5sBCADH"},
    "PTR": {"content": "host.example.org"},
    "SMIMEA": {"data": {"usage": 3, "selector": 0, "matching_type": 1, "certificate": "ab" * 32}},
    "SRV": {"data": {"priority": 10, "weight": 5, "port": 5060, "target": "sip.example.org"}},
    "SSHFP": {"data": {"algorithm": 4, "type": 2, "fingerprint": "ab" * 32}},
    "SVCB": {"data": {"priority": 1, "target": "svc.example.org", "value": 'port="8443"'}},
    "TLSA": {"data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "ab" * 32}},
    "URI": {"data": {"weight": 1, "target": "https://example.org/"}, "priority": 10},
}


@pytest.mark.parametrize("type_", VALUES)
def test_a_record_of_every_type_is_created_changed_and_found(api: Api, type_: str) -> None:
    if type_ == "DS":
        api.create("NS", "ns1.example.org")
    body = {"type": type_, "name": api.typed(type_), **VALUES[type_]}
    made = api.call("POST", api.records, body, sends="record_write", answer="record_response")["result"]
    path = f"{api.records}/{made['id']}"
    patched = api.call("PATCH", path, {"ttl": 300}, sends="record_patch", answer="record_response")["result"]
    assert patched == {**made, "ttl": 300, "modified_on": patched["modified_on"]}
    if "data" in body:
        seen = {name: part.removesuffix(".") if name == "target" else part for name, part in made["data"].items()}
        assert seen == {
            name: part.removesuffix(".") if name == "target" else part for name, part in body["data"].items()
        }
        assert made["content"], "composed"
    assert api.refused("POST", api.records, body) == (400, [81058]) or type_ == "CNAME"
    api.call("DELETE", path, answer="record_delete_response")


def test_another_type_with_the_same_name_may_stay(api: Api) -> None:
    api.create("TXT", '"text"')
    api.create("CNAME", "a.example.org")
    api.call("POST", api.records, {"type": "MX", "name": api.host, **VALUES["MX"]}, sends="record_write")
    assert len(api.listed()) == 3


def test_settings_and_priority_change_in_place(api: Api) -> None:
    body = {"type": "MX", "name": api.host, **VALUES["MX"]}
    made = api.call("POST", api.records, body, sends="record_write", answer="record_response")["result"]
    changed = api.call("PATCH", f"{api.records}/{made['id']}", {"priority": 20}, sends="record_patch")["result"]
    assert (changed["priority"], changed["content"]) == (20, "mail.example.org")


@pytest.mark.parametrize("operator", ["", ".exact", ".contains", ".startswith", ".endswith"])
def test_filters_ignore_case(api: Api, operator: str) -> None:
    api.create("A", "203.0.113.1", comment="Note")
    path = f"{api.records}?name{operator}={api.host.upper()}&type=A&comment{operator}=note&per_page=50"
    found = api.call("GET", path, answer="record_list_response")["result"]
    assert [one["content"] for one in found] == ["203.0.113.1"]


def test_a_batch_is_one_transaction(api: Api) -> None:
    one, two = api.create("A", "203.0.113.1"), api.create("A", "203.0.113.2")
    post = {"type": "A", "name": api.host, "content": "203.0.113.4"}
    body = {"deletes": [{"id": one["id"]}], "patches": [{"id": two["id"], "content": "203.0.113.3"}], "posts": [post]}
    done = api.call("POST", f"{api.records}/batch", body, sends="batch_request", answer="batch_response")["result"]
    assert done["patches"][0]["id"] == two["id"]
    before = sorted(record["content"] for record in api.listed())
    assert before == ["203.0.113.3", "203.0.113.4"]
    identical = {"type": "A", "name": api.host, "content": "203.0.113.4"}
    status, _codes = api.refused("POST", f"{api.records}/batch", {"deletes": [{"id": two["id"]}], "posts": [identical]})
    assert status == 400
    assert sorted(record["content"] for record in api.listed()) == before, "a rejected batch changes nothing"


def test_an_identical_record_is_refused(api: Api) -> None:
    api.create("A", "203.0.113.1")
    again = {"type": "A", "name": api.host.upper(), "content": "203.0.113.1"}
    assert api.refused("POST", api.records, again) == (400, [81058])


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (("A", "203.0.113.1"), ("CNAME", "elsewhere.example.org"), 81053),
        (("AAAA", "2001:db8::1"), ("CNAME", "elsewhere.example.org"), 81053),
        (("CNAME", "elsewhere.example.org"), ("A", "203.0.113.1"), 81054),
    ],
)
def test_an_address_and_a_cname_conflict(api: Api, first: tuple[str, str], second: tuple[str, str], code: int) -> None:
    api.create(*first)
    status, codes = api.refused("POST", api.records, {"type": second[0], "name": api.host, "content": second[1]})
    assert status == 400
    assert codes in ([code], [81053], [81054])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "A", "content": "2001:db8::1"}, 9005),
        ({"type": "A", "content": "203.0.113.1", "ttl": 59}, 9021),
        ({"type": "A", "content": "203.0.113.1", "ttl": 86401}, 9021),
        ({"type": "A", "content": "10.0.0.1", "proxied": True}, 9004),
        ({"type": "A"}, 1004),
    ],
)
def test_a_bad_record_is_refused(api: Api, body: dict[str, t.Any], code: int) -> None:
    status, codes = api.refused("POST", api.records, {"name": api.host, **body})
    assert status == 400
    if api.url.startswith("http://127"):
        assert codes == [code]


def test_a_proxied_record_has_an_automatic_ttl(api: Api) -> None:
    made = api.create("A", "203.0.113.1", proxied=True, ttl=300)
    assert (made["ttl"], made["proxied"]) == (1, True)


def test_a_text_is_returned_as_it_was_sent(api: Api) -> None:
    text = '"say \\"hi\\"" "and more"'
    assert api.create("TXT", text)["content"] == text


def test_a_name_outside_the_zone_is_completed(api: Api) -> None:
    for name, whole in (
        ("nixci-test", api.host),
        (f"nixci-test.not{api.zone}", f"nixci-test.not{api.zone}.{api.zone}"),
    ):
        body = {"type": "A", "name": name, "content": "203.0.113.1"}
        made = api.call("POST", api.records, body)["result"]
        api.raw("DELETE", f"{api.records}/{made['id']}")
        assert made["name"] == whole


def test_a_wrong_token_is_refused_everywhere(api: Api) -> None:
    status, codes = api.refused("GET", api.records, token="w" * 40)
    assert status in (400, 401, 403)
    assert set(codes) & {1000, 9109, 10000}
    status, codes = api.refused("GET", "/user/tokens/verify", token="w" * 40)
    assert (status, codes) == (401, [1000])


def test_a_malformed_token_is_refused_with_its_reason_in_the_chain(api: Api) -> None:
    response = api.raw("GET", api.records, token="short")
    assert response.status_code == 400
    validate("envelope_failure", response.json())
    assert response.json()["errors"][0]["code"] == 6003
    assert response.json()["errors"][0]["error_chain"][0]["code"] == 6111


def test_a_token_is_verified(api: Api) -> None:
    assert api.call("GET", "/user/tokens/verify", answer="token_verify_response")["result"]["status"] == "active"


def test_a_zone_without_access_is_not_listed(api: Api) -> None:
    assert api.call("GET", "/zones?name=nixci-no-such-zone.com", answer="zone_list_response")["result"] == []


def test_paging_reports_the_number_of_records(api: Api) -> None:
    for number in range(1, 4):
        api.create("A", f"203.0.113.{number}")
    path = f"{api.records}?name.exact={api.host}&per_page=2&page=2"
    answer = api.call("GET", path, answer="record_list_response")
    assert len(answer["result"]) == 1
    assert (answer["result_info"]["total_pages"], answer["result_info"]["total_count"]) == (2, 3)


# -- rights and responses, with the double only


@pytest.fixture
def double(serve: Callable[[t.Any], str]) -> Api:
    app = CloudflareDouble(
        [ZONE, "other.com"],
        {TOKEN: {ZONE: {"zone:read", "dns:edit"}}, READER: {ZONE: {"dns:read"}}, STRANGER: {}},
    ).app
    return Api(serve(app) + ROOT, TOKEN, ZONE)


def test_reading_does_not_include_writing(double: Api) -> None:
    assert double.raw("GET", double.records, token=READER).status_code == 200
    body = {"type": "A", "name": double.host, "content": "203.0.113.1"}
    assert double.refused("POST", double.records, body, token=READER) == (403, [10000])
    assert double.refused("GET", double.records, token=STRANGER) == (403, [10000])


def test_zone_read_is_a_right_of_its_own(double: Api) -> None:
    response = double.raw("GET", f"/zones?name={ZONE}", token=READER)
    assert (response.status_code, response.json()["result"]) == (200, [])


def test_other_routes_do_not_exist(double: Api) -> None:
    """An operation that the double lacks is 501, which no test can take for a refusal of the service."""
    assert double.refused("GET", "/accounts") == (501, [7000])
    assert double.refused("DELETE", double.records) == (501, [7000])
    assert double.refused("GET", "/zones/nonsense/dns_records") == (400, [7003])


@pytest.mark.parametrize("type_", VALUES)
def test_the_double_is_as_strict_as_the_schema(double: Api, type_: str) -> None:
    """Missing, additional and mistyped parts: the double rejects what the schema rejects."""
    body = {"type": type_, "name": double.host, **VALUES[type_]}
    invalid: list[dict[str, t.Any]] = [{name: part for name, part in body.items() if name != gone} for gone in body]
    invalid += [{**body, "nonsense": 1}, {**body, "proxied": True}, {**body, "ttl": 29}, {**body, "comment": "a\nb"}]
    if "data" in body:
        data = body["data"]
        invalid += [{**body, "data": {**data, "nonsense": 1}}]
        invalid += [{**body, "data": {name: part for name, part in data.items() if name != gone}} for gone in data]
        invalid += [{**body, "data": {**data, name: -100_001}} for name in data]
        invalid += [{**body, "data": {**data, name: "x"}} for name, part in data.items() if not isinstance(part, str)]
    checked = 0
    for one in invalid:
        try:
            validate("record_write", one)
        except ValidationError:
            checked += 1
            status, _codes = double.refused("POST", double.records, one)
            assert status == 400, one
    assert checked > 4
    assert double.listed() == []
