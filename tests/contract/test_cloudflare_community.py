# SPDX-License-Identifier: GPL-3.0-or-later
"""The double serves another client, community.general.cloudflare_dns, which works with the real service."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import typing as t
from collections.abc import Callable

import pytest
from ansible.module_utils.testing import patch_module_args

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.contract.cloudflare_schema import CheckedBodies

ZONE, TOKEN = "example.com", "e" * 40
MODULE = "ansible_collections.community.general.plugins.modules.cloudflare_dns"


class CommunityModule:
    def __init__(self, double: CloudflareDouble) -> None:
        self.double = double

    def run(self, **params: t.Any) -> tuple[dict[str, t.Any], list[str]]:
        """The result, and the requests that it took."""
        module = importlib.import_module(MODULE)
        self.double.app.requests.clear()
        out = io.StringIO()
        args = {"api_token": TOKEN, "zone": ZONE, **params}
        with patch_module_args(args), contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            module.main()
        calls = [f"{one['method']} {one['path'].rsplit('/', 1)[-1]}" for one in self.double.app.requests]
        return json.loads(out.getvalue().strip().splitlines()[-1]), calls


@pytest.fixture
def community(serve: Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch) -> t.Iterator[CommunityModule]:
    pytest.importorskip(MODULE, reason="the collection community.general is not installed")
    double = CloudflareDouble([ZONE], {TOKEN: {ZONE: {"zone:read", "dns:edit"}}})
    wire = CheckedBodies(double.app)
    module = importlib.import_module(MODULE)
    monkeypatch.setattr(module.CloudflareAPI, "cf_api_endpoint", serve(wire) + ROOT)
    yield CommunityModule(double)
    assert [one for one in wire.rejected if ": response" in one] == []


FIND, LIST, CREATE = "GET zones", "GET dns_records", "POST dns_records"
CASES = {
    "A": {"type": "A", "value": "203.0.113.1"},
    "AAAA": {"type": "AAAA", "value": "2001:db8::1"},
    "CNAME": {"type": "CNAME", "value": "a.example.org"},
    "TXT": {"type": "TXT", "value": "v=spf1 -all"},
    "MX": {"type": "MX", "value": "mail.example.org", "priority": 10},
    "CAA": {"type": "CAA", "flag": 0, "tag": "issue", "value": "letsencrypt.org"},
}


@pytest.mark.parametrize("params", CASES.values(), ids=CASES)
def test_it_creates_and_finds_its_record(community: CommunityModule, params: dict[str, t.Any]) -> None:
    result, calls = community.run(record="cache", **params)
    assert result["changed"], result
    assert calls == [FIND, FIND, LIST, CREATE]
    result, calls = community.run(record="cache", **params)
    assert not result["changed"], result
    assert calls == [FIND, FIND, LIST]


def test_it_removes_surplus_records(community: CommunityModule) -> None:
    for number in (1, 2):
        community.run(record="cache", type="A", value=f"203.0.113.{number}")
    result, calls = community.run(record="cache", type="A", value="203.0.113.1", solo=True)
    assert result["changed"], result
    assert [one for one in calls if one.startswith("DELETE")]
    assert [one["content"] for one in community.double.all_records(ZONE)] == ["203.0.113.1"]
    assert community.run(record="cache", type="A", value="203.0.113.1", state="absent")[0]["changed"]
    assert community.double.all_records(ZONE) == []


def test_it_has_its_known_defects(community: CommunityModule) -> None:
    """The double is as strict as the service. These defects are the reason for cloudflare_record."""
    community.run(record="cache", type="A", value="203.0.113.1")
    community.run(record="cache", type="A", value="203.0.113.2")
    assert len(community.double.all_records(ZONE)) == 2, "a changed value adds a record"
    srv = {
        "record": "@",
        "type": "SRV",
        "proto": "tcp",
        "service": "sip",
        "port": 5060,
        "weight": 5,
        "value": "sip.example.org",
    }
    assert community.run(**srv)[0]["changed"]
    again = community.run(**srv)[0]
    assert "81058" in again["msg"], "it does not recognise its record and creates it again"
