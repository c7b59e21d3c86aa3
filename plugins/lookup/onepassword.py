# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: onepassword
short_description: Read fields and files of 1Password items by secret reference
version_added: 0.1.0
description:
  - Reads C(op://vault/item[/section]/field-or-file) from a 1Password Connect server, or with a service account through the
    command C(op) or the Python SDK. All of them return the same values.
  - Fetches whole items. Each item is fetched once per call, however many of its fields are read. With O(cache_seconds) it
    is fetched once for all tasks and hosts of a run.
author: The pantheros.nixci contributors (@pantheros)
options:
  _terms:
    description:
      - Secret references. Each part is a name, or an ID of 26 characters.
      - Names are compared case-insensitively, but an exact match takes precedence.
      - Names may contain ASCII letters, digits, spaces and C(-_.). 1Password has no escaping for other characters, so use
        the ID of anything else
        (U(https://developer.1password.com/docs/cli/secret-reference-syntax)).
      - A reference without a section matches fields outside any section first, then a field that is unique in all sections,
        then files.
      - For fields, C(?attribute=otp) returns the current one-time code and C(?ssh-format=openssh) a private key in OpenSSH's
        format (PKCS#8 without it); C(?attribute=type), C(id) or C(purpose) describe the field.
      - A date is returned like V(2026-12-31), in UTC, and a month like V(202612), whatever the back end.
      - For files, C(?attribute=name), C(size) or C(id) describe the file.
    type: list
    elements: str
    required: true
  default:
    description:
      - Value to return if the item, field or file does not exist. Without this option, that is an error.
      - A missing vault, a refused credential, an ambiguous name and an unreachable service are always errors.
    type: raw
  base64:
    description:
      - Return the values encoded in base64. Required for files that are not UTF-8 text.
      - Does not apply to O(default).
    type: bool
    default: false
  cache_seconds:
    description:
      - How long to cache items for further tasks of the same Ansible run, at most 900 seconds. V(0) disables the cache, and
        every task fetches its items again.
      - The cache is encrypted with a key derived from the credential. It is in a directory that is private to the user, below
        E(XDG_RUNTIME_DIR) or the directory for temporary files.
      - Missing objects, a refused token and an exhausted quota are cached as well, so that each costs only one request.
      - M(pantheros.nixci.onepassword_item) invalidates the cache when it writes. Other changes become visible when the time
        is over.
      - One-time passwords are never cached. The cache works on Linux controllers only.
    type: int
    default: 0
    vars:
      - name: nixci_onepassword_cache_seconds
extends_documentation_fragment:
  - pantheros.nixci._onepassword.lookup
requirements:
  - cryptography, for O(cache_seconds) and C(?ssh-format=openssh)
notes:
  - The credential only needs the right to read the vault.
  - Use V(query(\)) for several references; V(lookup(\)) joins their values with commas.
  - The values are secrets; set C(no_log) and C(diff=false) on tasks that would show them.
  - Ansible prints the error of a lookup even under C(no_log). The errors of this lookup contain no secrets. However, Ansible
    shows a token or password that is written into the task itself.
  - A Connect server receives a request for the list of vaults, one for the items of each vault, and one for each item. IDs
    make the first two unnecessary. C(op) is run once for each item, and C(op read) once for each file.
seealso:
  - module: pantheros.nixci.onepassword_item
"""

EXAMPLES = r"""
- name: Give Nix the password of a private cache
  ansible.builtin.copy:
    content: |
      machine cache.example.com
      password {{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/ci-token') }}
    dest: "{{ folder }}/netrc"
    mode: "0600"
  diff: false
  no_log: true

- name: Read two fields with one request for their item
  ansible.builtin.set_fact:
    b2: "{{ query('pantheros.nixci.onepassword', 'op://pantherOS/Backblaze-B2/application-key-id',
                  'op://pantherOS/Backblaze-B2/application-key') }}"
  no_log: true

- name: Read a value that may not exist yet
  ansible.builtin.set_fact:
    current: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/signing-key', default='') }}"
  no_log: true

- name: Read a field in a section and a one-time password
  ansible.builtin.set_fact:
    registry:
      password: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Registry/robots/password') }}"
      code: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Registry/one-time password?attribute=otp') }}"
  no_log: true

- name: Write a private key for ssh
  ansible.builtin.copy:
    content: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Deploy key/private key?ssh-format=openssh') }}"
    dest: "{{ folder }}/deploy-key"
    mode: "0600"
  diff: false
  no_log: true

- name: Write a binary file that is attached to an item
  ansible.builtin.shell:
    cmd: umask 077; base64 --decode > "$FILE"
    stdin: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/recovery.p12', base64=true) }}"
  environment:
    FILE: "{{ folder }}/recovery.p12"
  no_log: true

- name: Fetch the item once for all tasks and hosts of the run
  ansible.builtin.debug:
    msg: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Backblaze-B2/application-key-id') }}"
  vars:
    nixci_onepassword_cache_seconds: 600
"""

RETURN = r"""
_raw:
  description: One value per reference, in the same order; an empty string for a field without a value.
  type: list
  elements: str
  sample: [the value of the field]
"""

import base64
import contextlib
import re
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._onepassword.backend import backend
from ..module_utils._onepassword.cache import Cache, current_run
from ..module_utils._onepassword.item import FieldNotFoundError, ItemNotFoundError
from ..plugin_utils._onepassword.reference import Reference, parse
from ..plugin_utils._onepassword.resolver import Resolver

# Where a part of a reference ends.
LINE_END = re.compile(r"[\r\n]+(?=[/?]|\Z)")


def without_line_ends(term: t.Any) -> t.Any:
    """The term without the newline with which a file or a secret store ends a name; no name can have one there."""
    return LINE_END.sub("", term) if isinstance(term, str) else term


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=self._option_variables(variables or {}), direct=kwargs)
        try:
            references = [parse(without_line_ends(term), position) for position, term in enumerate(terms, 1)]
            with contextlib.closing(backend(self.get_option, Display().warning)) as source:
                seconds, run = self.get_option("cache_seconds"), current_run()
                resolver = Resolver(source, Cache(source.credential, seconds, run) if seconds and run else None)
                return [self._value(resolver, reference) for reference in references]
        except NixciError as exc:
            # The chain of causes would be printed as well.
            raise AnsibleLookupError(f"pantheros.nixci.onepassword: {exc}") from None

    def _option_variables(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Ansible does not template variables that set the options of a lookup."""
        return {
            name: self._templar.template(variables[name]) for name in variables if name.startswith("nixci_onepassword_")
        }

    def _value(self, resolver: Resolver, reference: Reference) -> t.Any:
        try:
            content = resolver.value(reference)
        except (ItemNotFoundError, FieldNotFoundError):
            if self.get_option("default") is None:
                raise
            return self.get_option("default")
        if self.get_option("base64"):
            return base64.b64encode(content).decode()
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidError(f"'{reference}': the file is not UTF-8 text; read it with base64=true.") from None
