# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode predicts the run, and a second run changes nothing, for any records in the zone and any task."""

from __future__ import annotations

import collections
import typing as t
from collections.abc import Callable

import hypothesis
from hypothesis import strategies as st

from lab.clouds._cloudflare_rules import Refused
from tests.support.cloudflare import ZONE, Run, cloudflare_environment

NAMES = ["cache", "www", "@", "_x.cache"]
CONTENTS: dict[str, list[t.Any]] = {
    "A": ["203.0.113.1", "203.0.113.2", "10.0.0.1"],
    "AAAA": ["2001:db8::1", "2001:DB8:0::2"],
    "CNAME": ["a.example.org", "B.example.org.", "cache.example.com", "192.0.2.1"],
    "DS": ["1 13 2 abcd", "2 13 2 ABCD"],
    "TXT": [
        "text",
        '"text"',
        '"te" "xt"',
        '"te""xt"',
        '"te" xt',
        'te"xt',
        'say "hi"',
        "ü;\\",
        " text ",
        "text\n",
        "k" * 4097,
    ],
    "MX": ["10 mail.example.org", "20 mail.example.org", "0 ."],
    "CAA": ['0 issue "letsencrypt.org"', "0 ISSUE letsencrypt.org", "0 iodef mailto:me@example.org"],
    "NS": ["ns1.example.org", "ns2.example.org"],
}
STORED: dict[str, list[dict[str, t.Any]]] = {
    "A": [{"content": "203.0.113.1"}, {"content": "203.0.113.3"}, {"content": "10.0.0.1"}],
    "AAAA": [{"content": "2001:db8::1"}, {"content": "2001:db8::3"}],
    "CNAME": [{"content": "a.example.org"}, {"content": "c.example.org"}],
    "DS": [{"data": {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "abcd"}}],
    "TXT": [{"content": "text"}, {"content": '"te""xt"'}, {"content": '"other"'}, {"content": '"text\\010"'}],
    "MX": [{"content": "mail.example.org", "priority": 10}, {"content": "old.example.org", "priority": 5}],
    "CAA": [{"data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}}],
    "NS": [{"content": "ns1.example.org"}, {"content": "ns3.example.org"}],
}
COMMENTS = [None, "", "theirs", "managed by nixci", "web (managed by nixci)", "managed by someone"]


@st.composite
def stored(draw: st.DrawFn) -> dict[str, t.Any]:
    type_ = draw(st.sampled_from(sorted(STORED)))
    members = {"comment": st.sampled_from(COMMENTS), "ttl": st.sampled_from([1, 300])}
    if type_ in ("A", "CNAME"):
        members["proxied"] = st.booleans()
    members["tags"] = st.sampled_from([[], ["Team:infra"]])
    members["meta"] = st.sampled_from([{}, {}, {}, {"read_only": False}, {"read_only": True}])
    value = draw(st.sampled_from(STORED[type_]))
    return {"name": draw(st.sampled_from(NAMES)), "type": type_, **value, **draw(st.fixed_dictionaries(members))}


def name_servers_first(records: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return sorted(records, key=lambda record: record["type"] == "DS")


def mostly(good: list[t.Any], *bad: t.Any) -> st.SearchStrategy[t.Any]:
    return st.sampled_from([*good * 8, *bad])


OPTIONS = {
    "exclusive": st.booleans(),
    "ttl": mostly([1, 300], 7),
    "proxied": mostly([False], True),
    "comment": mostly(["", "note"], "two\nlines"),
    "tags": mostly([[], ["team:infra"], ["team:infra", "env:x"]], ["no good"]),
    "settings": mostly([{}, {"ipv4_only": True}, {"flatten_cname": False}], {"flatten_cname": True}),
    "state": mostly(["present"], *["absent"] * 4),
}
TASK = {
    "owner": mostly(["nixci"], "me too"),
    "take_over": st.booleans(),
    "replace_conflicting": st.booleans(),
    "batch_size": st.sampled_from([1, 2, 200]),
}


@st.composite
def entry(draw: st.DrawFn) -> dict[str, t.Any]:
    type_ = draw(st.sampled_from(sorted(CONTENTS)))
    options = draw(st.fixed_dictionaries({}, optional=OPTIONS))
    if options.get("state") != "absent" or draw(st.booleans()):
        most = 1 if type_ == "CNAME" else 2
        options["content"] = draw(st.lists(st.sampled_from(CONTENTS[type_]), min_size=1, max_size=most))
    return {"name": draw(st.sampled_from(NAMES)), "type": type_, **options}


@st.composite
def task(draw: st.DrawFn) -> dict[str, t.Any]:
    options = draw(st.fixed_dictionaries({}, optional=TASK))
    if draw(st.booleans()):
        return {**options, **draw(entry())}
    options |= draw(st.fixed_dictionaries({}, optional={"prune": st.booleans(), **OPTIONS}))
    return {**options, "records": draw(st.lists(entry(), max_size=4))}


def test_check_mode_contract(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> None:
    outcomes: collections.Counter[str] = collections.Counter()

    @hypothesis.settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @hypothesis.given(before=st.lists(stored(), max_size=8).map(name_servers_first), task=task())
    def holds(before: list[dict[str, t.Any]], task: dict[str, t.Any]) -> None:
        cloudflare.double.records[cloudflare.double.zone_id(ZONE)].clear()
        for record in before:
            try:
                cloudflare.double.add_record(ZONE, **record)
            except Refused:
                continue  # such a zone cannot exist

        found = cloudflare.check_mode_runs(**task)
        outcomes["refused" if found.repeated is None else "changed" if found.actual["changed"] else "no change"] += 1

    with cloudflare_environment(serve, module, plan="pro") as cloudflare:
        holds()
    assert min(outcomes[kind] for kind in ("refused", "changed", "no change")) > 9, outcomes
    print(outcomes)
