# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options for the access to 1Password, of modules and of the lookup. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  backend:
    description:
      - How to access 1Password. Each back end uses its own credential and no other.
      - V(connect) is a Connect server, V(op) the command of the 1Password CLI on the C(PATH), and V(sdk) the Python library
        C(onepassword-sdk). V(op) and V(sdk) use a service account.
      - V(auto) selects V(connect) if one of its options is set, otherwise V(op), or V(sdk) if C(op) is not installed.
    type: str
    choices: [auto, connect, op, sdk]
    default: auto
  connect_host:
    description:
      - URL of a 1Password Connect server, without C(/v1).
      - Requires O(connect_token). Without C(https) the token and all secrets travel unencrypted; a warning says so, unless
        the server is on the same machine.
      - Falls back to the environment variable E(OP_CONNECT_HOST).
    type: str
  connect_token:
    description:
      - Token for the Connect server. Blanks and newlines around it do not matter.
      - Falls back to the environment variable E(OP_CONNECT_TOKEN).
    type: str
  service_account_token:
    description:
      - Token of a service account (C(ops_…)), for the command C(op) or the SDK. Blanks and newlines around it do not matter.
      - C(op) receives only this token and no other C(OP_…) variable of the environment.
      - Falls back to the environment variable E(OP_SERVICE_ACCOUNT_TOKEN).
    type: str
requirements:
  - requests, for a Connect server
  - for a service account, 1Password CLI (C(op)) 2.23 or newer, or onepassword-sdk 0.3.2 or newer
"""

    LOOKUP = r"""
options:
  backend:
    description:
      - How to access 1Password. Each back end uses its own credential and no other.
      - V(connect) is a Connect server, V(op) the command of the 1Password CLI on the C(PATH), and V(sdk) the Python library
        C(onepassword-sdk). V(op) and V(sdk) use a service account.
      - V(auto) selects V(connect) if one of its options is set, otherwise V(op), or V(sdk) if C(op) is not installed.
    type: str
    choices: [auto, connect, op, sdk]
    default: auto
    vars:
      - name: nixci_onepassword_backend
  connect_host:
    description:
      - URL of a 1Password Connect server, without C(/v1).
      - Requires O(connect_token). Without C(https) the token and all secrets travel unencrypted; a warning says so, unless
        the server is on the same machine.
    type: str
    vars:
      - name: nixci_onepassword_connect_host
    env:
      - name: OP_CONNECT_HOST
  connect_token:
    description:
      - Token for the Connect server. Blanks and newlines around it do not matter.
      - Do not write it into a task, because an error would show it.
    type: str
    vars:
      - name: nixci_onepassword_connect_token
    env:
      - name: OP_CONNECT_TOKEN
  service_account_token:
    description:
      - Token of a service account (C(ops_…)), for the command C(op) or the SDK. Blanks and newlines around it do not matter.
      - C(op) receives only this token and no other C(OP_…) variable of the environment.
      - Do not write it into a task, because an error would show it.
    type: str
    vars:
      - name: nixci_onepassword_service_account_token
    env:
      - name: OP_SERVICE_ACCOUNT_TOKEN
  timeout:
    description: Seconds to wait for a response of 1Password or for a run of C(op).
    type: int
    default: 30
    vars:
      - name: nixci_onepassword_timeout
  retries:
    description: How often to repeat a request to the Connect server after status 429, 5xx or a lost connection.
    type: int
    default: 3
    vars:
      - name: nixci_onepassword_retries
  ca_path:
    description: File with the certificates of your own certificate authority, if the Connect server uses one.
    type: path
    vars:
      - name: nixci_onepassword_ca_path
requirements:
  - requests, for a Connect server
  - for a service account, 1Password CLI (C(op)) 2.23 or newer, or onepassword-sdk 0.3.2 or newer
"""
