# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that Cloudflare manages itself (meta.read_only): nobody can change them, so no task promises to."""

from __future__ import annotations

import typing as t

import pytest

from tests.support.cloudflare import HOST, ZONE, CloudflareEnvironment, cloudflare_fixture

cloudflare = cloudflare_fixture(plan="pro")

KEY = '"v=DKIM1; k=rsa; p=AAAA"'
LABEL = "cf2024-1._domainkey"
THEIRS: dict[str, t.Any] = {"name": LABEL, "type": "TXT"}


@pytest.fixture(autouse=True)
def managed(cloudflare: CloudflareEnvironment) -> dict[str, t.Any]:
    return cloudflare.add("TXT", KEY, name=f"{LABEL}.{ZONE}", meta={"read_only": True})


@pytest.mark.parametrize(
    "task",
    [
        {**THEIRS, "state": "absent"},
        {**THEIRS, "state": "absent", "content": "v=DKIM1; k=rsa; p=AAAA"},
        {**THEIRS, "content": "v=DKIM1; k=rsa; p=BBBB"},
        {**THEIRS, "content": ["v=DKIM1; k=rsa; p=AAAA", "more"], "ttl": 300},
        {**THEIRS, "content": "v=DKIM1; k=rsa; p=AAAA", "comment": "note"},
        {"records": [{**THEIRS, "state": "absent"}, {"name": "cache", "type": "A", "content": "203.0.113.1"}]},
    ],
)
def test_a_change_is_refused_in_check_mode_and_in_a_run(
    cloudflare: CloudflareEnvironment, task: dict[str, t.Any]
) -> None:
    result = cloudflare.assert_refused("read-only", f"TXT {LABEL}.{ZONE}", "Cloudflare", **task)
    assert result["msg"].count(". ") <= 1


@pytest.mark.parametrize("take_over", [True, False])
def test_owners_do_not_change_that(cloudflare: CloudflareEnvironment, take_over: bool) -> None:
    mine = {"owner": "nixci", "take_over": take_over}
    cloudflare.assert_refused("read-only", **THEIRS, state="absent", **mine)
    cloudflare.assert_unchanged(**THEIRS, content="v=DKIM1; k=rsa; p=AAAA", **mine)


def test_a_set_that_is_not_exclusive_stands_beside_it(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.assert_refused("exclusive: false", **THEIRS, content="ours")
    done = cloudflare.verify(**THEIRS, content="ours", exclusive=False)
    assert [one["content"] for one in done["diff"]["before"]["records"]] == ["v=DKIM1; k=rsa; p=AAAA"]
    assert [one["content"] for one in done["diff"]["after"]["records"]] == ["ours", "v=DKIM1; k=rsa; p=AAAA"]
    assert cloudflare.contents() == ['"ours"', KEY]
    cloudflare.verify(**THEIRS, content="ours", state="absent")
    assert cloudflare.contents() == [KEY]


def test_as_desired_it_is_no_difference(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.assert_unchanged(**THEIRS, content=KEY)
    cloudflare.verify(**THEIRS, content=[KEY, "ours"])


def test_it_is_not_replaced(cloudflare: CloudflareEnvironment) -> None:
    cloudflare.add("AAAA", "100::", meta={"read_only": True})
    task = {"type": "CNAME", "content": "a.example.org"}
    cloudflare.assert_refused(f"AAAA {HOST}", "read-only", **task, replace_conflicting=True)
    result = cloudflare.assert_refused(f"AAAA {HOST}", "read-only", **task)
    assert "replace_conflicting" not in result["msg"], "that would not help"


def test_it_is_not_pruned(cloudflare: CloudflareEnvironment, managed: dict[str, t.Any]) -> None:
    managed["comment"] = "managed by nixci"
    cloudflare.assert_refused("read-only", records=[], owner="nixci", prune=True)
    managed["comment"] = None
    cloudflare.assert_unchanged(records=[], owner="nixci", prune=True)
