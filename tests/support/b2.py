# SPDX-License-Identifier: GPL-3.0-or-later
"""A served B2 double with its S3 API, and a module that uses it."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable

import pytest
import requests

from lab.clouds._b2_rules import Refused
from lab.clouds.b2 import OPERATIONS, B2Double, Key
from lab.clouds.s3 import S3Double

REGION = "eu-central-003"
ATTIC = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]


class Environment:
    module_name = ""

    def __init__(self, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
        self.b2 = B2Double(region=REGION, foreign_buckets=["somebody-elses"])
        self.s3 = S3Double(self.b2)
        self.b2.s3_url = serve(self.s3.app)
        self.url = serve(self.b2.app)
        self.module = module
        self.params: dict[str, t.Any] = {
            "key_id": self.b2.account_id,
            "key": self.b2.keys[self.b2.account_id].secret,
            "realm": self.url,
            "timeout": 5,
            "retries": 0,
        }

    def run(self, check: bool = False, **params: t.Any) -> t.Any:
        given = {name: value for name, value in {**self.params, **params}.items() if value is not None}
        return self.module(self.module_name, given, check=check)

    def as_key(self, *capabilities: str, **members: t.Any) -> dict[str, str]:
        """The options for a key with only these capabilities."""
        key = self.b2.add_key("admin", capabilities, **members)
        return {"key_id": key.id, "key": key.secret}

    def native(self, operation: str, **body: t.Any) -> dict[str, t.Any]:
        """A request with the master key, without the module."""
        auth = (self.b2.account_id, self.b2.keys[self.b2.account_id].secret)
        token = requests.get(f"{self.url}/b2api/v4/b2_authorize_account", auth=auth, timeout=5).json()
        answer = requests.post(
            f"{self.url}/b2api/v4/{operation}",
            json={"accountId": self.b2.account_id, **body},
            headers={"Authorization": token["authorizationToken"]},
            timeout=5,
        )
        answer.raise_for_status()
        self.journal()
        return answer.json()

    def journal(self) -> list[str]:
        seen = requests.get(f"{self.url}/_lab/requests", timeout=5).json()
        requests.delete(f"{self.url}/_lab/requests", timeout=5)
        return [each["path"].rpartition("/")[2] for each in seen]

    def fault(self, **fault: t.Any) -> None:
        requests.post(f"{self.url}/_lab/faults", json=fault, timeout=5)


class BucketEnvironment(Environment):
    module_name = "b2_bucket"

    def __init__(self, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
        super().__init__(serve, module)
        self.params |= {"region": REGION, "name": "nix-cache"}


class KeyEnvironment(Environment):
    """Has a bucket for the keys."""

    module_name = "b2_application_key"

    def __init__(self, serve: Callable[[t.Any], str], module: Callable[..., t.Any]) -> None:
        super().__init__(serve, module)
        bucket = self.native("b2_create_bucket", bucketName="nix-cache", bucketType="allPrivate")
        self.bucket_id: str = bucket["bucketId"]
        self.params |= {"name": "attic", "bucket": "nix-cache", "capabilities": ATTIC}

    def absent(self, check: bool = False, **params: t.Any) -> t.Any:
        return self.run(check, state="absent", capabilities=None, **params)

    def seed(self, name: str = "attic", capabilities: t.Sequence[str] = ATTIC, **members: t.Any) -> Key:
        return self.b2.add_key(name, capabilities, **{"bucket_ids": [self.bucket_id], **members})

    def ids(self, name: str = "attic") -> list[str]:
        return sorted(key.id for key in self.b2.keys.values() if key.name == name)


def wrap(patch: pytest.MonkeyPatch, operation: str, wrapper: Callable[..., t.Any]) -> None:
    """Wrap an operation of the double in wrapper(real, double, key, body)."""
    *rules, real = OPERATIONS[operation]
    patch.setitem(OPERATIONS, operation, (*rules, functools.partial(wrapper, real)))


def lose(patch: pytest.MonkeyPatch, operation: str, times: int = 1) -> None:
    """Let the double carry out an operation, but lose its first answers."""
    losses = iter([Refused(503, "service_unavailable", "lost")] * times)

    def act_and_lose(real: t.Any, *arguments: t.Any) -> t.Any:
        answer = real(*arguments)
        for loss in losses:
            raise loss
        return answer

    wrap(patch, operation, act_and_lose)
