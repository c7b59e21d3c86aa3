# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to an Attic server. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  url:
    description:
      - The root of the Attic server's API, without the name of a cache.
      - Use the same address as the clients, because the server may only answer to that host name.
    type: str
    required: true
  token:
    description:
      - A token of this server, as minted by M(pantheros.nixci.attic_token) or C(atticadm make-token).
      - The server treats a token that it does not accept, for example an expired one, like a missing one.
    type: str
    required: true
requirements:
  - requests
"""
