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


def test_where_the_preflight_finds_no_difference_the_records_are_read_once(
    serve: Callable[[t.Any], str], tmp_path: pathlib.Path
) -> None:
    double = CloudflareDouble([ZONE], {TOKEN: {ZONE: {"zone:read", "dns:edit"}}})
    variables = {
        "dns_token": TOKEN,
        "dns_api_url": serve(double.app) + ROOT,
        "dns_records": RECORDS,
        "nixci_dns_zone": ZONE,
        "nixci_cache_domain": f"cache.{ZONE}",
    }
    differs = "dns_result.diff.before != dns_result.diff.after"
    tasks = 2 * [role("preflight"), {**role("main"), "when": differs}]
    played = play(tasks, variables, tmp_path / "play", secrets=[TOKEN])
    assert played.returncode == 0, played.output[-4000:]
    assert played.leaks == []
    called = [f"{one['method']} {one['path'].rsplit('/', 1)[-1]}" for one in double.app.requests]
    zone, listing, batch = "GET zones", "GET dns_records", "POST batch"
    assert called == [zone, listing, zone, listing, batch, zone, listing]
    assert len(double.all_records(ZONE)) == 3
