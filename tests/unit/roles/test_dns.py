# SPDX-License-Identifier: GPL-3.0-or-later
"""The role dns: what it asks Cloudflare for when the preflight has run before it."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Callable

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.support.playbook import play

ZONE, TOKEN = "example.com", "canary" + "t" * 40
# Texts, because the role waits until addresses can be resolved.
RECORDS = [{"name": f"nixci{number}", "type": "TXT", "content": ["text"]} for number in range(3)]


def role(tasks_from: str, **variables: t.Any) -> dict[str, t.Any]:
    return {
        "ansible.builtin.include_role": {"name": "pantheros.nixci.dns", "tasks_from": tasks_from},
        "vars": variables,
    }


def test_the_zone_is_looked_up_once(serve: Callable[[t.Any], str], tmp_path: pathlib.Path) -> None:
    zones = [ZONE, "other.example"]
    double = CloudflareDouble(zones, {TOKEN: dict.fromkeys(zones, {"zone:read", "dns:edit"})})
    variables = {
        "dns_token": TOKEN,
        "dns_api_url": serve(double.app) + ROOT,
        "dns_records": RECORDS,
        "nixci_dns_zone": ZONE,
        "nixci_cache_domain": f"cache.{ZONE}",
    }
    tasks = [role("preflight"), role("main"), role("preflight"), role("main"), role("main", dns_zone=zones[1])]
    played = play(tasks, variables, tmp_path / "play", secrets=[TOKEN])
    assert played.returncode == 0, played.output[-4000:]
    assert played.leaks == []
    called = [f"{one['method']} {one['path'].rsplit('/', 1)[-1]}" for one in double.app.requests]
    look, listing, batch = "GET zones", "GET dns_records", "POST batch"
    assert called == [look, listing, listing, batch, look, listing, listing, look, listing, batch]
    for zone in zones:
        assert len(double.all_records(zone)) == 3, "the id of one zone is not taken for another"
