# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of behaviour: the number of requests, cases that other clients get wrong, and Cloudflare's error codes.

Records are written as in a zone file, with their other fields in brackets: "A cache 203.0.113.1 [ttl=300]".
"""

from __future__ import annotations

import typing as t

import pytest

from tests.support.cloudflare import ZONE, CloudflareEnvironment, cloudflare_fixture

Task = dict[str, t.Any]
STRUCTURED = {
    "CAA": ("flags", "tag", "value"),
    "SRV": ("priority", "weight", "port", "target"),
    "TLSA": ("usage", "selector", "matching_type", "certificate"),
    "DS": ("key_tag", "algorithm", "digest_type", "digest"),
    "SSHFP": ("algorithm", "type", "fingerprint"),
}


cloudflare = cloudflare_fixture(plan="pro")


def put(cloudflare: CloudflareEnvironment, line: str) -> None:
    """Add a record that someone else has created."""
    line, _bracket, members = line.removesuffix("]").partition(" [")
    type_, label, content = line.split(" ", 2)
    more: dict[str, t.Any] = {}
    for member in filter(None, members.split(", ")):
        name, _equals, value = member.partition("=")
        more[name] = {"ttl": int, "tags": str.split}.get(name, str)(value) if value else True
    if "flatten" in more:
        more["settings"] = {"flatten_cname": more.pop("flatten")}
    value: t.Any = content
    if type_ in STRUCTURED:
        parts = content.split(" ")
        value = {
            name: int(part) if part.isdigit() else part for name, part in zip(STRUCTURED[type_], parts, strict=True)
        }
    if type_ == "MX":
        more["priority"], value = int(content.split()[0]), content.split()[1]
    cloudflare.add(type_, value, name=ZONE if label == "@" else f"{label}.{ZONE}", **more)


def held(cloudflare: CloudflareEnvironment) -> list[str]:
    """The records of the zone in the same notation."""
    lines = []
    for one in cloudflare.double.all_records(ZONE):
        label = "@" if one["name"] == ZONE else one["name"].removesuffix(f".{ZONE}")
        content = " ".join(map(str, one["data"].values())) if "data" in one else one["content"]
        content = f"{one['priority']} {content}" if one["type"] == "MX" else content
        members = [f"ttl={one['ttl']}"] * (one["ttl"] != 1) + ["proxied"] * one["proxied"]
        members += [f"comment={one['comment']}"] * bool(one["comment"]) + [f"tags={' '.join(one['tags'])}"] * bool(
            one["tags"]
        )
        members += ["flatten"] * bool(one["settings"].get("flatten_cname"))
        lines.append(f"{one['type']} {label} {content}" + (f" [{', '.join(members)}]" if members else ""))
    return sorted(lines)


# -- requests ----------------------------------------------------------------------------------------------------------

ONE, OTHER = "A cache 203.0.113.1", "A cache 203.0.113.2"
MANY = [{"name": f"host{number}", "type": "A", "content": f"203.0.113.{number}"} for number in range(50)]
FIFTY = sorted(f"A host{number} 203.0.113.{number}" for number in range(50))
FIND, LIST = "GET zones", "GET dns_records"

REQUESTS: list[tuple[str, list[str], Task, list[str], list[str]]] = [
    # case, before, task, after, requests
    ("no-op", [ONE], {"content": "203.0.113.1"}, [ONE], [FIND, LIST]),
    ("no-op by id", [ONE], {"content": "203.0.113.1", "zone_id": "…"}, [ONE], [LIST]),
    ("create", [], {"content": "203.0.113.1"}, [ONE], [FIND, LIST, "POST dns_records"]),
    ("update", [ONE], {"content": "203.0.113.2"}, [OTHER], [FIND, LIST, "PATCH …"]),
    ("absent, one match", [ONE], {"state": "absent"}, [], [FIND, LIST, "DELETE …"]),
    ("absent, no match", [], {"state": "absent"}, [], [FIND, LIST]),
    ("exclusive, no-op", [ONE], {"content": "203.0.113.1", "exclusive": True}, [ONE], [FIND, LIST]),
    ("exclusive, one other to delete", [ONE, OTHER], {"content": "203.0.113.1"}, [ONE], [FIND, LIST, "DELETE …"]),
    ("fifty, create", [], {"records": MANY}, FIFTY, [FIND, LIST, "POST batch"]),
    ("fifty, no-op", FIFTY, {"records": MANY}, FIFTY, [FIND, LIST]),
    ("fifty, one change", [*FIFTY[:-1], "A host9 198.51.100.1"], {"records": MANY}, FIFTY, [FIND, LIST, "PATCH …"]),
]


@pytest.mark.parametrize(("case", "before", "task", "after", "requests"), REQUESTS, ids=[row[0] for row in REQUESTS])
def test_number_of_requests(
    cloudflare: CloudflareEnvironment, case: str, before: list[str], task: Task, after: list[str], requests: list[str]
) -> None:
    for line in before:
        put(cloudflare, line)
    ids = {record["id"] for record in cloudflare.double.all_records(ZONE)}
    result = cloudflare.run(**{**task, "zone_id": cloudflare.double.zone_id(ZONE) if "zone_id" in task else None})
    assert not result["failed"], result
    assert result["changed"] == (before != after)
    assert held(cloudflare) == after
    assert [f"{method} {'…' if last in ids else last}" for method, last in cloudflare.requests()] == requests


# -- cases that other clients get wrong --------------------------------------------------------------------------------------------------

TWO_CAA = ["CAA cache 0 issue letsencrypt.org", "CAA cache 0 issue pki.goog"]
FULL = "A cache 203.0.113.1 [ttl=300, comment=by hand, tags=team:web]"
BEHAVIOUR: list[tuple[str, list[str], Task, list[str]]] = [
    # case, before, task, after (if equal to before, nothing may change)
    ("a changed address does not add a record", [ONE], {"content": "203.0.113.2"}, [OTHER]),
    ("nor a changed text", ['TXT cache "old"'], {"type": "TXT", "content": "new"}, ['TXT cache "new"']),
    ("nor a changed mail server", ["MX @ 10 a.example.org"], {"name": "@", "type": "MX", "content": "10 b.example.org"},
     ["MX @ 10 b.example.org"]),
    ("nor a changed priority", ["MX @ 10 a.example.org"], {"name": "@", "type": "MX", "content": "20 a.example.org"},
     ["MX @ 20 a.example.org"]),
    ("what is not set stays", [FULL], {"content": "203.0.113.1"}, [FULL]),
    ("also when the value changes", [FULL], {"content": "203.0.113.2"}, [FULL.replace("3.1 ", "3.2 ")]),
    ("also proxying", ["A cache 203.0.113.1 [proxied]"], {"content": "203.0.113.1"}, ["A cache 203.0.113.1 [proxied]"]),
    ("also settings", ["CNAME cache a.example.org [flatten]"], {"type": "CNAME", "content": "b.example.org"},
     ["CNAME cache b.example.org [flatten]"]),
    ("empty clears comment and tags", [FULL], {"content": "203.0.113.1", "comment": "", "tags": []}, [ONE + " [ttl=300]"]),
    ("a second CAA is added beside the first", TWO_CAA[:1],
     {"type": "CAA", "content": '0 issue "pki.goog"', "exclusive": False}, TWO_CAA),
    ("two CAA do not flip", TWO_CAA, {"type": "CAA", "content": ['0 issue "pki.goog"', '0 issue "letsencrypt.org"']}, TWO_CAA),
    ("absent removes one CAA", TWO_CAA, {"type": "CAA", "content": '0 issue "pki.goog"', "state": "absent"}, TWO_CAA[:1]),
    ("absent removes all CAA", TWO_CAA, {"type": "CAA", "state": "absent"}, []),
    ("an SRV is recognised", ["SRV _sip._tcp 10 5 5060 sip.example.org"],
     {"name": "_sip._tcp", "type": "SRV", "content": "10 5 5060 SIP.example.org."}, ["SRV _sip._tcp 10 5 5060 sip.example.org"]),
    ("a TLSA is recognised", ["TLSA _443._tcp 3 1 1 ABCDEF"],
     {"name": "_443._tcp", "type": "TLSA", "content": "3 1 1 abc def"}, ["TLSA _443._tcp 3 1 1 ABCDEF"]),
    ("a DS is recognised", ["NS sub ns.example.org", "DS sub 12345 13 2 ABCDEF"],
     {"name": "sub", "type": "DS", "content": {"key_tag": 12345, "algorithm": 13, "digest_type": 2, "digest": "abcdef"}},
     ["NS sub ns.example.org", "DS sub 12345 13 2 ABCDEF"]),
    ("an SSHFP is recognised", ["SSHFP cache 4 2 abcdef"], {"type": "SSHFP", "content": "4 2 ABCDEF"},
     ["SSHFP cache 4 2 abcdef"]),
    ("a name that only ends like the zone is completed", [], {"name": "notexample.com", "content": "203.0.113.1"},
     ["A notexample.com 203.0.113.1"]),
    ("IPv6 has many spellings", ["AAAA cache 2001:db8::1"], {"type": "AAAA", "content": "2001:0DB8::0:1"},
     ["AAAA cache 2001:db8::1"]),
    ("unquoted text is recognised", ["TXT cache v=spf1 -all"], {"type": "TXT", "content": '"v=spf1 " "-all"'},
     ["TXT cache v=spf1 -all"]),
    ("text with commas is one text", [], {"type": "TXT", "content": "v=DMARC1; rua=mailto:a@x.org,mailto:b@x.org"},
     ['TXT cache "v=DMARC1; rua=mailto:a@x.org,mailto:b@x.org"']),
    ("a proxied record has an automatic TTL", ["A cache 203.0.113.1 [proxied]"], {"content": "203.0.113.1", "ttl": 300},
     ["A cache 203.0.113.1 [proxied]"]),
    ("tags are a set, without case in names", ["A cache 203.0.113.1 [tags=a:1 Team:Web]"],
     {"content": "203.0.113.1", "tags": ["team:Web", "a:1"]}, ["A cache 203.0.113.1 [tags=a:1 Team:Web]"]),
    ("a CNAME is replaced on request", ["CNAME cache a.example.org", 'TXT cache "stays"'],
     {"content": "203.0.113.1", "replace_conflicting": True}, [ONE, 'TXT cache "stays"']),
    ("addresses are replaced on request", [ONE, "AAAA cache 2001:db8::1"],
     {"type": "CNAME", "content": "a.example.org", "replace_conflicting": True}, ["CNAME cache a.example.org"]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "before", "task", "after"), BEHAVIOUR, ids=[row[0] for row in BEHAVIOUR])
def test_behaviour(
    cloudflare: CloudflareEnvironment, case: str, before: list[str], task: Task, after: list[str]
) -> None:
    for line in before:
        put(cloudflare, line)
    result = cloudflare.verify(**task)
    assert result["changed"] == (before != after)
    assert held(cloudflare) == sorted(after)


def test_exclusive_never_empties_a_set(cloudflare: CloudflareEnvironment) -> None:
    """Records are deleted and created in one request. If it fails, nothing changes."""
    for line in (ONE, OTHER):
        put(cloudflare, line)
    cloudflare.fault(status=400, method="POST", path="batch$", body=refusal(9005))
    assert cloudflare.run(content=["203.0.113.8"])["failed"]
    assert held(cloudflare) == [ONE, OTHER]


# -- error codes -------------------------------------------------------------------------------------------------------


def refusal(code: int, message: str = "no") -> dict[str, t.Any]:
    return {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}


CODES: list[tuple[str, int, list[str] | None]] = [
    # message for the first attempt, code, parts of our message; None if the module plans again and succeeds
    ("the record exists", 81057, None),
    ("an identical record exists", 81058, None),
    ("the host exists", 81053, None),
    ("a CNAME exists", 81054, None),
    ("CNAME conflict", 81055, None),
    ("name servers exist", 81056, None),
    ("the record is gone", 81044, None),
    ("bad name", 9000, ["9000"]),
    ("bad address", 9005, ["9005"]),
    ("bad target", 9009, ["9009"]),
    ("too long", 9015, ["9015"]),
    ("bad ttl", 9021, ["9021"]),
    ("the set is too long", 83011, ["83011"]),
    ("validation", 1004, ["1004"]),
    ("the plan has no more records", 81045, ["81045", "as many as its plan allows"]),
    ("the token is wrong", 10000, ["10000", "Zone / DNS / Edit"]),
    ("the token lacks a right", 9109, ["9109", "Zone / DNS / Edit"]),
    ("the token is missing", 9106, ["9106"]),
    ("the token is malformed", 6003, ["without 'Bearer'"]),
    ("a wrong zone id", 7003, ["check zone_id"]),
]


@pytest.mark.parametrize(("text", "code", "parts"), CODES, ids=[str(row[1]) for row in CODES])
def test_error_codes(cloudflare: CloudflareEnvironment, text: str, code: int, parts: list[str] | None) -> None:
    cloudflare.fault(status=400, method="POST", body=refusal(code, text))
    result = cloudflare.run(content="203.0.113.1")
    if parts is None:
        assert not result["failed"], result
        assert held(cloudflare) == [ONE]
        assert [method for method, _path in cloudflare.requests()] == ["GET", "GET", "POST", "GET", "POST"]
        cloudflare.fault(status=400, method="PATCH", body=refusal(code, text), times=3)
        result, parts = cloudflare.run(content="203.0.113.2"), [str(code)]
    assert result["failed"]
    assert result["codes"] == [code]
    for part in (text, *parts):
        assert part in result["msg"]


def test_the_reason_in_the_chain_is_shown(cloudflare: CloudflareEnvironment) -> None:
    body = refusal(1004, "DNS Validation Error")
    body["errors"][0]["error_chain"] = [{"code": 9021, "message": "Invalid TTL."}]
    cloudflare.fault(status=400, method="POST", body=body)
    result = cloudflare.run(content="203.0.113.1")
    assert "9021 Invalid TTL." in result["msg"]
    assert result["codes"] == [1004, 9021]
