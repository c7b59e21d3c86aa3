# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: onepassword
short_description: Read fields of 1Password items by secret reference
version_added: 0.1.0
description:
  - Reads C(op://vault/item[/section]/field) from a 1Password Connect server, or with the command C(op) and a service
    account.
  - Each item is fetched once, however many of its fields are asked for.
author: The pantheros.nixci contributors (@pantheros)
options:
  _terms:
    description:
      - Secret references. Each part is a name, compared without regard to case, or an ID.
      - Names may have ASCII letters, digits, spaces and C(-_.); 1Password knows no escaping, so name anything else by ID.
      - Without a section, fields outside any section come first, then a field that is unique in all sections.
      - C(?attribute=otp) gives the current one-time code; C(type), C(id) and C(purpose) describe the field.
    type: list
    elements: str
    required: true
  default:
    description:
      - Returned for an item or field that does not exist; without it that is an error.
      - A vault that does not exist, a refused credential or an ambiguous name is an error in any case.
    type: raw
  cache_seconds:
    description:
      - Keep items this long for further tasks of the same Ansible run, which otherwise fetch them again. 0 keeps nothing.
      - They are kept encrypted, with a key derived from the credential, in a directory of the user alone below
        E(XDG_RUNTIME_DIR) or the directory for temporary files. At most 900.
      - M(pantheros.nixci.onepassword_item) discards them when it writes. Changes made elsewhere are seen after this time.
      - Items with one-time passwords are never kept. Linux controllers only; elsewhere nothing is kept.
    type: int
    default: 0
    vars:
      - name: nixci_onepassword_cache_seconds
extends_documentation_fragment:
  - pantheros.nixci._onepassword.lookup
notes:
  - Use C(query()) for several references; C(lookup()) joins their values with commas.
  - The values are secrets; set C(no_log) and C(diff=false) on tasks that would show them.
  - Files attached to items cannot be read.
seealso:
  - module: pantheros.nixci.onepassword_item
"""

EXAMPLES = r"""
- name: Log in with a token from 1Password
  ansible.builtin.command: attic-login
  environment:
    TOKEN: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/ci-token') }}"
  no_log: true

- name: Two fields of one item, one request for the item
  ansible.builtin.set_fact:
    b2: "{{ query('pantheros.nixci.onepassword', 'op://pantherOS/Backblaze-B2/application-key-id',
                  'op://pantherOS/Backblaze-B2/application-key') }}"
  no_log: true

- name: A value that may not exist yet
  ansible.builtin.set_fact:
    current: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/root-token', default='') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: One value per reference, in their order; an empty string for a field without a value.
  type: list
  elements: raw
"""

import time
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ..module_utils._errors import InvalidError, NixciError
from ..module_utils._onepassword import Backend, backend
from ..module_utils._onepassword_cache import Cache, current_run
from ..module_utils._onepassword_item import FieldNotFoundError, Item, ItemNotFoundError, fold
from ..module_utils._onepassword_reference import Reference, parse


class Items:
    """Items by vault and name, each asked for once: in this call, and in this run of Ansible when there is a cache."""

    def __init__(self, source: Backend, cache: Cache | None) -> None:
        self.source = source
        self.cache = cache
        self.known: dict[tuple[str, str], Item | ItemNotFoundError] = {}

    def get(self, vault: str, name: str) -> Item:
        key = (fold(vault), fold(name))
        if key not in self.known:
            self.known[key] = self._kept(vault, name, key) if self.cache else self._fetch(vault, name)
        item = self.known[key]
        if isinstance(item, ItemNotFoundError):
            raise item
        return item

    def _fetch(self, vault: str, name: str) -> Item | ItemNotFoundError:
        try:
            return self.source.fetch(vault, name)
        except ItemNotFoundError as exc:
            return exc

    def _kept(self, vault: str, name: str, key: tuple[str, str]) -> Item | ItemNotFoundError:
        cache = t.cast(Cache, self.cache)
        entry = cache.load("item", *key)
        if entry is None:
            with cache.locked():
                entry = cache.load("item", *key)
                if entry is None:
                    return self._fetch_and_keep(vault, name, key)
        if entry["missing"]:
            return ItemNotFoundError(entry["missing"])
        return Item(entry["document"])

    def _fetch_and_keep(self, vault: str, name: str, key: tuple[str, str]) -> Item | ItemNotFoundError:
        cache = t.cast(Cache, self.cache)
        started = time.time_ns()
        self.source.vault_ids.update(cache.load("vaults") or {})
        answer = self._fetch(vault, name)
        cache.store(self.source.vault_ids, started, "vaults")
        if isinstance(answer, ItemNotFoundError):
            cache.store({"missing": str(answer)}, started, "item", *key)
        elif not any(field.get("type") == "OTP" for field in answer.fields):
            cache.store({"missing": None, "document": answer.document}, started, "item", *key)
        return answer


def value(item: Item, reference: Reference) -> str:
    field = item.find(reference.field, reference.section)
    if field is None:
        raise FieldNotFoundError(f"'{reference}': item '{item.title}' ({item.id}) has no such field.")
    if reference.attribute == "otp":
        if not field.get("totp"):
            raise InvalidError(f"'{reference}': the field is not a one-time password.")
        return str(field["totp"])
    return str(field.get(reference.attribute) or "")


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=self._option_variables(variables or {}), direct=kwargs)
        try:
            return self._values([parse(term, position) for position, term in enumerate(terms, 1)])
        except NixciError as exc:
            # The chain of causes would be printed as well.
            raise AnsibleLookupError(f"pantheros.nixci.onepassword: {exc}") from None

    def _option_variables(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Ansible does not template the variables that set options of a lookup."""
        return {
            name: self._templar.template(variables[name]) for name in variables if name.startswith("nixci_onepassword_")
        }

    def _values(self, references: list[Reference]) -> list[t.Any]:
        source = backend(self.get_option)
        seconds, run = self.get_option("cache_seconds"), current_run()
        items = Items(source, Cache(source.credential, seconds, run) if seconds and run else None)
        default = self.get_option("default")
        values: list[t.Any] = []
        for reference in references:
            try:
                values.append(value(items.get(reference.vault, reference.item), reference))
            except (ItemNotFoundError, FieldNotFoundError):
                if default is None:
                    raise
                values.append(default)
        return values
