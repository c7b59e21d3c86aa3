# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the names of vaults and items to their IDs. Private: may change without notice.

Connect and the SDK give an item by ID only. A listing answers for every name in it, also for those that do not exist,
so it is asked for once; the filters of Connect compare exactly, have no way to quote, and cost a request for each title.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from .item import ItemNotFoundError, VaultNotFoundError, choose

Pairs = list[list[str]]  # of ID and name; lists because they may be kept as JSON


class Listings(t.Protocol):
    """Listings by what they are of; whoever keeps them between tasks may put something else than a dict here."""

    def get(self, key: str) -> Pairs | None: ...

    def __setitem__(self, key: str, value: Pairs) -> None: ...


class Names:
    def __init__(self, service: str, vaults: Callable[[], Pairs], items: Callable[[str], Pairs]) -> None:
        self.service = service
        self._vaults, self._items = vaults, items
        self.listings: Listings = {}

    def vault(self, name: str) -> str:
        known = choose(f"Vault '{name}'", self._list("vaults", self._vaults), name, _pair)
        if known is None:
            raise VaultNotFoundError(
                f"{self.service} shows no vault '{name}'; check its name or ID, and that this credential may read it."
            )
        return known[0]

    def item(self, vault: str, vault_id: str, title: str) -> str:
        what = f"Item '{title}' in vault '{vault}'"
        known = choose(what, self._list(vault_id, lambda: self._items(vault_id)), title, _pair)
        if known is None:
            raise ItemNotFoundError(f"Vault '{vault}' has no item '{title}'.")
        return known[0]

    def forget(self) -> None:
        """After a write."""
        self.listings = {}

    def _list(self, key: str, ask: Callable[[], Pairs]) -> Pairs:
        listing = self.listings.get(key)
        if listing is None:
            listing = self.listings[key] = ask()
        return listing


def _pair(entry: list[str]) -> tuple[str, str]:
    return entry[0], entry[1]
