# SPDX-License-Identifier: GPL-3.0-or-later
"""Each type: the text of a zone file, the mapping, the request and the response give equal values."""

from __future__ import annotations

import importlib
import json
import re
import typing as t

import hypothesis
import pytest
from hypothesis import strategies as st

from lab.clouds._cloudflare_rules import DEFAULTS, PLANS, checked
from tests.contract.cloudflare_schema import SCHEMA, validate

UTILS = "ansible_collections.pantheros.nixci.plugins.module_utils."
content = importlib.import_module(UTILS + "_cloudflare.values")
names = importlib.import_module(UTILS + "_cloudflare.names")
Error = importlib.import_module(UTILS + "_core.errors").InvalidError
Value = content.Value

KEY = "mQENBFVHm5sBCADH"
# type: (text, another spelling of it, fields of a request)
TYPES: dict[str, tuple[str, t.Any, dict[str, t.Any]]] = {
    "A": ("203.0.113.1", " 203.0.113.1 ", {"content": "203.0.113.1"}),
    "AAAA": ("2001:db8::1", "2001:DB8:0:0::0001", {"content": "2001:db8::1"}),
    "CAA": (
        '0 issue "letsencrypt.org; validationmethods=dns-01"',
        {"flags": "0", "tag": "Issue", "value": "letsencrypt.org; validationmethods=dns-01"},
        {"data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org; validationmethods=dns-01"}},
    ),
    "CERT": (
        f"1 12345 8 {KEY}",
        f"1 12345 8 {KEY[:8]} {KEY[8:]}",
        {"data": {"type": 1, "key_tag": 12345, "algorithm": 8, "certificate": KEY}},
    ),
    "CNAME": ("target.example.org", "Target.Example.ORG.", {"content": "target.example.org"}),
    "DNSKEY": (
        f"257 3 13 {KEY}",
        {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": KEY},
        {"data": {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": KEY}},
    ),
    "DS": (
        "12345 13 2 abcdef",
        "12345\t13\t2\tABC DEF",
        {"data": {"key_tag": 12345, "algorithm": 13, "digest_type": 2, "digest": "abcdef"}},
    ),
    "HTTPS": (
        '1 . alpn="h3,h2" ipv4hint="203.0.113.1"',
        "1 . ipv4hint=203.0.113.1 alpn=h3,h2",
        {"data": {"priority": 1, "target": ".", "value": 'alpn="h3,h2" ipv4hint="203.0.113.1"'}},
    ),
    "LOC": (
        "52 22 23 N 4 53 32.5 E -2 0 10000 10",
        "52 22 23.000 n 4 53 32.500 e -2.00m 0.00m 10000m 10m",
        {
            "data": {
                "lat_degrees": 52,
                "lat_minutes": 22,
                "lat_seconds": 23,
                "lat_direction": "N",
                "long_degrees": 4,
                "long_minutes": 53,
                "long_seconds": 32.5,
                "long_direction": "E",
                "altitude": -2,
                "size": 0,
                "precision_horz": 10000,
                "precision_vert": 10,
            }
        },
    ),
    "MX": (
        "10 mail.example.org",
        {"priority": 10, "target": "Mail.example.org."},
        {"priority": 10, "content": "mail.example.org"},
    ),
    "NAPTR": (
        '100 10 "u" "E2U+sip" "!^.*$!sip:me@example.org!" .',
        {"order": 100, "preference": 10, "flags": "u", "service": "E2U+sip", "regex": "!^.*$!sip:me@example.org!", "replacement": "."},
        {"data": {"order": 100, "preference": 10, "flags": "u", "service": "E2U+sip", "regex": "!^.*$!sip:me@example.org!", "replacement": "."}},
    ),
    "NS": ("ns1.example.org", "NS1.example.org.", {"content": "ns1.example.org"}),
    "OPENPGPKEY": (KEY, f"{KEY[:8]} {KEY[8:]}", {"content": KEY}),
    "PTR": ("host.example.org", "host.example.org.", {"content": "host.example.org"}),
    "SMIMEA": (
        "3 0 0 abcdef",
        "3 0 0 ABCDEF",
        {"data": {"usage": 3, "selector": 0, "matching_type": 0, "certificate": "abcdef"}},
    ),
    "SRV": (
        "10 5 5060 sip.example.org",
        {"priority": 10, "weight": 5, "port": 5060, "target": "SIP.example.org."},
        {"data": {"priority": 10, "weight": 5, "port": 5060, "target": "sip.example.org"}},
    ),
    "SSHFP": ("4 2 abcdef", "4 2 ABCDEF", {"data": {"algorithm": 4, "type": 2, "fingerprint": "abcdef"}}),
    "SVCB": (
        '1 svc.example.org alpn="h2" no-default-alpn port="8443"',
        '1 svc.example.org. port=8443 no-default-alpn alpn="h2"',
        {"data": {"priority": 1, "target": "svc.example.org", "value": 'alpn="h2" no-default-alpn port="8443"'}},
    ),
    "TLSA": (
        "3 1 1 abcdef",
        "3 1 1 AB CD EF",
        {"data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "abcdef"}},
    ),
    "TXT": ("v=spf1 -all", '"v=spf1" " -all"', {"content": '"v=spf1 -all"'}),
    "URI": (
        '10 1 "https://example.org/Path"',
        "10 1 https://example.org/Path",
        {"priority": 10, "data": {"weight": 1, "target": "https://example.org/Path"}},
    ),
}  # fmt: skip


def test_all_types_of_the_schema_are_here() -> None:
    assert set(SCHEMA["components"]["schemas"]["record_type"]["enum"]) == set(content.SHAPES) == set(TYPES)


@pytest.mark.parametrize("type_", TYPES)
def test_a_value_has_one_spelling(type_: str) -> None:
    line, other, fields = TYPES[type_]
    value = Value.from_option(type_, line)
    assert value.text == line
    assert Value.from_option(type_, other) == value
    assert value.fields(type_) == fields
    validate("record_write", {"type": type_, "name": "x.example.com", **fields})


@pytest.mark.parametrize("type_", TYPES)
def test_a_stored_value_is_equal(type_: str) -> None:
    value = Value.from_option(type_, TYPES[type_][0])
    body = {"type": type_, "name": "x.example.com", **DEFAULTS, **value.fields(type_)}
    stored = checked(body, "example.com", PLANS["free"])
    assert Value.from_api(stored) == value
    # The API returns some numbers as strings, and the composed content with other blanks.
    strings = {name: str(part) for name, part in stored.get("data", {}).items()}
    if strings:
        assert Value.from_api({**stored, "data": strings}) == value
    if strings and type_ not in ("SRV", "URI"):  # the priority is no part of their content
        assert Value.from_api({**stored, "data": None, "content": stored["content"].replace(" ", "\t", 2)}) == value


@pytest.mark.parametrize(
    ("type_", "given", "message"),
    [
        ("A", "2001:db8::1", "not an IPv4 address"),
        ("A", 12, "not an IPv4 address"),
        ("AAAA", "fe80::1%eth0", "not an IPv6 address"),
        ("CNAME", "cache", "not a fully qualified host name"),
        ("CNAME", ".", "not a host name"),
        ("CNAME", "a." * 130 + "org", "253"),
        ("MX", "mail.example.org", "consists of priority, target"),
        ("MX", "70000 mail.example.org", "from 0 to 65535"),
        ("MX", "-1 mail.example.org", "from 0 to 65535"),
        ("MX", {"priority": True, "target": "mail.example.org"}, "from 0 to 65535"),
        ("SRV", {"priority": 1, "weight": 1, "target": "a.example.org"}, "missing: port"),
        ("SRV", {"priority": 1, "weight": 1, "port": 1, "target": "a.example.org", "proto": "_tcp"}, "Unknown or missing: proto"),
        ("CAA", "0 issue letsencrypt.org; more", "must be quoted"),
        ("CAA", '0 issue "letsencrypt.org', "must be quoted"),
        ("CAA", "0 is-sue x", "tag"),
        ("SSHFP", "4 2 xyz", "not hexadecimal"),
        ("SSHFP", "4 2 abc", "not hexadecimal"),
        ("DNSKEY", "257 3 13 !!!", "not base64"),
        ("LOC", "52 22 23 X 4 53 32.5 E -2 0 10000 10", "one of N, S"),
        ("LOC", "52 22 61 N 4 53 32.5 E -2 0 10000 10", "from 0 to 59.999"),
        ("TXT", "", "at least one character"),
        ("TXT", True, "quote it"),
        ("TXT", {"content": "x"}, "neither text nor a mapping"),
        ("TXT", None, "neither text nor a mapping"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_reported(type_: str, given: t.Any, message: str) -> None:
    with pytest.raises(Error, match=re.escape(message)):
        Value.from_option(type_, given)


@pytest.mark.parametrize(
    "record",
    [
        {"type": "SPF", "content": "v=spf1 -all"},
        {"type": "CAA", "content": "nonsense", "data": {"flags": "many"}},
        {"type": "CNAME", "content": "not a name"},
        {"type": "MX", "content": "mail.example.org"},
    ],
)
def test_a_value_that_cannot_be_parsed_is_kept(record: dict[str, t.Any]) -> None:
    assert Value.from_api(record) == Value(record["content"])


TEXTS = st.one_of(st.text(min_size=1), st.binary(min_size=1).map(lambda raw: raw.decode(errors="surrogateescape")))


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(text=TEXTS)
def test_any_text_survives_quoting(text: str) -> None:
    hypothesis.assume(not any(0xD800 <= ord(one) < 0xDC80 or 0xDCFF < ord(one) <= 0xDFFF for one in text))
    text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    quoted = names.quote(text)
    assert names.unquote(quoted) == text
    assert quoted.isprintable()
    raw = re.findall(names.QUOTED, quoted)
    assert all(len(names.unquote(f'"{part}"').encode(errors="surrogateescape")) <= 255 for part in raw)


def test_bytes_that_are_not_utf8_can_be_printed_and_sent() -> None:
    value = Value.from_option("TXT", '"a\\255b"')
    assert json.dumps(value.text, ensure_ascii=False).encode() == rb'"a\\xffb"'
    assert value.fields("TXT") == {"content": '"a\\255b"'}
    assert value == Value.from_api({"type": "TXT", "content": '"a\\255" "b"'})
    assert value != Value.from_option("TXT", '"a\\254b"')
