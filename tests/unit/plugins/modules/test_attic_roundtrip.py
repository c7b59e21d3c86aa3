# SPDX-License-Identifier: GPL-3.0-or-later
"""attic_roundtrip with small programs in the place of Nix and attic. The end-to-end test uses the real Nix."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

TOKEN = "canary-token-of-ci"
PARAMS = {"url": "https://cache.test", "cache": "ci-cache", "public_key": "ci-cache:abc=", "token": TOKEN}

# The local store and what was pushed, each in a directory of files that are named by their content.
NIX_STORE = """
echo "nix-store $*" >> calls
if [ "$1" = --delete ]; then shift; exec rm "$@"; fi
path=$PWD/nix/store/$(sha256sum < "$2" | cut -c 1-32)-nixci-roundtrip
mkdir -p nix/store; cp "$2" "$path"; echo "$path"
"""
ATTIC = """
echo "attic $*" >> calls
mkdir -p pushed
config=$XDG_CONFIG_HOME/attic/config.toml
grep -q 'endpoint = "https://cache.test/"' "$config" || exit 7
file=$(sed -n 's/^token-file = "\\(.*\\)"/\\1/p' "$config")
[ "$(cat "$file")" = canary-token-of-ci ] && [ "$(stat -c %a "$file")" = 600 ] || exit 8
# As the real client: it asks what is missing and is content if nothing is.
[ -e "pushed/$(basename "$4")" ] && exit 0
if [ -e full ]; then echo "InternalServerError" >&2; exit 1; fi
cp "$4" pushed
"""
NIX = """
echo "nix $*" >> calls
while [ $# -gt 1 ]; do [ "$1" = --to ] && to=$2; shift; done
mkdir -p "$to/$(dirname "$1")"; cp "pushed/$(basename "$1")" "$to$1"
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


def test_a_cache_that_accepts_nothing_more_fails(module: t.Any, machine: t.Any) -> None:
    root = machine()
    first = module("attic_roundtrip", PARAMS)
    (root / "full").touch()
    second = module("attic_roundtrip", PARAMS)
    assert not first["failed"]
    assert second["failed"], "the second run must push something that the cache does not have"
    assert "InternalServerError" in second["msg"]


@pytest.mark.parametrize("broken", [None, "attic", "nix"])
def test_the_local_store_is_left_as_it_was(module: t.Any, machine: t.Any, broken: str | None) -> None:
    root = machine(**({broken: "exit 1"} if broken else {}))
    assert module("attic_roundtrip", PARAMS)["failed"] == bool(broken)
    assert list((root / "nix" / "store").iterdir()) == []


def test_what_cannot_be_removed_is_a_warning(module: t.Any, machine: t.Any) -> None:
    machine(**{"nix-store": NIX_STORE.replace("exec rm", "exit 1; rm")})
    result = module("attic_roundtrip", PARAMS)
    assert not result["failed"]
    (warning,) = result.warnings
    assert "nix-store --delete" in warning and result["path"] in warning


def test_the_newline_at_the_end_of_a_secret_is_none_of_it(module: t.Any, machine: t.Any) -> None:
    root = machine()
    assert not module("attic_roundtrip", {**PARAMS, "token": f"{TOKEN}\r\n", "public_key": "ci-cache:abc=\n"})["failed"]
    assert "trusted-public-keys ci-cache:abc= --from" in (root / "calls").read_text()


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
    machine(attic='mkdir -p pushed; echo something else > "pushed/$(basename "$4")"')
    assert "other contents" in module("attic_roundtrip", PARAMS)["msg"]


def test_a_missing_client_is_named(module: t.Any, machine: t.Any) -> None:
    root = machine()
    (root / "bin/attic").unlink()
    assert "'attic' was not found" in module("attic_roundtrip", PARAMS)["msg"]


def test_nothing_happens_in_check_mode(module: t.Any, machine: t.Any) -> None:
    root = machine()
    assert not module("attic_roundtrip", PARAMS, check=True)["changed"]
    assert not (root / "calls").exists()
