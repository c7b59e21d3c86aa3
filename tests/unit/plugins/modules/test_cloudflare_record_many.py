# SPDX-License-Identifier: GPL-3.0-or-later
"""Many records in one task: inheritance, batches, conflicts, pruning, and limits of plans."""

from __future__ import annotations

import importlib
import typing as t

import pytest

from tests.support.cloudflare import HOST, ZONE, CloudflareEnvironment, cloudflare_fixture

cloudflare = cloudflare_fixture()


paid = cloudflare_fixture(plan="pro")


def addresses(count: int) -> list[dict[str, t.Any]]:
    return [
        {"name": f"h{number}", "type": "A", "content": f"10.0.{number // 250}.{number % 250}"}
        for number in range(count)
    ]


def test_an_entry_inherits_options_from_the_task(cloudflare: CloudflareEnvironment) -> None:
    records = [
        {"name": "a", "type": "A", "content": "203.0.113.1"},
        {"name": "b", "type": "A", "content": "203.0.113.2", "ttl": 600, "comment": "its own", "proxied": False},
        {"name": "c", "type": "A", "state": "absent"},
    ]
    cloudflare.add("A", "203.0.113.3", name=f"c.{ZONE}")
    done = cloudflare.verify(records=records, ttl=300, comment="common")
    assert cloudflare.records() == [
        ("A", f"a.{ZONE}", "203.0.113.1", "300", "False", "common"),
        ("A", f"b.{ZONE}", "203.0.113.2", "600", "False", "its own"),
    ]
    assert done["changes"] == {"created": 2, "updated": 0, "deleted": 1}
    assert done["record"] is None


def test_entries_of_one_name_and_type_are_one_set(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "198.51.100.1")
    cloudflare.add("A", "198.51.100.2")
    records = [{"name": "cache", "type": "A", "content": f"203.0.113.{number}"} for number in (1, 2, 3)]
    cloudflare.verify(records=[*records, {"name": HOST, "type": "A", "content": "198.51.100.9", "state": "absent"}])
    assert cloudflare.contents() == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


def test_values_of_one_set_may_have_different_fields(cloudflare: CloudflareEnvironment) -> None:
    records = [
        {"name": "@", "type": "MX", "content": "10 a.example.org", "comment": "first"},
        {"name": "@", "type": "MX", "content": {"priority": 20, "target": "b.example.org"}, "comment": "second"},
    ]
    cloudflare.verify(records=records)
    assert [(one["priority"], one["comment"]) for one in cloudflare.double.all_records(ZONE)] == [
        (10, "first"),
        (20, "second"),
    ]


def test_present_and_absent_values_beside_others(cloudflare: CloudflareEnvironment) -> None:
    for text in ("old", "theirs"):
        cloudflare.add("TXT", f'"{text}"')
    records = [
        {"name": "cache", "type": "TXT", "content": "new"},
        {"name": "cache", "type": "TXT", "content": "old", "state": "absent"},
    ]
    cloudflare.verify(records=records, exclusive=False)
    assert cloudflare.contents() == ['"new"', '"theirs"']


@pytest.mark.parametrize(
    ("records", "part"),
    [
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "x"}],
            "Entry 2 of records (A cache): Wrong content",
        ),
        ([{"type": "A"}], "Entry 1 of records (A cache): content needs at least one value"),
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "203.0.113.1", "ttl": 60}],
            "appears twice",
        ),
        ([{"type": "A", "content": "203.0.113.1"}, {"type": "A", "state": "absent"}], "both present and absent"),
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "A", "content": "203.0.113.2", "exclusive": False}],
            "exclusive must not be both",
        ),
        (
            [{"type": "A", "content": "203.0.113.1"}, {"type": "CNAME", "content": "a.example.org"}],
            f"sets CNAME 'a.example.org' and A '203.0.113.1' for {HOST}",
        ),
        (
            [{"type": "CNAME", "content": "a.example.org"}, {"type": "CNAME", "content": "b.example.org"}],
            "A CNAME has one target",
        ),
        (
            [{"type": "NS", "content": "ns.example.org"}, {"type": "A", "content": "203.0.113.1"}],
            "cannot exist at the same name",
        ),
    ],
)
def test_a_contradiction_fails_before_any_request(
    cloudflare: CloudflareEnvironment, records: list[dict[str, t.Any]], part: str
) -> None:
    cloudflare.assert_refused(part, records=[{"name": "cache", **one} for one in records])
    assert cloudflare.requests() == []


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
def test_one_set_or_many(cloudflare: CloudflareEnvironment, params: dict[str, t.Any]) -> None:
    assert cloudflare.run(**params)["failed"]
    assert cloudflare.requests() == []


# -- batches


def test_more_changes_than_a_batch_holds_are_several_batches(paid: CloudflareEnvironment) -> None:
    done = paid.run(records=addresses(450))
    assert not done["failed"], done
    assert done["changes"]["created"] == len(paid.contents()) == 450
    assert [call for call in paid.requests() if call[0] == "POST"] == [("POST", "batch")] * 3
    assert {len(body["posts"]) for body in paid.wire.bodies} == {200, 50}
    paid.assert_unchanged(records=addresses(450))
    assert paid.requests() == [("GET", "zones"), ("GET", "dns_records")]


def test_a_larger_plan_may_take_all_at_once(paid: CloudflareEnvironment) -> None:
    paid.run(records=addresses(450), batch_size=3500)
    assert [len(body["posts"]) for body in paid.wire.bodies] == [450]


def test_the_changes_of_a_name_stay_together(cloudflare: CloudflareEnvironment) -> None:
    for number in range(3):
        cloudflare.add("A", f"198.51.100.{number}")
    records = [
        *addresses(3),
        {"name": "cache", "type": "TXT", "content": "text"},
        {"name": "cache", "type": "A", "state": "absent"},
    ]
    cloudflare.verify(records=records, batch_size=4)
    sizes = [{kind: len(items) for kind, items in body.items()} for body in cloudflare.wire.bodies]
    assert sizes == [{"deletes": 3, "posts": 1}, {"posts": 3}]


def test_after_a_failure_between_batches_the_next_run_makes_the_rest(paid: CloudflareEnvironment) -> None:
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
    assert "200 of 300 changes were made; run the task again" in result["msg"]
    paid.double.flask.view_functions["batch"] = batch
    assert paid.run(records=addresses(300))["changes"]["created"] == 100


def test_a_batch_that_is_too_large_for_the_plan_is_refused_as_a_whole(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "198.51.100.1")
    result = cloudflare.run(records=addresses(250), batch_size=3500)
    assert result["failed"]
    assert "at most 200" in result["msg"]
    assert cloudflare.contents() == ["198.51.100.1"]


def test_all_pages_of_a_zone_are_read(paid: CloudflareEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = importlib.import_module("ansible_collections.pantheros.nixci.plugins.module_utils._cloudflare.client")
    paid.run(records=addresses(45))
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 10)
    paid.assert_unchanged(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 5]
    monkeypatch.setattr(utils.CloudflareClient, "PAGE", 15)
    paid.assert_unchanged(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 3]


def test_all_pages_are_read_even_if_they_are_smaller_than_requested(
    paid: CloudflareEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid.run(records=addresses(45))
    double = importlib.import_module("lab.clouds.cloudflare")
    page_of = double.page_of
    monkeypatch.setattr(double, "page_of", lambda items, *bounds: page_of(items, *bounds, cap=10))
    paid.assert_unchanged(records=addresses(45))
    assert paid.requests() == [("GET", "zones"), *[("GET", "dns_records")] * 5]


# -- conflicts


def test_a_conflict_names_both_records_and_the_remedy(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("NS", "ns.example.org", name=f"sub.{ZONE}")
    result = cloudflare.assert_refused(
        "replace_conflicting: true", records=[*addresses(2), {"name": "sub", "type": "A", "content": "203.0.113.1"}]
    )
    assert f"A sub.{ZONE} → 203.0.113.1" in result["msg"]
    assert f"NS sub.{ZONE} → ns.example.org" in result["msg"]


def test_name_servers_of_the_zone_stand_beside_an_address(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("NS", "ns.example.org", name=ZONE)
    cloudflare.verify(name="@", content="203.0.113.1")


def test_replacing_is_one_batch(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("CNAME", "a.example.org")
    done = cloudflare.verify(content=["203.0.113.1", "203.0.113.2"], replace_conflicting=True)
    (body,) = cloudflare.wire.bodies
    assert {kind: len(items) for kind, items in body.items()} == {"deletes": 1, "posts": 2}
    assert [one["type"] for one in done["diff"]["before"]["records"]] == ["CNAME"]
    assert [one["type"] for one in done["diff"]["after"]["records"]] == ["A", "A"]


def test_records_of_others_are_not_replaced(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("CNAME", "a.example.org", comment="theirs")
    cloudflare.assert_refused("theirs", "take_over", content="203.0.113.1", replace_conflicting=True, owner="nixci")
    cloudflare.verify(content="203.0.113.1", replace_conflicting=True, owner="nixci", take_over=True)


def test_another_target_of_a_cname_changes_in_place_even_beside_others(cloudflare: CloudflareEnvironment) -> None:
    old = cloudflare.add("CNAME", "a.example.org")
    task = {"type": "CNAME", "content": "b.example.org", "exclusive": False}
    cloudflare.assert_refused("replace_conflicting", **task)
    assert cloudflare.verify(**task, replace_conflicting=True)["record"]["id"] == old["id"]


def test_a_cname_that_the_same_task_removes_is_no_conflict(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("CNAME", "a.example.org")
    cloudflare.verify(
        records=[
            {"name": "cache", "type": "CNAME", "state": "absent"},
            {"name": "cache", "type": "A", "content": "203.0.113.1"},
        ]
    )


# -- pruning


def test_prune_removes_marked_records_that_are_no_longer_listed(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("NS", "ns.example.org", name=ZONE)
    cloudflare.add("A", "198.51.100.1", name=f"theirs.{ZONE}", comment="managed by terraform")
    cloudflare.add("TXT", '"nobody"', name=f"other.{ZONE}")
    cloudflare.add("MX", "mail.example.org", name=f"left.{ZONE}", priority=10, comment="note (managed by nixci)")
    cloudflare.verify(records=addresses(3), owner="nixci")
    done = cloudflare.verify(records=addresses(2), owner="nixci", prune=True)
    assert done["changes"] == {"created": 0, "updated": 0, "deleted": 2}
    assert [one["name"] for one in done["records"]] == [f"h0.{ZONE}", f"h1.{ZONE}"]
    assert cloudflare.contents() == ['"nobody"', "10.0.0.0", "10.0.0.1", "198.51.100.1", "ns.example.org"]
    cloudflare.verify(records=[], owner="nixci", prune=True)
    assert cloudflare.contents() == ['"nobody"', "198.51.100.1", "ns.example.org"]


def test_prune_with_take_over_keeps_records_of_others(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("A", "198.51.100.1", name=f"theirs.{ZONE}", comment="managed by terraform")
    cloudflare.assert_unchanged(records=[], owner="nixci", prune=True, take_over=True)


@pytest.mark.parametrize("params", [{"records": []}, {"owner": "nixci", "content": "203.0.113.1"}])
def test_prune_needs_an_owner_and_a_list(cloudflare: CloudflareEnvironment, params: dict[str, t.Any]) -> None:
    cloudflare.assert_refused("it needs both", prune=True, **params)


# -- safeguards and plans


@pytest.mark.parametrize(
    "task", [{"state": "absent"}, {"state": "absent", "content": ["a.example.org", "b.example.org"]}]
)
def test_the_zone_keeps_its_last_name_server(cloudflare: CloudflareEnvironment, task: dict[str, t.Any]) -> None:
    for server in ("a.example.org", "b.example.org"):
        cloudflare.add("NS", server, name=ZONE)
    cloudflare.assert_refused("keep at least one", name="@", type="NS", **task)
    cloudflare.verify(name="@", type="NS", content="c.example.org")
    cloudflare.add("NS", "ns.example.org", name=f"sub.{ZONE}")
    cloudflare.verify(name="sub", type="NS", state="absent")


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "127.0.0.1"])
def test_a_private_address_is_not_proxied(cloudflare: CloudflareEnvironment, address: str) -> None:
    cloudflare.assert_refused("set proxied: false", content=address, proxied=True)
    cloudflare.add("A", "203.0.113.1", proxied=True)
    cloudflare.assert_refused("set proxied: false", content=address)


def test_flattening_is_for_paid_plans_and_not_for_proxied_names(
    cloudflare: CloudflareEnvironment, paid: CloudflareEnvironment
) -> None:
    task = {"type": "CNAME", "content": "a.example.org", "settings": {"flatten_cname": True}}
    done = paid.verify(**task)
    assert done["record"]["settings"] == {"flatten_cname": True}
    paid.assert_unchanged(**{**task, "settings": {"ipv4_only": False}})
    paid.verify(**{**task, "settings": {"flatten_cname": False, "ipv4_only": True}})
    assert paid.double.all_records(ZONE)[0]["settings"] == {"flatten_cname": False, "ipv4_only": True}
    paid.assert_refused("either proxied or flatten_cname", **task, proxied=True)
    paid.assert_refused("applies to a CNAME", content="203.0.113.1", settings={"flatten_cname": True})
    assert cloudflare.run(**task)["failed"]


def test_tags_are_for_paid_plans(cloudflare: CloudflareEnvironment, paid: CloudflareEnvironment) -> None:
    result = cloudflare.run(content="203.0.113.1", tags=["team:infra"])
    assert result["failed"]
    assert "this plan has no tags; leave tags out" in result["msg"]
    assert result["codes"] == [1004, 9300]
    paid.verify(content="203.0.113.1", tags=["Team:infra", "env:Test"])
    paid.verify(content="203.0.113.1", tags=["env:Test"])
    paid.assert_refused("'no good' is not of the form", content="203.0.113.1", tags=["no good"])


def test_a_full_zone_is_reported(cloudflare: CloudflareEnvironment) -> None:
    for number in range(200):
        cloudflare.add("TXT", f'"{number}"', name=f"t{number}.{ZONE}")
    result = cloudflare.run(content="203.0.113.1")
    assert result["failed"]
    assert "as many as its plan allows" in result["msg"]
