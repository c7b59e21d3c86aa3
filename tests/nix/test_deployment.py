# SPDX-License-Identifier: GPL-3.0-or-later
"""What a system brings along to take back a deployment that nobody confirms."""

from __future__ import annotations

import typing as t

from .conftest import REBUILD

REVERT = 'lib.filter (package: lib.getName package == "nixci-revert") config.environment.systemPackages'
UNIT = "nixci-boot-confirm.service"


def test_the_revert_and_the_unit_after_a_boot_are_in_the_system(host: t.Any) -> None:
    got = host.value(f"""builtins.seq {REBUILD} {{
      revert = map (package: "${{package}}/bin/nixci-revert --after-boot") ({REVERT});
      unit = config.systemd.units."{UNIT}".text;
    }}""")
    [command] = got["revert"]
    [start] = [line for line in got["unit"].splitlines() if line.startswith("ExecStart=")]
    assert start.endswith(command)
    assert "ConditionPathExists=/var/lib/nixci/deployment" in got["unit"]
    assert "X-RestartIfChanged=false" in got["unit"]


def test_a_host_without_settings_has_neither(host: t.Any) -> None:
    host.without("attic", "backup", "caddy", "nixos", "opnix", "postgresql")
    got = host.value(f'{{ revert = {REVERT}; unit = config.systemd.units ? "{UNIT}"; }}')
    assert got == {"revert": [], "unit": False}
