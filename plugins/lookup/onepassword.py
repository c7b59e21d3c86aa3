# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: onepassword
short_description: Read fields and files of 1Password items by secret reference
version_added: 0.1.0
description:
  - Reads C(op://vault/item[/section]/field-or-file) from a 1Password Connect server, or with a service account by the
    command C(op) or the Python SDK. The answer is the same for each of them.
  - Fetches whole items, each once, however many of its fields are asked for; with O(cache_seconds) once for all tasks and
    hosts of a run.
author: The pantheros.nixci contributors (@pantheros)
options:
  _terms:
    description:
      - Secret references. Each part is a name, or an ID of 26 characters.
      - Names are compared without regard to case, but one that is spelled exactly so comes first.
      - Names may have ASCII letters, digits, spaces and C(-_.); 1Password knows no escaping, so name anything else by ID
        (U(https://developer.1password.com/docs/cli/secret-reference-syntax)).
      - Without a section, fields outside any section come first, then a field that is unique in all sections, then files.
      - For fields C(?attribute=otp) gives the current one-time code, C(?ssh-format=openssh) a private key as OpenSSH writes
        it (without the attribute it is PKCS#8), and C(?attribute=type), C(id) or C(purpose) describe the field.
      - For files C(?attribute=name), C(size) or C(id) describe the file.
    type: list
    elements: str
    required: true
  default:
    description:
      - Returned for an item, field or file that does not exist; without it that is an error.
      - A vault that does not exist, a refused credential, an ambiguous name or an unreachable service is an error in any
        case.
    type: raw
  base64:
    description: Return the values in base64. Necessary for files that are no text in UTF-8. Does not concern O(default).
    type: bool
    default: false
  cache_seconds:
    description:
      - Keep items this long for further tasks of the same Ansible run, which otherwise fetch them again. 0 keeps nothing.
      - They are kept encrypted, with a key derived from the credential, in a directory of the user alone below
        E(XDG_RUNTIME_DIR) or the directory for temporary files. At most 900.
      - What does not exist, a refused token and an exhausted quota are kept as well, so that they cost one request only.
      - M(pantheros.nixci.onepassword_item) discards them when it writes. Changes made elsewhere are seen after this time.
      - One-time passwords are never kept. Linux controllers only; elsewhere nothing is kept.
    type: int
    default: 0
    vars:
      - name: nixci_onepassword_cache_seconds
extends_documentation_fragment:
  - pantheros.nixci._onepassword.lookup
requirements:
  - cryptography, for O(cache_seconds) and C(?ssh-format=openssh)
notes:
  - The credential needs no more than the right to read the vault.
  - Use V(query(\)) for several references; V(lookup(\)) joins their values with commas.
  - The values are secrets; set C(no_log) and C(diff=false) on tasks that would show them.
  - Ansible prints the errors of a lookup even under C(no_log). Those of this one hold no secret. A token or password that
    is written into the task itself would be shown by Ansible as part of the task.
  - A Connect server is asked for the vaults, for the items of each vault and for each item that is needed; the first two
    are spared with IDs. C(op) is run once for each item, C(op read) once for each file.
seealso:
  - module: pantheros.nixci.onepassword_item
"""

EXAMPLES = r"""
- name: Let Nix fetch from a private cache
  ansible.builtin.copy:
    content: |
      machine cache.example.com
      password {{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/ci-token') }}
    dest: "{{ folder }}/netrc"
    mode: "0600"
  diff: false
  no_log: true

- name: Two fields of one item, one request for the item
  ansible.builtin.set_fact:
    b2: "{{ query('pantheros.nixci.onepassword', 'op://pantherOS/Backblaze-B2/application-key-id',
                  'op://pantherOS/Backblaze-B2/application-key') }}"
  no_log: true

- name: A value that may not exist yet
  ansible.builtin.set_fact:
    current: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/signing-key', default='') }}"
  no_log: true

- name: A field in a section, and a one-time password
  ansible.builtin.set_fact:
    registry:
      password: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Registry/robots/password') }}"
      code: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Registry/one-time password?attribute=otp') }}"
  no_log: true

- name: A private key for ssh
  ansible.builtin.copy:
    content: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Deploy key/private key?ssh-format=openssh') }}"
    dest: "{{ folder }}/deploy-key"
    mode: "0600"
  diff: false
  no_log: true

- name: A binary file that is attached to an item
  ansible.builtin.shell:
    cmd: umask 077; base64 --decode > "$FILE"
    stdin: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Attic/recovery.p12', base64=true) }}"
  environment:
    FILE: "{{ folder }}/recovery.p12"
  no_log: true

- name: Fetch each item once for all tasks and hosts of the run
  ansible.builtin.debug:
    msg: "{{ lookup('pantheros.nixci.onepassword', 'op://pantherOS/Backblaze-B2/application-key-id') }}"
  vars:
    nixci_onepassword_cache_seconds: 600
"""

RETURN = r"""
_raw:
  description: One value per reference, in their order; an empty string for a field without a value.
  type: list
  elements: str
  sample: [the value of the field]
"""

import base64
import contextlib
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils._core.errors import InvalidError, NixciError
from ..module_utils._onepassword.backend import backend
from ..module_utils._onepassword.cache import Cache, current_run
from ..module_utils._onepassword.item import FieldNotFoundError, ItemNotFoundError
from ..plugin_utils._onepassword.reference import Reference, parse
from ..plugin_utils._onepassword.resolver import Answers


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=self._option_variables(variables or {}), direct=kwargs)
        try:
            references = [parse(term, position) for position, term in enumerate(terms, 1)]
            with contextlib.closing(backend(self.get_option, Display().warning)) as source:
                seconds, run = self.get_option("cache_seconds"), current_run()
                answers = Answers(source, Cache(source.credential, seconds, run) if seconds and run else None)
                return [self._value(answers, reference) for reference in references]
        except NixciError as exc:
            # The chain of causes would be printed as well.
            raise AnsibleLookupError(f"pantheros.nixci.onepassword: {exc}") from None

    def _option_variables(self, variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Ansible does not template the variables that set options of a lookup."""
        return {
            name: self._templar.template(variables[name]) for name in variables if name.startswith("nixci_onepassword_")
        }

    def _value(self, answers: Answers, reference: Reference) -> t.Any:
        try:
            content = answers.value(reference)
        except (ItemNotFoundError, FieldNotFoundError):
            if self.get_option("default") is None:
                raise
            return self.get_option("default")
        if self.get_option("base64"):
            return base64.b64encode(content).decode()
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise InvalidError(f"'{reference}': the file is no text in UTF-8; read it with base64=true.") from None
