# SPDX-License-Identifier: GPL-3.0-or-later
"""The module cloudflare_record with a double of Cloudflare, for its tests."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import typing as t
from collections.abc import Callable, Iterator

import pytest

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.contract.cloudflare_schema import CheckedBodies
from tests.support.check_mode import CheckModeRuns, assert_check_mode_contract

ZONE = "example.com"
TOKEN, DNS_ONLY, READER = "canary-token-" + "e" * 40, "canary-dns-" + "d" * 40, "canary-reader-" + "r" * 40
ZONE_ONLY, WITHOUT_RIGHTS = "canary-zone-" + "z" * 40, "canary-none-" + "n" * 40
HOST = f"cache.{ZONE}"
RIGHTS = {
    TOKEN: {"zone:read", "dns:edit"},
    DNS_ONLY: {"dns:edit"},
    READER: {"zone:read", "dns:read"},
    ZONE_ONLY: {"zone:read"},
    WITHOUT_RIGHTS: set(),
}

Run = t.Any


@dataclasses.dataclass
class CloudflareEnvironment:
    double: CloudflareDouble
    wire: CheckedBodies
    base: str
    module: Callable[..., Run]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        """The record set A cache by default; None removes an option."""
        self.double.app.requests.clear()
        defaults = {"token": TOKEN, "url": self.base + ROOT, "zone": ZONE, "retries": 1}
        if "records" not in params:
            defaults |= {"name": "cache", "type": "A"}
        params = {key: value for key, value in {**defaults, **params}.items() if value is not None}
        result = self.module("cloudflare_record", params, check=check)
        assert "canary" not in json.dumps(result), "the result contains a token"
        if check:
            assert {method for method, _path in self.requests()} <= {"GET"}
        return result

    def check_mode_runs(self, **params: t.Any) -> CheckModeRuns:
        def run(*, check: bool = False) -> Run:
            return self.run(check=check, **params)

        return assert_check_mode_contract(run, self.state, unknown={"record.id", "records.*.id"}, once={"changes"})

    def verify(self, **params: t.Any) -> Run:
        """The task succeeds as check mode predicts, and a second run changes nothing."""
        done = self.check_mode_runs(**params).actual
        assert not done["failed"], done
        return done

    def assert_refused(self, *parts: str, **params: t.Any) -> Run:
        """The task fails in check mode and otherwise, with a message that has these parts, and writes nothing."""
        failed = self.check_mode_runs(**params).actual
        assert failed["failed"]
        for part in parts:
            assert part in failed["msg"]
        assert {method for method, _path in self.requests()} <= {"GET"}
        return failed

    def assert_unchanged(self, **params: t.Any) -> Run:
        result = self.run(**params)
        assert not result["failed"], result
        assert not result["changed"], result["diff"]
        return result

    def add(self, type_: str, content: t.Any, name: str = HOST, **more: t.Any) -> dict[str, t.Any]:
        value = {"data": content} if isinstance(content, dict) else {"content": content}
        return self.double.add_record(ZONE, type=type_, name=name, **value, **more)

    def state(self) -> list[dict[str, t.Any]]:
        """What the zone contains, without times."""
        records = [{**one, "modified_on": None, "created_on": None} for one in self.double.all_records(ZONE)]
        return sorted(records, key=lambda one: one["id"])

    def records(self) -> list[tuple[t.Any, ...]]:
        fields = ("type", "name", "content", "ttl", "proxied", "comment")
        return sorted(tuple(str(record[field]) for field in fields) for record in self.double.all_records(ZONE))

    def contents(self) -> list[str]:
        return sorted(record["content"] for record in self.double.all_records(ZONE))

    def requests(self) -> list[tuple[str, str]]:
        return [(entry["method"], entry["path"].rsplit("/", 1)[-1]) for entry in self.double.app.requests]

    def fault(self, **fault: t.Any) -> None:
        self.double.app.faults.append(fault)

    def lose_response(self, view: str) -> None:
        """The next request of this kind is carried out, but answered by a proxy with 502."""
        inner, lost = self.double.flask.view_functions[view], []

        def lose(**args: t.Any) -> t.Any:
            response = inner(**args)
            lost.append(response)
            return ("bad gateway", 502) if len(lost) == 1 else response

        self.double.flask.view_functions[view] = lose


@contextlib.contextmanager
def cloudflare_environment(
    serve: Callable[[t.Any], str], module: Callable[..., Run], plan: str = "free"
) -> Iterator[CloudflareEnvironment]:
    double = CloudflareDouble([ZONE, "other.com"], {token: {ZONE: rights} for token, rights in RIGHTS.items()}, plan)
    wire = CheckedBodies(double.app)
    yield CloudflareEnvironment(double, wire, serve(wire), module)
    assert wire.rejected == [], "a request or response does not match Cloudflare's schema"


def cloudflare_fixture(plan: str = "free") -> t.Any:
    """A fixture for the tests of one file."""

    @pytest.fixture
    def cloudflare(serve: Callable[[t.Any], str], module: Callable[..., Run]) -> Iterator[CloudflareEnvironment]:
        with cloudflare_environment(serve, module, plan) as environment:
            yield environment

    return cloudflare
