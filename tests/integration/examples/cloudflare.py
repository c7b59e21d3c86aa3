# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

from lab.clouds.cloudflare import ROOT, CloudflareDouble
from tests.integration.examples.environment import Environment, Serve

ZONE = "hbohlen.systems"


def environment(serve: Serve, _folder: pathlib.Path) -> Environment:
    token = "canary" + "t" * 40
    double = CloudflareDouble([ZONE], {token: {ZONE: {"zone:read", "dns:edit"}}})
    # As the first examples promise: there was an address before, and one for IPv6.
    double.add_record(ZONE, name=f"cache.{ZONE}", type="A", content="198.51.100.1", comment="managed by nixci")
    double.add_record(ZONE, name=f"cache.{ZONE}", type="AAAA", content="2001:db8::1")
    return Environment(
        endpoint={"cloudflare_record": {"url": serve(double.app) + ROOT}},
        variables={"cloudflare_token": token},
        secrets=[token],
    )
