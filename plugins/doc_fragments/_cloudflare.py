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
      - An API token, not the global key.
      - It needs C(Zone / DNS / Edit) for the zone, or C(Zone / DNS / Read) to look only, and C(Zone / Zone / Read) to find
        the zone by its name. The dashboard's template "Edit zone DNS" grants the first one only.
      - Without this option the environment variables E(CLOUDFLARE_API_TOKEN) and then E(CLOUDFLARE_TOKEN) are read.
    type: str
    required: true
  url:
    description: The root of the API.
    type: str
    default: https://api.cloudflare.com/client/v4
  longest_pause:
    description:
      - Seconds to wait at most when Cloudflare asks for patience with C(Retry-After), once for each of the O(retries).
      - An account has 1200 requests in five minutes; after them a pause of V(300) is normal
        (U(https://developers.cloudflare.com/fundamentals/api/reference/limits/)).
    type: int
    default: 30
requirements:
  - requests (Python library, where the task runs)
"""
