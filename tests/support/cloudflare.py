# SPDX-License-Identifier: GPL-3.0-or-later
"""The module cloudflare_record beside a double, for the tests next to this file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import typing as t
from collections.abc import Callable, Iterator

import requests

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.contract.cloudflare_schema import CheckedBodies

ZONE = "example.com"
TOKEN, DNS_ONLY, READER = "canary-token-" + "e" * 40, "canary-dns-" + "d" * 40, "canary-reader-" + "r" * 40
ZONE_ONLY, BLIND = "canary-zone-" + "z" * 40, "canary-blind-" + "b" * 40
HOST = f"cache.{ZONE}"
RIGHTS = {
    TOKEN: {"zone:read", "dns:edit"},
    DNS_ONLY: {"dns:edit"},
    READER: {"zone:read", "dns:read"},
    ZONE_ONLY: {"zone:read"},
    BLIND: set(),
}

Run = t.Any


@dataclasses.dataclass
class Lab:
    double: CloudflareDouble
    wire: CheckedBodies
    base: str
    module: Callable[..., Run]

    def run(self, check: bool = False, **params: t.Any) -> Run:
        """The set A cache unless the parameters say another thing; None takes a parameter away."""
        self.forget()
        defaults = {"token": TOKEN, "url": self.base + ROOT, "zone": ZONE, "retries": 1}
        if "records" not in params:
            defaults |= {"name": "cache", "type": "A"}
        params = {key: value for key, value in {**defaults, **params}.items() if value is not None}
        result = self.module("cloudflare_record", params, check=check)
        assert "canary" not in json.dumps(result), "a token got into the result"
        return result

    def prove(self, **params: t.Any) -> Run:
        """Check mode writes nothing and predicts the run; a second run has nothing to do."""
        before = self.records()
        foreseen = self.run(check=True, **params)
        assert self.records() == before
        assert {method for method, _path in self.requests()} == {"GET"}
        done = self.run(**params)
        assert not done["failed"], done
        assert (foreseen["changed"], foreseen["diff"]) == (done["changed"], done["diff"])
        without_id = [{**record, "id": None} for record in foreseen["records"]]
        assert [{**record, "id": None} for record in done["records"]] == without_id
        again = self.nothing_to_do(**params)
        assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]
        assert again["records"] == done["records"]
        return done

    def refused(self, *words: str, **params: t.Any) -> Run:
        """Check mode and the run fail with the same words, and nothing is written."""
        before = self.records()
        results = [self.run(check=check, **params) for check in (True, False)]
        assert results[0]["msg"] == results[1]["msg"]
        for word in words:
            assert word in results[1]["msg"]
        assert self.records() == before
        assert {method for method, _path in self.requests()} <= {"GET"}
        return results[1]

    def seed(self, type_: str, content: t.Any, name: str = HOST, **more: t.Any) -> dict[str, t.Any]:
        value = {"data": content} if isinstance(content, dict) else {"content": content}
        return self.double.add_record(ZONE, type=type_, name=name, **value, **more)

    def nothing_to_do(self, **params: t.Any) -> Run:
        result = self.run(**params)
        assert not result["failed"], result
        assert not result["changed"], result["diff"]
        return result

    def records(self) -> list[tuple[t.Any, ...]]:
        fields = ("type", "name", "content", "ttl", "proxied", "comment")
        return sorted(tuple(str(record[field]) for field in fields) for record in self.double.all_records(ZONE))

    def contents(self) -> list[str]:
        return sorted(record["content"] for record in self.double.all_records(ZONE))

    def requests(self) -> list[tuple[str, str]]:
        journal = requests.get(self.base + "/_lab/requests", timeout=5).json()
        return [(entry["method"], entry["path"].rsplit("/", 1)[-1]) for entry in journal]

    def forget(self) -> None:
        requests.delete(self.base + "/_lab/requests", timeout=5)

    def fault(self, **fault: t.Any) -> None:
        requests.post(self.base + "/_lab/faults", json=fault, timeout=5)


@contextlib.contextmanager
def laboratory(serve: Callable[[t.Any], str], module: Callable[..., Run], plan: str = "free") -> Iterator[Lab]:
    double = CloudflareDouble([ZONE, "other.com"], {token: {ZONE: rights} for token, rights in RIGHTS.items()}, plan)
    wire = CheckedBodies(double.app)
    yield Lab(double, wire, serve(wire), module)
    assert wire.rejected == [], "Cloudflare's schema rejects what was sent or answered"
