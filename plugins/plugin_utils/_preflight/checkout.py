# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a fleet's checkout without evaluating it. Private: may change without notice.

It rather misses something than raises a false alarm; the evaluation before the build remains the guard.
"""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from ...module_utils._nixos.command import PROGRAM_DIRS

_IMPORTED = re.compile(r"^[^#\n]*nixci/hosts\b", re.M)
# A configuration that computes what it imports.
_COMPUTED = re.compile(r"readDir|import-tree|listFilesRecursive|haumea|flakelight")
_NOT_THEIRS = {".git", "nixci", "node_modules"}


def problems(folder: str, name: str, build_on: str, hosts_flake: str) -> t.Iterator[str]:
    if not os.path.isabs(folder):
        yield f"nixci_flake_dir is '{folder}'; give the whole path, for instance '{{{{ inventory_dir }}}}/../fleet'."
        return
    if not os.path.isdir(folder):
        yield f"nixci_flake_dir is {folder}, which is no folder on the controller; name the folder of your checkout that has flake.nix."
        return
    if not os.path.isfile(os.path.join(folder, "flake.nix")):
        yield f"nixci_flake_dir is {folder}, which has no flake.nix; name the folder of your checkout that has one."
        return
    if hosts_flake:
        yield (
            f"nixos_flake ({hosts_flake}) names a configuration on the host and nixci_flake_dir ({folder}) one on the controller; "
            "keep the one that your hosts are built from."
        )
    if _in_git(folder) and not _program("git"):
        yield f"{folder} is in a git repository, but the controller has no git; install it."
    if build_on == "controller" and not _program("nix"):
        yield "The controller has no Nix to build with; install it, or set deploy_build_on: host."
    if not _imports(folder):
        yield (
            f"No file of the flake in {folder} imports our files; add  ./nixci/hosts/{name}  to the modules of "
            f"nixosConfigurations.{name}."
        )


def _imports(folder: str) -> bool:
    for place, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in _NOT_THEIRS and not one.startswith("result")]
        for file in files:
            if file.endswith(".nix"):
                try:
                    with open(os.path.join(place, file), encoding="utf-8", errors="replace") as opened:
                        text = opened.read()
                except OSError:
                    return True
                if _IMPORTED.search(text) or _COMPUTED.search(text):
                    return True
    return False


def _in_git(folder: str) -> bool:
    place = os.path.realpath(folder)
    while place != os.path.dirname(place):
        if os.path.lexists(os.path.join(place, ".git")):
            return True
        place = os.path.dirname(place)
    return False


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(PROGRAM_DIRS))
