# SPDX-License-Identifier: GPL-3.0-or-later
"""What a slip in a task must not do: work in another zone, empty a set, write what is not meant."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator

import pytest

from tests.support.cloudflare import HOST, RIGHTS, TOKEN, ZONE, Lab, Run, laboratory

OTHER_ZONE = "other.com"
MINE = "managed by nixci"
PRUNE: dict[str, t.Any] = {"owner": "nixci", "prune": True, "records": []}


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[Lab]:
    with laboratory(serve, module) as lab:
        lab.double.tokens[TOKEN][OTHER_ZONE] = RIGHTS[TOKEN]
        yield lab


# -- the zone


@pytest.mark.parametrize("zone", [{"zone": ""}, {"zone": None, "zone_id": ""}, {"zone": "", "zone_id": ""}])
@pytest.mark.parametrize("wish", [PRUNE, {"name": HOST, "content": "203.0.113.9"}, {"name": HOST, "state": "absent"}])
def test_an_empty_zone_is_not_just_any_zone(lab: Lab, zone: dict[str, t.Any], wish: dict[str, t.Any]) -> None:
    lab.seed("A", "203.0.113.1", comment=MINE)
    lab.refused("zone and zone_id are empty", **zone, **wish)
    assert lab.requests() == []


def test_an_empty_one_of_the_two_is_not_given(lab: Lab) -> None:
    lab.prove(zone_id="", content="203.0.113.1")
    lab.prove(zone="", zone_id=lab.double.zone_id(ZONE), name=HOST, content="203.0.113.2")
    assert lab.contents() == ["203.0.113.2"]


@pytest.mark.parametrize("comment", ["managed by ", "managed by nixci", None])
def test_an_empty_owner_owns_nothing(lab: Lab, comment: str | None) -> None:
    lab.seed("A", "203.0.113.1", comment=comment)
    lab.refused("The owner ''", **{**PRUNE, "owner": ""})


def test_prune_stays_within_the_zone(lab: Lab) -> None:
    lab.double.add_record(OTHER_ZONE, type="A", name=f"a.{OTHER_ZONE}", content="203.0.113.1", comment=MINE)
    lab.refused("zone_id is the id of zone", f"a.{OTHER_ZONE}", zone_id=lab.double.zone_id(OTHER_ZONE), **PRUNE)
    assert len(lab.double.all_records(OTHER_ZONE)) == 1


RECORDS = [{"name": "a", "type": "A", "content": "203.0.113.1"}, {"name": "b", "type": "A", "content": "203.0.113.2"}]


@pytest.mark.parametrize("wish", [{"content": "203.0.113.1"}, {"records": RECORDS}])
@pytest.mark.parametrize("lost", [False, True])
def test_the_id_of_another_zone_leaves_nothing_behind(lab: Lab, wish: dict[str, t.Any], lost: bool) -> None:
    other = lab.double.zone_id(OTHER_ZONE)
    kept = lab.double.add_record(OTHER_ZONE, type="A", name=OTHER_ZONE, content="198.51.100.1")
    if lost:
        lab.fault(status=502, method="POST")
    result = lab.run(zone_id=other, **wish)
    assert result["failed"]
    for words in (f"{ZONE}.{OTHER_ZONE}", "was removed again", "zone_id is the id"):
        assert words in result["msg"]
    assert lab.double.all_records(OTHER_ZONE) == [kept]


def test_a_name_of_another_zone_takes_only_its_own_record_back(lab: Lab) -> None:
    records = [
        {"name": f"a.{ZONE}", "type": "A", "content": "203.0.113.1"},
        {"name": "a.exmaple.com", "type": "A", "content": "203.0.113.2"},
    ]
    result = lab.run(zone=None, zone_id=lab.double.zone_id(ZONE), records=records)
    assert f"'a.exmaple.com.{ZONE}'" in result["msg"]
    assert lab.contents() == ["203.0.113.1"]


def test_a_stray_record_that_stays_is_named(lab: Lab) -> None:
    lab.fault(status=403, method="DELETE", times=9, body={"errors": [{"code": 10000, "message": "no"}]})
    result = lab.run(zone=None, zone_id=lab.double.zone_id(ZONE), name="a.b", content="203.0.113.1")
    assert f"removing that again failed; remove A a.b.{ZONE}" in result["msg"]
    assert lab.contents() == ["203.0.113.1"]


# -- names and sets


@pytest.mark.parametrize("zone_id", [False, True])
@pytest.mark.parametrize("wish", [{"content": "203.0.113.9"}, {"state": "absent"}])
def test_an_empty_name_is_not_the_zone_itself(lab: Lab, wish: dict[str, t.Any], zone_id: bool) -> None:
    lab.seed("A", "203.0.113.1", name=ZONE)
    by_id = {"zone": None, "zone_id": lab.double.zone_id(ZONE)} if zone_id else {}
    lab.refused("The name is empty", name="", **wish, **by_id)
    lab.refused("Entry 1 of records (A ): The name is empty", records=[{"name": "", "type": "A", **wish}], **by_id)


def test_an_empty_list_does_not_mean_everything(lab: Lab) -> None:
    lab.seed("A", "203.0.113.1")
    empty = {"state": "absent", "content": []}
    lab.refused("content is an empty list", **empty)
    lab.refused("Entry 1 of records", "content is an empty list", records=[{"name": "cache", "type": "A", **empty}])
    lab.prove(state="absent")
    assert lab.contents() == []


def test_the_zone_keeps_its_last_name_server_without_its_name(lab: Lab) -> None:
    by_id = {"zone": None, "zone_id": lab.double.zone_id(ZONE)}
    for server in ("a.example.org", "b.example.org"):
        lab.seed("NS", server, name=ZONE)
    lab.refused("keep at least one", "set zone", name=ZONE, type="NS", state="absent", **by_id)
    lab.prove(name=ZONE, type="NS", content="c.example.org", **by_id)
    lab.seed("NS", "d.example.org", name=ZONE)
    lab.prove(name=ZONE, type="NS", content="c.example.org", state="absent", **by_id)
    lab.seed("NS", "ns.example.org", name=f"sub.{ZONE}")
    delegation = {"name": f"sub.{ZONE}", "type": "NS", "state": "absent"}
    lab.refused("set zone", **delegation, **by_id)
    lab.prove(**delegation, zone_id=by_id["zone_id"])


# -- texts


@pytest.mark.parametrize("spoilt", ['"v=spf1 -all\\010"', '" v=spf1 -all"', '"v=spf1 -all "'])
def test_what_is_around_a_text_is_a_difference(lab: Lab, spoilt: str) -> None:
    lab.seed("TXT", spoilt)
    lab.nothing_to_do(type="TXT", content="v=spf1 -all", state="absent")
    assert lab.prove(type="TXT", content="v=spf1 -all")["changed"]
    assert lab.contents() == ['"v=spf1 -all"']
    lab.prove(type="TXT", content=spoilt)
    assert lab.contents() == [spoilt]


@pytest.mark.parametrize("text", ["v=spf1 -all\n", "two\nlines", "\rx", "k" * 4097, "ü" * 2040, "k" * 4050])
def test_a_text_that_is_not_meant_or_too_long_is_refused(lab: Lab, text: str) -> None:
    words = "line break" if len(text) < 100 else "4096 bytes"
    lab.refused(words, type="TXT", content=text)
    assert lab.requests() == []


def test_a_long_text_is_taken(lab: Lab) -> None:
    lab.prove(type="TXT", content="k" * 4040)
    lab.prove(type="TXT", content='"several"\n"strings"\n')


def test_all_texts_of_a_name_have_a_limit(lab: Lab) -> None:
    texts = [f"{number:02}{'k' * 196}" for number in range(41)]
    lab.refused(HOST, "8192", type="TXT", content=texts)
    lab.prove(type="TXT", content=texts[:40])
    lab.refused(HOST, "8192", type="TXT", content=texts[40], exclusive=False)
    lab.prove(type="TXT", content=[*texts[:39], texts[40]])
    lab.prove(type="TXT", name="elsewhere", content=texts[40])


def test_a_set_at_its_limit_can_be_changed(lab: Lab) -> None:
    """Without quotes, as others may have written them, there is room for more."""
    texts = [f"{number:02}{'k' * 198}" for number in range(40)] + ["k" * 190]
    for text in texts:
        lab.seed("TXT", text)
    lab.prove(type="TXT", content=texts, ttl=600)
