# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""1Password through its Python SDK with a service account. Private: may change without notice.

The SDK starts native threads, which do not survive a fork: it is imported and signed in at the first request, which is
always made in a worker of Ansible or in a module. One event loop runs until the back end is closed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import typing as t
from collections.abc import Awaitable, Callable

from .._core.errors import ConflictError, NixciError, UnavailableError
from .errors import general_error, matches, safe_excerpt
from .item import Item, ItemNotFoundError, Json
from .names import Names, Pairs
from .sdk_item import changed_item, file_attributes, new_item, to_document

T = t.TypeVar("T")

# Another writer of the item, or of any other item in its vault; the second one passes when it is repeated
# (https://github.com/1Password/onepassword-sdk-js/issues/151).
CONFLICT = ("incorrectitemversion", "incorrect item version", "conflict occurred", "(409)")


async def sign_in(token: str) -> t.Any:
    """A client of the SDK."""
    from onepassword.client import Client

    return await Client.authenticate(auth=token, integration_name="pantheros.nixci", integration_version="v1")


class SdkBackend:
    """Every method accepts the name or the ID of a vault."""

    can_archive = True

    def __init__(
        self, token: str, timeout: float = 30, authenticate: Callable[[str], Awaitable[t.Any]] = sign_in
    ) -> None:
        if importlib.util.find_spec("onepassword") is None:
            raise NixciError(
                "backend=sdk needs the Python library onepassword-sdk on the machine that runs this task; install it with "
                f"'{sys.executable} -m pip install onepassword-sdk', or use the command 'op' or a Connect server."
            )
        self.token, self.timeout, self.authenticate = token.strip(), timeout, authenticate
        self.credential = f"sdk\0{self.token}"
        self.names = Names("The service account", self._vaults, self._items)
        self.runner: asyncio.Runner | None = None
        self.client: t.Any = None

    @property
    def warning(self) -> str | None:
        return None

    def fetch(self, vault: str, name: str) -> Item:
        """One item by title or ID; IDs are searched too, because the SDK's error for a missing one is unknown."""
        vault_id = self.names.vault(vault)
        return self._get(vault_id, self.names.item(vault, vault_id, name))

    def read_file(self, item: Item, file: Json) -> bytes:
        attributes = file_attributes(file)
        what = f"file '{attributes.name}' of item '{item.title}'"
        content = self._run(
            what, item.vault_id, lambda client: client.items.files.read(item.vault_id, item.id, attributes)
        )
        return t.cast(bytes, content)

    def create(self, vault: str, document: Json) -> Item:
        vault_id = self.names.vault(vault)
        self.names.forget()
        parameters = new_item(vault_id, document)
        created = self._run(f"item '{parameters.title}'", vault, lambda client: client.items.create(parameters))
        return self._get(vault_id, created.id)

    def replace(self, item: Item) -> Item:
        self.names.forget()
        what = f"item '{item.title}'"
        current = self._run(what, item.vault_id, lambda client: client.items.get(item.vault_id, item.id))
        if current.version != item.version:
            raise ConflictError(f"Item '{item.title}' ({item.id}) was changed in the meantime; run again.")
        desired = changed_item(current, item.document)
        self._run(what, item.vault_id, lambda client: client.items.put(desired))
        return self._get(item.vault_id, item.id)

    def delete(self, item: Item, archive: bool = False) -> None:
        def remove(client: t.Any) -> Awaitable[None]:
            action = client.items.archive if archive else client.items.delete
            return t.cast(Awaitable[None], action(item.vault_id, item.id))

        self.names.forget()
        self._run(f"item '{item.title}'", item.vault_id, remove)

    def close(self) -> None:
        self.client = None  # the SDK signs out when it is collected
        if self.runner:
            self.runner.close()
            self.runner = None

    def _get(self, vault_id: str, item_id: str) -> Item:
        item = self._run(f"item {item_id}", vault_id, lambda client: client.items.get(vault_id, item_id))
        return Item(to_document(item))

    def _vaults(self) -> Pairs:
        return [[vault.id, vault.title] for vault in self._run("the vaults", "", lambda client: client.vaults.list())]

    def _items(self, vault_id: str) -> Pairs:
        entries = self._run("the items", vault_id, lambda client: client.items.list(vault_id))
        return [[entry.id, entry.title] for entry in entries if entry.state.value == "active"]

    def _run(self, what: str, vault: str, operation: Callable[[t.Any], Awaitable[T]]) -> T:
        """Carry out one operation, after signing in if this is the first."""

        async def work() -> T:
            if self.client is None:
                self.client = await self.authenticate(self.token)
            return await operation(self.client)

        self.runner = self.runner or asyncio.Runner()
        try:
            return self.runner.run(asyncio.wait_for(work(), self.timeout))
        except NixciError:
            raise
        except TimeoutError:
            raise UnavailableError(
                f"1Password did not answer within {self.timeout:g} s; check the network or raise timeout."
            ) from None
        except (ImportError, OSError):
            raise NixciError(
                "The native library of onepassword-sdk does not load on this machine; "
                "use the command 'op' or a Connect server."
            ) from None
        except Exception as exc:  # the SDK raises little else than Exception
            raise self._error(what, vault, exc) from None

    def _error(self, what: str, vault: str, exc: Exception) -> NixciError:
        message = str(exc)
        general = general_error(message, vault)
        if general:
            return general
        if matches(message, CONFLICT):
            return ConflictError(f"1Password: {what} or its vault was changed in the meantime; run again.")
        if matches(message, ("item not found", "itemnotfound", "couldn't be found", "resource not found")):
            return ItemNotFoundError(f"1Password has no {what} any more; it was deleted in the meantime.")
        if matches(message, ("internal server error",)):
            return UnavailableError("1Password has an internal error; run again later.")
        # Exceptions of other types quote their input, as those of pydantic do.
        shown = safe_excerpt(message, self.token) if exc.__class__ is Exception else type(exc).__name__
        return NixciError(f"1Password's SDK failed for {what}: {shown}.")
