# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's Nix store knows of a system, with a program in the place of nix-store."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.pantheros.nixci.plugins.plugin_utils._deploy import store

PROGRAM = """#!/bin/sh
shift
case $1 in
  --requisites) printf '%s\n' /nix/store/a /nix/store/b ;;
  --size) shift; for _ in "$@"; do echo 1024; done ;;
esac
"""


@pytest.fixture
def system(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nix-store").write_text(PROGRAM)
    (tmp_path / "bin/nix-store").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "system/etc/nixci").mkdir(parents=True)
    return tmp_path / "system"


def test_it_knows_the_sizes_and_the_manifest(system: pathlib.Path) -> None:
    (system / store.MANIFEST).write_text(json.dumps({"hostName": "web"}))
    closure = {"/nix/store/a": 1024, "/nix/store/b": 1024}
    assert store.knows({"store_path": str(system)}) == {"manifest": {"hostName": "web"}, "closure": closure}
    assert store.knows({"store_path": str(system), "action": "build"}) == store.knows({}) == {}


def test_what_it_does_not_have_is_not_known(system: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, object] = {"manifest": {}, "closure": {}}
    (system.parent / "bin/nix-store").write_text("#!/bin/sh\nexit 1\n")
    assert store.knows({"store_path": str(system)}) == nothing
    monkeypatch.setenv("PATH", str(system))
    monkeypatch.setattr(store, "PROGRAM", "/nix/none")
    assert store.knows({"store_path": str(system)}) == nothing
