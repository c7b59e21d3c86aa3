# SPDX-License-Identifier: GPL-3.0-or-later
"""The double serves a client that is not ours: community.general.cloudflare_dns, which speaks to the real service."""

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
THEIRS = "ansible_collections.community.general.plugins.modules.cloudflare_dns"


class Theirs:
    def __init__(self, double: CloudflareDouble) -> None:
        self.double = double

    def run(self, **params: t.Any) -> tuple[dict[str, t.Any], list[str]]:
        """The result, and the requests that it took."""
        module = importlib.import_module(THEIRS)
        self.double.app.requests.clear()
        out = io.StringIO()
        args = {"api_token": TOKEN, "zone": ZONE, **params}
        with patch_module_args(args), contextlib.redirect_stdout(out), pytest.raises(SystemExit):
            module.main()
        made = [f"{one['method']} {one['path'].rsplit('/', 1)[-1]}" for one in self.double.app.requests]
        return json.loads(out.getvalue().strip().splitlines()[-1]), made


@pytest.fixture
def theirs(serve: Callable[[t.Any], str], monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Theirs]:
    pytest.importorskip(THEIRS, reason="the collection community.general is not installed")
    double = CloudflareDouble([ZONE], {TOKEN: {ZONE: {"zone:read", "dns:edit"}}})
    wire = CheckedBodies(double.app)
    module = importlib.import_module(THEIRS)
    monkeypatch.setattr(module.CloudflareAPI, "cf_api_endpoint", serve(wire) + ROOT)
    yield Theirs(double)
    assert [one for one in wire.rejected if "answered" in one] == []


LOOK, LIST, MAKE = "GET zones", "GET dns_records", "POST dns_records"
CASES = {
    "A": {"type": "A", "value": "203.0.113.1"},
    "AAAA": {"type": "AAAA", "value": "2001:db8::1"},
    "CNAME": {"type": "CNAME", "value": "a.example.org"},
    "TXT": {"type": "TXT", "value": "v=spf1 -all"},
    "MX": {"type": "MX", "value": "mail.example.org", "priority": 10},
    "CAA": {"type": "CAA", "flag": 0, "tag": "issue", "value": "letsencrypt.org"},
}


@pytest.mark.parametrize("params", CASES.values(), ids=CASES)
def test_it_creates_and_finds_its_record(theirs: Theirs, params: dict[str, t.Any]) -> None:
    result, made = theirs.run(record="cache", **params)
    assert result["changed"], result
    assert made == [LOOK, LOOK, LIST, MAKE]
    result, made = theirs.run(record="cache", **params)
    assert not result["changed"], result
    assert made == [LOOK, LOOK, LIST]


def test_it_removes_what_is_not_wanted(theirs: Theirs) -> None:
    for number in (1, 2):
        theirs.run(record="cache", type="A", value=f"203.0.113.{number}")
    result, made = theirs.run(record="cache", type="A", value="203.0.113.1", solo=True)
    assert result["changed"], result
    assert [one for one in made if one.startswith("DELETE")]
    assert [one["content"] for one in theirs.double.all_records(ZONE)] == ["203.0.113.1"]
    assert theirs.run(record="cache", type="A", value="203.0.113.1", state="absent")[0]["changed"]
    assert theirs.double.all_records(ZONE) == []


def test_it_has_the_faults_that_are_reported(theirs: Theirs) -> None:
    """So the double is not kinder than the service: these are why cloudflare_record exists."""
    theirs.run(record="cache", type="A", value="203.0.113.1")
    theirs.run(record="cache", type="A", value="203.0.113.2")
    assert len(theirs.double.all_records(ZONE)) == 2, "a changed value adds a record"
    srv = {
        "record": "@",
        "type": "SRV",
        "proto": "tcp",
        "service": "sip",
        "port": 5060,
        "weight": 5,
        "value": "sip.example.org",
    }
    assert theirs.run(**srv)[0]["changed"]
    again = theirs.run(**srv)[0]
    assert "81058" in again["msg"], "its record is not recognised and made once more"
