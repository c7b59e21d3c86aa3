# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules and the lookup reach 1Password. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  connect_host:
    description:
      - URL of a 1Password Connect server, without C(/v1).
      - Needs O(connect_token). Connect wins when a service account is given too.
      - Falls back to the environment variable E(OP_CONNECT_HOST).
    type: str
  connect_token:
    description: Token for the Connect server. Falls back to the environment variable E(OP_CONNECT_TOKEN).
    type: str
  service_account_token:
    description:
      - Token of a service account (C(ops_…)), used with the command C(op) on the C(PATH).
      - C(op) sees only this token; other C(OP_…) variables of the environment do not reach it.
      - Falls back to the environment variable E(OP_SERVICE_ACCOUNT_TOKEN).
    type: str
requirements:
  - requests, with a Connect server
  - 1Password CLI (C(op)) 2.23 or newer, with a service account
"""

    LOOKUP = r"""
options:
  connect_host:
    description:
      - URL of a 1Password Connect server, without C(/v1).
      - Needs O(connect_token). Connect wins when a service account is given too.
    type: str
    vars:
      - name: nixci_onepassword_connect_host
    env:
      - name: OP_CONNECT_HOST
  connect_token:
    description: Token for the Connect server. Do not write it into a task, where an error would show it.
    type: str
    vars:
      - name: nixci_onepassword_connect_token
    env:
      - name: OP_CONNECT_TOKEN
  service_account_token:
    description:
      - Token of a service account (C(ops_…)), used with the command C(op) on the C(PATH).
      - C(op) sees only this token; other C(OP_…) variables of the environment do not reach it.
      - Do not write it into a task, where an error would show it.
    type: str
    vars:
      - name: nixci_onepassword_service_account_token
    env:
      - name: OP_SERVICE_ACCOUNT_TOKEN
  timeout:
    description: Seconds to wait for one answer of the Connect server or for one run of C(op).
    type: int
    default: 30
    vars:
      - name: nixci_onepassword_timeout
  retries:
    description: How often a request to the Connect server is repeated after 429, 5xx or a lost connection.
    type: int
    default: 3
    vars:
      - name: nixci_onepassword_retries
  ca_path:
    description: A file with the certificates of your own authority, if the Connect server uses one.
    type: path
    vars:
      - name: nixci_onepassword_ca_path
requirements:
  - requests, with a Connect server
  - 1Password CLI (C(op)) 2.23 or newer, with a service account
"""
