# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's lines."""

from __future__ import annotations


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def row(name: str, value: str) -> None:
    print(f"{name:<58} {value}", flush=True)
