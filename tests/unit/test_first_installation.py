# SPDX-License-Identifier: GPL-3.0-or-later
"""The guides to the first installation and to operations say of each command which test runs it, or that none does."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.paths import ROOT

GUIDE = (ROOT / "docs/first-installation.md").read_text()
both = pytest.mark.parametrize("guide", [GUIDE, (ROOT / "docs/operations.md").read_text()], ids=["first", "operations"])


@both
def test_each_command_says_what_tests_it(guide: str) -> None:
    for section in re.split(r"^## ", guide, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"((?:^    \S.*\n)+)\n(?:(?!^    ).*\n)*?(?=^    |\Z)", section, flags=re.MULTILINE)
        for block in blocks:
            after = section[section.index(block) + len(block) :]
            paragraphs = re.split(r"\n(?=    \S)", after)[0]
            assert re.search(r"Tested by `|No test |is not tested", paragraphs), block


@both
def test_the_tests_exist(guide: str) -> None:
    named = re.findall(r"`(tests/[^`]+)`", guide)
    assert named and all((ROOT / path).exists() for path in named)


def test_the_variables_and_playbooks_exist() -> None:
    options = yaml.safe_load((ROOT / "roles/bootstrap/meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    assert set(re.findall(r"\b(bootstrap_[a-z_]+)\b", GUIDE)) <= options.keys()
    for playbook in re.findall(r"pantheros\.nixci\.(bootstrap|site|preflight)\b", GUIDE):
        assert (ROOT / f"playbooks/{playbook}.yml").exists()
