# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password through a Connect server. Private: may change without notice."""

from __future__ import annotations

import re
import typing as t

from ._errors import AuthenticationError, ForbiddenError, InvalidError, NixciError, NotFoundError
from ._http import JsonClient
from ._onepassword_item import Item, ItemNotFoundError, Json, VaultNotFoundError, choose, is_id

# Connect documents no way to quote in its filters.
FILTERABLE = re.compile(r"[\w. -]+", re.ASCII)


def gone(entry: Json) -> bool:
    return entry.get("state") in ("ARCHIVED", "DELETED")


class ConnectBackend(JsonClient):
    """Every method takes the name or the ID of a vault."""

    service = "1Password Connect"
    can_archive = False

    def __init__(self, host: str, token: str, **http: t.Any) -> None:
        super().__init__(host, {"Authorization": f"Bearer {token}"}, **http)
        self.credential = f"connect\0{self.base_url}\0{token}"
        # name → ID; whoever keeps it between tasks may fill it
        self.vault_ids: dict[str, str] = {}

    def error(self, method: str, path: str, status: int, content: t.Any) -> NixciError:
        if status == 401:
            return AuthenticationError(
                f"1Password Connect at {self.base_url} does not accept the token; check connect_token.", status=401
            )
        if status == 403:
            right = "read" if method == "GET" else "write"
            return ForbiddenError(
                f"The token for 1Password Connect at {self.base_url} may not {right} here "
                f"({self.explain(status, content)}); give it that right on the vault.",
                status=403,
            )
        return super().error(method, path, status, content)

    def fetch(self, vault: str, name: str) -> Item:
        """One item by title or ID."""
        vault_id = self.vault_id(vault)
        if is_id(name):
            document = self.request("GET", f"/v1/vaults/{vault_id}/items/{name}", none_on={404})
            if document and not gone(document):
                return Item(document)
        return self._get(vault_id, self._item_id(vault, vault_id, name))

    def create(self, vault: str, document: Json) -> Item:
        vault_id = self.vault_id(vault)
        answer = self.request("POST", f"/v1/vaults/{vault_id}/items", {**document, "vault": {"id": vault_id}})
        return self._get(vault_id, answer["id"])

    def replace(self, item: Item) -> Item:
        self.request("PUT", f"/v1/vaults/{item.vault_id}/items/{item.id}", item.writable())
        return self._get(item.vault_id, item.id)

    def delete(self, item: Item, archive: bool = False) -> None:
        if archive:
            raise InvalidError("A Connect server cannot archive an item; use a service account, or delete the item.")
        self.request("DELETE", f"/v1/vaults/{item.vault_id}/items/{item.id}", none_on={404})

    def vault_id(self, vault: str) -> str:
        if is_id(vault):
            return vault
        if vault not in self.vault_ids:
            known = self._named("/v1/vaults", "name", vault, f"Vault '{vault}'")
            if known is None:
                raise VaultNotFoundError(
                    f"1Password Connect at {self.base_url} shows this token no vault '{vault}'; "
                    "check the name and the vaults of the token."
                )
            self.vault_ids[vault] = known["id"]
        return self.vault_ids[vault]

    def _item_id(self, vault: str, vault_id: str, title: str) -> str:
        try:
            known = self._named(f"/v1/vaults/{vault_id}/items", "title", title, f"Item '{title}' in vault '{vault}'")
        except NotFoundError:
            raise VaultNotFoundError(
                f"1Password Connect at {self.base_url} has no vault '{vault}'; check its ID."
            ) from None
        if known is None:
            raise ItemNotFoundError(f"Vault '{vault}' has no item '{title}'.")
        return str(known["id"])

    def _get(self, vault_id: str, item_id: str) -> Item:
        return Item(self.request("GET", f"/v1/vaults/{vault_id}/items/{item_id}"))

    def _named(self, path: str, attribute: str, name: str, what: str) -> Json | None:
        """One entry of a listing. The server compares exactly, so a miss is looked for in the whole list."""
        filters = [{"filter": f'{attribute} eq "{name}"'}] if FILTERABLE.fullmatch(name) else []
        for params in [*filters, None]:
            entries = [entry for entry in self.request("GET", path, params=params) if not gone(entry)]
            known = choose(what, entries, name, lambda entry: (entry["id"], entry.get(attribute) or ""))
            if known is not None:
                return known
        return None
