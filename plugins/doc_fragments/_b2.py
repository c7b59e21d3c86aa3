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
      - The id of the application key that does the work; for the master key this is the account id.
      - Prefer a key with the rights that the module's notes name; the master key may do everything for ever.
    type: str
    required: true
  key:
    description: The secret of that key.
    type: str
    required: true
  realm:
    description: V(production), or the URL of another service that speaks B2's native API.
    type: str
    default: production
  region:
    description:
      - The region in which the account is expected to live, such as V(eu-central-003).
      - It is an assertion, not a choice; Backblaze binds an account to one region when it is made.
      - Needed only where the S3 endpoint that the service announces is not of the form C(s3.REGION.DOMAIN).
    type: str
requirements:
  - python >= 3.11
  - b2sdk >= 2.13
"""
