# SPDX-License-Identifier: GPL-3.0-or-later
"""/etc of the running system: links into /etc/static, which is the tree of the generation.

Debian's files are not ours: one that stands where the generation wants its own is moved aside, and comes
back when the generation no longer wants that place.
"""

from __future__ import annotations

import os
import shutil
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

ETC = Path("/etc")
STATIC = ETC / "static"
ASIDE = Path("/var/lib/nixos/etc-aside")
COPIED = ETC / ".clean"  # one path per line: entries that are copies, as on NixOS


def populate(tree: Path, copies: list[dict[str, t.Any]]) -> None:
    replace_link(STATIC, tree)
    special = {entry["target"]: entry for entry in copies}
    wanted = set(_leaves(tree))
    for name in sorted(wanted):
        target = ETC / name
        if os.path.ismount(target):  # the container's own, such as its host name
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _ours(target, name):
            _move_aside(target, name)
        if name in special:
            _copy(tree / name, target, special[name])
        else:
            replace_link(target, STATIC / name)
    _remove_stale(wanted, set(special))


def replace_link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    new = link.with_name(link.name + ".tmp")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def _leaves(tree: Path) -> Iterator[str]:
    """Entries are links to files or directories in the store. Real directories only lead to them."""
    for parent, directories, files in os.walk(tree):
        for name in [*files, *(d for d in directories if (Path(parent) / d).is_symlink())]:
            yield str((Path(parent) / name).relative_to(tree))


def _copied() -> set[str]:
    return set(COPIED.read_text().split("\n")) - {""} if COPIED.exists() else set()


def _ours(target: Path, name: str) -> bool:
    if target.is_symlink():
        return target.readlink().is_relative_to(STATIC)
    return not target.exists() or name in _copied()


def _move_aside(target: Path, name: str) -> None:
    place = ASIDE / name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(target, place)


def _copy(source: Path, target: Path, entry: dict[str, t.Any]) -> None:
    new = target.with_name(target.name + ".tmp")
    new.unlink(missing_ok=True)
    shutil.copyfile(source, new)
    shutil.chown(new, _owner(entry["user"]), _owner(entry["group"]))
    new.chmod(int(entry["mode"], 8))
    new.replace(target)


def _owner(name: str) -> str | int:
    return int(name[1:]) if name.startswith("+") else name


def _remove_stale(wanted: set[str], copies: set[str]) -> None:
    for parent, directories, files in os.walk(ETC):
        for name in [*files, *directories]:
            path = Path(parent) / name
            entry = str(path.relative_to(ETC))
            if path != STATIC and path.is_symlink() and path.readlink().is_relative_to(STATIC) and entry not in wanted:
                print(f"removing obsolete symlink ‘{path}’...", file=sys.stderr)
                _remove(path, entry)
    for entry in _copied() - wanted:
        if (ETC / entry).exists():
            print(f"removing obsolete file ‘{ETC / entry}’...", file=sys.stderr)
            _remove(ETC / entry, entry)
    COPIED.write_text("".join(f"{name}\n" for name in sorted(copies)))


def _remove(path: Path, entry: str) -> None:
    path.unlink()
    if os.path.lexists(ASIDE / entry):
        shutil.move(ASIDE / entry, path)
