# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about supported releases says what the preflight and the modules enforce."""

from __future__ import annotations

import json

from tests.support.paths import ROOT

NAMES = {"nixos": "NixOS", "opnix": "OpNix", "attic": "Attic"}


def test_the_page_has_a_row_per_product() -> None:
    supported = json.loads((ROOT / "nix/modules/supported.json").read_text())
    page = (ROOT / "docs/supported.md").read_text()
    assert supported.keys() == NAMES.keys()
    for key, product in supported.items():
        assert f"| {NAMES[key]} | {product['minimum']} | {product['newest']} | {product['reason']} |\n" in page
    assert f"since {supported['attic']['inNixos']}" in page
