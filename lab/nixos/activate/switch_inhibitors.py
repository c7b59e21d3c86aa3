#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""NixOS' pre-switch check since 26.05: the components that a running system cannot replace are the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

CURRENT = Path("/run/current-system")
ADVICE = """
Switching into this system is not recommended.
You probably want to run 'nixos-rebuild boot' and reboot your system instead.

If you really want to switch into this configuration directly, then
you can set NIXOS_NO_CHECK=1 to ignore pre-switch checks.

WARNING: doing so might cause the switch to fail or your system to become unstable.
"""


def inhibitors(system: Path) -> dict[str, str]:
    file = system / "switch-inhibitors"
    return json.loads(file.read_text()) if file.is_file() else {}


def main(system: str, action: str) -> int:
    if action in ("boot", "dry-activate"):
        print(f"Not checking switch inhibitors (action = {action})")
        return 0
    old, new = inhibitors(CURRENT), inhibitors(Path(system))
    # A component that only one of them has does not count.
    changed = [f"{name} : {old[name]} -> {new[name]}" for name in old if name in new and old[name] != new[name]]
    if not changed:
        print("Checking switch inhibitors... done")
        return 0
    print("Checking switch inhibitors...\nThere are changes to critical components of the system:\n")
    print("\n".join(changed))
    print(ADVICE)
    return 1


sys.exit(main(*sys.argv[1:]))
