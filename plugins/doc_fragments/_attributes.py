# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of the collection supports. Private: may change without notice."""

from __future__ import annotations


def action_group(name: str) -> str:
    """For the modules of one group in meta/runtime.yml."""
    return f"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.{name}) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.{name}
      - pantheros.nixci.all
"""


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run reports no change.
    support: full
"""

    ACTIONGROUP_ATTIC = action_group("attic")
    ACTIONGROUP_B2 = action_group("b2")
    ACTIONGROUP_CLOUDFLARE = action_group("cloudflare")
    ACTIONGROUP_GITLAB = action_group("gitlab")
    ACTIONGROUP_ONEPASSWORD = action_group("onepassword")
