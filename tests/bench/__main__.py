# SPDX-License-Identifier: GPL-3.0-or-later
"""make bench: measures what runs cost on this machine. It has no limits that could fail."""

from __future__ import annotations

import os

from . import community, deploy, site
from .report import row


def main() -> None:
    row("processors", str(os.cpu_count()))
    community.main()
    deploy.main()
    site.main()


if __name__ == "__main__":
    main()
