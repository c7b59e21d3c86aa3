# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who deploys, for the record. Private: may change without notice."""

from __future__ import annotations

import getpass
import os
import socket


def deploys() -> dict[str, str | None]:
    name = socket.gethostname()
    if os.environ.get("CI_JOB_ID"):
        return {
            "who": os.environ.get("GITLAB_USER_LOGIN") or "GitLab",
            "name": name,
            "pipeline": os.environ.get("CI_JOB_URL") or os.environ.get("CI_PIPELINE_URL"),
        }
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        user = str(os.getuid())
    return {"who": f"{user}@{name}", "name": name, "pipeline": None}
