# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache as a resource: what a task desires, and how it is brought about. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import re
import time
import typing as t

from .._core.change import Change
from .._core.duration import parse_duration
from .._core.errors import ConflictError, ForbiddenError, InvalidError
from .client import AtticClient, Cache, check_name
from .keys import check_public_key, public_half

INT32 = range(-(2**31), 2**31)

# Stands for a key pair that only the server knows, so that check mode and later runs can refer to it.
ANOTHER_KEY = "another one"

Params = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class DesiredCache:
    """Refuses what the server or Nix would refuse."""

    name: str
    present: bool
    settings: Cache
    """The FIELDS that the task sets."""

    keypair: str | None = dataclasses.field(repr=False)
    own_key: str | None
    """The public half of the key pair."""

    replaceable: str | None
    """The public key that may be replaced."""

    @classmethod
    def from_params(cls, params: Params) -> DesiredCache:
        keypair = params["keypair"]
        if keypair == "":
            raise InvalidError(
                "keypair: it is empty; give the key pair, or leave the option out to let the server make one."
            )
        settings = _settings(params)
        own_key = public_half(keypair) if keypair else None
        return cls(
            params["name"], params["state"] == "present", settings, keypair, own_key, params["replace_public_key"]
        )

    def change(self, found: Cache | None) -> Change:
        """The public key is part of the states only where the task is about the key."""
        before = self._state(found) if found else None
        if not self.present:
            return Change(before, None)
        if found and self.own_key and found["public_key"] not in (self.own_key, self.replaceable):
            raise ConflictError(
                f"Attic: cache '{self.name}' signs with {found['public_key']}, not with the keypair, whose public key "
                f"is {self.own_key}; nothing has been changed. To replace the key, which every client will notice, set "
                "replace_public_key to the former."
            )
        base = found or {"name": self.name, **AtticClient.DEFAULTS}
        return Change(before, self._state({**base, **self.settings, "public_key": self.own_key or ANOTHER_KEY}))

    def _state(self, cache: Cache) -> Cache:
        state = {field: cache[field] for field in ("name", *AtticClient.FIELDS)}
        if self.own_key or self.replaceable:
            known = self.own_key or cache["public_key"] == self.replaceable
            state["public_key"] = cache["public_key"] if known else ANOTHER_KEY
        return state


def _settings(params: Params) -> Cache:
    check_name(params["name"])
    settings = {field: params[field] for field in AtticClient.FIELDS if params[field] is not None}
    if settings.get("retention_period", "global") != "global":
        try:
            settings["retention_period"] = parse_duration("retention_period", settings["retention_period"])
        except InvalidError as exc:
            raise InvalidError(f"{exc} Write global for the server's default.") from None
    for field in ("priority", "retention_period"):
        if isinstance(settings.get(field), int) and settings[field] not in INT32:
            raise InvalidError(
                f"{field}: {settings[field]} does not fit into the server's database; the limit is 2^31 - 1."
            )
    if not re.fullmatch(r"/\S+", settings.get("store_dir", "/nix/store")):
        raise InvalidError(
            f"store_dir: '{settings['store_dir']}' is not the absolute path of a directory, such as /nix/store."
        )
    for key in settings.get("upstream_cache_key_names", ()):
        if not re.fullmatch(r"[^\s:]+", key):
            raise InvalidError(
                f"upstream_cache_key_names: '{key}' is not the name of a key; give the part before the colon."
            )
    if params["replace_public_key"]:
        check_public_key("replace_public_key", params["replace_public_key"])
    return settings


@dataclasses.dataclass(frozen=True)
class CachePlan:
    change: Change
    found: Cache | None

    @property
    def new_key(self) -> bool:
        """Whether the cache gets a key pair."""
        return self.change.after is not None and (self.found is None or "public_key" in self.change.fields)


class CacheResource:
    """One cache of a server.

    A lost answer needs no care of its own: a cache that was created with the desired settings, or whose key was
    replaced, is one with nothing left to do when it is read again. Nobody is harmed if someone else has created it
    meanwhile, because a key pair that is not the desired one is refused as always.
    """

    def __init__(self, client: AtticClient, desired: DesiredCache) -> None:
        self.client = client
        self.desired = desired
        self.now = int(time.time())

    def read(self, params: Params) -> Cache | None:
        return self.client.get_cache(self.desired.name)

    def plan(self, params: Params, found: Cache | None) -> CachePlan:
        change = self.desired.change(found)
        self._require_rights(change)
        return CachePlan(change, found)

    def predict(self, plan: CachePlan) -> dict[str, t.Any]:
        known: Cache = {field: (plan.found or {}).get(field) for field in AtticClient.READ_ONLY}
        if plan.new_key:
            known["public_key"] = self.desired.own_key  # None if the server makes one
        return _result(plan, known)

    def apply(self, plan: CachePlan) -> dict[str, t.Any]:
        name, change = self.desired.name, plan.change
        # Without a key pair of ours the server makes one.
        key = {"Keypair": self.desired.keypair} if self.desired.keypair else "Generate"
        if change.after is None:
            self.client.destroy(name)
        elif change.before is None:
            self.client.create(name, change.after, key)
        else:
            settings = {field: change.fields[field] for field in AtticClient.FIELDS if field in change.fields}
            self.client.configure(name, {"keypair": key, **settings} if plan.new_key else settings)
        known = self.client.get_cache(name) if plan.new_key else plan.found
        return _result(plan, {field: (known or {}).get(field) for field in AtticClient.READ_ONLY})

    def _require_rights(self, change: Change) -> None:
        """Report a fault of the token, as far as it is readable, before the first of several requests."""
        if change and (fault := self.client.fault(self.desired.name, needed_rights(change), self.now)):
            raise ForbiddenError(
                f"Attic: cache '{self.desired.name}' cannot be changed, and nothing has been: {fault}."
            )

    def warnings(self, result: dict[str, t.Any]) -> list[str]:
        """What the user should know about a result; it holds the states before the first request and now."""
        before, after, cache = result["diff"]["before"], result["diff"]["after"], result["cache"]
        found = []
        if fault := self.client.ignored_because(self.now):
            found.append(
                f"token: the server ignores it because {fault}; this run needed no right that everybody lacks."
            )
        if before and after and before.get("public_key") != after.get("public_key"):
            found.append(
                f"Attic: with the key of cache '{self.desired.name}' replaced, the server signs everything with the new "
                f"one, including what was pushed before. Clients that trust only {before['public_key']} refuse the cache "
                "until they have the new public_key; let them trust both for 30 days, because Nix remembers old "
                "signatures that long."
            )
        endpoints = [cache[field] for field in ("substituter_endpoint", "api_endpoint") if cache and cache[field]]
        if endpoints and (not endpoints[0].endswith(f"/{self.desired.name}") or not endpoints[1].endswith("/")):
            found.append(
                f"Attic: the server reports {' and '.join(endpoints)} as the addresses of cache '{self.desired.name}'; "
                "end api-endpoint and substituter-endpoint in its configuration with a slash."
            )
        if self.client.base_url.startswith("https:") and any(url.startswith("http:") for url in endpoints):
            found.append(
                "Attic: the server reports addresses without https to its clients, which would send tokens in the clear; "
                "set api-endpoint in its configuration, or let the proxy send X-Forwarded-Proto."
            )
        return found


def needed_rights(change: Change) -> set[str]:
    """The rights that a change needs; reading the cache first needed pull already, if it is private."""
    if change.after is None:
        return {"destroy_cache"}
    retention = {"configure_cache", "configure_cache_retention"}
    if change.before is None:
        needed = {"create_cache"} if change.after["is_public"] else {"create_cache", "pull"}
        return needed if change.after["retention_period"] == "global" else needed | retention
    needed = retention if "retention_period" in change.fields else {"configure_cache"}
    # Whoever makes a public cache private must be able to read it afterwards, as the next run does.
    return needed if change.after["is_public"] else needed | {"pull"}


def _result(plan: CachePlan, known: Cache) -> dict[str, t.Any]:
    """The cache as a return value, with its lines for nix.conf."""
    if plan.change.after is None:
        return {"cache": None}
    cache = {**plan.change.after, **known}
    lines = {"extra-substituters": cache["substituter_endpoint"], "extra-trusted-public-keys": cache["public_key"]}
    cache["nix_conf"] = [f"{key} = {value}" for key, value in lines.items()] if all(lines.values()) else None
    return {"cache": cache}
