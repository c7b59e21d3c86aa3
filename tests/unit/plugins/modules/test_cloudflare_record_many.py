# SPDX-License-Identifier: GPL-3.0-or-later
"""Many records in one task: inheritance, batches and their limits, conflicts, pruning, what a plan refuses."""

from __future__ import annotations

import importlib
import typing as t
from collections.abc import Callable, Iterator

import pytest

from tests.support.cloudflare import HOST, ZONE, Lab, Run, laboratory


@pytest.fixture
def lab(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[Lab]:
    with laboratory(serve, module) as lab:
        yield lab


@pytest.fixture
def paid(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[Lab]:
    with laboratory(serve, module, plan="pro") as lab:
        yield lab


def addresses(count: int) -> list[dict[str, t.Any]]:
    return [
        {"name": f"h{number}", "type": "A", "content": f"10.0.{number // 250}.{number % 250}"}
        for number in range(count)
    ]


def test_an_entry_takes_what_it_leaves_out_from_the_task(lab: Lab) -> None:
    records = [
        {"name": "a", "type": "A", "content": "203.0.113.1"},
        {"name": "b", "type": "A", "content": "203.0.113.2", "ttl": 600, "comment": "its own", "proxied": False},
        {"name": "c", "type": "A", "state": "absent"},
    ]
    lab.seed("A", "203.0.113.3", name=f"c.{ZONE}")
    done = lab.prove(records=records, ttl=300, comment="common")
    assert lab.records() == [
        ("A", f"a.{ZONE}", "203.0.113.1", "300", "False", "common"),
        ("A", f"b.{ZONE}", "203.0.113.2", "600", "False", "its own"),
    ]
    assert done["changes"] == {"created": 2, "updated": 0, "deleted": 1}
    assert done["record"] is None


def test_entries_of_one_name_and_type_are_one_set(lab: Lab) -> None:
    lab.seed("A", "198.51.100.1")
    lab.seed("A", "198.51.100.2")
    records = [{"name": "cache", "type": "A", "content": f"203.0.113.{number}"} for number in (1, 2, 3)]
    lab.prove(records=[*records, {"name": HOST, "type": "A", "content": "198.51.100.9", "state": "absent"}])
    assert lab.contents() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


def test_values_of_one_set_may_have_their_own_members(lab: Lab) -> None:
    records = [
        {"name": "@", "type": "MX", "content": "10 a.example.org", "comment": "first"},
        {"name": "@", "type": "MX", "content": {"priority": 20, "target": "b.example.org"}, "comment": "second"},
    ]
    lab.prove(records=records)
    assert [(one["priority"], one["comment"]) for one in lab.double.all_records(ZONE)] == [
        (10, "first"),
        (20, "second"),
    ]


def test_present_and_absent_values_beside_others(lab: Lab) -> None:
    for text in ("old", "theirs"):
        lab.seed("TXT", f'"{text}"')
    records = [
        {"name": "cache", "type": "TXT", "content": "new"},
        {"name": "cache", "type": "TXT", "content": "old", "state": "absent"},
    ]
    lab.prove(records=records, exclusive=False)
    assert lab.contents() == ['"new"', '"theirs"']


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "x"}],
            "Entry 2 of records (A cache): Wrong content",
        ),
        ([{"type": "A"}], "Entry 1 of records (A cache): content needs at least one value"),
        ([{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "203.0.113.1", "ttl": 60}], "wanted twice"),
        ([{"type": "A", "content": "203.0.113.1"}, {"type": "A", "state": "absent"}], "present and absent"),
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "203.0.113.2", "exclusive": False}],
            "exclusive cannot be",
        ),
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "CNAME", "content": "a.example.org"}],
            f"wants CNAME 'a.example.org' and A '203.0.113.1' for {HOST}",
        ),
        (
            [{"type": "CNAME", "content": "a.example.org"}, {"type": "CNAME", "content": "b.example.org"}],
            "A CNAME has one target",
        ),
        (
            [{"type": "NS", "content": "ns.example.org"}, {"type": "A", "content": "203.0.113.1"}],
            "does not tolerate the other",
        ),
    ],
)
def test_a_contradiction_is_refused_before_any_request(lab: Lab, records: list[dict[str, t.Any]], words: str) -> None:
    lab.refused(words, records=[{"name": "cache", **one} for one in records])
    assert lab.requests() == []


@pytest.mark.parametrize(
    "params",
    [
        {"records": [], "name": "cache", "type": "A"},
        {"records": [], "content": "203.0.113.1"},
        {"name": "cache", "type": None},
        {"name": None, "type": None},
        {"records": [{"name": "cache"}]},
    ],
)
def test_one_set_or_many(lab: Lab, params: dict[str, t.Any]) -> None:
    assert lab.run(**params)["failed"]
    assert lab.requests() == []


# -- batches


def test_more_changes_than_a_batch_holds_are_several_batches(paid: Lab) -> None:
    done = paid.run(records=addresses(450))
    assert not done["failed"], done
    assert done["changes"]["created"] == len(paid.contents()) == 450
    assert [call for call in paid.requests() if call[0] == "POST"] == [("POST", "batch")] * 3
    assert {len(body["posts"]) for body in paid.wire.bodies} == {200, 50}
    paid.nothing_to_do(records=addresses(450))
    assert paid.requests() == [("GET", "zones"), ("GET", "dns_records")]


def test_a_larger_plan_may_take_all_at_once(paid: Lab) -> None:
    paid.run(records=addresses(450), batch_size=3500)
    assert [len(body["posts"]) for body in paid.wire.bodies] == [450]


def test_the_changes_of_a_name_stay_together(lab: Lab) -> None:
    for number in range(3):
        lab.seed("A", f"198.51.100.{number}")
    records = [
        *addresses(3),
        {"name": "cache", "type": "TXT", "content": "text"},
        {"name": "cache", "type": "A", "state": "absent"},
    ]
    lab.prove(records=records, batch_size=4)
    sizes = [{kind: len(items) for kind, items in body.items()} for body in lab.wire.bodies]
    assert sizes == [{"deletes": 3, "posts": 1}, {"posts": 3}]


def test_a_failure_between_batches_is_told_and_healed(paid: Lab) -> None:
    batch = paid.double.flask.view_functions["batch"]
    calls: list[int] = []

    def second_fails(**args: t.Any) -> t.Any:
        calls.append(1)
        if len(calls) > 1:
            return {"success": False, "errors": [{"code": 1004, "message": "no"}], "messages": [], "result": None}, 400
        return batch(**args)

    paid.double.flask.view_functions["batch"] = second_fails
    result = paid.run(records=addresses(300))
    assert result["failed"]
    assert "200 of 300 changes are made; run again" in result["msg"]
    paid.double.flask.view_functions["batch"] = batch
    assert paid.run(records=addresses(300))["changes"]["created"] == 100


def test_a_batch_that_is_too_large_for_the_plan_is_refused_as_a_whole(lab: Lab) -> None:
    lab.seed("A", "198.51.100.1")
    result = lab.run(records=addresses(250), batch_size=3500)
    assert result["failed"]
    assert "at most 200" in result["msg"]
    assert lab.contents() == ["198.51.100.1"]


def test_a_long_zone_is_read_to_its_end(paid: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._cloudflare.client")
    paid.run(records=addresses(45))
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 10)
    paid.nothing_to_do(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 5]
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 15)
    paid.nothing_to_do(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 3]


def test_a_service_with_smaller_pages_is_read_to_its_end(paid: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    paid.run(records=addresses(45))
    double = importlib.import_module("lab.clouds.cloudflare")
    page_of = double.page_of
    monkeypatch.setattr(double, "page_of", lambda items, *bounds: page_of(items, *bounds, cap=10))
    paid.nothing_to_do(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 5]


# -- what excludes each other


def test_a_conflict_names_both_and_the_way_out(lab: Lab) -> None:
    lab.seed("NS", "ns.example.org", name=f"sub.{ZONE}")
    result = lab.refused(
        "replace_conflicting: true", records=[*addresses(2), {"name": "sub", "type": "A", "content": "203.0.113.1"}]
    )
    assert f"A sub.{ZONE} → 203.0.113.1" in result["msg"]
    assert f"NS sub.{ZONE} → ns.example.org" in result["msg"]


def test_name_servers_of_the_zone_stand_beside_an_address(lab: Lab) -> None:
    lab.seed("NS", "ns.example.org", name=ZONE)
    lab.prove(name="@", content="203.0.113.1")


def test_replacing_is_one_batch(lab: Lab) -> None:
    lab.seed("CNAME", "a.example.org")
    done = lab.prove(content=["203.0.113.1", "203.0.113.2"], replace_conflicting=True)
    (body,) = lab.wire.bodies
    assert {kind: len(items) for kind, items in body.items()} == {"deletes": 1, "posts": 2}
    assert [one["type"] for one in done["diff"]["before"]["records"]] == ["CNAME"]
    assert [one["type"] for one in done["diff"]["after"]["records"]] == ["A", "A"]


def test_replacing_spares_the_records_of_others(lab: Lab) -> None:
    lab.seed("CNAME", "a.example.org", comment="theirs")
    lab.refused("theirs", "take_over", content="203.0.113.1", replace_conflicting=True, owner="nixci")
    lab.prove(content="203.0.113.1", replace_conflicting=True, owner="nixci", take_over=True)


def test_another_target_of_a_cname_changes_in_place_even_beside_others(lab: Lab) -> None:
    old = lab.seed("CNAME", "a.example.org")
    wish = {"type": "CNAME", "content": "b.example.org", "exclusive": False}
    lab.refused("replace_conflicting", **wish)
    assert lab.prove(**wish, replace_conflicting=True)["record"]["id"] == old["id"]


def test_a_cname_that_the_same_task_removes_is_no_conflict(lab: Lab) -> None:
    lab.seed("CNAME", "a.example.org")
    lab.prove(
        records=[
            {"name": "cache", "type": "CNAME", "state": "absent"},
            {"name": "cache", "type": "A", "content": "203.0.113.1"},
        ]
    )


# -- pruning


def test_prune_removes_what_was_made_here_and_left_the_list(lab: Lab) -> None:
    lab.seed("NS", "ns.example.org", name=ZONE)
    lab.seed("A", "198.51.100.1", name=f"theirs.{ZONE}", comment="managed by terraform")
    lab.seed("TXT", '"nobody"', name=f"other.{ZONE}")
    lab.seed("MX", "mail.example.org", name=f"left.{ZONE}", priority=10, comment="note (managed by nixci)")
    lab.prove(records=addresses(3), owner="nixci")
    done = lab.prove(records=addresses(2), owner="nixci", prune=True)
    assert done["changes"] == {"created": 0, "updated": 0, "deleted": 2}
    assert [one["name"] for one in done["records"]] == [f"h0.{ZONE}", f"h1.{ZONE}"]
    assert lab.contents() == ['"nobody"', "10.0.0.0", "10.0.0.1", "198.51.100.1", "ns.example.org"]
    lab.prove(records=[], owner="nixci", prune=True)
    assert lab.contents() == ['"nobody"', "198.51.100.1", "ns.example.org"]


def test_prune_with_take_over_spares_others_all_the_same(lab: Lab) -> None:
    lab.seed("A", "198.51.100.1", name=f"theirs.{ZONE}", comment="managed by terraform")
    lab.nothing_to_do(records=[], owner="nixci", prune=True, take_over=True)


@pytest.mark.parametrize("params", [{"records": []}, {"owner": "nixci", "content": "203.0.113.1"}])
def test_prune_needs_an_owner_and_a_list(lab: Lab, params: dict[str, t.Any]) -> None:
    lab.refused("it needs both", prune=True, **params)


# -- guards and plans


@pytest.mark.parametrize(
    "wish", [{"state": "absent"}, {"state": "absent", "content": ["a.example.org", "b.example.org"]}]
)
def test_the_zone_keeps_its_last_name_server(lab: Lab, wish: dict[str, t.Any]) -> None:
    for server in ("a.example.org", "b.example.org"):
        lab.seed("NS", server, name=ZONE)
    lab.refused("keep at least one", name="@", type="NS", **wish)
    lab.prove(name="@", type="NS", content="c.example.org")
    lab.seed("NS", "ns.example.org", name=f"sub.{ZONE}")
    lab.prove(name="sub", type="NS", state="absent")


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "127.0.0.1"])
def test_a_private_address_is_not_proxied(lab: Lab, address: str) -> None:
    lab.refused("set proxied: false", content=address, proxied=True)
    lab.seed("A", "203.0.113.1", proxied=True)
    lab.refused("set proxied: false", content=address)


def test_flattening_is_for_paid_plans_and_not_for_proxied_names(lab: Lab, paid: Lab) -> None:
    wish = {"type": "CNAME", "content": "a.example.org", "settings": {"flatten_cname": True}}
    done = paid.prove(**wish)
    assert done["record"]["settings"] == {"flatten_cname": True}
    paid.nothing_to_do(**{**wish, "settings": {"ipv4_only": False}})
    paid.prove(**{**wish, "settings": {"flatten_cname": False, "ipv4_only": True}})
    assert paid.double.all_records(ZONE)[0]["settings"] == {"flatten_cname": False, "ipv4_only": True}
    paid.refused("proxied or flatten_cname", **wish, proxied=True)
    paid.refused("for a CNAME", content="203.0.113.1", settings={"flatten_cname": True})
    assert lab.run(**wish)["failed"]


def test_tags_are_for_paid_plans(lab: Lab, paid: Lab) -> None:
    result = lab.run(content="203.0.113.1", tags=["team:infra"])
    assert result["failed"]
    assert "this plan has no tags; leave tags out" in result["msg"]
    assert result["codes"] == [1004, 9300]
    paid.prove(content="203.0.113.1", tags=["Team:infra", "env:Test"])
    paid.prove(content="203.0.113.1", tags=["env:Test"])
    paid.refused("'no good' is not of the form", content="203.0.113.1", tags=["no good"])


def test_a_full_zone_is_told(lab: Lab) -> None:
    for number in range(200):
        lab.seed("TXT", f'"{number}"', name=f"t{number}.{ZONE}")
    result = lab.run(content="203.0.113.1")
    assert result["failed"]
    assert "as many as its plan allows" in result["msg"]
