# SPDX-License-Identifier: GPL-3.0-or-later
"""Delegations: Cloudflare accepts a DS only where NS exist, so their order matters in every direction."""

from __future__ import annotations

import typing as t

import pytest

from tests.support.cloudflare import ZONE, CloudflareEnvironment, cloudflare_fixture

cloudflare = cloudflare_fixture(plan="pro")

SUB = f"sub.{ZONE}"
DIGEST = "a" * 64
DS = {"name": "sub", "type": "DS", "content": f"12345 13 2 {DIGEST}"}
NS = {"name": "sub", "type": "NS", "content": ["ns1.example.net", "ns2.example.net"]}
GONE = [{**one, "content": None, "state": "absent"} for one in (NS, DS)]


def delegate(cloudflare: CloudflareEnvironment, ds: int = 1) -> None:
    for server in ("ns1.example.net", "ns2.example.net"):
        cloudflare.add("NS", server, name=SUB)
    for number in range(ds):
        data = {"key_tag": 12345 + number, "algorithm": 13, "digest_type": 2, "digest": DIGEST}
        cloudflare.add("DS", data, name=SUB)


def types(cloudflare: CloudflareEnvironment) -> list[str]:
    return sorted(record["type"] for record in cloudflare.double.all_records(ZONE))


def entries(*entries: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [{name: value for name, value in entry.items() if value is not None} for entry in entries]


@pytest.mark.parametrize("batch_size", [1, 2, 200])
@pytest.mark.parametrize("records", [[DS, NS], [NS, DS]])
def test_name_servers_are_created_before_the_ds(
    cloudflare: CloudflareEnvironment, records: list[dict[str, t.Any]], batch_size: int
) -> None:
    cloudflare.verify(records=records, batch_size=batch_size)
    posts = [post["type"] for body in cloudflare.wire.bodies for post in body.get("posts", [])]
    assert posts == ["NS", "NS", "DS"]
    assert types(cloudflare) == ["DS", "NS", "NS"]


@pytest.mark.parametrize("batch_size", [1, 2, 200])
@pytest.mark.parametrize("gone", [GONE, GONE[::-1]])
def test_the_ds_is_removed_before_the_name_servers(
    cloudflare: CloudflareEnvironment, gone: list[dict[str, t.Any]], batch_size: int
) -> None:
    delegate(cloudflare, ds=2)
    cloudflare.verify(records=entries(*gone), batch_size=batch_size)
    assert types(cloudflare) == []


def test_other_name_servers_and_another_ds_in_one_task(cloudflare: CloudflareEnvironment) -> None:
    delegate(cloudflare)
    records = [{**DS, "content": f"1 13 2 {DIGEST}"}, {**NS, "content": "ns3.example.net"}]
    cloudflare.verify(records=records, batch_size=1)
    assert types(cloudflare) == ["DS", "NS"]


def test_a_ds_without_name_servers_is_refused(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.assert_refused(f"DS of {SUB}", "name servers (NS)", **DS)
    cloudflare.assert_refused(f"DS of {SUB}", records=[DS, {**NS, "name": "other"}])
    cloudflare.assert_refused(f"DS of {SUB}", **{**DS, "name": SUB}, zone=None, zone_id=cloudflare.double.zone_id(ZONE))


@pytest.mark.parametrize("by_id", [False, True])
def test_the_name_servers_of_a_ds_are_not_removed_alone(cloudflare: CloudflareEnvironment, by_id: bool) -> None:
    delegate(cloudflare)
    cloudflare.add("NS", "ns.example.net", name=ZONE)
    zone = {"zone_id": cloudflare.double.zone_id(ZONE)} if by_id else {}
    for task in ({"name": "sub", "type": "NS", "state": "absent"}, {"records": entries(GONE[0])}):
        cloudflare.assert_refused(f"DS of {SUB}", "state: absent", **zone, **task)


def test_replacing_a_delegation_needs_the_removal_of_its_ds(cloudflare: CloudflareEnvironment) -> None:
    delegate(cloudflare)
    address = {"name": "sub", "type": "A", "content": "203.0.113.1"}
    cloudflare.assert_refused(f"DS of {SUB}", "state: absent", **address, replace_conflicting=True)
    cloudflare.verify(records=entries(address, GONE[1]), replace_conflicting=True)
    assert types(cloudflare) == ["A"]


def test_prune_removes_a_whole_delegation(cloudflare: CloudflareEnvironment) -> None:
    mine = {"owner": "nixci", "prune": True}
    cloudflare.verify(records=[DS, NS], **mine)
    cloudflare.verify(records=[], **mine, batch_size=1)
    assert types(cloudflare) == []


def test_a_ds_may_be_added_to_an_existing_delegation(cloudflare: CloudflareEnvironment) -> None:
    delegate(cloudflare, ds=0)
    cloudflare.verify(**DS)
    cloudflare.verify(**DS, state="absent")
    assert types(cloudflare) == ["NS", "NS"]


def test_the_zone_itself_may_have_a_ds(cloudflare: CloudflareEnvironment) -> None:
    """Its name servers are not among its records."""
    cloudflare.verify(**{**DS, "name": "@"})


def test_a_lone_ds_of_somebody_else_stops_no_other_task(cloudflare: CloudflareEnvironment) -> None:
    delegate(cloudflare)
    records = cloudflare.double.records[cloudflare.double.zone_id(ZONE)]
    for id_ in [id_ for id_, record in records.items() if record["type"] == "NS"]:
        del records[id_]
    cloudflare.verify(name="sub", type="TXT", content="text")
    cloudflare.assert_unchanged(**DS)
