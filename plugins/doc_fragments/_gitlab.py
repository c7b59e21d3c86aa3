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
      - A personal, group or project access token with the scope C(api). Its user or bot must be Maintainer of the project,
        or Owner of the group.
      - Without this option the environment variable E(GITLAB_TOKEN) is read.
    type: str
    required: true
  url:
    description: The address of GitLab. A trailing C(/api/v4) is left out.
    type: str
    default: https://gitlab.com
  project:
    description: The path of the project with its groups, or its number. Either this or O(group) is needed.
    type: str
  group:
    description: The path of the group with its parents, or its number. Either this or O(project) is needed.
    type: str
requirements:
  - python-gitlab (Python library, where the task runs)
"""
