# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's checkout of a flake with one host, whose nixpkgs is the lab's stand-in."""

from __future__ import annotations

import os
import pathlib
import subprocess

from lab import fleet as lab_fleet

FLAKE = """{
  inputs.nixpkgs.url = "path:./nixpkgs";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.%(host)s = nixpkgs.lib.nixosSystem {
      system = "%(system)s";
      modules = [
        { system.configurationRevision = self.rev or null; }
        ./%(host)s.nix
%(imports)s      ];
    };
  };
}
"""
GIT = {
    "GIT_AUTHOR_NAME": "Me",
    "GIT_AUTHOR_EMAIL": "me@nixci.test",
    "GIT_COMMITTER_NAME": "Me",
    "GIT_COMMITTER_EMAIL": "me@nixci.test",
}


class Checkout:
    def __init__(self, root: pathlib.Path, host: str, own: str, *imports: str) -> None:
        self.root, self.host = root, host
        root.mkdir()
        lab_fleet.add_nixpkgs(root)
        self.write(own)
        self.git("init", "--quiet", "--initial-branch=main")
        self.add_modules(*imports)

    def add_modules(self, *imports: str) -> None:
        """As a user does: name them in the flake, and commit."""
        lines = "".join(f"        {line}\n" for line in imports)
        text = FLAKE % {"host": self.host, "system": lab_fleet.system(), "imports": lines}
        (self.root / "flake.nix").write_text(text)
        self.commit()

    def write(self, own: str) -> None:
        """The user's own configuration of the host."""
        (self.root / f"{self.host}.nix").write_text(own)

    def read(self) -> str:
        return (self.root / f"{self.host}.nix").read_text()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=change")
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        command = ["git", "-C", str(self.root), *args]
        done = subprocess.run(command, env={**os.environ, **GIT}, capture_output=True, text=True, check=True)
        return done.stdout.strip()
