# SPDX-License-Identifier: GPL-3.0-or-later
"""A container of the lab's host image, for tests that need NixOS but not the whole lab."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import time
import typing as t

from lab.host import access, container
from lab.shell import attempt, run
from tests.support.containers import mark, own_address

PROFILE = "/nix/var/nix/profiles/system"
BOOT_LOADER = "/usr/lib/nixos-standin/activate/boot_loader.py"
# docker's own pipe to a container is not affected
DROP = ("INPUT 1 ! -i lo -j DROP", "OUTPUT 1 ! -o lo -j DROP")


# Each look costs as much processor time as a short wait, because it starts a process in the container.
INTERVAL = 0.3


class Host:
    """A host that reboots as NixOS does. Options are those of `docker run`, such as a name, memory or a mount."""

    def __init__(self, tag: str, *options: str) -> None:
        command = (
            "docker",
            "run",
            "--detach",
            mark(),
            *own_address(),
            *container.SYSTEMD,
            "--hostname=standin",
            "--memory=4g",
            *options,
            tag,
        )
        self.id = run(*command).strip()

    def wait(self) -> None:
        """Until it has booted."""
        for _ in range(400):
            if self.sh("systemctl is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(INTERVAL)
        raise AssertionError(self.sh("systemctl list-jobs").stdout + attempt("docker", "logs", self.id).stderr)

    def kill(self) -> None:
        """The power fails."""
        run("docker", "kill", self.id)

    def start(self) -> None:
        """Boot what the boot loader says."""
        run("docker", "start", self.id)
        self.wait()

    def restart(self) -> None:
        run("docker", "restart", self.id)
        self.wait()

    def wait_for_boot(self, boot_id: str) -> None:
        """Until it is up again after `systemctl reboot` inside; `boot_id` is that of before."""
        for _ in range(400):
            now = self.sh("cat /proc/sys/kernel/random/boot_id")
            if now.returncode == 0 and now.stdout.strip() != boot_id:
                return self.wait()
            time.sleep(INTERVAL)
        raise AssertionError("the host did not come back")

    @property
    def address(self) -> str:
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", f"--format={networks}", self.id).strip()

    def give_ssh(self, folder: pathlib.Path) -> None:
        """Let a new key in `folder` log in as root; pin the host's key there. Its configuration must start sshd."""
        access.make_key(folder)
        access.pin_host_key(self.id, self.address, folder)
        access.put(self.id, "/root/.ssh/authorized_keys", access.public_key(folder) + "\n", "600")
        self.ssh_folder = folder

    def ssh_options(self) -> list[str]:
        return [
            f"-i{self.ssh_folder / access.KEY}",
            f"-oUserKnownHostsFile={self.ssh_folder / access.KNOWN_HOSTS}",
            "-oStrictHostKeyChecking=yes",
            "-oBatchMode=yes",
            "-oConnectTimeout=5",
        ]

    def ssh(self, script: str, user: str = "root", port: int = 22) -> subprocess.CompletedProcess[str]:
        return attempt("ssh", *self.ssh_options(), f"-p{port}", f"{user}@{self.address}", script)

    def wait_for_ssh(self, port: int = 22) -> None:
        for _ in range(300):
            try:
                with socket.create_connection((self.address, port), timeout=1) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.sh("systemctl status sshd").stdout)

    def drop_packets(self, seconds: float | None = None) -> None:
        """Drop everything that the network brings and takes, until restore() or for some time."""
        self.restore()
        for rule in DROP:
            self.out(f"iptables -w -I {rule}")
        if seconds is not None:
            run("docker", "exec", "--detach", self.id, "sh", "-c", f"sleep {seconds}; {_undo()}")

    def restore(self) -> None:
        self.sh(_undo())

    def boots(self) -> str:
        """The system that the boot loader boots next."""
        return self.out(f"python3 {BOOT_LOADER}")

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

    def booted(self) -> str:
        return self.out("readlink /run/booted-system")

    def remove(self) -> None:
        run("docker", "rm", "--force", "--volumes", self.id)


def _undo() -> str:
    rules = (rule.replace(" 1 ", " ", 1) for rule in DROP)
    return "; ".join(f"while iptables -w -D {rule} 2>/dev/null; do :; done" for rule in rules)
