# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that was never touched, and a controller that reaches it over real SSH."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
import typing as t

import yaml

from lab.shell import run
from tests.support.ansible_run import Controller, Played
from tests.support.lab_image import lab_image
from tests.support.nixos_host import Host
from tests.support.paths import ROOT

NAME = "web"
PASSWORD = "canary-root-password"
TOKEN = "ops_canary-host-token"
PYTHON = "/nix/store/0000-python3-3.12.1/bin/python3"
# As NixOS has it: a session finds the system's programs, and a new system has no Python. Debian's own programs are beside them.
PATH = "/run/wrappers/bin:/run/current-system/sw/bin"
LINKS = (
    "for one in /usr/sbin/* /usr/bin/*; do case $one in */python*) ;; *) ln -sfn $one /run/wrappers/bin/ ;; esac; done"
)
# The user's own configuration. The second line is why root can log in with a password.
OWN = f"""
networking.hostName = "{NAME}";
services.openssh = {{ enable = true; settings.PermitRootLogin = "yes"; }};
system.activationScripts.wrappers = "mkdir -p /run/wrappers/bin; {LINKS}";
"""
IMPORT = "imports = [ ./nixci/hosts/web ];"


def module(*body: str) -> str:
    return f"{{ ... }}:\n{{\n{''.join(body)}\n}}\n"


class Server(Host):
    """The host, which listens to SSH on its own address in Docker's network."""

    def __init__(self) -> None:
        super().__init__(lab_image(), "--memory=2g")

    def untouched(self, own: str = OWN) -> None:
        """NixOS as its installer leaves it, with a password for root."""
        self.switch(own)
        self.out(f"echo root:{PASSWORD} | chpasswd")
        self.out(f"printf 'export PATH={PATH}\\n' > /etc/bash.bashrc; rm -f /root/.bashrc /root/.profile")
        self.out(f"mkdir -p $(dirname {PYTHON}); ln -sfn /usr/bin/python3 {PYTHON}")

    def fingerprint(self) -> str:
        return self.out("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]


class Newcomer(Controller):
    """An inventory of one host, as a user has it before the first run."""

    def __init__(self, server: Server, folder: pathlib.Path, **variables: t.Any) -> None:
        super().__init__(folder / "inventory" / "hosts.json", "")
        self.folder = folder
        self.key = folder / "id_ed25519"
        self.known_hosts = folder / "inventory" / "known_hosts"
        self.known_hosts.parent.mkdir()
        self.generate(self.key)
        # Ansible itself expands a ~ for ssh.
        self.env["HOME"] = str(folder)
        # Below that home, the path of ssh's socket would be too long for the system.
        self.sockets = tempfile.TemporaryDirectory()
        self.env["ANSIBLE_SSH_CONTROL_PATH_DIR"] = self.sockets.name
        self.variables = {
            "ansible_host": server.address,
            "ansible_ssh_private_key_file": "~/id_ed25519",
            "ansible_password": PASSWORD,
            "opnix_token": TOKEN,
            **variables,
        }

    def ready(self, played: Played) -> None:
        """Write into the inventory what a bootstrap has printed, and forget root's password."""
        printed = re.findall(r"^ *- '?(ansible_\w+): (.*?)'?\r?$", played.out, re.MULTILINE)
        assert len(printed) == 3, played.out
        self.variables |= {name: yaml.safe_load(value) for name, value in printed}
        del self.variables["ansible_password"]

    @staticmethod
    def generate(path: pathlib.Path) -> str:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "you", "-f", str(path))
        return path.with_suffix(".pub").read_text().strip()

    def argv(self, *args: str, playbook: str = "playbooks/bootstrap.yml", **values: t.Any) -> list[str]:
        """The values are variables of the host in the inventory."""
        self.playbook = playbook
        hosts = {"nixos": {"hosts": {NAME: {**self.variables, **values}}}}
        pathlib.Path(self.inventory).write_text(json.dumps(hosts))
        return super().argv("--timeout=5", *args)

    def answer(self, answer: str, **values: t.Any) -> Played:
        """Run it in a terminal, and answer its question."""
        argv = self.argv(**values)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            os.execve(argv[0], argv, self.env)  # noqa: S606
        output, end, asked = b"", time.monotonic() + 300, False
        while time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                try:
                    chunk = os.read(terminal, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                output += chunk
            elif not asked and b"Type yes" in output:
                asked = True
                os.write(terminal, answer.encode() + b"\r")
        else:
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(terminal)
        return Played(os.waitstatus_to_exitcode(status), output.decode(errors="replace").replace("\r\n", "\n"))

    def ssh(self, user: str, command: str, *options: str, key: bool = True) -> subprocess.CompletedProcess[str]:
        methods = ["-i", str(self.key), "-oBatchMode=yes"] if key else ["-oPubkeyAuthentication=no", "-oBatchMode=yes"]
        argv = [
            "ssh",
            "-oIdentitiesOnly=yes",
            *methods,
            "-oStrictHostKeyChecking=yes",
            f"-oUserKnownHostsFile={self.known_hosts}",
        ]
        target = f"{user}@{self.variables['ansible_host']}"
        return subprocess.run(
            [*argv, *options, target, command], capture_output=True, text=True, timeout=30, check=False
        )
