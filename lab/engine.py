# SPDX-License-Identifier: GPL-3.0-or-later
"""The container engine: the running one, or Debian's, which the lab then starts and stops."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess

from . import doubles, state
from .machine import install
from .names import LABEL, ROOT
from .shell import LabError, attempt, run, say, wait

FORWARDING = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
DATA = pathlib.Path("/var/lib/docker")
PID_FILE = pathlib.Path("/run/docker.pid")


def works() -> bool:
    return attempt("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0


def ensure() -> None:
    if not works():
        if not DATA.exists():
            state.remember(docker_data=True)
        install("docker.io", "iptables", "iproute2", "ca-certificates")
    if not works():
        _start()
    for line in run(
        "docker", "ps", "--all", f"--filter=label={LABEL}", f'--format={{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    ).splitlines():
        container, root = line.split(maxsplit=1)
        if root == str(ROOT):
            continue
        folder = pathlib.Path(root) / state.DIR.name
        if doubles.running(folder) and not state.abandoned(folder):
            raise LabError(f"Another lab exists on this machine; end it first: cd {root} && python -m lab down")
        # The doubles had their state in memory, so a lab that lost them is useless: the machine was restarted, or the
        # checkout is gone and nobody else can remove its containers. Or a test run was killed, and nobody waits for it.
        say(f"Removing {container}, left by a lab of {root} that is no longer in use")
        doubles.stop(pathlib.Path(root))
        run("docker", "rm", "--force", "--volumes", container)


def _start() -> None:
    say("Starting dockerd")
    _forget_dead_engine()
    if "forwarding" not in state.read(state.MACHINE):
        policy = run("iptables", "-S", "FORWARD").splitlines()[0].split()[-1]
        state.remember(forwarding=FORWARDING.read_text().strip(), forward_policy=policy)
    with (state.DIR / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (state.DIR / "dockerd.pid").write_text(str(daemon.pid))
    wait("dockerd", lambda: works() or daemon.poll() is not None, 60, lambda: f"see {log.name}")
    if daemon.poll() is not None and not works():
        errors = [line for line in pathlib.Path(log.name).read_text().splitlines() if "failed" in line.lower()]
        raise LabError(f"dockerd does not run on this machine: {errors[-1][-200:] if errors else 'no reason given'}")


def _forget_dead_engine() -> None:
    """dockerd does not start while its file names a process, which may be any other one after it was killed."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int(PID_FILE.read_text())
        try:
            alive = pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
        except FileNotFoundError:
            alive = False
        if not alive:
            PID_FILE.unlink()


def stop() -> None:
    """Stop an engine that the lab has started, and no other."""
    if pid := state.process("dockerd", "dockerd"):
        say("Stopping dockerd")
        os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        wait("The end of dockerd", lambda: state.process("dockerd", "dockerd") is None, 60)
        attempt("ip", "link", "delete", "docker0")
        _forget_rules()


def _forget_rules() -> None:
    """Docker leaves its firewall rules behind."""
    for command in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            rules = [shlex.split(line) for line in attempt(command, "-t", table, "-S").stdout.splitlines()]
            for rule in rules:
                if rule[0] == "-A" and any("docker" in word.lower() for word in rule):
                    attempt(command, "-t", table, "-D", *rule[1:])
            for rule in rules:
                if rule[0] == "-N" and rule[1].startswith("DOCKER"):
                    attempt(command, "-t", table, "-X", rule[1])
    before = state.read(state.MACHINE)
    attempt("iptables", "-P", "FORWARD", before["forward_policy"])
    FORWARDING.write_text(before["forwarding"])


def forget() -> None:
    """Delete the engine's data if the lab has created it and no engine uses it now."""
    if state.read(state.MACHINE).get("docker_data") and not works():
        shutil.rmtree(DATA, ignore_errors=True)
