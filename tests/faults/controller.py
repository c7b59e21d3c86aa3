# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller: ansible-playbook as a user runs it, over SSH, and killed with everything it has started if need be."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t

from tests.support.paths import ROOT

from .host import PATIENCE, Host

BIN = pathlib.Path(sys.executable).parent
# Ends with all its children, the masters of SSH connections included, as if the machine were switched off.
CONTAINED = ("setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
TASKS = "play.json"
# No case that does not set them itself reaches these limits.
PATIENT = {"deploy_confirm_timeout": 900, "deploy_grace": 60, "deploy_steady": 2}
# The shortest that deploy.yml accepts, for cases that end by themselves.
SHORT = {"deploy_confirm_timeout": 25, "deploy_grace": 3, "deploy_steady": 2}


class Run:
    """A run of ansible-playbook."""

    def __init__(self, argv: t.Sequence[str], folder: pathlib.Path, environment: dict[str, str]) -> None:
        self.log = folder / f"{len(list(folder.glob('*.log')))}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*CONTAINED, *argv], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 2 * PATIENCE) -> Run:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"ansible-playbook did not end within {seconds:g} s:\n{self.output}") from None
        return self

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, f"'{text}' did not come within {seconds:g} s:\n{self.output}"
            time.sleep(0.1)

    @property
    def code(self) -> int:
        return self.wait().process.returncode

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Controller:
    def __init__(self, folder: pathlib.Path, key: pathlib.Path, known_hosts: str) -> None:
        self.folder = folder
        self.key = key
        folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        # Paths of sockets must be short.
        self.sockets = tempfile.mkdtemp(prefix="nixci-")
        self.known_hosts = known_hosts

    def close(self) -> None:
        shutil.rmtree(self.sockets)

    def give_nix(self, builder: Host) -> None:
        """The Nix of this controller, with its store, is the one of a host."""
        program = self.bin / "nix-store"
        program.write_text(f'#!/bin/sh\nexec docker exec --interactive {builder.id} nix-store "$@"\n')
        program.chmod(0o755)

    def start(
        self, playbook: str, hosts: t.Collection[Host], *args: str, user: str = "root", **variables: t.Any
    ) -> Run:
        inventory = {"all": {"vars": self.connection(hosts, user), "children": {"nixos": {"hosts": {
            host.name: {"ansible_host": host.address} for host in hosts
        }}}}}  # fmt: skip
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        (self.folder / "variables.json").write_text(json.dumps(variables))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "PATH": f"{self.bin}:{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.sockets,
        }
        given = ["-i", str(self.folder / "inventory.json"), "-e", f"@{self.folder / 'variables.json'}"]
        return Run(["ansible-playbook", playbook, *given, *args], self.folder, environment)

    def tasks(self, host: Host, *tasks: dict[str, t.Any], user: str = "root") -> Run:
        """A playbook of these tasks alone."""
        play = [{"hosts": "all", "gather_facts": False, "tasks": list(tasks)}]
        (self.folder / TASKS).write_text(json.dumps(play))
        return self.start(str(self.folder / TASKS), [host], user=user)

    def connection(self, hosts: t.Collection[Host], user: str) -> dict[str, t.Any]:
        known = self.folder / "known_hosts"
        known.write_text("".join(f"{host.address} {self.known_hosts}\n" for host in hosts))
        return {
            "ansible_user": user,
            "ansible_become": user != "root",
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def reaches(self, host: Host, user: str = "root") -> bool:
        """Over a new connection."""
        options = [
            "-i",
            str(self.key),
            "-o",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
            "-o",
            "ConnectTimeout=5",
        ]
        options += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        (self.folder / "known_hosts").write_text(f"{host.address} {self.known_hosts}\n")
        return subprocess.run(
            ["ssh", "-n", *options, f"{user}@{host.address}", "true"], capture_output=True, timeout=30
        ).returncode == 0  # fmt: skip
