# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from tests.support.controller import initialize_plugins

initialize_plugins()
