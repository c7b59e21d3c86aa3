# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports every module before its tests begin: ansible-test forks for each test, which would import the libraries again."""

from __future__ import annotations

import importlib

# The loader of the collection comes first.
import tests.support.collection  # noqa: F401
from tests.support.paths import ROOT

for path in sorted((ROOT / "plugins/modules").glob("*.py")):
    importlib.import_module(f"ansible_collections.pantheros.nixci.plugins.modules.{path.stem}")
