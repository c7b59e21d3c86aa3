# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats of what clients send. Every check raises ValueError with a message like the server's."""

from __future__ import annotations

import re
import typing as t

from .signing import STORE_HASH, Keypair, parse_sha256

CACHE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,49}")
Check = t.Callable[[t.Any], t.Any]


def cache_name(value: t.Any) -> str:
    if not isinstance(value, str) or not CACHE_NAME.fullmatch(value):
        raise ValueError(f'Invalid cache name "{value}"')
    return value


def store_hash(value: t.Any) -> str:
    if not isinstance(value, str) or not STORE_HASH.fullmatch(value):
        raise ValueError(f'Invalid store path hash "{value}"')
    return value


class NotAVariant(ValueError):
    """Neither a name nor an object with one, which the server treats as invalid JSON, not as a wrong value."""


def variant(plain: str, other: str, check: Check) -> Check:
    """`"plain"` (which is read as None) or `{"other": value}`."""

    def read_variant(value: t.Any) -> t.Any:
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict) or len(value) != 1:
            raise NotAVariant("expected value")
        [(name, content)] = value.items()
        if name == plain and content is None:
            return None
        if name == other:
            return check(content)
        raise ValueError(f"unknown variant `{name}`, expected `{plain}` or `{other}`")

    return read_variant


def of(kind: type) -> Check:
    def check(value: t.Any) -> t.Any:
        if not isinstance(value, kind):
            raise ValueError(f"invalid type: {type(value).__name__}, expected {kind.__name__}")
        return value

    return check


def integer(low: int, high: int) -> Check:
    def check(value: t.Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"invalid value: {value!r}, expected an integer from {low} to {high}")
        return value

    return check


def list_of(item: Check) -> Check:
    return lambda value: [item(entry) for entry in of(list)(value)]


TEXTS = list_of(of(str))
CACHE: dict[str, Check] = {
    "keypair": variant("Generate", "Keypair", lambda value: Keypair(of(str)(value))),
    "is_public": of(bool),
    "store_dir": of(str),
    "priority": integer(-(2**31), 2**31 - 1),
    "upstream_cache_key_names": TEXTS,
}
READ_ONLY: dict[str, Check] = {name: of(str) for name in ("public_key", "api_endpoint", "substituter_endpoint")}
CACHE_PATCH: dict[str, Check] = {
    **CACHE,
    "retention_period": variant("Global", "Period", integer(0, 2**32 - 1)),
    **READ_ONLY,
}
MISSING_PATHS: dict[str, Check] = {"cache": cache_name, "store_path_hashes": list_of(store_hash)}
NAR_INFO: dict[str, Check] = {
    "cache": cache_name,
    "store_path_hash": store_hash,
    "store_path": of(str),
    "references": TEXTS,
    "sigs": TEXTS,
    "nar_hash": lambda value: parse_sha256(of(str)(value)),
    "nar_size": integer(0, 2**63 - 1),
}
NAR_INFO_OPTIONAL: dict[str, Check] = {name: of(str) for name in ("system", "deriver", "ca")}


def read(body: t.Any, required: dict[str, Check], optional: dict[str, Check] | None = None) -> dict[str, t.Any]:
    """Unknown fields are ignored; an optional one that is null is absent."""
    found: dict[str, t.Any] = {}
    for name, value in of(dict)(body).items():
        check = required.get(name) or (optional or {}).get(name)
        if check is None or (value is None and name not in required):
            continue
        try:
            found[name] = check(value)
        except ValueError as exc:
            raise type(exc)(f"{name}: {exc}") from None
    for name in required:
        if name not in found:
            raise ValueError(f"missing field `{name}`")
    return found
