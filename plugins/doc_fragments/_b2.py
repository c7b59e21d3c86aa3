# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every Backblaze B2 module. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  key_id:
    description:
      - The id of the application key that the module uses. For the master key this is the account id.
      - Prefer a key with only the capabilities that the module's notes list; the master key may do everything and never
        expires.
    type: str
    required: true
  key:
    description: The secret of that key.
    type: str
    required: true
  realm:
    description: V(production), or the URL of another service with B2's native API.
    type: str
    default: production
  region:
    description:
      - The expected region of the account, such as V(eu-central-003). Another region is an error.
      - You cannot choose a region here; Backblaze assigns one to an account when it is created.
      - Required only if the S3 endpoint of the service does not have the form C(s3.REGION.DOMAIN).
    type: str
requirements:
  - python >= 3.11
  - b2sdk >= 2.13
"""
