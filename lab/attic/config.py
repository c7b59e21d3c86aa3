# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's TOML file and environment, which are refused as by the real server."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import pathlib
import re
import tomllib
import typing as t
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from .signing import decode_base64

TOP_LEVEL = (
    "listen", "allowed-hosts", "api-endpoint", "substituter-endpoint", "soft-delete-caches",
    "require-proof-of-possession", "max-nar-info-size", "database", "storage", "chunking", "compression",
    "garbage-collection", "jwt",
)  # fmt: skip
SIGNING = ("token-rs256-pubkey-base64", "token-rs256-secret-base64", "token-hs256-secret-base64")
COMPRESSION_LEVELS = {"none": 0, "zstd": 8, "xz": 2}
SPANS = {
    "ns": 1e-9, "nsec": 1e-9, "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hr": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "wk": 604800, "week": 604800,
    "M": 2630016, "month": 2630016, "y": 31557600, "yr": 31557600, "year": 31557600,
}  # fmt: skip


class ConfigError(Exception):
    """The file is wrong: exit code 1."""


class EnvironmentPanic(Exception):
    """The environment is wrong or incomplete: the real server panics, exit code 101."""


@dataclass(frozen=True)
class Signing:
    """What verifies tokens."""

    algorithm: str
    key: t.Any


@dataclass(frozen=True)
class Config:
    """Only the settings that the double uses; the others are checked and dropped."""

    database_url: str
    storage: dict[str, t.Any]
    signing: Signing
    host: str = "::"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    api_endpoint: str | None = None
    substituter_endpoint: str | None = None
    soft_delete_caches: bool = False
    require_proof_of_possession: bool = True
    max_nar_info_size: int = 1 << 20
    nar_size_threshold: int = 65536
    avg_chunk_size: int = 65536
    compression: str = "zstd"
    compression_level: int = 8
    gc_interval: float = 43200
    default_retention_period: int = 0
    bound_issuer: str | None = None
    bound_audiences: tuple[str, ...] = ()


def load(path: pathlib.Path | None) -> Config:
    """From -f, else the environment, else the user's configuration directory (which is not created here)."""
    if path is None and (encoded := os.environ.get("ATTIC_SERVER_CONFIG_BASE64")):
        try:
            return parse(base64.b64decode(encoded, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise ConfigError(str(exc)) from None
    if path is None:
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        path = pathlib.Path(home, "attic", "server.toml")
    try:
        return parse(path.read_text())
    except OSError as exc:
        raise ConfigError(f"{exc.strerror} (os error {exc.errno})") from None


def parse(text: str) -> Config:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"TOML parse error: {exc}") from None
    for key in raw:
        if key == "token-hs256-secret-base64":
            raise ConfigError(f"The {key} field has been moved to [jwt.signing].")
        if key not in TOP_LEVEL:
            names = ", ".join(f"`{name}`" for name in TOP_LEVEL)
            raise ConfigError(f"TOML parse error: unknown field `{key}`, expected one of {names}")

    database = _get(raw, "database", dict)
    storage = _get(raw, "storage", dict)
    chunking = _get(raw, "chunking", dict)
    sizes = {name: _get(chunking, name, int) for name in ("nar-size-threshold", "min-size", "avg-size", "max-size")}
    compression = _get(raw, "compression", dict, {})
    kind = _get(compression, "type", str) if "compression" in raw else "zstd"
    if kind == "brotli":
        raise ConfigError("This double cannot compress with brotli; the real server can.")
    if kind not in COMPRESSION_LEVELS:
        raise ConfigError(f"TOML parse error: unknown variant `{kind}`, expected one of `none`, `brotli`, `zstd`, `xz`")
    gc = _get(raw, "garbage-collection", dict, {})
    jwt = _get(raw, "jwt", dict, {})
    host, port = read_listen(_get(raw, "listen", str, "[::]:8080"))
    _check_storage(storage)
    return Config(
        database_url=_get(database, "url", str, None) or _database_url_from_env(),
        storage=storage,
        signing=_signing(jwt),
        host=host,
        port=port,
        allowed_hosts=tuple(_get(raw, "allowed-hosts", list, [])),
        api_endpoint=_get(raw, "api-endpoint", str, None),
        substituter_endpoint=_get(raw, "substituter-endpoint", str, None),
        soft_delete_caches=_get(raw, "soft-delete-caches", bool, False),
        require_proof_of_possession=_get(raw, "require-proof-of-possession", bool, True),
        max_nar_info_size=_get(raw, "max-nar-info-size", int, 1 << 20),
        nar_size_threshold=sizes["nar-size-threshold"],
        avg_chunk_size=max(sizes["avg-size"], 1),
        compression=kind,
        compression_level=_get(compression, "level", int, COMPRESSION_LEVELS[kind]),
        gc_interval=_span(gc, "interval", "12h"),
        default_retention_period=int(_span(gc, "default-retention-period", "0s")),
        bound_issuer=_get(jwt, "token-bound-issuer", str, None),
        bound_audiences=tuple(_get(jwt, "token-bound-audiences", list, [])),
    )


REQUIRED: t.Any = object()


def _get(table: dict[str, t.Any], key: str, kind: type, default: t.Any = REQUIRED) -> t.Any:
    if key not in table:
        if default is REQUIRED:
            raise ConfigError(f"TOML parse error: missing field `{key}`")
        return default
    value = table[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"TOML parse error: `{key}`: invalid type: {value!r}, expected {kind.__name__}")
    if kind is list and not all(isinstance(item, str) for item in value):
        raise ConfigError(f"TOML parse error: `{key}`: invalid type, expected a list of strings")
    if kind is int and value < 0 and key != "level":
        raise ConfigError(f"TOML parse error: `{key}`: invalid value: integer `{value}`, expected usize")
    return value


def read_listen(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    try:
        bare = str(ipaddress.IPv6Address(host[1:-1]) if host.startswith("[") else ipaddress.IPv4Address(host))
        if not 0 <= int(port) <= 65535:
            raise ValueError(port)
    except ValueError:
        raise ConfigError("TOML parse error: `listen`: invalid socket address syntax") from None
    return bare, int(port)


def _span(table: dict[str, t.Any], key: str, default: str) -> float:
    """humantime: '12h', '30 days', '1h 30m'."""
    text = _get(table, key, str, default)
    parts = re.findall(r"(\d+)\s*([a-zA-Z]+)\s*", text)
    if text.strip() == "0":
        return 0.0
    if not parts or "".join(a + b for a, b in parts) != re.sub(r"\s", "", text):
        raise ConfigError(f"TOML parse error: `{key}`: invalid duration {text!r}")
    total = 0.0
    for number, unit in parts:
        scale = SPANS.get(unit) or SPANS.get(unit.removesuffix("s"))
        if scale is None:
            raise ConfigError(f"TOML parse error: `{key}`: unknown time unit {unit!r}")
        total += int(number) * scale
    return total


def _check_storage(storage: dict[str, t.Any]) -> None:
    kind = _get(storage, "type", str)
    if kind == "local":
        _get(storage, "path", str)
    elif kind == "s3":
        _get(storage, "region", str)
        _get(storage, "bucket", str)
        _get(storage, "endpoint", str, None)
        if credentials := _get(storage, "credentials", dict, None):
            _get(credentials, "access_key_id", str)
            _get(credentials, "secret_access_key", str)
    else:
        raise ConfigError(f"TOML parse error: unknown variant `{kind}`, expected `local` or `s3`")


def _database_url_from_env() -> str:
    url = os.environ.get("ATTIC_SERVER_DATABASE_URL")
    if url is None:
        raise EnvironmentPanic(
            "Database URL must be specified in either database.url or the ATTIC_SERVER_DATABASE_URL environment."
        )
    return url


def _signing(jwt: dict[str, t.Any]) -> Signing:
    if "signing" in jwt:
        table = _get(jwt, "signing", dict)
        if len(table) != 1 or next(iter(table)) not in SIGNING:
            raise ConfigError("TOML parse error: [jwt.signing] must hold exactly one of " + ", ".join(SIGNING))
        [(name, value)] = table.items()
        try:
            return read_key(name, value)
        except ValueError as exc:
            raise ConfigError(f"TOML parse error: [jwt.signing] {name}: {exc}") from None
    for name in SIGNING:
        variable = "ATTIC_SERVER_" + name.upper().replace("-", "_")
        if value := os.environ.get(variable):
            try:
                return read_key(name, value)
            except ValueError as exc:
                raise EnvironmentPanic(f"{variable} cannot be decoded: {exc}") from None
    raise EnvironmentPanic(
        "You must configure JWT signing and verification inside your TOML configuration by setting one of the "
        "options in the [jwt.signing] block, or by setting one of the environment variables "
        + ", ".join("ATTIC_SERVER_" + name.upper().replace("-", "_") for name in SIGNING)
    )


def read_key(name: str, encoded: str) -> Signing:
    """`name` is one of SIGNING; raises ValueError."""
    raw = decode_base64(encoded)
    if "hs256" in name:
        return Signing("HS256", raw)
    key: t.Any
    if "secret" in name:
        key = serialization.load_pem_private_key(raw, None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("not an RSA key")
        return Signing("RS256", key.public_key())
    return Signing("RS256", serialization.load_pem_public_key(raw))
