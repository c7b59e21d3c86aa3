# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of `make demo`: the cache as it is now, and which parts of the lab are real."""

from __future__ import annotations

import typing as t

import requests

from . import state
from .names import URLS, VAULT
from .shell import LabError

CACHES = ("public-cache", "ci-cache")


def root_token() -> str:
    """Found as a user of the vault finds it: vault by name, item by title, field by label."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {state.secret('connect-token')}"
    vaults = f"{URLS['onepassword']}/v1/vaults"
    (vault,) = session.get(vaults, params={"filter": f'name eq "{VAULT}"'}, timeout=10).json()
    items = f"{vaults}/{vault['id']}/items"
    found = session.get(items, params={"filter": 'title eq "Attic"'}, timeout=10).json()
    if not found:
        raise LabError("There is no cache yet; run 'ansible-playbook playbooks/site.yml' first.")
    fields = session.get(f"{items}/{found[0]['id']}", timeout=10).json()["fields"]
    return next(field["value"] for field in fields if field["label"] == "root-token")


def summary() -> str:
    lab: dict[str, t.Any] = state.read(state.LAB)
    if not lab:
        raise LabError("The lab is not up; start it with 'make demo'.")
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {root_token()}"
    lines = ["", f"The cache is up: {lab['cache_url']}"]
    for name in CACHES:
        url = f"{lab['cache_url']}_api/v1/cache-config/{name}"
        cache = session.get(url, verify=lab["acme"]["ca"], timeout=10).json()
        days = cache["retention_period"]["Period"] // 86400
        access = "everybody may read" if cache["is_public"] else "readers need a token"
        lines += [f"  {name:<14}{access}, kept {days} days without use", f"  {'':<14}{cache['public_key']}"]
    real = [name for name, kind in lab["uses"].items() if kind == "real"]
    doubles = [name for name, kind in lab["uses"].items() if kind == "double"]
    lines += [
        f"Real:     {', '.join(['nix', 'postgresql', 'caddy', 'systemd', *real])}",
        *(f"          {name} is {path}" for name, path in lab["programs"].items()),
        f"Doubles:  {', '.join(doubles)};  NixOS is played by a stand-in on Debian",
        f"Fleet:    {lab['fleet']}, with what the playbook added; see git status there",
        "Again:    .venv/bin/ansible-playbook playbooks/site.yml        Away: make demo-clean",
    ]
    return "\n".join(lines)
