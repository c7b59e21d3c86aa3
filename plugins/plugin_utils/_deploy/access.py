# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller gets into a host, as its ssh sees it with its own configuration. Private: may change without notice."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
import subprocess
import typing as t

TIMEOUT = 10
BOUNDS = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"


@dataclasses.dataclass(frozen=True)
class Ssh:
    """What `ssh -G` says about the connection that Ansible is going to make."""

    host: str
    options: dict[str, list[str]]
    key_file: str | None

    @classmethod
    def of(cls, connection: t.Any) -> Ssh | None:
        """None for another kind of connection, or without OpenSSH."""
        if connection.transport != "ssh":
            return None
        option = connection.get_option
        host = str(option("host"))
        argv = [str(option("ssh_executable") or "ssh"), "-G"]
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            argv += shlex.split(str(option(name) or ""))
        if not option("host_key_checking"):
            argv += ["-o", "StrictHostKeyChecking=no"]
        if option("port"):
            argv += ["-p", str(option("port"))]
        if option("remote_user"):
            argv += ["-l", str(option("remote_user"))]
        found = output([*argv, host])
        options: dict[str, list[str]] = {}
        for line in (found or "").splitlines():
            key, _blank, value = line.partition(" ")
            options.setdefault(key, []).append(value)
        key_file = option("private_key_file")
        return cls(host, options, str(pathlib.Path(key_file).expanduser()) if key_file else None) if options else None

    def one(self, name: str, default: str = "") -> str:
        return self.options.get(name, [default])[0]

    @property
    def port(self) -> int:
        return int(self.one("port", "22"))

    def files(self, name: str) -> list[pathlib.Path]:
        """An option that lists files; none is spelt 'none'. ssh does not quote them, so blanks belong to a name that exists."""
        words, found = self.one(name).split(" "), []
        while words and words != ["none"]:
            joined = (count for count in range(len(words), 0, -1) if _path(words[:count]).exists())
            count = next(joined, 1)
            found.append(_path(words[:count]))
            words = words[count:]
        return found


def bounded(connection: t.Any) -> str:
    """The arguments of ssh with which a silent host ends the connection; by default it would be waited for a quarter of an hour."""
    given = str(connection.get_option("ssh_args") or "")
    others = [str(connection.get_option(name) or "") for name in ("ssh_common_args", "ssh_extra_args")]
    return given if "ServerAliveInterval" in "".join([given, *others]) else f"{given} {BOUNDS}".strip()


def of(ssh: Ssh, become: bool) -> dict[str, t.Any]:
    """For the review of the new system: who must be able to log in, where, and with which key."""
    user = ssh.one("user", "root")
    return {"user": user, "port": ssh.port, "keys": keys(ssh), "sudo": bool(become) and user != "root"}


def keys(ssh: Ssh) -> list[str]:
    """The public keys of which one is used; none if nobody can say without a passphrase."""
    if ssh.key_file:
        return [key for key in [_public(pathlib.Path(ssh.key_file))] if key]
    offered = [key for file in ssh.options.get("identityfile", []) if (key := _public(pathlib.Path(file).expanduser()))]
    if ssh.one("identitiesonly") != "yes":
        offered += [line for line in (output(["ssh-add", "-L"]) or "").splitlines() if line.count(" ") >= 1]
    return list(dict.fromkeys(offered))


def _path(words: list[str]) -> pathlib.Path:
    return pathlib.Path(" ".join(words)).expanduser()


def _public(file: pathlib.Path) -> str | None:
    beside = file.with_name(f"{file.name}.pub")
    try:
        if beside.exists():
            return beside.read_text(encoding="utf-8").strip() or None
        if not file.exists():
            return None
    except (OSError, ValueError):
        return None
    return (output(["ssh-keygen", "-y", "-P", "", "-f", str(file)]) or "").strip() or None


def output(argv: list[str]) -> str | None:
    """What a program prints; None if it fails, is missing or takes too long."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # `ssh-add -L` without a key prints a sentence and fails.
    return done.stdout if done.returncode == 0 else None
