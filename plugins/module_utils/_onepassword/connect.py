# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password through a Connect server. Private: may change without notice."""

from __future__ import annotations

import contextlib
import ipaddress
import time
import typing as t
import urllib.parse
from collections.abc import Callable

from .._core.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidError,
    NixciError,
    NotFoundError,
    UnavailableError,
)
from .._core.http import JsonClient, parse
from .dates import received, sent
from .errors import safe_excerpt
from .item import CONNECT_TYPES, BehindError, Item, ItemNotFoundError, Json, VaultNotFoundError, fold, is_id
from .names import Names, Pairs

T = t.TypeVar("T")


class ConnectBackend(JsonClient):
    """Every method accepts the name or the ID of a vault.

    Connect writes to 1Password, but it reads from a copy of its own, which follows after a moment. Whoever reads too early
    would create an item twice or replace a secret that was just generated, so every write waits until it can be read.
    """

    service = "1Password Connect"
    can_archive = False
    first_pause, longest_pause_between_reads = 0.05, 1.0
    # For an item whose creation got no answer, and which may have been created nevertheless.
    patience_without_answer = 3.0

    def __init__(self, host: str, token: str, **http: t.Any) -> None:
        super().__init__(host.strip().rstrip("/").removesuffix("/v1"), token, **http)
        self.credential = f"connect\0{self.base_url}\0{self.token}"
        self.names = Names(f"1Password Connect at {self.base_url}", self._vaults, self._items)

    @property
    def warning(self) -> str | None:
        if self.base_url.startswith("https://") or is_loopback(urllib.parse.urlsplit(self.base_url).hostname or ""):
            return None
        return f"The token and all secrets travel unencrypted to 1Password Connect at {self.base_url}; use https."

    def explain(self, status: int, body: t.Any) -> str:
        """Connect's own message; a page of a proxy in between may repeat anything."""
        return safe_excerpt(str(body.get("message") or "")) if isinstance(body, dict) else ""

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
        vault_id = vault if is_id(vault) else self.names.vault(vault)
        if is_id(name):  # a title may look like one
            item = self._get(vault_id, name)
            if item and not is_removed(item.document):
                return item
        return self._existing(vault_id, self.names.item(vault, vault_id, name))

    def read_file(self, item: Item, file: Json) -> bytes:
        path = f"/v1/vaults/{item.vault_id}/items/{item.id}/files/{file['id']}/content"
        response = self.send("GET", path, headers={"Accept": "*/*"})
        if response.status_code != 200:
            raise self.error("GET", path, response.status_code, parse(response))
        return response.content

    def create(self, vault: str, document: Json) -> Item:
        vault_id = vault if is_id(vault) else self.names.vault(vault)
        self.names.forget()
        path, title = f"/v1/vaults/{vault_id}/items", str(document.get("title"))
        try:
            created = self.request("POST", path, {**sent(document), "vault": {"id": vault_id}})
        except UnavailableError as exc:
            if exc.details.get("status") != 429:
                # If it was created nevertheless, the next reading has to find it.
                with contextlib.suppress(NixciError):
                    self._shown(lambda: self._titled(vault_id, title) or None, self.patience_without_answer)
            raise
        if not isinstance(created, dict) or "id" not in created:
            raise self._unexpected("POST", path, "an item")
        version = _version(created)

        def found() -> Item | None:
            item = self._get(vault_id, created["id"])
            return item if item and item.version >= version and self._listed(vault_id, item.id) else None

        item = self._shown(found)
        if item is None:
            raise self._behind(f"created item '{title}' ({created['id']})", "does not show it", "it shows the item")
        return item

    def replace(self, item: Item) -> Item:
        self.names.forget()
        response = self.request("PUT", f"/v1/vaults/{item.vault_id}/items/{item.id}", sent(item.writable()))
        # The response has the version from before the write, which may be a later one than that of the item.
        before = _version(response)
        latest: list[Item] = []

        def found() -> Item | None:
            current = self._existing(item.vault_id, item.id)
            if current.version < max(item.version + 1, before):
                return None
            latest[:] = [current]
            return current if current.version > before or current.values() == item.values() else None

        current = self._shown(found) or next(iter(latest), None)
        if current is None:
            what = f"accepted the change of item '{item.title}' ({item.id})"
            raise self._behind(what, "does not show it", f"it shows version {item.version + 1}")
        return current

    def delete(self, item: Item, archive: bool = False) -> None:
        if archive:
            raise InvalidError("A Connect server cannot archive an item; use a service account, or delete the item.")
        self.names.forget()
        self.request("DELETE", f"/v1/vaults/{item.vault_id}/items/{item.id}", none_on={404})

        def gone() -> bool | None:
            current = self._get(item.vault_id, item.id)
            missing = current is None or is_removed(current.document)
            return True if missing and not self._listed(item.vault_id, item.id) else None

        if self._shown(gone) is None:
            raise self._behind(f"deleted item '{item.title}' ({item.id})", "still shows it", "it is gone")

    def _shown(self, read: Callable[[], T | None], patience: float | None = None) -> T | None:
        """What `read` returns as soon as it returns something, or None when the time is over."""
        deadline = time.monotonic() + (self.timeout if patience is None else patience)
        pause = self.first_pause
        while True:
            last = time.monotonic() >= deadline
            try:
                found = read()
                if found is not None:
                    return found
            except UnavailableError:
                # The write is done. If reading stays impossible, that is what to report.
                if last:
                    raise
            if last:
                return None
            time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 2, self.longest_pause_between_reads)

    def _behind(self, done: str, but: str, until: str) -> BehindError:
        return BehindError(
            f"1Password Connect at {self.base_url} {done} but {but} after {self.timeout:g} s; its copy of the vault "
            f"is probably behind, so check its sync container, and run again when {until}."
        )

    def close(self) -> None:
        self.session.close()

    def _existing(self, vault_id: str, item_id: str) -> Item:
        item = self._get(vault_id, item_id)
        if item is None:
            raise ItemNotFoundError(
                f"Item {item_id} in vault {vault_id} does not exist any more; it was deleted in the meantime."
            )
        return item

    def _get(self, vault_id: str, item_id: str) -> Item | None:
        path = f"/v1/vaults/{vault_id}/items/{item_id}"
        document = self.request("GET", path, none_on={404})
        if document is not None and not (isinstance(document, dict) and {"id", "vault"} <= document.keys()):
            raise self._unexpected("GET", path, "an item")
        return Item(received(document), CONNECT_TYPES) if document else None

    def _list(self, path: str) -> list[Json]:
        entries = self.request("GET", path)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
            raise self._unexpected("GET", path, "a listing")
        return entries

    def _listed(self, vault_id: str, item_id: str) -> bool:
        return item_id in [known_id for known_id, _title in self._items(vault_id)]

    def _titled(self, vault_id: str, title: str) -> list[str]:
        return [known_id for known_id, known in self._items(vault_id) if fold(known) == fold(title)]

    def _unexpected(self, method: str, path: str, expected: str) -> UnavailableError:
        return UnavailableError(
            f"1Password Connect: {method} {path} returned something that is not {expected}; "
            f"check that {self.base_url} is the right address."
        )

    def _vaults(self) -> Pairs:
        return [[entry["id"], entry.get("name") or ""] for entry in self._list("/v1/vaults")]

    def _items(self, vault_id: str) -> Pairs:
        try:
            entries = self._list(f"/v1/vaults/{vault_id}/items")
        except NotFoundError:
            raise VaultNotFoundError(
                f"1Password Connect at {self.base_url} has no vault '{vault_id}'; check its ID."
            ) from None
        return [[entry["id"], entry.get("title") or ""] for entry in entries if not is_removed(entry)]


def _version(document: t.Any) -> int:
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else 0


def is_removed(entry: Json) -> bool:
    return entry.get("state") in ("ARCHIVED", "DELETED")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
