# SPDX-License-Identifier: GPL-3.0-or-later
"""Every link from one page of the project to another has a target."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.paths import ROOT

# Empty outside a checkout, where ansible-test may run.
TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", TRACKED)
def test_links_within_the_project_have_a_target(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
