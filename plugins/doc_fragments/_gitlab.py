# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every GitLab module. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  token:
    description:
      - A personal, group or project access token with the scope C(api). Its user or bot must be Maintainer of the project
        or Owner of the group.
      - Defaults to the environment variable E(GITLAB_TOKEN).
    type: str
    required: true
  url:
    description: The URL of the GitLab instance. A trailing C(/api/v4) is ignored.
    type: str
    default: https://gitlab.com
  project:
    description: The full path or the numeric id of the project. Either O(project) or O(group) is required.
    type: str
  longest_pause:
    description: The maximum pause in seconds before each of the O(retries), if GitLab requests one with C(Retry-After).
    type: int
    default: 30
  group:
    description: The full path or the numeric id of the group. Either O(project) or O(group) is required.
    type: str
requirements:
  - python-gitlab (Python library on the host that runs the module)
"""
