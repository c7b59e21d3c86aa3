# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes of modules. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode, in which it predicts the result without changing anything.
    support: full
  diff_mode:
    description: Returns the state before and after the task in diff mode.
    support: full
  idempotent:
    description: When run again with the same options, it changes nothing and reports no change.
    support: full
"""

    # Each fragment is a literal, because `ansible-test sanity` reads them without importing this file.
    ACTIONGROUP_ATTIC = r"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.attic) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.attic
      - pantheros.nixci.all
"""

    ACTIONGROUP_B2 = r"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.b2) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.b2
      - pantheros.nixci.all
"""

    ACTIONGROUP_CLOUDFLARE = r"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.cloudflare) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.cloudflare
      - pantheros.nixci.all
"""

    ACTIONGROUP_GITLAB = r"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.gitlab) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.gitlab
      - pantheros.nixci.all
"""

    ACTIONGROUP_ONEPASSWORD = r"""
attributes:
  action_group:
    description:
      - Use C(group/pantheros.nixci.onepassword) or C(group/pantheros.nixci.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - pantheros.nixci.onepassword
      - pantheros.nixci.all
"""
