# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: a user's git repository with one flake for four hosts, whose nixpkgs is the lab's stand-in.

checkout/ holds what the user has written. The lab adds nixpkgs/, the lock file and the public half of the deploy key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import platform
import shutil

from .. import state
from ..names import ROOT
from ..shell import run

FLEET = state.DIR / "fleet"
CHECKOUT = pathlib.Path(__file__).resolve().parent / "checkout"
STANDIN = ROOT / "lab" / "nixos"
IMPORT = "./nixci/hosts/"
KEY = "keys/deploy.pub"


def system() -> str:
    return f"{platform.machine()}-linux"


def create(deploy_key: str) -> None:
    """The repository as it was before the collection was used."""
    shutil.rmtree(FLEET, ignore_errors=True)
    shutil.copytree(CHECKOUT, FLEET)
    complete = (FLEET / "flake.nix").read_text().replace("x86_64-linux", system())
    lines = complete.splitlines(keepends=True)
    (FLEET / "flake.nix").write_text("".join(line for line in lines if IMPORT not in line))
    (FLEET / KEY).parent.mkdir()
    (FLEET / KEY).write_text(deploy_key + "\n")
    add_nixpkgs(FLEET)
    _git("init", "--quiet", "--initial-branch=main")
    _git("config", "user.name", "A user")
    _git("config", "user.email", "user@nixci.test")
    _commit("Describe the hosts")


def add_import() -> None:
    """What a user does to use the collection: name the folder of each host."""
    complete = (CHECKOUT / "flake.nix").read_text().replace("x86_64-linux", system())
    (FLEET / "flake.nix").write_text(complete)
    _commit("Use pantheros.nixci")


def add_nixpkgs(folder: pathlib.Path) -> None:
    """The input `path:./nixpkgs` and its lock, which every Nix from 2.8 on accepts as it is."""
    shutil.copytree(STANDIN, folder / "nixpkgs", ignore=shutil.ignore_patterns("__pycache__"))
    digest = base64.b64encode(hashlib.sha256(_nar(folder / "nixpkgs")).digest()).decode()
    source = {"path": "./nixpkgs", "type": "path"}
    # Nix until 2.25 requires the hash, and Nix since 2.26 the parent
    locked = {"lastModified": 1, "narHash": f"sha256-{digest}", **source}
    nodes = {
        "nixpkgs": {"locked": locked, "original": source, "parent": []},
        "root": {"inputs": {"nixpkgs": "nixpkgs"}},
    }
    (folder / "flake.lock").write_text(json.dumps({"nodes": nodes, "root": "root", "version": 7}, indent=2) + "\n")


def add_to_store(folder: pathlib.Path) -> None:
    """What Nix before 2.26 on this machine needs to find the relative input of a locked flake."""
    features = ("--extra-experimental-features", "nix-command")
    run("nix", *features, "store", "add-path", "--name", "source", str(folder / "nixpkgs"))


def _nar(path: pathlib.Path) -> bytes:
    """The Nix archive of a file or a folder."""
    return _string(b"nix-archive-1") + _node(path)


def _node(path: pathlib.Path) -> bytes:
    if path.is_dir():
        inside = [_string(b"("), _string(b"type"), _string(b"directory")]
        for entry in sorted(path.iterdir()):
            inside += [_string(b"entry"), _string(b"("), _string(b"name"), _string(entry.name.encode())]
            inside += [_string(b"node"), _node(entry), _string(b")")]
    else:
        inside = [_string(b"("), _string(b"type"), _string(b"regular")]
        if path.stat().st_mode & 0o100:
            inside += [_string(b"executable"), _string(b"")]
        inside += [_string(b"contents"), _string(path.read_bytes())]
    return b"".join([*inside, _string(b")")])


def _string(value: bytes) -> bytes:
    return len(value).to_bytes(8, "little") + value + b"\0" * (-len(value) % 8)


def _commit(message: str) -> None:
    _git("add", "--all")
    _git("commit", "--quiet", f"--message={message}")


def _git(*argv: str) -> str:
    return run("git", "-C", str(FLEET), *argv)
