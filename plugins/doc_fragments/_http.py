# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that use HTTP. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  timeout:
    description: The maximum time in seconds to wait for a response of the service.
    type: int
    default: 30
  retries:
    description:
      - The maximum number of times that a request is repeated after HTTP status 429. Requests that are safe to repeat are also repeated after
        5xx and lost connections.
      - The pauses between attempts increase. A pause that the service requests with C(Retry-After) is respected, but if it is longer than
        30 seconds, or than C(longest_pause) for modules with that option, the task fails at once and names the pause.
    type: int
    default: 3
"""
    CA_PATH = r"""
options:
  ca_path:
    description: A file with the certificates of your own certificate authority, if the service does not use a public one.
    type: path
"""
