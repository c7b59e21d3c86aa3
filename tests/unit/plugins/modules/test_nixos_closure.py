# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_closure with a program that answers like nix-store. Real stores are in tests/integration/roles/test_nixos_fleet.py."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

PATH = "/nix/store/0-system"
# The store is a folder with a file for each path that it has; the cache is another one.
SCRIPT = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
has() { [ -e "$here/store/${1##*/}" ]; }
case $1 in
--check-validity) shift 2; for one in "$@"; do has "$one" || echo "$one"; done ;;
--query)
  [ "$2" = --requisites ] && { has "$3" || exit 1; for one in "$here"/store/*; do echo "/nix/store/${one##*/}"; done; exit 0; }
  shift 2; for one in "$@"; do echo 100; done ;;
--realise)
  case "$*" in *--dry-run*) [ -e "$here/cache" ] && echo 'these 1 paths will be fetched (0.10 MiB download, 2.00 MiB unpacked):' >&2; exit 0 ;; esac
  [ -e "$here/cache" ] || { echo "error: unable to download 'https://cache.nixci.test/nix-cache-info': HTTP error 502" >&2; exit 1; }
  echo "copying path '$2' from 'https://cache.nixci.test'..." >&2; : >"$here/store/${2##*/}" ;;
--export) shift; for one in "$@"; do echo "$one"; done ;;
--import) while read -r one; do : >"$here/store/${one##*/}"; done ;;
esac
"""


class Store:
    def __init__(self, folder: pathlib.Path, module: t.Any) -> None:
        self.folder, self.module = folder, module
        (folder / "store").mkdir(parents=True)
        (folder / "nix-store").write_text(SCRIPT)
        (folder / "nix-store").chmod(0o755)

    def add(self, *names: str) -> None:
        for name in names:
            (self.folder / "store" / name).touch()

    def run(self, *, check: bool = False, **params: t.Any) -> dict[str, t.Any]:
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{self.folder}:{before}"
        try:
            return self.module("nixos_closure", {"path": PATH, **params}, check=check)
        finally:
            os.environ["PATH"] = before


@pytest.fixture
def store(tmp_path: pathlib.Path, module: t.Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(
        "ansible_collections.pantheros.nixci.plugins.module_utils._nixos.fleet.ROOTS", str(tmp_path / "roots")
    )
    return Store(tmp_path / "host", module)


def test_what_is_there_is_kept_and_costs_nothing(store: Store, tmp_path: pathlib.Path) -> None:
    store.add("0-system")
    result = store.run()
    assert (result["present"], result["transport"], result["bytes"], result["changed"]) == (True, "present", 0, False)
    assert os.readlink(tmp_path / "roots/built") == PATH


def test_the_cache_delivers_with_signatures_checked_and_no_remembered_miss(store: Store) -> None:
    (store.folder / "cache").touch()
    predicted = store.run(check=True)
    assert (predicted["transport"], predicted["bytes"], predicted["present"]) == ("cache", 2 * 2**20, False)
    result = store.run(substituters=["https://a", "https://b"], public_keys=["a:k"])
    assert (result["transport"], result["bytes"], result["changed"]) == ("cache", 100, True)
    call = (store.folder / "calls").read_text()
    assert "--option narinfo-cache-negative-ttl 0" in call and "--option require-sigs true" in call
    assert "--option substituters https://a https://b" in call and "--option trusted-public-keys a:k" in call


def test_a_broken_cache_is_no_failure_unless_it_is_the_only_way(store: Store) -> None:
    store.add("1-dependency")
    result = store.run(closure=[PATH, "/nix/store/1-dependency"])
    assert (result["present"], result["missing"], result["transport"]) == (False, [PATH], None)
    assert "502" in result["problem"]
    required = store.run(required=True)
    assert required["reason"] == "not_in_cache" and "502" in required["msg"]


def test_what_is_missing_is_copied(store: Store, tmp_path: pathlib.Path, module: t.Any) -> None:
    controller = Store(tmp_path / "controller", module)
    controller.add("0-system", "1-dependency")
    closure = controller.run(query=True)["closure"]
    assert closure == {PATH: 100, "/nix/store/1-dependency": 100}
    store.add("1-dependency")
    missing = store.run(closure=list(closure), cache=False)["missing"]
    archive = tmp_path / "closure-0.gz"
    assert controller.run(closure=missing, export_to=str(archive))["bytes"] == 100
    assert archive.stat().st_mode & 0o777 == 0o600
    result = store.run(closure=missing, import_from=str(archive))
    assert (result["present"], result["transport"], result["bytes"], result["changed"]) == (True, "ssh", 100, True)
    assert not archive.exists()


def test_a_file_with_something_else_is_refused_and_removed(store: Store, tmp_path: pathlib.Path, module: t.Any) -> None:
    controller = Store(tmp_path / "controller", module)
    archive = tmp_path / "closure-0.gz"
    controller.run(closure=["/nix/store/9-else"], export_to=str(archive))
    assert "was not among what was copied" in store.run(import_from=str(archive))["msg"]
    assert not archive.exists()


def test_wrong_options_are_one_sentence(store: Store) -> None:
    assert "is not a path in the Nix store" in store.run(path="/etc/passwd")["msg"]
    assert "seconds" in store.run(timeout=0)["msg"]
    assert store.run(query=True)["closure"] == {}
