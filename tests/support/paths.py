# SPDX-License-Identifier: GPL-3.0-or-later
"""Places in the checkout."""

from __future__ import annotations

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
