# SPDX-License-Identifier: GPL-3.0-or-later
"""A container of the lab's host image, for tests that need NixOS but not the whole lab."""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t

from lab.host import container
from lab.shell import attempt, run

PROFILE = "/nix/var/nix/profiles/system"


class Host:
    def __init__(self, tag: str) -> None:
        self.id = run("docker", "run", "--detach", *container.SYSTEMD, "--hostname=standin", "--memory=4g", tag).strip()

    def wait(self) -> None:
        for _ in range(300):
            if self.sh("systemctl is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise AssertionError(self.sh("systemctl list-jobs").stdout)

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        return attempt("docker", "exec", self.id, "bash", "-c", script)

    def out(self, script: str) -> str:
        done = self.sh(script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def put(self, path: str, text: str) -> None:
        run(
            "docker",
            "exec",
            "--interactive",
            self.id,
            "bash",
            "-c",
            f"mkdir -p $(dirname {path}); cat > {path}",
            input=text,
        )

    def copy(self, source: pathlib.Path, target: str) -> None:
        run("docker", "cp", "--quiet", str(source), f"{self.id}:{target}")

    def configure(self, body: str) -> None:
        self.put("/etc/nixos/configuration.nix", f"{{ config, lib, pkgs, ... }}: {{\n{body}\n}}\n")

    def rebuild(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.sh(f"nixos-rebuild {' '.join(args)}")

    def switch(self, body: str) -> subprocess.CompletedProcess[str]:
        self.configure(body)
        done = self.rebuild("switch")
        assert done.returncode == 0, done.stderr
        return done

    def generations(self) -> list[dict[str, t.Any]]:
        return json.loads(self.out("nixos-rebuild list-generations --json"))

    def current(self) -> str:
        return self.out("readlink /run/current-system")

    def profile(self) -> str:
        return self.out(f"readlink -f {PROFILE}")

    def remove(self) -> None:
        run("docker", "rm", "--force", "--volumes", self.id)
