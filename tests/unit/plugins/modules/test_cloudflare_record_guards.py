# SPDX-License-Identifier: GPL-3.0-or-later
"""What a mistake in a task must not cause: changes in another zone, an empty set, or a text that is not intended."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator

import pytest

from tests.support.cloudflare import HOST, RIGHTS, TOKEN, ZONE, CloudflareEnvironment, Run, cloudflare_environment

OTHER_ZONE = "other.com"
MINE = "managed by nixci"
PRUNE: dict[str, t.Any] = {"owner": "nixci", "prune": True, "records": []}


@pytest.fixture
def cloudflare(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[CloudflareEnvironment]:
    with cloudflare_environment(serve, module) as environment:
        environment.double.tokens[TOKEN][OTHER_ZONE] = RIGHTS[TOKEN]
        yield environment


# -- the zone


@pytest.mark.parametrize("zone", [{"zone": ""}, {"zone": None, "zone_id": ""}, {"zone": "", "zone_id": ""}])
@pytest.mark.parametrize("task", [PRUNE, {"name": HOST, "content": "203.0.113.9"}, {"name": HOST, "state": "absent"}])
def test_an_empty_zone_is_an_error(
    cloudflare: CloudflareEnvironment, zone: dict[str, t.Any], task: dict[str, t.Any]
) -> None:
    cloudflare.add("A", "203.0.113.1", comment=MINE)
    cloudflare.assert_refused("zone and zone_id are empty", **zone, **task)
    assert cloudflare.requests() == []


def test_an_empty_zone_or_zone_id_is_ignored(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.verify(zone_id="", content="203.0.113.1")
    cloudflare.verify(zone="", zone_id=cloudflare.double.zone_id(ZONE), name=HOST, content="203.0.113.2")
    assert cloudflare.contents() == ["203.0.113.2"]


@pytest.mark.parametrize("comment", ["managed by ", "managed by nixci", None])
def test_an_empty_owner_owns_nothing(cloudflare: CloudflareEnvironment, comment: str | None) -> None:
    cloudflare.add("A", "203.0.113.1", comment=comment)
    cloudflare.assert_refused("The owner ''", **{**PRUNE, "owner": ""})


def test_prune_stays_within_the_zone(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.double.add_record(OTHER_ZONE, type="A", name=f"a.{OTHER_ZONE}", content="203.0.113.1", comment=MINE)
    cloudflare.assert_refused(
        "zone_id is the id of zone", f"a.{OTHER_ZONE}", zone_id=cloudflare.double.zone_id(OTHER_ZONE), **PRUNE
    )
    assert len(cloudflare.double.all_records(OTHER_ZONE)) == 1


RECORDS = [{"name": "a", "type": "A", "content": "203.0.113.1"}, {"name": "b", "type": "A", "content": "203.0.113.2"}]


@pytest.mark.parametrize("task", [{"content": "203.0.113.1"}, {"records": RECORDS}])
@pytest.mark.parametrize("lost", [False, True])
def test_the_id_of_another_zone_leaves_nothing_behind(
    cloudflare: CloudflareEnvironment, task: dict[str, t.Any], lost: bool
) -> None:
    other = cloudflare.double.zone_id(OTHER_ZONE)
    kept = cloudflare.double.add_record(OTHER_ZONE, type="A", name=OTHER_ZONE, content="198.51.100.1")
    if lost:
        cloudflare.fault(status=502, method="POST")
    result = cloudflare.run(zone_id=other, **task)
    assert result["failed"]
    for part in (f"{ZONE}.{OTHER_ZONE}", "was removed again", "zone_id is the id"):
        assert part in result["msg"]
    assert cloudflare.double.all_records(OTHER_ZONE) == [kept]


def test_only_the_record_outside_the_zone_is_removed_again(cloudflare: CloudflareEnvironment) -> None:
    records = [
        {"name": f"a.{ZONE}", "type": "A", "content": "203.0.113.1"},
        {"name": "a.exmaple.com", "type": "A", "content": "203.0.113.2"},
    ]
    result = cloudflare.run(zone=None, zone_id=cloudflare.double.zone_id(ZONE), records=records)
    assert f"'a.exmaple.com.{ZONE}'" in result["msg"]
    assert cloudflare.contents() == ["203.0.113.1"]


def test_a_stray_record_that_cannot_be_removed_is_named(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.fault(status=403, method="DELETE", times=9, body={"errors": [{"code": 10000, "message": "no"}]})
    result = cloudflare.run(zone=None, zone_id=cloudflare.double.zone_id(ZONE), name="a.b", content="203.0.113.1")
    assert f"removing it again failed; remove A a.b.{ZONE}" in result["msg"]
    assert cloudflare.contents() == ["203.0.113.1"]


# -- names and sets


@pytest.mark.parametrize("zone_id", [False, True])
@pytest.mark.parametrize("task", [{"content": "203.0.113.9"}, {"state": "absent"}])
def test_an_empty_name_is_not_the_zone_itself(
    cloudflare: CloudflareEnvironment, task: dict[str, t.Any], zone_id: bool
) -> None:
    cloudflare.add("A", "203.0.113.1", name=ZONE)
    by_id = {"zone": None, "zone_id": cloudflare.double.zone_id(ZONE)} if zone_id else {}
    cloudflare.assert_refused("The name is empty", name="", **task, **by_id)
    cloudflare.assert_refused(
        "Entry 1 of records (A ): The name is empty", records=[{"name": "", "type": "A", **task}], **by_id
    )


def test_an_empty_list_does_not_mean_everything(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "203.0.113.1")
    empty = {"state": "absent", "content": []}
    cloudflare.assert_refused("content is an empty list", **empty)
    cloudflare.assert_refused(
        "Entry 1 of records", "content is an empty list", records=[{"name": "cache", "type": "A", **empty}]
    )
    cloudflare.verify(state="absent")
    assert cloudflare.contents() == []


def test_the_zone_keeps_its_last_name_server_without_its_name(cloudflare: CloudflareEnvironment) -> None:
    by_id = {"zone": None, "zone_id": cloudflare.double.zone_id(ZONE)}
    for server in ("a.example.org", "b.example.org"):
        cloudflare.add("NS", server, name=ZONE)
    cloudflare.assert_refused("keep at least one", "set zone as well", name=ZONE, type="NS", state="absent", **by_id)
    cloudflare.verify(name=ZONE, type="NS", content="c.example.org", **by_id)
    cloudflare.add("NS", "d.example.org", name=ZONE)
    cloudflare.verify(name=ZONE, type="NS", content="c.example.org", state="absent", **by_id)
    cloudflare.add("NS", "ns.example.org", name=f"sub.{ZONE}")
    delegation = {"name": f"sub.{ZONE}", "type": "NS", "state": "absent"}
    cloudflare.assert_refused("set zone", **delegation, **by_id)
    cloudflare.verify(**delegation, zone_id=by_id["zone_id"])


# -- texts


@pytest.mark.parametrize("spoiled", ['"v=spf1 -all\\010"', '" v=spf1 -all"', '"v=spf1 -all "'])
def test_blanks_around_a_text_are_a_difference(cloudflare: CloudflareEnvironment, spoiled: str) -> None:
    cloudflare.add("TXT", spoiled)
    cloudflare.assert_unchanged(type="TXT", content="v=spf1 -all", state="absent")
    assert cloudflare.verify(type="TXT", content="v=spf1 -all")["changed"]
    assert cloudflare.contents() == ['"v=spf1 -all"']
    cloudflare.verify(type="TXT", content=spoiled)
    assert cloudflare.contents() == [spoiled]


@pytest.mark.parametrize("text", ["v=spf1 -all\n", "two\nlines", "\rx", "k" * 4097, "ü" * 2040, "k" * 4050])
def test_a_text_with_line_breaks_or_too_long_is_refused(cloudflare: CloudflareEnvironment, text: str) -> None:
    part = "line break" if len(text) < 100 else "4096 bytes"
    cloudflare.assert_refused(part, type="TXT", content=text)
    assert cloudflare.requests() == []


def test_a_long_text_is_accepted(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.verify(type="TXT", content="k" * 4040)
    cloudflare.verify(type="TXT", content='"several"\n"strings"\n')


def test_all_texts_of_a_name_have_a_limit(cloudflare: CloudflareEnvironment) -> None:
    texts = [f"{number:02}{'k' * 196}" for number in range(41)]
    cloudflare.assert_refused(HOST, "8192", type="TXT", content=texts)
    cloudflare.verify(type="TXT", content=texts[:40])
    cloudflare.assert_refused(HOST, "8192", type="TXT", content=texts[40], exclusive=False)
    cloudflare.verify(type="TXT", content=[*texts[:39], texts[40]])
    cloudflare.verify(type="TXT", name="elsewhere", content=texts[40])


def test_a_set_at_its_limit_can_be_changed(cloudflare: CloudflareEnvironment) -> None:
    """Others may have written the texts without quotes, which leaves room for more."""
    texts = [f"{number:02}{'k' * 198}" for number in range(40)] + ["k" * 190]
    for text in texts:
        cloudflare.add("TXT", text)
    cloudflare.verify(type="TXT", content=texts, ttl=600)
