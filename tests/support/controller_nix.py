# SPDX-License-Identifier: GPL-3.0-or-later
"""Nix on the controller, where there may be none: programs that run the real one in a container of the lab's image.

The container sees one folder of this machine at the same path, so checkouts, copies and archives have to be there.
"""

from __future__ import annotations

import pathlib

from lab.shell import attempt, run
from tests.support.containers import mark

PROGRAMS = ("nix", "nix-store")
SCRIPT = """#!/bin/sh
exec docker exec --interactive {id} {program} "$@"
"""


class ControllerNix:
    def __init__(self, tag: str, folder: pathlib.Path) -> None:
        self.folder = folder
        mount = f"--volume={folder}:{folder}"
        self.id = run(
            "docker", "run", "--detach", mark(), "--memory=2g", "--init", mount, "--entrypoint=sleep", tag, "infinity"
        ).strip()
        self.bin = folder / "nix-programs"
        self.bin.mkdir()
        for program in PROGRAMS:
            path = self.bin / program
            path.write_text(SCRIPT.format(id=self.id, program=program))
            path.chmod(0o755)

    def out(self, *argv: str) -> str:
        return run("docker", "exec", self.id, *argv)

    def remove(self) -> None:
        attempt("docker", "rm", "--force", "--volumes", self.id)
