# SPDX-License-Identifier: GPL-3.0-or-later
"""nixos_system_info on files that look like those of a host."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import settings, system_info


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "system").mkdir()
    for name in ("CURRENT_SYSTEM", "MANIFEST", "UNFINISHED"):
        monkeypatch.setattr(settings, name, str(tmp_path / ("system" if name == "CURRENT_SYSTEM" else name)))
    for name in ("MANIFEST", "RECORD", "MEMORY"):
        monkeypatch.setattr(system_info, name, str(tmp_path / name))
    return tmp_path


def test_a_host_that_was_never_deployed(host: pathlib.Path, module: t.Any) -> None:
    found = module("nixos_system_info", {})
    assert found["system"] == {"store_path": str(host / "system"), "built_from": None, "unfinished": False}
    assert found["revision"] is None and found["memory_available"] is None and not found["changed"]


def test_the_record_of_the_running_system_knows_the_revision_best(host: pathlib.Path, module: t.Any) -> None:
    (host / "MANIFEST").write_text(json.dumps({"files": {"modules/a.nix": "0"}, "revision": "of-the-flake"}))
    (host / "MEMORY").write_text("MemTotal:  4000000 kB\nMemAvailable:    2097152 kB\n")
    found = module("nixos_system_info", {})
    assert found["revision"] == "of-the-flake" and found["memory_available"] == 2048
    assert found["system"]["built_from"] == {"modules/a.nix": "0"}
    entries = [{"to": "/nix/store/other", "revision": "other"}, {"to": str(host / "system"), "revision": "ours-dirty"}]
    (host / "RECORD").write_text("\n".join(map(json.dumps, entries)) + '\n{"to": "cut by a cra')
    assert module("nixos_system_info", {})["revision"] == "ours-dirty"
