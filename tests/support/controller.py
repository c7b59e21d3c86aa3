# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of what runs in the controller only: lookups and templates."""

from __future__ import annotations

import warnings

from ansible.plugins.loader import init_plugin_loader

from tests.support import collection  # noqa: F401  its loader of collections comes first


def initialize_plugins() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
        init_plugin_loader()
