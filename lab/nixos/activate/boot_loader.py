#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot loader of the lab's host: systemd-boot's files in /boot/loader, as nixpkgs' builder writes them.

With a system, it installs entries for all generations of the profile. The default becomes the newest generation of this
system; a system that is no generation leaves the default as it was. Without one, it prints the system that boots next.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

PROFILE = Path("/nix/var/nix/profiles/system")
CONF = Path("/boot/loader/loader.conf")
ENTRIES = Path("/boot/loader/entries")


def install(system: Path) -> None:
    ENTRIES.mkdir(parents=True, exist_ok=True)
    found = {int(link.name.split("-")[1]): link for link in PROFILE.parent.glob(f"{PROFILE.name}-*-link")}
    for number, link in found.items():
        _write(ENTRIES / _name(number), _entry(number, link))
    for stale in set(ENTRIES.glob("nixos-generation-*.conf")) - {ENTRIES / _name(number) for number in found}:
        stale.unlink()
    defaults = [number for number, link in found.items() if link.resolve() == system.resolve()]
    if defaults:
        _write(CONF, f"timeout 5\ndefault {_name(max(defaults))}\nconsole-mode keep\n")


def default() -> Path | None:
    """The system that boots next; None before the first installation."""
    if not CONF.exists():
        return None
    options = _value(ENTRIES / _value(CONF, "default"), "options")
    return Path(options.split()[0].removeprefix("init=")).parent


def _name(number: int) -> str:
    return f"nixos-generation-{number}.conf"


def _entry(number: int, link: Path) -> str:
    built = datetime.datetime.fromtimestamp(link.lstat().st_mtime).strftime("%F")
    version = (link / "nixos-version").read_text()
    return (
        f"title NixOS\nversion Generation {number} NixOS {version}, built on {built}\n"
        f"options init={link.resolve()}/init\nsort-key nixos\n"
    )


def _value(file: Path, key: str) -> str:
    return next(line.split(" ", 1)[1] for line in file.read_text().splitlines() if line.startswith(f"{key} "))


def _write(file: Path, text: str) -> None:
    new = file.with_suffix(".tmp")
    new.write_text(text)
    new.replace(file)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        install(Path(sys.argv[1]))
    elif (boots := default()) is not None:
        print(boots)
