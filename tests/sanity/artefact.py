# SPDX-License-Identifier: GPL-3.0-or-later
"""The artefact as Galaxy would get it, built from the files that git knows or would add."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

from tests.support.paths import ROOT

TOOLS = pathlib.Path(sys.executable).parent
COLLECTION = pathlib.Path("ansible_collections/pantheros/nixci")


def copy_checkout(tree: pathlib.Path) -> None:
    """What git knows or would add; a developer's other files play no part."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in map(os.fsdecode, listed.stdout.split(b"\0")):
        source, target = ROOT / name, tree / name
        if name and os.path.lexists(source):  # a file may be removed and the removal not be staged
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def build(folder: pathlib.Path) -> pathlib.Path:
    """The artefact, in the folder."""
    tree = folder / "tree"
    copy_checkout(tree)
    command = [str(TOOLS / "ansible-galaxy"), "collection", "build", str(tree), "--output-path", str(folder)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    shutil.rmtree(tree)
    return next(folder.glob("*.tar.gz"))


def unpack(artefact: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The collection, unpacked to where Ansible finds it below the folder."""
    with tarfile.open(artefact) as archive:
        archive.extractall(folder / COLLECTION, filter="data")
    return folder / COLLECTION
