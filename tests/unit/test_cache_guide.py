# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/cache-server.md names variables, playbooks, tests and values that exist."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.paths import ROOT

GUIDE = (ROOT / "docs/cache-server.md").read_text()
MODULE = (ROOT / "nix/modules/substituter.nix").read_text()


def test_each_command_says_what_tests_it() -> None:
    for section in re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]:
        if re.search(r"^    \S", section, flags=re.MULTILINE):
            assert re.search(r"tested\s+by\s+`tests/", section), section


def test_what_it_names_exists() -> None:
    tests = re.findall(r"`(tests/[^`]+)`", GUIDE)
    assert tests and all((ROOT / path).exists() for path in tests)
    playbooks = re.findall(r"pantheros\.nixci\.([a-z.]+)", GUIDE)
    assert playbooks and all((ROOT / f"playbooks/{name.replace('.', '/')}.yml").exists() for name in playbooks)
    known = {name for role in ("attic", "caches", "substituter") for name in defaults(role)}
    named = set(re.findall(r"`((?:attic|substituter|caches)_[a-z_]+)[`:]", GUIDE))
    assert named and named <= known


def defaults(role: str) -> dict[str, object]:
    return yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())


@pytest.mark.parametrize(
    ("setting", "shown", "value"),
    [
        ("connect-timeout", "5 s", "5"),
        ("stalled-download-timeout", "30 s", "30"),
        ("download-attempts", "2", "2"),
        ("http-connections", "50", "50"),
        ("narinfo-cache-positive-ttl", "5 days", r"\(5 \* 24 \* 60 \* 60\)"),
        ("narinfo-cache-negative-ttl", "10 minutes", "600"),
        ("fallback", "true", "true"),
    ],
)
def test_its_values_are_the_defaults(setting: str, shown: str, value: str) -> None:
    assert f"| `{setting}` | {shown} |" in GUIDE
    assert re.search(rf"{setting} = t\.optionOr {value} ", MODULE)
