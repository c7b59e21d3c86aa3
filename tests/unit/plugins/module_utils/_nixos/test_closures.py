# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference of two closures, as Nix prints it. nix-2.26.txt was recorded from two real systems."""

from __future__ import annotations

import pathlib

from ansible_collections.pantheros.nixci.plugins.module_utils._nixos import closures

DATA = pathlib.Path(__file__).parent / "data/closures"


def test_a_recorded_difference() -> None:
    found = closures.parse((DATA / "nix-2.26.txt").read_text())
    short = {kind: {one["name"]: (one["before"], one["after"]) for one in found[kind]} for kind in found}
    assert short == {
        "added": {"acl": ([], ["2.3.1"]), "python3": ([], ["3.11.9"]), "script": ([], [""])},
        "removed": {"bind": (["9.18"], []), "gone": (["1"], [])},
        "upgraded": {
            "firefox": (["120.0"], ["121.0"]),
            "linux": (["6.6.1"], ["6.6.2"]),
            "nixos-system-web": (["24.05"], ["24.11"]),
        },
        "resized": {"tool": ([], [])},
    }
    sizes = {one["name"]: one["size"] for kind in found for one in found[kind]}
    assert sizes["firefox"] == round(1953.1 * 1024) and sizes["bind"] == round(-1465.3 * 1024)
    assert sizes["script"] == sizes["nixos-system-web"] == 0


def test_several_versions_and_larger_units() -> None:
    text = "linux: 6.6.1, 6.6.1-modules → 6.6.2, 6.6.2-modules, +1.5 MiB\nfirefox: -2.0 GiB\nplain: 1, ε → 2\n"
    found = closures.parse(text)
    linux, plain = found["upgraded"]
    assert linux == {
        "name": "linux",
        "before": ["6.6.1", "6.6.1-modules"],
        "after": ["6.6.2", "6.6.2-modules"],
        "size": 1_572_864,
    }
    assert plain["before"] == ["1", ""]
    assert found["resized"][0]["size"] == -2 * 1024**3


def test_no_difference_and_other_text() -> None:
    empty: dict[str, list[dict[str, object]]] = {"added": [], "removed": [], "upgraded": [], "resized": []}
    assert closures.parse("") == closures.parse("\n \nwarning without colon\n") == empty
