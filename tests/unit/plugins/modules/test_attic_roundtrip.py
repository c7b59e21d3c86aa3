# SPDX-License-Identifier: GPL-3.0-or-later
"""attic_roundtrip with small programs in the place of Nix and attic. The end-to-end test uses the real Nix."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

TOKEN = "canary-token-of-ci"
PARAMS = {"url": "https://cache.test", "cache": "ci-cache", "public_key": "ci-cache:abc=", "token": TOKEN}

# What was pushed lies in "cache"; the copy into the empty store comes from there.
NIX_STORE = 'mkdir -p nix/store; cp "$2" nix/store/abc-nixci-roundtrip; echo "$PWD/nix/store/abc-nixci-roundtrip"'
ATTIC = """
echo "attic $*" >> calls
config=$XDG_CONFIG_HOME/attic/config.toml
grep -q 'endpoint = "https://cache.test/"' "$config" || exit 7
file=$(sed -n 's/^token-file = "\\(.*\\)"/\\1/p' "$config")
[ "$(cat "$file")" = canary-token-of-ci ] && [ "$(stat -c %a "$file")" = 600 ] || exit 8
cp "$4" cache
"""
NIX = """
echo "nix $*" >> calls
while [ $# -gt 1 ]; do [ "$1" = --to ] && to=$2; shift; done
mkdir -p "$to/$(dirname "$1")"; cp cache "$to$1"
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., pathlib.Path]:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "unset")

    def make(**changed: str) -> pathlib.Path:
        (tmp_path / "bin").mkdir()
        for name, script in {"nix-store": NIX_STORE, "attic": ATTIC, "nix": NIX, **changed}.items():
            program = tmp_path / "bin" / name
            program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
            program.chmod(0o755)
        return tmp_path

    return make


def test_a_path_is_pushed_and_fetched(module: t.Any, machine: t.Any) -> None:
    root = machine()
    result = module("attic_roundtrip", PARAMS)
    assert not result["failed"] and not result["changed"]
    assert result["path"].endswith("-nixci-roundtrip")
    assert set(result["seconds"]) == {"push", "fetch"}
    calls = (root / "calls").read_text()
    assert "it:ci-cache" in calls
    assert "--option trusted-public-keys ci-cache:abc=" in calls and "--from https://cache.test/ci-cache" in calls
    assert TOKEN not in calls, "a token must never be an argument"


def test_a_refused_push_is_reported_without_the_token(module: t.Any, machine: t.Any) -> None:
    machine(attic=f'echo "Unauthorized: {TOKEN}" >&2; exit 1')
    result = module("attic_roundtrip", PARAMS)
    assert result["failed"]
    assert "pushing to ci-cache through https://cache.test failed" in result["msg"] and "Unauthorized" in result["msg"]
    assert TOKEN not in str(result)


def test_a_wrong_signature_is_reported(module: t.Any, machine: t.Any) -> None:
    machine(nix='echo "error: path lacks a valid signature" >&2; exit 1')
    assert "fetching from ci-cache" in module("attic_roundtrip", PARAMS)["msg"]


def test_other_contents_are_an_error(module: t.Any, machine: t.Any) -> None:
    machine(attic="echo something else > cache")
    assert "other contents" in module("attic_roundtrip", PARAMS)["msg"]


def test_a_missing_client_is_named(module: t.Any, machine: t.Any) -> None:
    root = machine()
    (root / "bin/attic").unlink()
    assert "'attic' was not found" in module("attic_roundtrip", PARAMS)["msg"]


def test_nothing_happens_in_check_mode(module: t.Any, machine: t.Any) -> None:
    root = machine()
    assert not module("attic_roundtrip", PARAMS, check=True)["changed"]
    assert not (root / "calls").exists()
