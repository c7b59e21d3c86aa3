# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps the names of vaults and items to their IDs. Private: may change without notice.

Connect and the SDK return an item by ID only. One listing serves for all names, including those that do not exist. The
filters of Connect are not used: they compare exactly, cannot quote, and cost a request for each title.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from .item import ItemNotFoundError, VaultNotFoundError, choose

Pairs = list[list[str]]  # of ID and name; lists because they may be kept as JSON


class Listings(t.Protocol):
    """Listings by vault; the lookup puts its cache here instead of a dict."""

    def get(self, key: str) -> Pairs | None: ...

    def __setitem__(self, key: str, value: Pairs) -> None: ...


class Names:
    def __init__(self, service: str, vaults: Callable[[], Pairs], items: Callable[[str], Pairs]) -> None:
        self.service = service
        self._vaults, self._items = vaults, items
        self.listings: Listings = {}

    def vault(self, name: str) -> str:
        entry = choose(f"Vault '{name}'", self._list("vaults", self._vaults), name, _pair)
        if entry is None:
            raise VaultNotFoundError(
                f"{self.service} shows no vault '{name}'; check its name or ID, and that this credential may read it."
            )
        return entry[0]

    def item(self, vault: str, vault_id: str, title: str) -> str:
        what = f"Item '{title}' in vault '{vault}'"
        entry = choose(what, self._list(vault_id, lambda: self._items(vault_id)), title, _pair)
        if entry is None:
            raise ItemNotFoundError(f"Vault '{vault}' has no item '{title}'.")
        return entry[0]

    def forget(self) -> None:
        """After a write."""
        self.listings = {}

    def _list(self, key: str, request: Callable[[], Pairs]) -> Pairs:
        listing = self.listings.get(key)
        if listing is None:
            listing = self.listings[key] = request()
        return listing


def _pair(entry: list[str]) -> tuple[str, str]:
    return entry[0], entry[1]
