# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every HTTP client. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  timeout:
    description: Seconds to wait for one answer of the service.
    type: int
    default: 30
  retries:
    description:
      - How often a request is repeated after 429, and after 5xx or a lost connection where repeating is safe.
      - The pauses grow; C(Retry-After) is honoured. A longer one than 30 seconds (than C(longest_pause), where there is that
        option) fails the task at once.
    type: int
    default: 3
"""
    CA_PATH = r"""
options:
  ca_path:
    description: A file with the certificates of your own authority, if the service does not use a public one.
    type: path
"""
