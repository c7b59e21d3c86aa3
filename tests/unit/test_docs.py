# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link from one page of the project to another leads somewhere."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.paths import ROOT

TRACKED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()


@pytest.mark.parametrize("name", TRACKED)
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
