# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every Cloudflare module. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  token:
    description:
      - An API token. The global API key is not supported.
      - The token needs C(Zone / DNS / Edit) for the zone, or C(Zone / DNS / Read) for check mode only. To find the zone by its name, it
        also needs C(Zone / Zone / Read), which the dashboard's template "Edit zone DNS" does not grant.
      - Defaults to the environment variable E(CLOUDFLARE_API_TOKEN), or E(CLOUDFLARE_TOKEN) if the former is not set.
    type: str
    required: true
  url:
    description: The base URL of Cloudflare's API.
    type: str
    default: https://api.cloudflare.com/client/v4
  longest_pause:
    description:
      - The maximum pause in seconds before each of the O(retries), if Cloudflare requests one with C(Retry-After).
      - Cloudflare allows 1200 requests per account in five minutes and then usually requests a pause of V(300)
        (U(https://developers.cloudflare.com/fundamentals/api/reference/limits/)).
    type: int
    default: 30
requirements:
  - requests (Python library on the host that runs the module)
"""
